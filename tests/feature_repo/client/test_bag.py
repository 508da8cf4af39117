"""A bag's extras from the lists of its products: every clause of the rule has a case that it decides."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.client.bag import BagList, combine


def bag_list(product: str, *places: tuple[str, float, str | None], prices: list[float | None] | None = None) -> BagList:
    names, scores, categories = ([place[i] for place in places] for i in range(3))
    return BagList(product, names, scores, categories, prices)  # type: ignore[arg-type]


def test_one_products_list_comes_as_it_is() -> None:
    socks = bag_list("trainers", ("socks", 0.3, "socks"), ("laces", 0.2, "laces"))
    assert combine([socks], ["trainers"], 6) == [("socks", 0.3), ("laces", 0.2)]


def test_two_lists_are_averaged_and_an_absent_score_is_zero() -> None:
    first = bag_list("trainers", ("socks", 0.25, "socks"), ("laces", 0.5, "laces"))
    second = bag_list("coat", ("socks", 0.75, "socks"), ("scarf", 0.75, "scarves"))
    assert combine([first, second], [None, None], 6) == [("socks", 0.5), ("scarf", 0.375), ("laces", 0.25)]


def test_of_many_lists_the_two_that_score_highest_count() -> None:
    everywhere = [bag_list(f"p{i}", ("bestseller", 0.25, None)) for i in range(4)]
    special = [bag_list("p4", ("match", 0.5, None)), bag_list("p5", ("match", 0.375, None))]
    assert combine([*everywhere, *special], [None] * 6, 6) == [("match", 0.4375), ("bestseller", 0.25)]


def test_what_is_in_the_bag_or_of_its_categories_is_left_out() -> None:
    first = bag_list("trainers", ("coat", 0.9, None), ("boots", 0.8, "shoes"), ("socks", 0.1, "socks"))
    second = bag_list("coat", ("parka", 0.9, "coats"))
    assert combine([first, second], ["shoes", "coats"], 6) == [("socks", 0.05)]


def test_each_category_comes_once_and_products_without_one_as_often_as_they_like() -> None:
    one = bag_list(
        "a", ("s1", 0.5, "socks"), ("x", 0.4, None), ("s2", 0.3, "socks"), ("y", 0.2, ""), ("h", 0.1, "hats")
    )
    assert [product for product, _ in combine([one], [None, ""], 6)] == ["s1", "x", "y", "h"]
    assert [product for product, _ in combine([one], [], 2)] == ["s1", "x"]


def test_ties_go_by_the_bags_order_then_by_place() -> None:
    first = bag_list("a", ("z", 0.5, None), ("m", 0.5, None))
    second = bag_list("b", ("c", 0.5, None))
    assert [product for product, _ in combine([first, second], [], 6)] == ["z", "m", "c"]
    assert [product for product, _ in combine([second, first], [], 6)] == ["c", "z", "m"]


def test_an_extra_costs_at_most_half_the_bag_where_both_prices_are_known() -> None:
    one = bag_list("a", ("dear", 0.9, None), ("half", 0.8, None), ("unknown", 0.7, None), prices=[50.01, 50.0, None])
    assert [product for product, _ in combine([one], [], 6, bag_total=100.0)] == ["half", "unknown"]
    assert [product for product, _ in combine([one], [], 6)] == ["dear", "half", "unknown"]
    assert len(combine([one], [], 6, bag_total=100.0, price_share=1.0)) == 3


def test_two_of_a_product_are_one_and_a_product_without_a_list_counts() -> None:
    one = bag_list("a", ("x", 0.5, None))
    assert combine([one, one], [], 6) == [("x", 0.5)]
    assert combine([one, BagList("b", [], [], [])], [], 6) == [("x", 0.25)]
    assert combine([], [], 6) == []


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="list of a has columns of different lengths"):
        BagList("a", ["x", "y"], [0.5, 0.25], ["socks"])
    with pytest.raises(ValueError, match="different lengths"):
        BagList("a", ["x"], [0.5], ["socks"], [1.0, 2.0])


candidates = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 8), st.sampled_from(["s", "t", "u", None])),
    unique_by=lambda place: place[0], max_size=8,
)  # fmt: skip
CATEGORY = {"a": "s", "b": "s", "c": "t", "d": "t", "e": "u", "f": None, "g": None, "h": None}


@given(st.lists(st.tuples(st.sampled_from("abcdxyz"), candidates), max_size=5), st.integers(0, 6))
def test_a_list_is_short_enough_sorted_and_keeps_every_rule(bag: list, n: int) -> None:  # type: ignore[type-arg]
    lists = [bag_list(own, *((p, s / 8, CATEGORY[p]) for p, s, _ in places)) for own, places in bag]
    found = combine(lists, [CATEGORY.get(own) for own, _ in bag], n)
    products, scores = [product for product, _ in found], [score for _, score in found]
    assert len(found) <= n and len(set(products)) == len(products)
    assert scores == sorted(scores, reverse=True)
    assert not {own for own, _ in bag} & set(products)
    named = [CATEGORY[product] for product in products if CATEGORY[product]]
    assert len(set(named)) == len(named) and not {CATEGORY.get(own) for own, _ in bag} & set(named)


def test_services_import_it_without_numpy() -> None:
    heavy = "{'numpy', 'torch', 'pyarrow'}"
    code = f"import feature_repo.client.bag, sys; assert not {heavy} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
