"""Laws of the lists of a whole night: what a shopper may and may not be shown."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np
import pytest
from numba import typeof

from feature_repo.client.ranking import ALL_PRODUCTS
from jobs.lists.touch_points import CAROUSELS, FOR_YOU, RANKED_PAGE
from jobs.policy.variants import DefaultRules, Variant
from jobs.sample_shop import SIZES, truth
from jobs.tables.shop import (
    AVAILABILITY,
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    LISTS,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_LISTS,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    SOURCES,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from models.assembly import kernels, outfit_kernels
from models.compiling import compile_loops
from models.search import exact_kernels
from tests.support.nights import FIRST, Rows, Shop

each_table = pytest.mark.parametrize("table", [*LISTS, MARKET_RANKING], ids=lambda table: table.name)
each_carousel = pytest.mark.parametrize("table", PRODUCT_LISTS, ids=lambda table: table.name)


class Shelves:
    """What can be sold and what was bought, worked out from the tables without the code under test."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    @cached_property
    def live(self) -> set[tuple[str, str]]:
        """(product, market) that can be bought on the night."""
        launched = {
            row["product_id"]
            for row in self.shop.rows(CATALOGUE)
            if row["launched_at"] is None or row["launched_at"] < FIRST
        }
        rows = self.shop.rows(AVAILABILITY)
        return {(r["product_id"], r["market"]) for r in rows if r["available"] and r["product_id"] in launched}

    @cached_property
    def in_market(self) -> Counter[str]:
        """How many products each market can show."""
        return Counter(market for _, market in self.live)

    @cached_property
    def in_category(self) -> Counter[tuple[str, str]]:
        """How many products of each (category, market) can be sold, of all categories too."""
        category = {row["product_id"]: row["category"] for row in self.shop.rows(CATALOGUE)}
        return Counter((name, market) for product, market in self.live for name in (category[product], ALL_PRODUCTS))

    @cached_property
    def bought(self) -> set[tuple[str, str]]:
        """(customer, product) of every purchase before the night."""
        rows = self.shop.lake.arrow(EVENTS, ("customer_id", "product_id", "event_type", "event_ts")).to_pylist()
        midnight = self.shop.run_of(FIRST).midnight
        return {
            (r["customer_id"], r["product_id"]) for r in rows
            if r["event_type"] == "purchase" and r["event_ts"] < midnight
        }  # fmt: skip


@pytest.fixture(scope="module")
def shelves(night: Shop) -> Shelves:
    return Shelves(night)


def owner_of(row: dict[str, object]) -> str:
    """The list's key in words, for messages."""
    return f"{row.get('product_id') or row.get('customer_id') or row.get('category')} in {row['market']}"


@each_table
def test_a_list_is_full_or_says_why_not(table: Table, night: Shop, shelves: Shelves) -> None:
    top_n = next(p.places for p in (*CAROUSELS, FOR_YOU, RANKED_PAGE) if p.table is table) or night.config.lists.top_n
    rows = night.rows(table)
    wrong = [owner_of(r) for r in rows if len(r["product_ids"]) > top_n]
    if table is MARKET_RANKING:  # a page shows all of its category
        there = [shelves.in_category[r["category"], r["market"]] for r in rows]
        assert min(there) < top_n and not any(r["short_reason"] for r, n in zip(rows, there, strict=True) if n)
        wrong += [owner_of(r) for r, n in zip(rows, there, strict=True) if len(r["product_ids"]) != min(n, top_n)]
    else:
        wrong += [owner_of(r) for r in rows if (len(r["product_ids"]) == top_n) != (r["short_reason"] is None)]
    assert wrong == []


