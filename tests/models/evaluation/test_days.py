"""Checks how histories are cut at midnights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.days import CustomerDays, customer_days
from models.sequences import SECONDS_PER_DAY, Sequences
from tests.support.strategies import PRODUCTS, histories, sequences

DAY = SECONDS_PER_DAY
FIRST = 100 * DAY
EVERY = np.ones(PRODUCTS, dtype=bool)


def cut(data: Sequences, days: int = 2, known: np.ndarray = EVERY, wanted: np.ndarray = EVERY) -> CustomerDays:
    return customer_days(data, FIRST, days, known, wanted)


def told(found: CustomerDays) -> list[tuple[int, int, list[int], list[int]]]:
    """(customer, day, products of the history, products of the targets) of each pair."""
    rows = zip(found.customers, found.days, found.histories, found.targets, strict=True)
    return [(int(c), int(d), history.tolist(), targets.tolist()) for c, d, history, targets in rows]


def test_a_day_begins_with_its_midnight_and_ends_before_the_next() -> None:
    found = cut(histories([(0, FIRST - 1), (1, FIRST), (2, FIRST + DAY - 1), (3, FIRST + DAY), (4, FIRST + 2 * DAY)]))
    assert told(found) == [(0, 0, [0], [1, 2]), (0, 1, [0, 1, 2], [3])]
    assert found.midnights.tolist() == [FIRST, FIRST + DAY]
    assert found.first == FIRST and len(found) == 2


def test_days_come_in_their_order_and_each_has_its_customers() -> None:
    found = cut(histories(
        [(0, FIRST - 9), (1, FIRST + DAY)],
        [(2, FIRST - 9), (3, FIRST), (3, FIRST + DAY + 5)],
        [(4, FIRST + 1), (5, FIRST + DAY)],
    ))  # fmt: skip
    assert told(found) == [(1, 0, [2], [3]), (0, 1, [0], [1]), (1, 1, [2, 3], [3]), (2, 1, [4], [5])]


def test_a_pair_with_an_empty_side_is_left_out() -> None:
    assert told(cut(histories([(0, FIRST)], [(0, FIRST - 1)], []))) == []
    assert told(cut(histories([(0, FIRST - 1), (1, FIRST + 2 * DAY)]))) == []


def test_histories_hold_known_products_and_targets_wanted_ones() -> None:
    known, wanted = np.array([True, True, False]), np.array([False, True, True])
    data = histories(
        [(0, FIRST - 3), (2, FIRST - 2), (-1, FIRST - 1), (0, FIRST), (1, FIRST), (2, FIRST), (-1, FIRST)],
        [(2, FIRST - 1), (-1, FIRST - 1), (1, FIRST)],
        [(0, FIRST - 1), (0, FIRST), (-1, FIRST)],
    )
    assert told(cut(data, 1, known, wanted)) == [(0, 0, [0], [1, 2])]


def test_pairs_are_taken_whole_and_in_any_order() -> None:
    found = cut(histories([(0, FIRST - 1), (1, FIRST), (2, FIRST + DAY)], [(3, FIRST - 1), (4, FIRST + DAY)]))
    part = found.take(np.array([2, 0]))
    assert told(part) == [told(found)[2], told(found)[0]]
    assert part.midnights.tolist() == [FIRST + DAY, FIRST]


def test_no_days_hold_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match="0 days from .* hold nothing to predict; give at least one"):
        cut(histories([(0, FIRST - 1)]), 0)


@given(sequences(), st.integers(1, 3))
def test_every_event_of_a_day_is_a_target_once_and_nothing_of_the_day_is_in_its_history(
    data: Sequences, days: int
) -> None:
    moved = Sequences(data.offsets, data.products, data.events, FIRST - DAY + data.times * (DAY // 2))  # around FIRST
    found = cut(moved, days)
    for pair, customer in enumerate(found.customers):
        own, row = moved.take(np.array([customer])), np.array([pair])
        midnight = found.midnights[pair]
        before, on_day = own.times < midnight, (own.times >= midnight) & (own.times < midnight + DAY)
        for side, which in ((found.histories.take(row), before), (found.targets.take(row), on_day)):
            assert which.any()
            for name in ("products", "events", "times"):
                assert getattr(side, name).tolist() == getattr(own, name)[which].tolist()
    late = (moved.times >= FIRST) & (moved.times < FIRST + days * DAY)
    with_history = {(int(c), int(d)) for c, d in zip(found.customers, found.days, strict=True)}
    wanted = {(int(c), int((t - FIRST) // DAY)) for c, t in zip(moved.owners[late], moved.times[late], strict=True)}
    assert with_history == {(c, d) for c, d in wanted if moved.times[moved.offsets[c]] < FIRST + d * DAY}
