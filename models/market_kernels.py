"""What of a product's neighbours may be shown in a market."""

from __future__ import annotations

import numpy as np
from numba import njit

from models.contract import FloatMatrix
from models.top_n import BoolMask, Rows


@njit(nogil=True, cache=True)
def first_available(
    neighbours: Rows, scores: FloatMatrix, allowed: BoolMask, rows: Rows, best: FloatMatrix, found: Rows, first: int,
    last: int,
) -> None:  # fmt: skip
    """Fill rows and best [q, n] of the queries [first, last) with their first n allowed neighbours; found [q] counts.

    `neighbours` and `scores` are [q, depth], -1: none; past the last that is found, rows are -1 and best is -inf.
    """
    n = rows.shape[1]
    for query in range(first, last):
        place = 0
        for j in range(neighbours.shape[1] if n else 0):
            row = neighbours[query, j]
            if row >= 0 and allowed[row]:
                rows[query, place] = row
                best[query, place] = scores[query, j]
                place += 1
                if place == n:
                    break
        found[query] = place
        for j in range(place, n):
            rows[query, j] = -1
            best[query, j] = -np.inf
