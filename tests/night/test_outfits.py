"""Outfits of a whole night: what pages show, what stops a bad night, what an editor says, and who has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.client.outfits import Look
from jobs.ask.explain import explain
from jobs.errors import GateError
from jobs.gate.outfits import OUTFIT_GATES
from jobs.lists.config import OutfitsConfig
from jobs.sample_shop import SIZES, truth
from jobs.tables.records import GATES
from jobs.tables.shop import AVAILABILITY, CATALOGUE, OUTFITS, POLICY, RULE_EFFECTS
from tests.support.nights import FIRST, SECOND, Rows, Shop


def looks_in(row: dict[str, Any], market: str) -> list[list[str]]:
    """The looks of a row that a market shows."""
    numbers = [number for number in dict.fromkeys(row["looks"]) if f"{number}:{market}" in row["shown_in"]]
    pairs = list(zip(row["product_ids"], row["looks"], strict=True))
    return [[product for product, look in pairs if look == number] for number in numbers]


def test_a_page_shows_what_the_table_says_and_the_market_sells(night: Shop) -> None:
    sold = {(row["product_id"], row["market"]) for row in night.rows(AVAILABILITY) if row["available"]}
    markets = sorted({market for _, market in sold})
    shop, rows = night.online().client(), night.rows(OUTFITS)
    assert len(rows) > 80
    for row in rows[::9]:
        for market in markets:
            page = shop.outfits(row["product_id"], market)
            assert [list(look.product_ids) for look in page.looks] == looks_in(row, market)
            shown = [product for look in page.looks for product in look.product_ids]
            assert len(set(shown) | {row["product_id"]}) == len(shown) + 1
            assert all((product, market) in sold for product in shown)
            assert bool(page.looks) == (page.reason == "") and len(page.looks) <= night.config.lists.outfits.looks
            assert page.list_id.split(".")[1:] == ["look", market, "default", row["product_id"]]
    full = [
        len(looks_in(row, market)) == 2 for row in rows for market in markets if (row["product_id"], market) in sold
    ]
    assert np.mean(full) > 0.8
    unknown = shop.outfits("nobody sells this", markets[0])
    assert (unknown.looks, unknown.origin) == ((), "nothing") and unknown.reason


def test_another_variant_shows_that_of_the_default_one(night: Shop) -> None:
    row = night.rows(OUTFITS)[0]
    market = row["shown_in"][0].partition(":")[2]
    own, other = (night.online().client().outfits(row["product_id"], market, variant) for variant in ("default", "b"))
    assert (own.looks, own.origin, other.origin) == (other.looks, "own list", "default variant")
    assert isinstance(own.looks[0], Look) and ".look." in other.list_id and ".b." in other.list_id


def test_looks_know_the_shops_truth_better_than_chance(night: Shop) -> None:
    known, catalogue = truth(SIZES["tiny"]), {row["product_id"]: row for row in night.rows(CATALOGUE)}
    right, chance = [], []
    for row in night.rows(OUTFITS):
        complements = known.complements(row["product_id"])
        own = catalogue[row["product_id"]]
        others = [p for p, of in catalogue.items() if of["department"] == own["department"] and p != row["product_id"]]
        if complements and others:
            right.append(np.mean([product in complements for product in row["product_ids"]]))
            chance.append(np.mean([product in complements for product in others]))
    assert len(right) > 50 and np.mean(right) > 1.3 * np.mean(chance)


def rules(shop: Shop, *rows: dict[str, Any]) -> None:
    """Load rules and make the lists again."""
    known = pa.Table.from_pylist(
        [{name: row.get(name) for name in POLICY.names} | {"as_of": FIRST, "run_id": "test"} for row in rows],
        shop.lake.arrow(POLICY).schema,
    )
    shop.lake.overwrite(POLICY, known)
    shop.step("lists")
    shop.step("audiences")


def test_an_editors_set_comes_first_and_what_a_rule_excludes_is_in_no_look(copied_night: Shop) -> None:
    shop = copied_night
    sold: dict[str, set[str]] = {}
    for row in shop.rows(AVAILABILITY):
        if row["available"]:
            sold.setdefault(row["product_id"], set()).add(row["market"])
    everywhere = [p for p in sorted(sold) if len(sold[p]) == max(map(len, sold.values()))]
    chosen, hidden = everywhere[:3], shop.rows(OUTFITS)[0]["product_ids"][0]
    market = sorted(sold[chosen[0]])[0]
    rules(
        shop,
        {"rule_id": "spring", "kind": "outfit", "value": ", ".join(chosen), "market": market},
        {"rule_id": "recall", "kind": "exclude", "attribute": "product_id", "value": hidden, "market": market},
    )
    rows = {row["product_id"]: row for row in shop.rows(OUTFITS)}
    shown = {product for row in rows.values() for look in looks_in(row, market) for product in look}
    for product in chosen:
        row = rows[product]
        first = [p for p in chosen if p != product]
        if hidden not in chosen:
            assert looks_in(row, market)[0] == first and row["rules"][:2] == ["spring"] * 2
            assert {text for text in row["shown_in"] if text.startswith("1:")} == {f"1:{market}"}
            assert explain(shop.lake, "outfits", {"product_id": product, "market": market}, 1, FIRST).rule.startswith(
                "spring"
            )
    assert hidden not in shown
    effects = [row for row in shop.rows(RULE_EFFECTS) if row["touch_point"] == "outfits"]
    assert [row["rule_id"] for row in effects] == ["spring"] and effects[0]["changed"] == 3 * (hidden not in chosen)
    shop.step("gate")


def unsold(rows: Rows) -> Rows:
    """Show the first look of the first product everywhere it is not shown."""
    return [rows[0] | {"shown_in": [f"1:{market}" for market in ["GB", "FR", "DE", "US"]]}, *rows[1:]]


def twice(rows: Rows) -> Rows:
    """Show a piece in two roles."""
    return [rows[0] | {"product_ids": [rows[0]["product_ids"][1], *rows[0]["product_ids"][1:]]}, *rows[1:]]


def same_role(rows: Rows) -> Rows:
    """A look of two pairs of shoes."""
    return [rows[0] | {"roles": [rows[0]["roles"][1], *rows[0]["roles"][1:]]}, *rows[1:]]


def torn(rows: Rows) -> Rows:
    """A list is shorter than the others."""
    return [rows[0] | {"roles": rows[0]["roles"][1:]}, *rows[1:]]


@pytest.mark.parametrize(
    ("damage", "gates"),
    [
        (unsold, {"outfits_uneven", "outfits_unavailable"}),
        (twice, {"outfits_repeats"}),
        (same_role, {"outfits_roles"}),
        (torn, {"outfits_uneven"}),
    ],
)
def test_a_bad_outfit_stops_the_night(damage: Callable[[Rows], Rows], gates: set[str], copied_night: Shop) -> None:
    copied_night.rewrite(OUTFITS, damage)
    with pytest.raises(GateError):
        copied_night.step("gate")
    rows = copied_night.lake.arrow(GATES, ("gate", "passed"), FIRST).to_pylist()
    assert gates & {row["gate"] for row in rows if not row["passed"]} and {row["gate"] for row in rows} >= gates


def test_a_shop_without_roles_has_no_outfits_and_publishes(copied_second: Shop) -> None:
    shop, known = copied_second, copied_second.rows(OUTFITS)[0]
    market = known["shown_in"][0].partition(":")[2]
    none = dict.fromkeys({row["category"] for row in shop.rows(CATALOGUE)} - {None}, "none")
    note = shop.step("lists", SECOND, outfits=OutfitsConfig(roles=none)).note
    assert shop.lake.nights(OUTFITS) == [FIRST] and "outfits" not in note
    shop.step("audiences", SECOND)
    shop.step("gate", SECOND, accepted=["outfits_rows"])
    shop.step("publish", SECOND)
    assert shop.online().client().outfits(known["product_id"], market).reason == "the night has no list here"
    gates = {row["gate"] for row in shop.lake.arrow(GATES, ("gate",), SECOND).to_pylist()}
    assert gates & OUTFIT_GATES == {"outfits_rows"}
    shop.step("publish", FIRST, replace_newer=True)
    assert shop.online().client().outfits(known["product_id"], market).looks