@each_table
def test_scores_and_sources_stand_beside_the_products(table: Table, night: Shop) -> None:
    rows = night.rows(table)
    beside = ("scores", "sources", "rules", *(["categories"] if table is BAG_EXTRAS else []))
    uneven = [owner_of(r) for r in rows if {len(r[name]) for name in beside} != {len(r["product_ids"])}]
    assert uneven == []
    assert {source for r in rows for source in r["sources"]} <= set(SOURCES)
    assert all(np.isfinite(r["scores"]).all() for r in rows)


@each_table
def test_no_product_stands_twice(table: Table, night: Shop) -> None:
    assert [owner_of(r) for r in night.rows(table) if len(set(r["product_ids"])) < len(r["product_ids"])] == []


@each_table
def test_everything_shown_can_be_bought_in_the_market(table: Table, night: Shop, shelves: Shelves) -> None:
    wrong = [
        f"{shown} for {owner_of(r)}" for r in night.rows(table) for shown in r["product_ids"]
        if (shown, r["market"]) not in shelves.live
    ]  # fmt: skip
    assert wrong == []


@each_carousel
def test_a_product_is_never_its_own_companion(table: Table, night: Shop) -> None:
    assert [owner_of(r) for r in night.rows(table) if r["product_id"] in r["product_ids"]] == []


def test_nothing_bought_is_recommended_again(night: Shop, shelves: Shelves) -> None:
    assert len(shelves.bought) > 100
    again = [
        f"{shown} for {owner_of(r)}" for r in night.rows(RECOMMENDED_FOR_YOU) for shown in r["product_ids"]
        if (r["customer_id"], shown) in shelves.bought
    ]  # fmt: skip
    assert again == []


@each_carousel
def test_every_live_product_has_one_row_in_each_of_its_markets(table: Table, night: Shop, shelves: Shelves) -> None:
    keys = Counter((r["product_id"], r["market"]) for r in night.rows(table))
    assert set(keys) == shelves.live
    assert set(keys.values()) == {1}


def test_every_known_customer_has_one_row_in_their_market(night: Shop) -> None:
    customers = Counter((r["customer_id"], r["market"]) for r in night.rows(RECOMMENDED_FOR_YOU))
    assert set(customers) == {(r["customer_id"], r["market"]) for r in night.rows(CUSTOMER_SEQUENCES)}
    assert set(customers.values()) == {1}


@each_table
def test_scores_fall_within_one_source_but_where_a_rule_moved_a_position(table: Table, night: Shop) -> None:
    rising = []
    for row in night.rows(table):
        for source in set(row["sources"]):
            places = zip(row["scores"], row["sources"], row["rules"], strict=True)
            scores = [score for score, why, rule in places if why == source and rule == ""]
            if scores != sorted(scores, reverse=True):
                rising.append(f"{owner_of(row)}: {source}")
    assert rising == []


def test_every_rule_that_moved_a_position_is_counted(night: Shop) -> None:
    moved = {
        (rule, table.name) for table in (*LISTS, MARKET_RANKING) for row in night.rows(table) for rule in row["rules"]
        if rule
    }  # fmt: skip
    effects = {(row["rule_id"], row["touch_point"]): row["changed"] for row in night.rows(RULE_EFFECTS)}
    assert moved
    assert [key for key in moved if not effects.get(key)] == []


def test_alternatives_begin_with_the_products_own_category(night: Shop) -> None:
    category = {r["product_id"]: r["category"] for r in night.rows(CATALOGUE)}
    for row in night.rows(YOU_MIGHT_ALSO_LIKE):
        own = [
            category[shown] == category[row["product_id"]]
            for shown, why, rule in zip(row["product_ids"], row["sources"], row["rules"], strict=True)
            if why.startswith("model") and rule == ""
        ]
        assert own == sorted(own, reverse=True), f"{owner_of(row)} shows another category before its own"


def test_product_lists_keep_to_the_products_department(night: Shop) -> None:
    department = {r["product_id"]: r["department"] for r in night.rows(CATALOGUE)}
    assert len(set(department.values()) - {None}) > 1
    for table in PRODUCT_LISTS:
        mixed = [
            f"{shown} for {owner_of(r)}" for r in night.rows(table) for shown in r["product_ids"]
            if department[r["product_id"]] and department[shown] and department[shown] != department[r["product_id"]]
        ]  # fmt: skip
        assert mixed == []


