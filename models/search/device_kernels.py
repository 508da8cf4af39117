"""The scores and the order that the search on a CPU gives, for candidates that a card has found.

A score is the same sum in the same order as in `models.search.exact_kernels`: dimension after dimension, from 0, each
added by llvm.fmuladd, which on one machine is one operation or two but always the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from models.arrays import Rows
from models.contract import FloatMatrix


@intrinsic
def _fmuladd_intrinsic(typing: Any, left: Any, right: Any, total: Any) -> Any:
    """left * right + total, of float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FloatType()
        call = builder.module.declare_intrinsic("llvm.fmuladd.f32", fnty=ir.FunctionType(kind, [kind] * 3))
        return builder.call(call, args)

    return types.float32(types.float32, types.float32, types.float32), generate


# Compiled code calls it without the typing context, which its definition takes first.
_fmuladd: Any = _fmuladd_intrinsic


@njit(nogil=True, cache=True)
def settle(
    queries: FloatMatrix, vectors: FloatMatrix, found: Rows, scores: FloatMatrix, rows: Rows, first: int, last: int
) -> None:
    """Fill scores and rows [q, n] of the queries [first, last) with the best n of the rows `found` [q, m].

    Order: score falling, then row rising; rows of -1 count for nothing and are followed by none. Found nearly in that
    order, they are put in order by insertion.
    """
    (most, n), d = found.shape[1:] + rows.shape[1:], queries.shape[1]
    side_by_side = np.empty((d, most), np.float32)
    sums = np.empty(most, np.float32)
    for query in range(first, last):
        count = 0
        while count < most and found[query, count] >= 0:
            for k in range(d):
                side_by_side[k, count] = vectors[found[query, count], k]
            count += 1
        sums[:count] = 0
        for k in range(d):
            value = queries[query, k]
            for i in range(count):
                sums[i] = _fmuladd(value, side_by_side[k, i], sums[i])
        _insert(found[query], sums, count, scores[query], rows[query], n)


@njit(nogil=True, cache=True)
def _insert(
    found: Rows, sums: npt.NDArray[np.float32], count: int, scores: npt.NDArray[np.float32], rows: Rows, n: int
) -> None:
    """Write the n best of found[:count] in order."""
    held = 0
    for i in range(count):
        score, row = np.float32(sums[i] + np.float32(0)), found[i]  # the sum makes -0 the 0 that it ties with
        place = held
        while place > 0 and (
            place > n or scores[place - 1] < score or (scores[place - 1] == score and rows[place - 1] > row)
        ):
            if place < n:
                scores[place], rows[place] = scores[place - 1], rows[place - 1]
            place -= 1
        if place < n:
            scores[place], rows[place] = score, row
            held = min(held + 1, n)
    for place in range(held, n):
        scores[place], rows[place] = -np.inf, -1
