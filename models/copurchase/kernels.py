"""The compiled loops of `models.copurchase.model`: scores of pairs, and which pairs were seen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@njit(nogil=True, cache=True)
def score_pairs(
    start: int, stop: int, owner: Ints, column: Ints, counts: Floats, totals: Floats, strength: float,
    sources: npt.NDArray[np.floating], targets: npt.NDArray[np.floating], log_share: Floats, log_normaliser: Floats,
    bias: Floats, scores: Floats,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Write `scores` [pairs] from `start` to `stop`: of each pair (owner, column) that was seen `counts` times."""
    for pair in range(start, stop):
        i, j = owner[pair], column[pair]
        inner = 0.0
        for d in range(sources.shape[1]):
            inner += sources[i, d] * targets[j, d]
        expected = math.exp(inner + log_share[j] - log_normaliser[i])
        scores[pair] = math.log((counts[pair] + strength * expected) / (totals[i] + strength)) + bias[j]


@njit(nogil=True, cache=True)
def find_pairs(offsets: Ints, columns: Ints, owner: Ints, column: Ints) -> Ints:  # pragma: no cover - compiled
    """[pairs], where each pair (owner, column) stands in `columns`, which rise within an owner's range; -1: nowhere."""
    found = np.full(len(owner), -1, np.int64)
    for pair in range(len(owner)):
        if column[pair] < 0:
            continue
        low, high = offsets[owner[pair]], offsets[owner[pair] + 1]
        end = high
        while low < high:
            middle = (low + high) // 2
            if columns[middle] < column[pair]:
                low = middle + 1
            else:
                high = middle
        if low < end and columns[low] == column[pair]:
            found[pair] = low
    return found


@njit(nogil=True, cache=True)
def best_pairs(
    offsets: Ints, columns: Ints, scores: Floats, owners: Ints, n: int
) -> Ints:  # pragma: no cover - compiled
    """[owners, n], the columns of each owner's pairs by falling score, equal ones as they stand; -1 past the last."""
    best = np.full((len(owners), n), -1, np.int64)
    for row in range(len(owners)):
        start, stop = offsets[owners[row]], offsets[owners[row] + 1]
        order = np.argsort(-scores[start:stop], kind="mergesort")
        for place in range(min(n, len(order))):
            best[row, place] = columns[start + order[place]]
    return best
