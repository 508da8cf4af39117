"""Assembled lists: cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.assembly.assembly import rankings
from models.assembly.rulebook import Rulebook
from tests.support.made_lists import (
    BOOSTED,
    BURIED,
    EXCLUDED,
    MODEL,
    PIN,
    PINNED,
    POPULAR,
    changed,
    no_rules,
    one_list,
    plain,
    rules,
    shown,
)


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
