"""Assembled lists: laws under random shops and rules, and cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models import assembly
from models.assembly import Assembled, Candidates, Owners, Tiers, assemble, rankings
from models.rulebook import (
    BRAND_CAP,
    CATEGORY_CAP,
    GUARD,
    PRICE,
    STANDING,
    Attributes,
    Rulebook,
)

MODEL, POPULAR, PINNED = 0, 1, 2
NAMES = (*STANDING, "boosted", "buried", "excluded", "pinned")
BOOSTED, BURIED, EXCLUDED, PIN = range(len(STANDING), len(NAMES))


def no_rules(products: int, departments: int = 2) -> Rulebook:
    """A rulebook in which nothing holds."""
    none = np.full(products, -1, np.int16)
    empty = np.empty(0, np.int64)
    return Rulebook(
        NAMES, none, np.zeros(products, np.int16), none, empty, empty, empty.astype(np.int16), 0, BRAND_CAP, 0,
        CATEGORY_CAP, np.ones((departments + 1, departments + 1), bool), GUARD, 0.0, float("inf"), PRICE, 0.0, -1,
    )  # fmt: skip


def plain(products: int, **changes: Any) -> Attributes:
    """Products without brand, category, department or price, none of them young."""
    unknown = np.full(products, -1, np.int64)
    nothing = Attributes(unknown, unknown, unknown, np.full(products, np.nan, np.float32), np.zeros(products, bool))
    return replace(nothing, **changes)


def one_list(
    candidates: list[int], n: int, attributes: Attributes, book: Rulebook, *, owner: int = -1,
    popular: tuple[int, ...] = (),
    bought: tuple[int, ...] = (), beside: tuple[int, ...] = (), sold: list[bool] | None = None,
    other_category: bool = False, explore_own: bool = False,
) -> Assembled:  # fmt: skip
    """One list; candidates have the scores 100, 99, .. and `popular` is the only tier."""
    offered = Candidates(
        np.array([candidates], np.int64).reshape(1, -1),
        100 - np.arange(len(candidates), dtype=np.float32)[None],
        np.full((1, len(candidates)), MODEL, np.int8),
    )
    owners = Owners(
        np.array([owner]),
        np.array([0, len(bought)]),
        np.array(bought, np.int64),
        np.array([beside], np.int64).reshape(1, -1),
    )
    tiers = Tiers(
        np.zeros((1, 1), np.int64), np.array([0, len(popular)]), np.array(popular, np.int64),
        9 - np.arange(len(popular), dtype=np.float32), np.array([POPULAR], np.int8),
    )  # fmt: skip
    available = np.ones(len(attributes.brand), bool) if sold is None else np.array(sold)
    return assemble(n, offered, owners, tiers, available, attributes, book, PINNED, other_category, explore_own)


def shown(made: Assembled) -> list[int]:
    return [int(row) for row in made.rows[0] if row >= 0]


def rules(made: Assembled) -> list[str]:
    return [NAMES[r] if r >= 0 else "" for r, row in zip(made.rules[0], made.rows[0], strict=True) if row >= 0]


def changed(made: Assembled) -> dict[str, int]:
    return {name: int(count) for name, count in zip(NAMES, made.effects, strict=True) if count}


def test_candidates_come_in_their_order_and_popular_products_after_them() -> None:
    made = one_list([3, 1], 4, plain(6), no_rules(6), popular=(1, 5, 0, 2))
    assert shown(made) == [3, 1, 5, 0]
    assert made.labels[0].tolist() == [MODEL, MODEL, POPULAR, POPULAR]
    assert made.scores[0].tolist() == [100, 99, 8, 7]
    assert changed(made) == {}


def test_a_list_never_shows_its_owner_the_bought_the_sold_out_or_the_list_beside_it() -> None:
    made = one_list([0, 1, 2, 3, 4, 5], 3, plain(6), no_rules(6), owner=0, bought=(1,), beside=(2,),
                    sold=[True, True, True, False, True, True])  # fmt: skip
    assert shown(made) == [4, 5]
    assert changed(made) == {"bought": 1, "page duplicates": 1}


def test_an_excluded_product_is_left_out_for_its_rule() -> None:
    book = replace(no_rules(4), excluded=np.array([-1, EXCLUDED, -1, -1], np.int16))
    made = one_list([0, 1, 2], 2, plain(4), book)
    assert (shown(made), rules(made), changed(made)) == ([0, 2], ["", ""], {"excluded": 1})


def test_a_boost_moves_a_product_up_by_so_many_places() -> None:
    book = replace(no_rules(5), places=np.array([0, 0, 0, 2, 0], np.int16), mover=np.full(5, BOOSTED, np.int16))
    made = one_list([0, 1, 2, 3, 4], 5, plain(5), book)
    # Its place is 3 - 2 = 1, which it shares with product 1; the earlier candidate goes first.
    assert (shown(made), rules(made)) == ([0, 1, 3, 2, 4], ["", "", "boosted", "", ""])


def test_a_bury_moves_a_product_down_by_so_many_places() -> None:
    book = replace(no_rules(5), places=np.array([-2, 0, 0, 0, 0], np.int16), mover=np.full(5, BURIED, np.int16))
    made = one_list([0, 1, 2, 3, 4], 4, plain(5), book)
    assert (shown(made), rules(made)) == ([1, 0, 2, 3], ["", "buried", "", ""])


def test_the_department_guard_keeps_children_out_of_a_mans_list() -> None:
    men, children = 0, 1
    attributes = plain(4, department=np.array([men, children, -1, men]))
    mixes = np.array([[True, False, True], [False, True, True], [True, True, True]])
    made = one_list([1, 2, 3], 3, attributes, replace(no_rules(4), mixes=mixes), owner=0)
    assert (shown(made), changed(made)) == ([2, 3], {"department guard": 1})
    allowed = mixes.copy()
    allowed[men, children] = True
    assert shown(one_list([1, 2, 3], 3, attributes, replace(no_rules(4), mixes=allowed), owner=0)) == [1, 2, 3]


def test_a_price_window_is_a_share_of_the_owners_price_and_lets_unknown_prices_pass() -> None:
    prices = np.array([100, 49, 51, np.nan, 0, 9], np.float32)
    book = replace(no_rules(6), price_low=0.1, price_high=0.5)
    made = one_list([1, 2, 3, 4, 5], 5, plain(6, price=prices), book, owner=0)
    # A price of 0 is no price.
    assert (shown(made), changed(made)) == ([1, 3, 4], {"price window": 1})
    assert shown(one_list([1, 2, 5], 3, plain(6, price=prices), book, owner=3)) == [1, 2, 5]


def test_the_brand_cap_holds_and_products_without_a_brand_are_free() -> None:
    attributes = plain(6, brand=np.array([0, 0, 0, -1, -1, 1]))
    made = one_list([0, 1, 2, 3, 4, 5], 4, attributes, replace(no_rules(6), brand_cap=1))
    assert (shown(made), changed(made)) == ([0, 3, 4, 5], {"brand cap": 1})


def test_a_capped_list_looks_further_down_than_twice_its_length() -> None:
    attributes = plain(30, category=np.array([0] * 28 + [1, 2]))
    made = one_list(list(range(30)), 3, attributes, replace(no_rules(30), category_cap=1))
    assert (shown(made), changed(made)) == ([0, 28, 29], {"category cap": 1})


def test_diversity_costs_places_for_each_product_of_the_brand_before() -> None:
    attributes = plain(5, brand=np.array([0, 0, 0, 1, 1]))
    made = one_list([0, 1, 2, 3, 4], 5, attributes, replace(no_rules(5), diversity=2.5))
    # After product 0 its brand costs 2.5 places: product 1 stands at 3.5, product 3 at 3.0.
    assert shown(made) == [0, 3, 1, 4, 2]
    assert rules(made) == ["", "", "diversity", "", "diversity"]


def test_exploration_keeps_its_place_for_a_young_product() -> None:
    attributes = plain(12, young=np.arange(12) == 11)
    made = one_list(list(range(12)), 3, attributes, replace(no_rules(12), explore_place=1))
    assert (shown(made), rules(made)) == ([0, 11, 1], ["", "exploration", ""])
    assert changed(made) == {"exploration": 1}


def test_exploration_keeps_to_the_owners_category_where_that_stands_first() -> None:
    attributes = plain(8, young=np.isin(np.arange(8), [4, 6]), category=np.array([0, 0, 0, 0, 1, 0, 0, 0]))
    book = replace(no_rules(8), explore_place=1)
    assert shown(one_list([1, 2, 3, 4, 5, 6], 3, attributes, book, owner=0)) == [1, 4, 2]
    assert shown(one_list([1, 2, 3, 4, 5, 6], 3, attributes, book, owner=0, explore_own=True)) == [1, 6, 2]
    no_category = plain(8, young=np.arange(8) == 4)
    assert shown(one_list([1, 2, 3, 4], 3, no_category, book, owner=0, explore_own=True)) == [1, 4, 2]


def test_exploration_does_nothing_where_a_young_product_stands_before_its_place() -> None:
    attributes = plain(6, young=np.array([True, False, False, False, True, False]))
    made = one_list([0, 1, 2, 3, 4, 5], 4, attributes, replace(no_rules(6), explore_place=2))
    assert (shown(made), changed(made)) == ([0, 1, 2, 3], {})


def test_a_pinned_product_gets_its_place_once_from_wherever_it_comes() -> None:
    def pinned(*products: int) -> Rulebook:
        places = np.arange(1, 1 + len(products))
        return replace(
            no_rules(6), pins=np.array(products), pin_places=places, pin_rules=np.full(len(products), PIN, np.int16)
        )

    made = one_list([0, 1, 2], 4, plain(6), pinned(5, 2))
    assert (shown(made), rules(made)) == ([0, 5, 2, 1], ["", "pinned", "pinned", ""])
    assert made.labels[0].tolist() == [MODEL, PINNED, MODEL, MODEL]
    assert made.scores[0].tolist() == [100, 0, 98, 99]
    assert shown(one_list([0, 1, 2], 3, plain(6), pinned(5), owner=5)) == [0, 1, 2]
    assert shown(one_list([0, 1, 2], 3, plain(6), pinned(5), bought=(5,))) == [0, 1, 2]
    assert shown(one_list([0, 1, 2], 3, plain(6), pinned(0))) == [0, 1, 2], "it stands there already"


def test_a_bag_leaves_its_own_category_out() -> None:
    attributes = plain(5, category=np.array([0, 0, 1, -1, 0]))
    assert shown(one_list([1, 2, 3, 4], 4, attributes, no_rules(5), owner=0, other_category=True)) == [2, 3]
    assert shown(one_list([1, 2, 4], 4, attributes, no_rules(5), owner=3, other_category=True)) == [1, 2, 4]


def test_rankings_are_by_weight_then_row_within_their_group() -> None:
    weights = np.array([1.0, 5, 5, 2, 9])
    found = rankings(weights, np.array([True, True, True, True, False]), np.array([1, 1, 1, -1, 0]), 3)
    assert [values.tolist() for values in found] == [[0, 0, 3, 3], [1, 2, 0], [5, 5, 1]]


# --- laws

PRODUCTS = 14


@st.composite
def shops(draw: st.DrawFn) -> tuple[int, Candidates, Owners, Tiers, np.ndarray[Any, Any], Attributes, Rulebook]:
    """Random candidates, owners, stock and rules of a few lists."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lists, n, depth = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(0, PRODUCTS))
    rows = np.stack([rng.permutation(PRODUCTS)[:depth] for _ in range(lists)])
    ends = rng.integers(0, depth + 1, lists)
    rows = np.where(np.arange(depth) < ends[:, None], rows, -1)
    scores = np.where(rows >= 0, -np.sort(-rng.integers(0, 9, rows.shape), axis=1), -np.inf).astype(np.float32)
    candidates = Candidates(rows, scores, np.where(rows >= 0, MODEL, -1).astype(np.int8))
    lengths = rng.integers(0, 4, lists)
    owners = Owners(
        rng.integers(-1, PRODUCTS, lists), np.concatenate(([0], np.cumsum(lengths))),
        rng.integers(0, PRODUCTS, lengths.sum()), rng.integers(-1, PRODUCTS, (lists, int(rng.integers(0, 3)))),
    )  # fmt: skip
    available = rng.random(PRODUCTS) < rng.choice([0.3, 0.9, 1.0])
    offsets, ranked, weights = rankings(rng.random(PRODUCTS), available, np.zeros(PRODUCTS, np.int64), 1)
    tiers = Tiers(np.zeros((lists, 1), np.int64), offsets, ranked, weights, np.array([POPULAR], np.int8))
    attributes = Attributes(
        rng.integers(-1, 3, PRODUCTS), rng.integers(-1, 4, PRODUCTS), rng.integers(-1, 2, PRODUCTS),
        rng.choice([np.nan, 1, 2, 5, 9], PRODUCTS).astype(np.float32), rng.random(PRODUCTS) < 0.2,
    )  # fmt: skip
    some = rng.random(PRODUCTS) < 0.3
    places = np.where(some, rng.integers(-6, 7, PRODUCTS), 0).astype(np.int16)
    pins = rng.choice(PRODUCTS, int(rng.integers(0, 3)), replace=False)
    book = replace(
        no_rules(PRODUCTS),
        excluded=np.where(rng.random(PRODUCTS) < 0.15, EXCLUDED, -1).astype(np.int16), places=places,
        mover=np.where(places > 0, BOOSTED, np.where(places < 0, BURIED, -1)).astype(np.int16),
        pins=pins, pin_places=np.sort(rng.choice(8, len(pins), replace=False)),
        pin_rules=np.full(len(pins), PIN, np.int16), brand_cap=int(rng.integers(0, 3)),
        category_cap=int(rng.integers(0, 3)), mixes=rng.random((3, 3)) < 0.8,
        price_high=float(rng.choice([0.5, 2, np.inf])), diversity=float(rng.choice([0, 0.5, 3])),
        explore_place=int(rng.integers(-1, 8)),
    )  # fmt: skip
    return n, candidates, owners, tiers, available, attributes, book


