"""Touches are those that a reader finds pair by pair, whatever the order of impressions and events."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.touches import Followed, Pairs, touches

WINDOWS, KINDS, PAID = (3, 10, 40), 3, 2
times = st.integers(0, 60)
shown_of = st.lists(st.tuples(st.integers(0, 2), times), max_size=12)
events_of = st.lists(
    st.tuples(st.integers(0, 2), times, st.integers(0, KINDS - 1), st.sampled_from([0.1, 2.5, np.nan])), max_size=12
)


def digests(pairs: list[int]) -> np.ndarray:
    """Pairs 1 and 2 differ in one half, each."""
    return np.array([[(7, 7), (7, 8), (8, 7)][pair] for pair in pairs], np.uint64).reshape(-1, 2)


@settings(deadline=None)
@given(shown_of, events_of)
def test_touches_are_found_pair_by_pair(
    shown: list[tuple[int, int]], events: list[tuple[int, int, int, float]]
) -> None:
    paid = [amount if kind == PAID else np.nan for _, _, kind, amount in events]
    found = touches(
        Pairs(digests([pair for pair, _ in shown]), np.array([at for _, at in shown], np.int64)),
        Followed(
            digests([pair for pair, *_ in events]),
            np.array([at for _, at, *_ in events], np.int64),
            np.array([kind for *_, kind, _ in events], np.int8),
            np.array(paid, float),
        ),
        WINDOWS,
        KINDS,
    )
    last = [
        max(((at, n) for n, (p, at) in enumerate(shown) if p == pair and at <= then <= at + WINDOWS[-1]), default=None)
        for pair, then, *_ in events
    ]
    for n, (pair, at) in enumerate(shown):
        own = [e for e, (p, then, *_) in enumerate(events) if p == pair and at <= then <= at + WINDOWS[-1]]
        for kind in range(KINDS):
            gaps = [events[e][1] - at for e in own if events[e][2] == kind]
            window = next((w for w, end in enumerate(WINDOWS) if gaps and min(gaps) <= end), -1)
            assert found.window[n, kind] == window
            assert found.last[n, kind] == any(last[e] == (at, n) for e in own if events[e][2] == kind)
        for revenue, of in ((found.revenue, own), (found.last_revenue, [e for e in own if last[e] == (at, n)])):
            amounts = [paid[e] for e in of if not np.isnan(paid[e])]
            assert round(sum(amounts), 6) == revenue[n] if amounts else np.isnan(revenue[n])