def test_what_goes_with_a_product_does_not_repeat_its_alternatives(night: Shop) -> None:
    beside = night.config.lists.beside_places
    first = {(r["product_id"], r["market"]): set(r["product_ids"][:beside]) for r in night.rows(YOU_MIGHT_ALSO_LIKE)}
    rows = night.rows(PEOPLE_ALSO_BOUGHT)
    assert [owner_of(r) for r in rows if first[r["product_id"], r["market"]] & set(r["product_ids"])] == []


def test_extras_are_of_other_categories_one_of_each_and_at_most_half_as_dear(night: Shop) -> None:
    known = {r["product_id"]: r for r in night.rows(CATALOGUE)}
    rows = night.rows(BAG_EXTRAS)
    assert sum(len(r["product_ids"]) for r in rows) > 500
    for row in rows:
        own = known[row["product_id"]]
        assert row["categories"] == [known[shown]["category"] for shown in row["product_ids"]]
        named = [c for c in [own["category"], *row["categories"]] if c is not None]
        assert len(set(named)) == len(named), owner_of(row)
        prices = [known[shown]["price"] for shown in row["product_ids"]]
        assert all(p is None or own["price"] is None or p <= 0.5 * own["price"] + 1e-6 for p in prices), owner_of(row)
        assert all(0 <= score <= 1 for score in row["scores"]), "probabilities, so that lists of a bag can be combined"


def test_every_category_of_every_market_has_its_order_and_so_has_the_whole_market(
    night: Shop, shelves: Shelves
) -> None:
    category = {r["product_id"]: r["category"] for r in night.rows(CATALOGUE)}
    names = {*category.values()} - {None}
    rows = {(r["market"], r["category"]): r["product_ids"] for r in night.rows(MARKET_RANKING)}
    assert set(rows) == {(market, name) for market in shelves.in_market for name in (*names, "*")}
    for (market, name), shown in rows.items():
        there = {p for p, where in shelves.live if where == market and name in ("*", category[p])}
        assert set(shown) == there, f"{name} in {market}: all of it, as it has fewer than 500 products"


def test_a_product_launched_before_the_night_has_its_lists_and_stands_in_others(night: Shop, shelves: Shelves) -> None:
    days = night.config.lists.young_days
    launched = {r["product_id"]: r["launched_at"] for r in night.rows(CATALOGUE) if r["launched_at"]}
    young = {p for p, day in launched.items() if (FIRST - day).days <= days} & {p for p, _ in shelves.live}
    assert len(young) >= 3
    newest = max(launched[p] for p in young)
    first_night = {p for p in young if launched[p] == newest}
    rows = night.rows(YOU_MIGHT_ALSO_LIKE)
    own = {(r["product_id"], r["market"]) for r in rows if r["product_ids"]}
    assert {key for key in shelves.live if key[0] in first_night} <= own
    assert young & {shown for r in rows for shown in r["product_ids"][:12]} == young, "each has a place near the front"
    explored = [r for r in rows for rule in r["rules"] if rule == "exploration"]
    assert explored and all(r["rules"][11] == "exploration" for r in explored)


def test_people_also_bought_is_asymmetric(night: Shop) -> None:
    first = {(r["product_id"], r["market"]): r["product_ids"][:5] for r in night.rows(PEOPLE_ALSO_BOUGHT)}
    one_way = [
        (a, b) for (a, market), shown in first.items() for b in shown
        if (b, market) in first and a not in first[b, market]
    ]  # fmt: skip
    both_ways = [
        (a, b) for (a, market), shown in first.items() for b in shown
        if (b, market) in first and a in first[b, market]
    ]  # fmt: skip
    assert one_way and both_ways


