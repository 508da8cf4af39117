"""Scores pairs of products and looks them up, in compiled loops for `models.copurchase.model`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class PairModel(NamedTuple):
    """The arrays that a pair's score follows from (`models.copurchase.model`), for n products."""

    totals: Floats
    """[n], weight of all pairs of each product."""
    strength: float
    """Weight of the low-rank expectation beside the counts."""
    sources: npt.NDArray[np.floating]
    """[n, rank]."""
    targets: npt.NDArray[np.floating]
    """[n, rank]."""
    log_share: Floats
    """[n], log p_j."""
    log_normaliser: Floats
    """[n], log of the softmax's denominator."""
    bias: Floats
    """[n], added to the score of a candidate."""


@njit(nogil=True, cache=True)
def score_pairs(
    model: PairModel, owner: Ints, column: Ints, counts: Floats, scores: Floats
) -> None:  # pragma: no cover - compiled
    """Write `scores` [pairs] of each pair (owner, column) that was seen `counts` times."""
    totals, strength, sources, targets, log_share, log_normaliser, bias = model
    for pair in range(len(owner)):
        i, j = owner[pair], column[pair]
        inner = 0.0
        for d in range(sources.shape[1]):
            inner += sources[i, d] * targets[j, d]
        expected = math.exp(inner + log_share[j] - log_normaliser[i])
        scores[pair] = math.log((counts[pair] + strength * expected) / (totals[i] + strength)) + bias[j]


@njit(nogil=True, cache=True)
def find_pairs(offsets: Ints, columns: Ints, owner: Ints, column: Ints) -> Ints:  # pragma: no cover - compiled
    """[pairs], the position of each pair (owner, column) in `columns`, which rise within an owner's range; -1: none."""
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
    """[owners, n], the columns of each owner's pairs by falling score, equal ones in stored order; -1 past the last."""
    best = np.full((len(owners), n), -1, np.int64)
    for row in range(len(owners)):
        start, stop = offsets[owners[row]], offsets[owners[row] + 1]
        order = np.argsort(-scores[start:stop], kind="mergesort")
        for place in range(min(n, len(order))):
            best[row, place] = columns[start + order[place]]
    return best
