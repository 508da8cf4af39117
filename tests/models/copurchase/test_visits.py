"""Checks that histories are cut into visits."""

from __future__ import annotations

import numpy as np

from models.copurchase.pairs import visits
from models.sequences import EVENT_TYPES, Sequences

HOUR = 3_600


def test_a_pause_or_another_customer_begins_a_visit_and_purchases_are_no_views() -> None:
    kinds = ["click", "save", "purchase", "click", "bag", "click"]
    history = Sequences(
        np.array([0, 5, 5, 6]), np.array([1, 2, 3, 4, 5, 6], np.int32),
        np.array([EVENT_TYPES.index(kind) for kind in kinds], np.int8),
        np.array([0, 600, 700, 600 + HOUR, 2 * HOUR - 1, 50]),
    )  # fmt: skip
    found = visits(history, 3_000)
    assert found.times is not None
    assert (found.offsets.tolist(), found.products.tolist(), found.times.tolist()) == (
        [0, 2, 4, 5],
        [1, 2, 4, 5, 6],
        [0, 4_200, 50],
    )


def test_nobody_looked_at_anything() -> None:
    nothing = Sequences(np.zeros(3, np.int64), np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.int64))
    found = visits(nothing, HOUR)
    assert found.times is not None
    assert (found.offsets.tolist(), len(found.products), len(found.times)) == ([0], 0, 0)
