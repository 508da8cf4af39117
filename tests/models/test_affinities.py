"""Lifts against the formula by hand and against a plain loop, and the place of prices within categories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.affinities import best_values, event_weights, mean_levels, price_levels, usual_shares
from models.sequences import Sequences

DAY = 86_400


def histories(lists: list[list[int]], days: int = 0) -> Sequences:
    """Clicks on products, `days` apart."""
    offsets = np.cumsum([0, *map(len, lists)])
    times = np.concatenate([np.arange(len(one)) * days * DAY for one in lists]) if lists else np.empty(0)
    flat = np.array([p for one in lists for p in one], np.int32)
    return Sequences(offsets, flat, np.zeros(len(flat), np.int8), times.astype(np.int64))


def test_a_weight_halves_with_its_age_before_the_last_event_of_its_customer() -> None:
    found = event_weights(histories([[0, 1, 2], [], [3]], days=30), np.array([8.0, 0, 0, 0]), 30)
    assert found.tolist() == [2, 4, 8, 8]


def test_shares_of_a_small_market_follow_the_shop() -> None:
    shares = usual_shares(np.array([[98.0, 0], [0, 2.0]]))
    assert shares[2].tolist() == [0.98, 0.02] and shares.sum(axis=1) == pytest.approx([1, 1, 1])
    assert shares[0, 0] > 0.98 and 0.9 < shares[1, 0] < 0.98, "2 events of its own, beside the mean market's 50"


def test_a_lift_by_hand() -> None:
    usual = np.array([[0.5, 0.1, 0.4]]), np.zeros(1, np.int32)
    values = np.array([1, 1, 1, 0, 2, -1, 1, 1, 1], np.int32)
    best, lifts = best_values(histories([[0] * 9]), values, np.ones(9), usual, 5, 3)
    assert best.tolist() == [[1, -1, -1]], "of the others there was less than is usual"
    assert lifts[0, 0] == pytest.approx((6 + 5) / (8 * 0.1 + 5))


@given(st.lists(st.lists(st.integers(-1, 5), max_size=8), max_size=6), st.integers(1, 4))
def test_the_best_values_are_those_of_a_plain_loop(lists: list[list[int]], places: int) -> None:
    usual = usual_shares(np.array([[3.0, 1, 1, 2, 9, 4], [1.0, 5, 1, 1, 1, 1]]))
    rows, given = np.arange(len(lists), dtype=np.int32) % 3, histories(lists)
    best, lifts = best_values(given, given.products, np.ones(len(given.products)), (usual, rows), 2, places)
    for i, one in enumerate(lists):
        known = [value for value in one if value >= 0]
        found = {v: np.float32((known.count(v) + 2) / (len(known) * usual[rows[i], v] + 2)) for v in set(known)}
        ranked = sorted(((v, lift) for v, lift in found.items() if lift > 1), key=lambda pair: (-pair[1], pair[0]))
        expected = (ranked + [(-1, np.float32(0))] * places)[:places]
        assert list(zip(best[i].tolist(), lifts[i], strict=True)) == expected


def test_price_levels_are_places_within_the_category() -> None:
    category, price = np.array([0, 0, 0, 0, 1, -1, 1]), np.array([10.0, 20, 20, 40, 5, 7, np.nan])
    found = price_levels(category, price, (category, price))
    assert found[:5].tolist() == [0.125, 0.5, 0.5, 0.875, 0.5] and np.isnan(found[5:]).all()


def test_a_price_level_is_drawn_to_the_middle_by_few_events() -> None:
    found = mean_levels(histories([[0], [0] * 15, []]), np.append(np.ones(15), np.nan), np.ones(16), 5)
    assert (
        found[0] == pytest.approx((1 + 2.5) / 6) and found[1] == pytest.approx((14 + 2.5) / 19) and np.isnan(found[2])
    )
