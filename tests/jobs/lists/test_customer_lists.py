"""Customers' lists go on from the night before: the same lists as all made anew, of the fewest customers."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.lake import storage
from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.lists.config import ListsConfig
from jobs.policy.variants import Variant
from jobs.tables.shop import RECOMMENDED_FOR_YOU
from tests.conftest import lake_on
from tests.support.small_shop import FIRST, MARKETS, SmallShop
from tests.support.tables import assert_same_rows

CONFIG = ListsConfig(top_n=4)
STILL = ListsConfig(top_n=4, young_days=1)
"""No product of the shop is so young, so none stops being young with a new night."""
SECOND = FIRST + timedelta(days=1)
PLAIN = [name for name in RECOMMENDED_FOR_YOU.names if name not in ("as_of", "run_id", "since")]


def anew(shop: SmallShop, as_of: object, config: ListsConfig, folder: Path) -> pa.Table:
    """The night's lists, all of them made in a copy that has no earlier night to go on from."""
    root = folder / "anew"
    shutil.copytree(shop.lake.root, root)
    shutil.rmtree(root / storage.LISTS)
    engine = shop.lake.engine
    copy = SmallShop(lake_on(engine, root), shop.rng)
    assert copy.lists(as_of, config) == len(shop.people)  # type: ignore[arg-type]
    found = copy.lake.arrow(RECOMMENDED_FOR_YOU, PLAIN, as_of)  # type: ignore[arg-type]
    shutil.rmtree(root)
    return found


def change(shop: SmallShop, as_of: object, rng: np.random.Generator) -> None:
    """Some of everything that a day may bring."""
    day = FIRST if as_of is None else as_of
    for customer in rng.choice(sorted(shop.people), 2, replace=False):
        shop.touch(str(customer), day)  # type: ignore[arg-type]
    if rng.random() < 0.3:
        shop.touch(f"C{len(shop.people):03}", day)  # type: ignore[arg-type]
    if rng.random() < 0.6:
        shop.sold ^= {(shop.any_product(), MARKETS[rng.integers(2)])}
    if rng.random() < 0.2:
        shop.launch(day - timedelta(days=1))  # type: ignore[operator]
    if rng.random() < 0.2:
        shop.new_vector(shop.any_product())
    if rng.random() < 0.2:
        shop.catalogue[shop.any_product()]["brand"] = "Elder"
    if rng.random() < 0.2:
        shop.catalogue.pop(gone := shop.any_product())
        shop.sold = {(product, market) for product, market in shop.sold if product != gone}
    rules = [
        {"kind": "exclude", "attribute": "product_id", "value": shop.any_product()},
        {"kind": "exclude", "attribute": "brand", "value": "Ash", "market": "DE"},
        {"kind": "boost", "attribute": "product_id", "value": shop.any_product(), "amount": 9.0},
        {"kind": "bury", "attribute": "category", "value": "socks", "amount": 4.0, "market": "GB"},
        {"kind": "include", "attribute": "product_id", "value": shop.any_product(), "amount": 2.0, "market": "GB"},
        {"kind": "brand_cap", "amount": 2.0, "market": "DE"},
        {"kind": "category_cap", "amount": 3.0, "market": "GB"},
        {"kind": "repeat_purchase", "attribute": "category", "value": "tops", "amount": 2.0},
        {"kind": "exclude", "attribute": "brand", "value": "Cedar", "starts_on": SECOND},
    ]
    if rng.random() < 0.3:
        chosen = rng.permutation(len(rules))[: rng.integers(4)]
        shop.rules([rules[number] | {"rule_id": f"rule-{number}"} for number in chosen])


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(more, marks=pytest.mark.soak) for more in (3, 4))])
def test_lists_that_go_on_from_the_night_before_are_those_made_anew(seed: int, sail_lake: Lake, tmp_path: Path) -> None:
    rng = np.random.default_rng(100 + seed)
    config = CONFIG if seed % 3 else ListsConfig(top_n=4, variants=(Variant("a", 0.5), Variant("b", 0.5, policy=False)))
    shop = SmallShop.new(sail_lake, seed)
    shop.write(FIRST)
    shop.lists(FIRST, config)
    for number in range(1, 4):
        night = FIRST + timedelta(days=number)
        change(shop, night, rng)
        shop.write(night, since=FIRST)
        shop.lists(night, config)
        ours = sail_lake.arrow(RECOMMENDED_FOR_YOU, PLAIN, night)
        assert_same_rows(ours, anew(shop, night, config, tmp_path), ("going on", "anew"))


def quiet_second_night(shop: SmallShop) -> None:
    """One customer is touched, nothing else."""
    shop.write(FIRST)
    shop.lists(FIRST, STILL)
    shop.touch("C007", SECOND)


