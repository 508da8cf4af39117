"""Checks which later events an event has to predict."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.networks.batching import Targets, future_window, next_basket
from models.sequences import SECONDS_PER_DAY, Sequences
from tests.support.strategies import histories, sequences


def owners(data: Sequences) -> np.ndarray:
    return np.repeat(np.arange(len(data)), data.lengths)


def sources(wanted: Targets) -> np.ndarray:
    return np.repeat(np.arange(len(wanted.lengths)), wanted.lengths)


@given(sequences())
def test_next_basket_predicts_every_later_event_once_and_from_strictly_earlier(data: Sequences) -> None:
    wanted = next_basket(data)
    source, owner = sources(wanted), owners(data)
    assert (owner[source] == owner[wanted.targets]).all()
    assert (data.times[source] < data.times[wanted.targets]).all()
    firsts = {int(start) for start, size in zip(data.offsets[:-1], data.lengths, strict=True) if size}
    opening = {e for start in firsts for e in range(len(owner)) if (owner[e], data.times[e]) == (
        owner[start], data.times[start])}  # fmt: skip
    assert sorted(wanted.targets.tolist()) == sorted(set(range(len(owner))) - opening)


def days_between(data: Sequences, first: int, last: int) -> int:
    """How many further days of the history have events, from one of its events to a later one."""
    return len(np.unique(data.times[first : last + 1] // SECONDS_PER_DAY)) - 1


@given(sequences(), st.integers(1, 4), st.sampled_from([1, 9_000, 40_000]))
def test_a_future_window_stays_within_its_days_and_its_history(data: Sequences, days: int, apart: int) -> None:
    spread = Sequences(data.offsets, data.products, data.events, 1_700_000_000 + data.times * apart)
    wanted = future_window(spread, days, np.random.default_rng(3))
    source, owner = sources(wanted), owners(spread)
    assert (owner[source] == owner[wanted.targets]).all()
    assert (spread.times[source] < spread.times[wanted.targets]).all()
    assert all(days_between(spread, s, t) <= days for s, t in zip(source, wanted.targets, strict=True))
    assert (wanted.lengths <= 1).all()


def test_a_future_window_draws_every_event_in_reach() -> None:
    day = SECONDS_PER_DAY
    since = 1_700_000_000
    data = histories(
        [(1, since), (2, since + 60), (3, since + 2 * day), (4, since + 9 * day), (5, since + 90 * day)],
        [(6, since + 3 * day)],
    )
    rng = np.random.default_rng(0)
    drawn = {(int(s), int(t)) for _ in range(50) for w in (future_window(data, 2, rng),)
             for s, t in zip(sources(w), w.targets, strict=True)}  # fmt: skip
    assert drawn == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)}


def test_a_future_window_begins_with_the_rest_of_the_day() -> None:
    day, midnight = SECONDS_PER_DAY, 1_700_006_400
    data = histories([(1, midnight - 50), (2, midnight - 1), (3, midnight), (4, midnight + day - 1),
                      (5, midnight + 3 * day)], [(6, midnight + 5), (7, midnight + 9)])  # fmt: skip
    rng = np.random.default_rng(0)
    assert future_window(data, 1, rng).lengths.tolist() == [1, 1, 1, 1, 0, 1, 0]
    drawn = {(int(s), int(t)) for _ in range(50) for w in (future_window(data, 1, rng),)
             for s, t in zip(sources(w), w.targets, strict=True)}  # fmt: skip
    assert drawn == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (5, 6)}
