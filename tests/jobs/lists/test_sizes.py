"""A customer's own list shows no product without their usual size, and goes on from the night before as made anew."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.lake.lake import Lake
from jobs.lists import customer_lists
from jobs.lists.config import ListsConfig
from jobs.policy.variants import DefaultRules, Variant
from jobs.tables.shop import CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU
from tests.jobs.lists.test_customer_lists import CONFIG, PLAIN, SECOND, anew, change
from tests.support.small_shop import FIRST, MARKETS, SIZES, SmallShop
from tests.support.tables import assert_same_rows


def sized_shop(lake: Lake, seed: int, rng: np.random.Generator, customers: int = 80) -> SmallShop:
    """A shop whose customers buy in few sizes."""
    shop = SmallShop.new(lake, seed, customers=customers)
    for product, market in sorted(shop.sold):
        shop.stock(product, market, rng)
    for customer in sorted(shop.people):
        buy(shop, customer, rng)
    return shop


def buy(shop: SmallShop, customer: str, rng: np.random.Generator) -> None:
    """The customer buys three products, mostly in one size."""
    person = shop.people[customer]
    own = str(rng.choice(SIZES))
    for _ in range(3):
        product, size = shop.any_product(), own if rng.random() < 0.8 else str(rng.choice(SIZES))
        person["bought"][product] = person["at"]
        person.setdefault("sizes", {})[product] = size if rng.random() < 0.9 else None
    shop.touched.add(customer)


def usual(shop: SmallShop, customer: str) -> dict[str, str]:
    """Category -> the size bought last most often, by the plain words of the documentation."""
    person = shop.people[customer]
    made = {
        (shop.catalogue[product]["category"], size)
        for (product, market), (_, sizes) in shop.sizes.items()
        if market == person["market"] and (product, market) in shop.sold and product in shop.catalogue
        for size in sizes
    }
    weights: dict[str, Counter[str]] = {}
    latest = max(person["bought"].values(), default=None)
    for product, at in person["bought"].items():
        category, size = shop.catalogue.get(product, {}).get("category"), person.get("sizes", {}).get(product)
        if (category, size) in made:
            days = (at - latest).total_seconds() / 86_400
            weights.setdefault(str(category), Counter())[str(size)] += 0.5 ** (-days / 365)  # type: ignore[assignment]
    return {category: max(sizes, key=lambda size: (sizes[size], size)) for category, sizes in weights.items()}


def fits(shop: SmallShop, customer: str, product: str) -> bool:
    market, category = shop.people[customer]["market"], shop.catalogue[product]["category"]
    size = usual(shop, customer).get(category)
    return size is None or (product, market) not in shop.sizes or size in shop.sizes[product, market][0]


def expected(shop: SmallShop, customer: str, n: int) -> list[str]:
    """The n best products that fit, by their scores alone."""
    person = shop.people[customer]
    may = [p for p, market in shop.sold if market == person["market"] and p not in person["bought"]]
    may = [product for product in may if fits(shop, customer, product)]
    scores = {product: float(person["vector"] @ shop.vectors[product]) for product in may}
    return sorted(may, key=lambda product: (-scores[product], product))[:n]


PLAINEST = ListsConfig(top_n=4, young_days=1)


@pytest.mark.parametrize("deeper", [1, 2, 30])
def test_a_list_is_that_of_the_products_in_the_customers_sizes(
    deeper: int, sail_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customer_lists, "DEEPER", deeper)
    rng = np.random.default_rng(7)
    shop = sized_shop(sail_lake, 7, rng)
    shop.write(FIRST)
    variant = Variant(standing={RECOMMENDED_FOR_YOU.name: DefaultRules(size_run=0.0)})
    shop.lists(FIRST, ListsConfig(top_n=4, young_days=1, variants=(variant,)))
    rows = sail_lake.arrow(RECOMMENDED_FOR_YOU, as_of=FIRST).to_pylist()
    large = [row for row in rows if row["market"] != "IS" and shop.people[row["customer_id"]]["vector"][:-1].any()]
    assert len(large) > 60
    for row in large:
        assert row["product_ids"] == expected(shop, row["customer_id"], 4), row["customer_id"]
    assert all(fits(shop, row["customer_id"], product) for row in rows for product in row["product_ids"])
    assert sum(len(usual(shop, row["customer_id"])) for row in rows) > 100


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(more, marks=pytest.mark.soak) for more in (2, 3))])
def test_sized_lists_that_go_on_from_the_night_before_are_those_made_anew(
    seed: int, sail_lake: Lake, tmp_path: Path
) -> None:
    rng = np.random.default_rng(200 + seed)
    shop = sized_shop(sail_lake, seed, rng)
    shop.write(FIRST)
    shop.lists(FIRST, CONFIG)
    made = []
    for number in range(1, 4):
        night = FIRST + timedelta(days=number)
        if rng.random() < 0.5:
            change(shop, night, rng)
        for _ in range(rng.integers(3)):
            shop.stock(shop.any_product(), MARKETS[rng.integers(2)], rng)
        if rng.random() < 0.5:
            shop.catalogue[shop.any_product()]["category"] = "socks"
        buy(shop, str(rng.choice(sorted(shop.people))), rng)
        shop.write(night, since=FIRST)
        made.append(shop.lists(night, CONFIG))
        ours = sail_lake.arrow(RECOMMENDED_FOR_YOU, PLAIN, night)
        assert_same_rows(ours, anew(shop, night, CONFIG, tmp_path), ("going on", "anew"))
        for row in ours.to_pylist():
            assert all(fits(shop, row["customer_id"], product) for product in row["product_ids"])
    assert min(made) < len(shop.people), "some night made few lists"


def test_a_market_that_begins_to_have_a_size_changes_whose_usual_size_it_is(sail_lake: Lake, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shop = sized_shop(sail_lake, 3, rng)
    shop.sizes = {key: ([s for s in held if s != "XS"], [s for s in made if s != "XS"] or ["S"])
                  for key, (held, made) in shop.sizes.items()}  # fmt: skip
    shop.write(FIRST)
    shop.lists(FIRST, CONFIG)
    product, market = next(key for key in sorted(shop.sizes) if key[1] == "DE" and key in shop.sold)
    shop.sizes[product, market] = (["XS"], ["XS"])
    shop.touch("C001", SECOND)
    shop.write(SECOND, since=FIRST)
    shop.lists(SECOND, CONFIG)
    ours = sail_lake.arrow(RECOMMENDED_FOR_YOU, PLAIN, SECOND)
    assert_same_rows(ours, anew(shop, SECOND, CONFIG, tmp_path), ("going on", "anew"))


def test_a_broken_run_of_sizes_steps_back_and_says_so(sail_lake: Lake) -> None:
    rng = np.random.default_rng(5)
    shop = sized_shop(sail_lake, 5, rng)
    shop.write(FIRST)
    shop.lists(FIRST, PLAINEST)
    broken = {key for key, (held, made) in shop.sizes.items() if len(held) < len(made) / 2}
    stepped = 0
    for row in sail_lake.arrow(RECOMMENDED_FOR_YOU, as_of=FIRST).to_pylist():
        of = [(product, row["market"]) in broken for product in row["product_ids"]]
        assert of == sorted(of), "nothing whole stands behind a broken run"
        stepped += row["rules"].count("size run")
    assert stepped
    shop.rules([{"rule_id": "all sizes", "kind": "size_run", "amount": 0.0, "market": "DE"}])
    shop.lists(FIRST, PLAINEST)
    rules = {
        (row["market"], rule)
        for row in sail_lake.arrow(RECOMMENDED_FOR_YOU, as_of=FIRST).to_pylist()
        for rule in row["rules"]
    }
    assert ("DE", "size run") not in rules and ("GB", "size run") in rules


def test_executors_rank_by_sizes_too(sail_lake: Lake) -> None:
    rng = np.random.default_rng(6)
    shop = sized_shop(sail_lake, 6, rng)
    shop.write(FIRST)
    ranker = shop.ranker(FIRST, CONFIG)
    batches = shop.ranked_rows(FIRST).to_batches()
    here = pa.Table.from_batches(list(ranker(iter(batches))))
    there = pa.Table.from_batches(list(type(ranker).of(ranker.parcel())(iter(batches))))
    assert here.drop_columns(["counted"]).to_pylist() == there.drop_columns(["counted"]).to_pylist()
    assert sail_lake.count(CUSTOMER_SEQUENCES, FIRST) == len(here)
