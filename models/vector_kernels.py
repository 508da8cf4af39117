"""Measures vectors in one compiled pass over them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.arrays import BoolMask, Rows


@njit(nogil=True, cache=True)
def add_vectors(
    offsets: Rows, values: npt.NDArray[np.float32], counted: BoolMask, width: int, moment: npt.NDArray[np.float64]
) -> tuple[int, int, float, float]:  # pragma: no cover - compiled
    """(vectors with NaN, infinity or not `width` numbers; vectors of zeros; sum of the others' lengths; the longest).

    Of each vector that is `counted`, `values[offsets[i] : offsets[i + 1]]` without the last. Adds u u^T over the others
    at length 1 to the lower triangle of `moment` [width - 1, width - 1].
    """
    broken, empty, norms, longest, unit = 0, 0, 0.0, 0.0, np.empty(len(moment))
    for row in range(len(counted)):
        if not counted[row]:
            continue
        start, square = offsets[row], 0.0
        if offsets[row + 1] - start != width:
            square = np.nan
        else:
            for at in range(len(unit)):
                square += np.float64(values[start + at]) ** 2
        if not np.isfinite(square):
            broken += 1
            continue
        if square == 0:
            empty += 1
            continue
        norm = np.sqrt(square)
        norms += norm
        longest = max(longest, norm)
        for at in range(len(unit)):
            unit[at] = values[start + at] / norm
        # A product of BLAS would start threads, which wait busily where other work holds the cores.
        for i in range(len(unit)):
            for j in range(i + 1):
                moment[i, j] += unit[i] * unit[j]
    return broken, empty, norms, longest
