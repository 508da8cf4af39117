"""Interests, new products and companions of few customers, by hand."""

from __future__ import annotations

import numpy as np

from models.offers import Companions, CustomerOffers, Interest, among, of_interest, of_new
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences

NOW = 100 * SECONDS_PER_DAY


def sequences(*customers: list[tuple[int, str, float]]) -> Sequences:
    """Events of each customer: product, type and days ago."""
    events = [event for one in customers for event in one]
    return Sequences(
        np.cumsum([0, *map(len, customers)]),
        np.array([product for product, _, _ in events], np.int32),
        np.array([EVENT_TYPES.index(kind) for _, kind, _ in events], np.int8),
        np.array([NOW - days * SECONDS_PER_DAY for *_, days in events], np.int64),
    )


def pairs(found: Interest | CustomerOffers) -> list[tuple[int, int]]:
    """(customer, product) of each."""
    return list(zip(found.owner.tolist(), found.product.tolist(), strict=True))


def test_an_interest_sums_up_what_a_customer_did_with_a_product() -> None:
    given = sequences(
        [(3, "click", 40), (3, "click", 14), (1, "click", 8), (3, "save", 7), (3, "bag", 1), (-1, "click", 1)],
        [],
        [(2, "click", 2), (2, "purchase", 1)],
    )
    found = Interest.of(given, np.array([1.0, 2, 3, 5]), 5, NOW - 28 * SECONDS_PER_DAY, NOW)
    assert pairs(found) == [(0, 1), (0, 3), (2, 2)]
    assert np.allclose(found.weight[1], 1 / 4 + 2 / 2 + 3 * 0.5 ** (1 / 7))
    assert found.looks.tolist() == [0, 1, 1] and found.bought.tolist() == [False, False, True]
    assert found.bagged.tolist() == [0, NOW - SECONDS_PER_DAY, 0] and found.last[1] == NOW - SECONDS_PER_DAY
    offers = of_interest(found, ~found.bought)
    assert offers.product.tolist() == [1, 3] and offers.amount.tolist() == [0, 1]


def test_nobody_did_anything() -> None:
    found = Interest.of(sequences([], []), np.ones(4), 5, 0, NOW)
    assert len(found.owner) == len(of_interest(found, ~found.bought).best(3).owner) == 0
    assert len(Companions(5, np.array([1]), np.array([[2]]), np.ones((1, 1))).offers(
        sequences([]), np.zeros(1, np.int64), (0, NOW)).owner) == 0  # fmt: skip


def test_the_best_offers_of_each_customer() -> None:
    scores, zeros = np.array([1.0, 1, 2, 1]), np.zeros(4, np.int64)
    found = CustomerOffers(np.array([1, 0, 1, 1]), np.array([5, 6, 3, 4]), scores, zeros, scores).best(2)
    assert pairs(found) == [(0, 6), (1, 3), (1, 4)]


def test_new_products_of_a_brand_are_ordered_by_liking_of_their_category() -> None:
    new = np.array([10, 11, 12]), np.array([7, 2, 7])
    brands, lifts = np.array([[7, -1], [-1, -1], [2, 7]]), np.array([[3.0, 0], [0, 0], [2.0, 1.5]])
    category = np.zeros(13, np.int64)
    category[12] = 4
    found = of_new(new, (brands, lifts), (category, np.array([[4], [-1], [-1]]), np.array([[2.0], [0], [0]]))).best(9)
    assert found.owner.tolist() == [0, 0, 2, 2, 2] and found.product.tolist() == [12, 10, 11, 10, 12]
    assert found.score.tolist() == [6, 3, 2, 1.5, 1.5] and found.amount.tolist() == [3, 3, 2, 1.5, 1.5]


def test_companions_are_of_the_last_purchase_in_its_time_without_what_was_bought() -> None:
    keys, scores = np.array([0 * 5 + 1, 1 * 5 + 2]), np.array([[0.9, 0.8], [0.7, 0]])
    lists = Companions(5, keys, np.array([[3, 4], [0, -1]]), scores)
    given = sequences(
        [(3, "purchase", 50), (1, "purchase", 5), (2, "click", 1)],
        [(2, "purchase", 5)],
        [(1, "purchase", 5), (2, "purchase", 1)],
        [(1, "purchase", 5)],
    )
    found = lists.offers(given, np.array([0, 1, 0, -1]), (NOW - 10 * SECONDS_PER_DAY, NOW - 3 * SECONDS_PER_DAY))
    assert pairs(found) == [(0, 4), (1, 0)]
    assert found.amount.tolist() == [1, 2] and found.score.tolist() == [0.8, 0.7]


def test_keys_among_others() -> None:
    assert among(np.array([5, 1, 9]), np.array([1, 4, 5])).tolist() == [True, True, False]
    assert among(np.array([5]), np.empty(0, np.int64)).tolist() == [False]