def open_lists(lake: Lake) -> set[str]:
    """Customers of the first night whose lists popularity has a part in."""
    rows = lake.arrow(RECOMMENDED_FOR_YOU, ("customer_id", "reach"), FIRST).to_pylist()
    return {row["customer_id"] for row in rows if row["reach"] is None}


def test_a_quiet_night_makes_the_lists_of_the_touched_and_of_those_filled_by_popularity(sail_lake: Lake) -> None:
    shop = SmallShop.new(sail_lake, 1)
    quiet_second_night(shop)
    shop.write(SECOND, since=FIRST)
    shop.lists(SECOND, STILL)
    made = sail_lake.changed(RECOMMENDED_FOR_YOU, ("customer_id",), FIRST, SECOND)["customer_id"].to_pylist()
    assert set(made) == {"C007"} | open_lists(sail_lake)
    assert len(made) < len(shop.people) / 2
    assert sail_lake.since(RECOMMENDED_FOR_YOU, SECOND) == FIRST


def test_a_product_that_is_sold_out_changes_the_lists_that_depend_on_it_alone(sail_lake: Lake) -> None:
    shop = SmallShop.new(sail_lake, 2)
    quiet_second_night(shop)
    shown = {
        row["customer_id"]: (row["market"], row["product_ids"], row["reach"])
        for row in sail_lake.arrow(RECOMMENDED_FOR_YOU, as_of=FIRST).to_pylist()
    }
    gone = next(products[0] for market, products, reach in shown.values() if market == "DE" and reach is not None)
    shop.sold -= {(gone, "DE")}
    shop.write(SECOND, since=FIRST)
    shop.lists(SECOND, STILL)
    made = sail_lake.changed(RECOMMENDED_FOR_YOU, ("customer_id",), FIRST, SECOND)["customer_id"].to_pylist()

    def depends(market: str, reach: float | None, customer: str) -> bool:
        score = float(shop.people[customer]["vector"] @ shop.vectors[gone])
        return market == "DE" and reach is not None and score >= reach - 1e-4

    affected = {customer for customer, (market, _, reach) in shown.items() if depends(market, reach, customer)}
    assert {customer for customer, (market, ids, _) in shown.items() if market == "DE" and gone in ids} <= set(made)
    assert set(made) == {"C007"} | open_lists(sail_lake) | affected
    assert affected and len(made) < len(shop.people)


@pytest.mark.parametrize("damage", ["no snapshot", "half a snapshot", "another top_n", "another word"])
def test_without_ground_to_go_on_from_all_lists_are_made(damage: str, sail_lake: Lake) -> None:
    shop = SmallShop.new(sail_lake, 3)
    quiet_second_night(shop)
    shop.write(SECOND, since=FIRST)
    snapshot = sail_lake.directory(storage.LISTS, FIRST) / "inputs.arrow"
    if damage == "no snapshot":
        snapshot.unlink()
    if damage == "half a snapshot":
        snapshot.write_bytes(snapshot.read_bytes()[: snapshot.stat().st_size // 2])
    config = {
        "another top_n": ListsConfig(top_n=3, young_days=1),
        "another word": ListsConfig(top_n=4, young_days=1, experiment="x"),
    }
    assert shop.lists(SECOND, config.get(damage, STILL)) == len(shop.people)
    assert sail_lake.since(RECOMMENDED_FOR_YOU, SECOND) == SECOND


def test_many_changes_make_a_complete_night(sail_lake: Lake, tmp_path: Path) -> None:
    shop = SmallShop.new(sail_lake, 4)
    shop.write(FIRST)
    shop.lists(FIRST, STILL)
    for customer in sorted(shop.people)[: len(shop.people) * 2 // 3]:
        shop.touch(customer, SECOND)
    shop.write(SECOND, since=FIRST)
    assert shop.lists(SECOND, STILL) == len(shop.people)
    assert sail_lake.since(RECOMMENDED_FOR_YOU, SECOND) == SECOND
    ours = sail_lake.arrow(RECOMMENDED_FOR_YOU, PLAIN, SECOND)
    assert_same_rows(ours, anew(shop, SECOND, STILL, tmp_path), ("going on", "anew"))


def test_a_rerun_of_a_night_writes_the_same(sail_lake: Lake, sail_engine: Engine) -> None:
    shop = SmallShop.new(sail_lake, 5)
    quiet_second_night(shop)
    shop.write(SECOND, since=FIRST)
    shop.lists(SECOND, STILL)
    first = sail_lake.arrow(RECOMMENDED_FOR_YOU)
    shop.lists(SECOND, STILL)
    shop.lists(FIRST, STILL)
    assert_same_rows(sail_lake.arrow(RECOMMENDED_FOR_YOU), first, ("again", "first"))
