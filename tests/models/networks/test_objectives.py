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


@given(sequences(), st.floats(0.0001, 30))
def test_a_future_window_stays_within_its_days_and_its_history(data: Sequences, days: float) -> None:
    wanted = future_window(data, days, np.random.default_rng(3))
    source, owner = sources(wanted), owners(data)
    gap = data.times[wanted.targets] - data.times[source]
    assert (owner[source] == owner[wanted.targets]).all()
    assert ((gap > 0) & (gap <= int(days * SECONDS_PER_DAY))).all()
    assert (wanted.lengths <= 1).all()


def test_a_future_window_draws_every_event_in_reach() -> None:
    day = SECONDS_PER_DAY
    since = 1_700_000_000  # real times: days must not be counted from 1970
    data = histories([(1, since), (2, since + day), (3, since + 2 * day), (4, since + 9 * day)], [(5, since + 3 * day)])
    rng = np.random.default_rng(0)
    drawn = {(int(s), int(t)) for _ in range(50) for w in (future_window(data, 7, rng),)
             for s, t in zip(sources(w), w.targets, strict=True)}  # fmt: skip
    assert drawn == {(0, 1), (0, 2), (1, 2), (2, 3)}