def test_a_list_longer_than_the_market_shows_all_of_it_and_says_so(copied_night: Shop, shelves: Shelves) -> None:
    free = {table.name: DefaultRules() for table in LISTS}
    copied_night.step("lists", top_n=400, variants=(Variant(standing=free),), beside_places=0)
    for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU):
        for row in copied_night.rows(table):
            bought = shelves.in_market[row["market"]] - len(row["product_ids"]) if "customer_id" in row else 0
            said = f"only {len(row['product_ids'])} products fit: nothing that the customer bought" if bought else None
            assert row["short_reason"] == said, owner_of(row)
            assert len(set(row["product_ids"])) == len(row["product_ids"])
            hidden = _hidden(row, shelves)
            assert len(row["product_ids"]) == shelves.in_market[row["market"]] - hidden, owner_of(row)


def _hidden(row: dict[str, object], shelves: Shelves) -> int:
    """How many of the market's products this list must not show."""
    if row.get("product_id"):
        return 1
    return sum((product, row["market"]) in shelves.live for who, product in shelves.bought if who == row["customer_id"])


def test_a_customer_of_a_market_without_products_gets_an_explained_empty_list(copied_night: Shop) -> None:
    def nothing_in_one_market(rows: Rows) -> Rows:
        market = rows[0]["market"]
        return [row for row in rows if row["market"] != market]

    gone = copied_night.rows(AVAILABILITY)[0]["market"]
    copied_night.rewrite(AVAILABILITY, nothing_in_one_market)
    copied_night.step("lists")
    there = [row for row in copied_night.rows(RECOMMENDED_FOR_YOU) if row["market"] == gone]
    assert there and all(row["product_ids"] == [] and row["short_reason"] for row in there)


def hits(rows: Rows, right: dict[str, frozenset[str]], places: int = 5) -> float:
    """Share of the first places that are right."""
    return float(np.mean([shown in right[r["product_id"]] for r in rows for shown in r["product_ids"][:places]]))


@pytest.mark.parametrize("table", [YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT], ids=lambda table: table.name)
def test_carousels_know_the_shops_truth_better_than_popularity(table: Table, night: Shop, shelves: Shelves) -> None:
    known = truth(SIZES["tiny"])
    answers = known.complements if table is PEOPLE_ALSO_BOUGHT else known.alternatives
    rows = [r for r in night.rows(table) if answers(r["product_id"])]
    right = {r["product_id"]: answers(r["product_id"]) for r in rows}
    events = Counter(
        (r["market"], r["product_id"])
        for r in night.lake.arrow(EVENTS, ("market", "product_id")).to_pylist()
        if (r["product_id"], r["market"]) in shelves.live
    )
    popular = {
        market: [product for (where, product), _ in events.most_common() if where == market]
        for market in shelves.in_market
    }
    by_popularity = [r | {"product_ids": [p for p in popular[r["market"]] if p != r["product_id"]]} for r in rows]
    assert len(rows) > 100
    assert hits(rows, right) > 1.5 * hits(by_popularity, right)


def test_what_is_compiled_beside_the_training_is_what_the_lists_call(
    copied_night: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: dict[str, set[object]] = {
        name: set() for name in ("assemble_range", "best_of_queries", "keep_best", "compose")
    }

    def watch(module: object, name: str) -> None:
        loop = getattr(module, name)

        def call(*arguments: object) -> object:
            called[name].add(tuple(typeof(each) for each in arguments))
            return loop(*arguments)

        monkeypatch.setattr(module, name, call)

    watch(kernels, "assemble_range")
    watch(exact_kernels, "best_of_queries")
    watch(outfit_kernels, "keep_best")
    watch(outfit_kernels, "compose")
    compile_loops()
    compiled = {name: set(kinds) for name, kinds in called.items()}
    copied_night.step("lists")
    assert called == compiled and all(compiled.values())
