"""Counts pairs of products, scores them and looks them up, in compiled loops."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]


@njit(nogil=True, cache=True)
def add_pairs(
    before: tuple[Rows, Ints, Floats],
    events: tuple[Ints, Floats, Rows, Ints],
    targets: Ints,
    new_columns: Ints,
    new_values: Floats,
) -> Rows:  # pragma: no cover - compiled
    """Write the columns and values of the pairs `before` (offsets, columns, values) and those that `events` (sources,
    weights, starts, lengths) add, of which event e has the weight `weights[e]` and the pairs of `sources[e]` with each
    of `targets[starts[e] : starts[e] + lengths[e]]`.

    Returns the new offsets; the columns of a row come in no order.
    """
    offsets, columns, values = before
    sources, weights, starts, lengths = events
    n = len(offsets) - 1
    begins = np.zeros(n + 1, np.int64)
    for source in sources:
        begins[source + 1] += 1
    begins = np.cumsum(begins)
    place, by_source = begins.copy(), np.empty(len(sources), np.int32)
    for event in range(len(sources)):
        by_source[place[sources[event]]] = event
        place[sources[event]] += 1
    sums, found, end = np.zeros(n), np.zeros(n + 1, np.int64), 0
    for row in range(n):
        for pair in range(offsets[row], offsets[row + 1]):
            new_columns[end] = columns[pair]
            sums[columns[pair]] = values[pair]
            end += 1
        for event in by_source[begins[row] : begins[row + 1]]:
            for at in range(starts[event], starts[event] + lengths[event]):
                column = targets[at]
                if sums[column] == 0.0:
                    new_columns[end] = column
                    end += 1
                sums[column] += weights[event]
        for pair in range(found[row], end):
            new_values[pair] = sums[new_columns[pair]]
            sums[new_columns[pair]] = 0.0
        found[row + 1] = end
    return found


@njit(nogil=True, cache=True)
def mirrored(offsets: Ints, columns: Ints, values: Floats) -> tuple[Rows, Ints, Floats]:  # pragma: no cover - compiled
    """(offsets, columns, values) of pairs (i, j), of which only i < j are given, in both directions and in order."""
    n = len(offsets) - 1
    lengths = np.zeros(n + 1, np.int64)
    for column in columns:
        lengths[column + 1] += 1
    upper = lengths[1:].copy()  # rows begin with their smaller columns
    for row in range(n):
        lengths[row + 1] += offsets[row + 1] - offsets[row]
    begins = np.cumsum(lengths)
    upper += begins[:-1]
    place = begins[:-1].copy()
    new_columns, new_values = np.empty(begins[-1], np.int32), np.empty(begins[-1], np.float32)
    for row in range(n):
        for pair in range(offsets[row], offsets[row + 1]):
            at = place[columns[pair]]
            new_columns[at], new_values[at] = row, values[pair]
            place[columns[pair]] += 1
    place = upper.copy()
    for row in range(n):  # rising, so that each row's larger columns rise as well
        for pair in range(begins[row], upper[row]):
            at = place[new_columns[pair]]
            new_columns[at], new_values[at] = row, new_values[pair]
            place[new_columns[pair]] += 1
    return begins, new_columns, new_values


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
def find_pairs(offsets: Ints, columns: Ints, owner: Ints, column: Ints) -> Rows:  # pragma: no cover - compiled
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
) -> Rows:  # pragma: no cover - compiled
    """[owners, n], the columns of each owner's pairs by falling score, equal ones in stored order; -1 past the last."""
    best = np.full((len(owners), n), -1, np.int64)
    for row in range(len(owners)):
        start, stop = offsets[owners[row]], offsets[owners[row] + 1]
        order = np.argsort(-scores[start:stop], kind="mergesort")
        for place in range(min(n, len(order))):
            best[row, place] = columns[start + order[place]]
    return best
