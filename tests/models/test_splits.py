"""Checks a time split: which side events go to, and the counts of lost ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sequences import SECONDS_PER_DAY, Sequences, time_split

DAY = SECONDS_PER_DAY


def sequences(*histories: list[tuple[int, int]]) -> Sequences:
    """Histories of (product, time)."""
    offsets = np.cumsum([0, *map(len, histories)])
    events = [event for history in histories for event in history]
    products = np.array([product for product, _ in events], dtype=np.int32)
    times = np.array([at for _, at in events], dtype=np.int64)
    return Sequences(offsets, products, np.zeros(len(events), dtype=np.int8), times)


def test_first_basket_and_all_events() -> None:
    shop = sequences([(0, 10), (1, 20), (2, 100), (0, 100), (1, 200)], [(2, 30), (1, 99 + DAY)])
    basket = time_split(shop, 100, 1)
    assert [list(history) for history in basket.train] == [[0, 1], [2]]
    assert [list(targets) for targets in basket.targets] == [[2, 0], [1]]
    assert [list(targets) for targets in time_split(shop, 100, 1, "all").targets] == [[2, 0, 1], [1]]


def test_basket_ids_bind_events_of_different_times() -> None:
    shop = sequences([(0, 10), (1, 100), (0, 105), (0, 110)], [(1, 10)])
    split = time_split(shop, 100, 1, baskets=np.array([1, 2, 2, 3, 4]))
    assert [list(targets) for targets in split.targets] == [[1, 0], []]


def test_the_horizon_is_exclusive_and_the_split_time_belongs_to_the_targets() -> None:
    shop = sequences([(0, 99), (0, 100), (0, 99 + DAY), (0, 100 + DAY)])
    split = time_split(shop, 100, 1, "all")
    assert (split.train.times.tolist(), split.targets.times.tolist()) == ([99], [100, 99 + DAY])


def test_cold_customers_and_products_are_counted() -> None:
    shop = sequences([(0, 10), (3, 100), (-1, 100)], [(0, 100)], [(0, 20)], [])
    split = time_split(shop, 100, 1)
    assert split.known_customers.tolist() == []
    assert (split.cold_customers, split.cold_products, split.cold_events, split.target_events) == (1, 2, 2, 3)
    assert len(split.train) == len(split.targets) == 4


def test_a_split_outside_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="inside the data"):
        time_split(sequences([(0, 10)]), 5, 1)


EVENTS = st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 30)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS.map(lambda events: sorted(events, key=lambda event: event[1])), min_size=1, max_size=5))
def test_every_event_is_before_after_cold_or_beyond(histories: list[list[tuple[int, int]]]) -> None:
    shop = sequences([(0, 1)], [(0, 15)], *histories)
    horizon = 10 / DAY
    split = time_split(shop, 12, horizon, "all")
    beyond = (shop.times >= 22).sum()
    unknown_before = ((shop.times < 12) & (shop.products < 0)).sum()
    assert len(split.train.products) + split.target_events + beyond + unknown_before == len(shop.products)
    assert split.target_events == len(split.targets.products) + split.cold_events
    assert (split.train.times < 12).all() and ((split.targets.times >= 12) & (split.targets.times < 22)).all()
    assert np.isin(split.targets.products, split.train.products).all()
    first = time_split(shop, 12, horizon)
    for basket, everything in zip(first.targets, split.targets, strict=True):
        assert set(basket) <= set(everything)


@settings(max_examples=30, deadline=None)
@given(EVENTS)
def test_rows_after_the_split_change_nothing_before_it(garbage: list[tuple[int, int]]) -> None:
    later = sorted(((product, 100 + at) for product, at in garbage), key=lambda event: event[1])
    clean = time_split(sequences([(0, 1), (1, 2), (0, 100)]), 50, 1, "all")
    dirty = time_split(sequences([(0, 1), (1, 2), (0, 100), *later]), 50, 1, "all")
    assert dirty.train.products.tobytes() == clean.train.products.tobytes()
    assert dirty.train.times.tobytes() == clean.train.times.tobytes()