def refused(
    product: int, q: int, owners: Owners, available: np.ndarray[Any, Any], attributes: Attributes, book: Rulebook
) -> bool:
    """Whether list q must not show a product, worked out one condition after the other."""
    owner = int(owners.products[q])
    bought = owners.bought[owners.bought_offsets[q] : owners.bought_offsets[q + 1]]
    if product == owner or product in bought or product in owners.beside[q] or not available[product]:
        return True
    if book.excluded[product] >= 0:
        return True
    if owner < 0 or product in book.pins:
        return False
    share = attributes.price[product] / attributes.price[owner]
    return not book.mixes[attributes.department[owner], attributes.department[product]] or share > book.price_high


@settings(max_examples=300, deadline=None)
@given(shops())
def test_the_laws_of_lists(shop: Any) -> None:
    n, candidates, owners, tiers, available, attributes, book = shop
    made = assemble(n, candidates, owners, tiers, available, attributes, book, PINNED)
    again = assemble(n, candidates, owners, tiers, available, attributes, book, PINNED)
    for q in range(len(made.rows)):
        row = made.rows[q]
        held = int((row >= 0).sum())
        assert (row[:held] >= 0).all(), "no gaps"
        products = row[:held].tolist()
        assert len(set(products)) == held
        assert not [p for p in products if refused(p, q, owners, available, attributes, book)]
        for cap, group in ((book.brand_cap, attributes.brand), (book.category_cap, attributes.category)):
            groups = group[row[:held]]
            assert cap == 0 or np.bincount(groups[groups >= 0], minlength=1).max() <= cap
        capped = held < n and (book.brand_cap or book.category_cap)
        open_to_all = [p for p in range(PRODUCTS) if not refused(p, q, owners, available, attributes, book)]
        offered = [p for p in open_to_all if p not in book.pins]
        assert held == n or capped or set(offered) <= set(products), "a short list has everything there is"
        for pin, place in zip(book.pins, book.pin_places, strict=True):
            free = not refused(pin, q, owners, available, attributes, book) and not (
                book.brand_cap or book.category_cap
            )
            if free and place < held:
                assert pin in products[: place + 1]
        unmoved = [k for k in range(held) if made.rules[q, k] < 0]
        for label in (MODEL, POPULAR):
            scores = [made.scores[q, k] for k in unmoved if made.labels[q, k] == label]
            assert scores == sorted(scores, reverse=True), "only a rule moves a product out of its order"
    assert (made.rules < len(NAMES)).all()
    touched = {NAMES[r] for r in made.rules[made.rules >= 0]}
    assert touched <= set(changed(made)), "what moved a position is counted"
    assert all(count <= len(made.rows) for count in made.effects)
    assert all(np.array_equal(a, b) for a, b in zip(vars(made).values(), vars(again).values(), strict=True))


