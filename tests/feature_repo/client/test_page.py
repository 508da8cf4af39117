"""Pages of several lists: no product twice, the first list that has one keeps it, and all are as long as may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feature_repo.client import ArgumentError, ProductList, Recommendations
from feature_repo.client.answers import ALL_SHOWN, MARKET_ORDER, NO_LIST, NOTHING, NOTHING_THERE, OWN
from feature_repo.client.page import OWNERS
from feature_repo.online.reader import backend_at
from tests.support.synthetic import Shape, publish

SHAPE = Shape(products=60, customers=4, ranked=40, bought=3)
PRODUCT, CUSTOMER, MARKET = SHAPE.product_ids[7], SHAPE.customer_ids[0], "M0"
HOME = [("buy_again", CUSTOMER), ("recommended_for_you", CUSTOMER), ("reduced", CUSTOMER), ("trending", "*")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Recommendations:
    address = f"sqlite://{tmp_path_factory.mktemp('page') / 'online.db'}"
    publish(backend_at(address), SHAPE, 3)
    return Recommendations(address)


def of(name: str) -> str:
    """An owner of a touch point's lists."""
    return {"product": PRODUCT, "category": "K1"}.get(OWNERS[name], CUSTOMER)


def products(lists: tuple[ProductList, ...]) -> list[str]:
    return [product for one in lists for product in one.product_ids]


@pytest.mark.parametrize("places", [1, 6, 12])
@pytest.mark.parametrize("turned", [False, True])
def test_no_product_is_on_a_page_twice_and_the_first_list_keeps_it(
    shop: Recommendations, places: int, turned: bool
) -> None:
    wanted = HOME[::-1] if turned else HOME
    page = shop.page(MARKET, wanted, places=places)
    assert len(products(page.lists)) == len(set(products(page.lists))) > 0
    before = set[str]()
    for one, asked in zip(page.lists, wanted, strict=True):
        (alone,) = shop.page(MARKET, [asked], places=100).lists
        left = [product for product in alone.product_ids if product not in before]
        assert one.product_ids == tuple(left[:places]), "the next places of the list take the places of repeats"
        assert (one.origin, one.list_id) == (alone.origin, alone.list_id)
        assert len(one.sources) == len(one.scores) == len(one.product_ids)
        before.update(one.product_ids)


@pytest.mark.parametrize("name", OWNERS)
def test_each_list_has_a_name_of_its_touch_point(shop: Recommendations, name: str) -> None:
    (one,) = shop.page(MARKET, [(name, of(name))]).lists
    assert one.origin == OWN and one.list_id.count(".") == 4 and len(one.product_ids) == 12
    (nobody,) = shop.page("Atlantis", [(name, of(name))]).lists
    assert (nobody.origin, nobody.product_ids) == (NOTHING, ()) and nobody.reason in (NO_LIST, NOTHING_THERE)


def test_a_markets_list_is_in_the_customers_own_order_without_what_they_bought(shop: Recommendations) -> None:
    bought = shop.history(CUSTOMER).product_ids[:3]
    (market,) = shop.page(MARKET, [("reduced", "")], places=100).lists
    (own,) = shop.page(MARKET, [("reduced", CUSTOMER)], places=100).lists
    assert set(own.product_ids) == set(market.product_ids) - set(bought)
    # A later product of the synthetic shop is closer to everybody.
    assert list(own.product_ids) == sorted(own.product_ids, reverse=True) and own.origin == OWN
    assert list(own.scores) == sorted(own.scores, reverse=True)
    (unknown,) = shop.page(MARKET, [("reduced", "C-nobody")], places=100).lists
    assert (unknown.product_ids, unknown.origin) == (market.product_ids, MARKET_ORDER)


def test_a_products_page_does_not_show_the_product_and_an_unknown_one_has_the_markets_order(
    shop: Recommendations,
) -> None:
    wanted = [("you_might_also_like", PRODUCT), ("people_also_bought", PRODUCT), ("recommended_for_you", CUSTOMER)]
    assert PRODUCT not in products(shop.page(MARKET, wanted, places=24).lists)
    page = shop.page(MARKET, [("you_might_also_like", "P-x"), ("people_also_bought", "P-x")])
    order = shop.category_page(MARKET).list.product_ids
    assert [one.product_ids for one in page.lists] == [order[:12], order[12:24]]
    assert {one.origin for one in page.lists} == {MARKET_ORDER}


def test_a_list_that_others_have_shown_says_so(shop: Recommendations) -> None:
    page = shop.page(MARKET, [("trending", "*"), ("trending", "*")], places=100)
    assert page.lists[0].product_ids and page.lists[1].product_ids == () and page.lists[1].reason == ALL_SHOWN
    (nothing,) = shop.page(MARKET, [("buy_again", "C-nobody")]).lists
    assert nothing.reason == NOTHING_THERE


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ("trending", "lists are no list of at most 20 pairs"),
        ([("trending", "*")] * 21, "lists are no list of at most 20 pairs"),
        ([("trending",)], "lists[0] is no pair"),
        (["ab"], "lists[0] is no pair"),
        ([("trending", "*"), ("rank", "*")], "lists[1] is of no touch point of a page; there are you_might_also_like"),
        ([("trending", None)], "lists[0].owner is None"),
    ],
)
def test_mistakes_are_named(shop: Recommendations, lists: Any, said: str) -> None:
    with pytest.raises(ArgumentError) as found:
        shop.page(MARKET, lists)
    assert str(found.value).startswith(said)


def test_a_page_is_of_one_night_though_it_is_read_twice(tmp_path: Path) -> None:
    address = f"sqlite://{tmp_path / 'online.db'}"
    publish(backend_at(address), SHAPE, 3)
    client = Recommendations(address, refresh_seconds=0.0)
    looks, look = [], client.nights.look

    def between(keys: Any) -> Any:
        if len(looks) == 1:  # a publication falls between the lists and the vectors that order them
            publish(backend_at(address), SHAPE, 5)
        looks.append(keys)
        return look(keys)

    client.nights.look = between  # type: ignore[method-assign]
    page = client.page(MARKET, HOME)
    assert len(looks) == 4 and page.shown.night == "2026-01-06"
    assert {source for one in page.lists for source in one.sources} == {"n5"}
