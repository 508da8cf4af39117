"""Searches product vectors exactly on a GPU, with float32 scores and torch's top-k.

A GPU adds the products of a score in another order than the CPU, so the last bits of scores differ (`score_tolerance`),
and products whose scores lie closer together than that may change places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from models.arrays import Rows, ordered
from models.contract import Compute, FloatMatrix
from models.networks.device import Array, Landing, full_float32, pick, run_batches, to_device, to_host
from models.search.exact import Excluded, rising

MOST_CELLS = 1 << 26
"""Scores of one batch of queries: 256 MiB, and about twice that again while top-k sorts them."""


def score_tolerance(dimensions: int) -> float:
    """How far a GPU's score may lie from the CPU's, for two vectors of length 1; it grows with both lengths.

    Every order of summing d products is within d roundings of the sum of their sizes (Higham 2002, "Accuracy and
    Stability of Numerical Algorithms", section 3.1), which is at most 1 here (Cauchy-Schwarz); both sides round.
    """
    return 2 * (dimensions + 1) * 2.0**-24


@dataclass(frozen=True)
class DeviceProducts:
    """Product vectors in a device's memory."""

    vectors: torch.Tensor
    """[p, d] float32, finite."""

    @staticmethod
    def of(vectors: FloatMatrix, compute: Compute) -> DeviceProducts:
        """`vectors` [p, d], finite, on compute's device; raises ValueError where there is none."""
        return DeviceProducts(to_device(pick(compute), vectors)[0])

    def __len__(self) -> int:
        return len(self.vectors)


def best_on_device(
    queries: FloatMatrix, products: DeviceProducts, subset: Rows, n: int, excluded: Excluded | None = None
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]) of the n best of the rising rows `subset`, within `score_tolerance` of those of
    `models.search.exact.best_products`, whose order, padding and `excluded` they have.

    Where the memory is not enough for a batch, its halves are tried. Raises ValueError where shapes do not fit
    together, torch.OutOfMemoryError where the memory is not enough for one query.
    """
    device = products.vectors.device
    if queries.shape[1] != products.vectors.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions cannot be scored by {products.vectors.shape[1]}")
    offsets, hidden = rising(excluded, len(queries))
    scores = np.full((len(queries), n), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), n), -1, dtype=np.int64)
    found = min(n, len(subset))
    if not found:
        return scores, rows
    column_of = np.full(len(products) + 1, -1)  # one more, so that an excluded row of -1 has no column either
    column_of[subset] = np.arange(len(subset))

    def begin(batch: Rows) -> Landing:
        first, last = offsets[batch[0]], offsets[batch[-1] + 1]
        columns = column_of[hidden[first:last]]
        owner = np.repeat(np.arange(len(batch)), np.diff(offsets)[batch])[columns >= 0]
        asked, *without = to_device(device, queries[batch], owner, columns[columns >= 0])
        dense = asked @ candidates.T
        dense[tuple(without)] = -torch.inf
        best, at = torch.topk(dense, found, dim=1)
        return to_host(torch.cat([best.double(), at.double()], dim=1))  # one copy; both are exact in float64

    def take(batch: Rows, landed: Array) -> None:
        best, at = landed[:, :found], landed[:, found:].astype(np.int64)
        scores[batch, :found], rows[batch, :found] = ordered(best, np.where(np.isfinite(best), subset[at], -1))

    size = max(1, MOST_CELLS // len(subset))
    batches = [np.arange(i, min(i + size, len(queries))) for i in range(0, len(queries), size)]
    with torch.inference_mode(), full_float32():
        everything = len(subset) == len(products)
        candidates = products.vectors if everything else products.vectors[to_device(device, subset)[0]]
        run_batches(batches, begin, take)
    return scores, rows