@settings(max_examples=100, deadline=None)
@given(shops())
def test_without_rules_a_list_is_its_candidates_and_then_its_tiers(shop: Any) -> None:
    n, candidates, owners, tiers, available, attributes, _ = shop
    made = assemble(n, candidates, owners, tiers, available, attributes, no_rules(PRODUCTS), PINNED)
    for q in range(len(made.rows)):
        offered = [*candidates.rows[q].tolist(), *tiers.rows.tolist()]
        allowed = [
            p for p in dict.fromkeys(offered)
            if p >= 0 and not refused(p, q, owners, available, attributes, no_rules(PRODUCTS))
        ]  # fmt: skip
        assert [int(p) for p in made.rows[q] if p >= 0] == allowed[:n]
        assert (made.rules[q] == -1).all()


@settings(max_examples=300, deadline=None)
@given(shops(), st.integers(0, 20))
def test_lists_in_which_nothing_moves_are_those_of_the_general_loop(shop: Any, cap: int) -> None:
    n, candidates, owners, tiers, available, attributes, book = shop
    none = np.empty(0, np.int64)
    book = replace(
        book, places=np.zeros(PRODUCTS, np.int16), pins=none, pin_places=none, pin_rules=none.astype(np.int16),
        diversity=0.0, explore_place=-1, brand_cap=cap % 3, category_cap=cap // 7,
    )  # fmt: skip
    given = (n, candidates, owners, tiers, available, attributes, book, PINNED)
    one_by_one = assemble(*given)
    compiled = assembly._book
    with patch.object(assembly, "_book", lambda *of: compiled(*of)._replace(plain=False)):
        general = assemble(*given)
    for name in ("rows", "scores", "labels", "rules", "effects"):
        assert np.array_equal(getattr(one_by_one, name), getattr(general, name)), name
    known = general.read >= 0
    assert (one_by_one.read[known] <= general.read[known]).all() and (one_by_one.read[known] >= 0).all()


@settings(max_examples=200, deadline=None)
@given(shops(), st.integers(0, 2**32 - 1))
def test_a_list_depends_on_no_candidate_that_it_did_not_read(shop: Any, seed: int) -> None:
    n, candidates, owners, tiers, available, attributes, book = shop
    made = assemble(n, candidates, owners, tiers, available, attributes, book, PINNED)
    rng = np.random.default_rng(seed)
    rows, depth = candidates.rows.copy(), candidates.rows.shape[1]
    for q in np.flatnonzero(made.read >= 0):
        rest = np.setdiff1d(np.arange(PRODUCTS), rows[q, : made.read[q]])
        rows[q, made.read[q] :] = rng.permutation(rest)[: depth - made.read[q]]
    other_tiers = replace(tiers, rows=rng.permutation(tiers.rows), scores=tiers.scores + 1)
    other = replace(candidates, rows=rows)
    again = assemble(n, other, owners, other_tiers, available, attributes, book, PINNED)
    same = made.read >= 0
    for name in ("rows", "scores", "labels", "rules", "read"):
        assert np.array_equal(getattr(made, name)[same], getattr(again, name)[same]), name
    assert (made.read <= depth).all()
