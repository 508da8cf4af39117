"""Hypothesis strategies and small builders for event histories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from models.sequences import Sequences

PRODUCTS = 12


def histories(*rows: Sequence[tuple[int, int]]) -> Sequences:
    """Click histories from (product, time) pairs, one list per customer."""
    flat = [event for row in rows for event in row]
    return Sequences(
        offsets=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        products=np.array([product for product, _ in flat], dtype=np.int32),
        events=np.zeros(len(flat), dtype=np.int8),
        times=np.array([time for _, time in flat], dtype=np.int64),
    )


@st.composite
def sequences(draw: st.DrawFn) -> Sequences:
    """Up to 6 histories of up to 8 events, often several at one time."""
    event = st.tuples(st.integers(0, PRODUCTS - 1), st.integers(0, 4))
    rows = draw(st.lists(st.lists(event, max_size=8), max_size=6))
    built = histories(*[sorted(row, key=lambda pair: pair[1]) for row in rows])
    kinds = draw(st.lists(st.integers(0, 3), min_size=len(built.products), max_size=len(built.products)))
    return Sequences(built.offsets, built.products, np.array(kinds, dtype=np.int8), built.times)
