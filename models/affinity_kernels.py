"""Finds the values that each history turns to most beyond what is usual, in one compiled pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.ragged import Rows

Numbers = npt.NDArray[np.float64]


@njit(nogil=True, cache=True)
def best_lifts(
    offsets: Rows,
    values: npt.NDArray[np.int32],
    weights: Numbers,
    usual: Numbers,
    row: npt.NDArray[np.int32],
    prior: float,
    best: npt.NDArray[np.int32],
    lifts: npt.NDArray[np.float32],
) -> None:
    """Fill `best` [n, k], -1 where there are fewer, and `lifts` [n, k]; see `models.affinities.best_values`."""
    sums, seen, places = np.zeros(usual.shape[1]), np.empty(usual.shape[1], np.int32), best.shape[1]
    for i in range(len(offsets) - 1):
        total, count = 0.0, 0
        for event in range(offsets[i], offsets[i + 1]):
            value = values[event]
            if value < 0 or weights[event] == 0:
                continue
            if sums[value] == 0:
                seen[count] = value
                count += 1
            sums[value] += weights[event]
            total += weights[event]
        held = 0
        for at in range(count):
            value = seen[at]
            lift = np.float32((sums[value] + prior) / (total * usual[row[i], value] + prior))
            sums[value] = 0
            if lift <= 1:
                continue
            place = held
            while place and (
                lifts[i, place - 1] < lift or (lifts[i, place - 1] == lift and best[i, place - 1] > value)
            ):
                place -= 1
            if place == places:
                continue
            held = min(held + 1, places)
            for below in range(held - 1, place, -1):
                lifts[i, below], best[i, below] = lifts[i, below - 1], best[i, below - 1]
            lifts[i, place], best[i, place] = lift, value
