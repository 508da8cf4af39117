"""Names array types, and finds the n best of a row of scores in one fixed order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.contract import FloatMatrix

Digests = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]


def top_n_of_scores(scores: FloatMatrix, n: int) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], columns [q, n]) of the n highest of `scores` [q, p], equal ones by ascending column.

    A score of -inf means "not allowed"; its column is -1, as are columns past the p-th.
    """
    import torch  # its top-k is several times as fast as a partition, and seconds to import

    width = scores.shape[1]
    found = min(n, width)
    top, columns = torch.topk(torch.from_numpy(scores), min(found + 1, width), dim=1)
    best, rows = ordered(top.numpy(), columns.numpy())
    if width > found:
        tied = np.flatnonzero((best[:, found - 1] == best[:, found]) & np.isfinite(best[:, found]))
        for query in tied:
            rows[query, :found] = stable_top(scores[query], found)
    out_scores = np.full((len(scores), n), -np.inf, dtype=np.float32)
    out_rows = np.full((len(scores), n), -1, dtype=np.int64)
    out_scores[:, :found], out_rows[:, :found] = best[:, :found], rows[:, :found]
    return out_scores, np.where(np.isfinite(out_scores), out_rows, -1)


def stable_top(scores: npt.NDArray[np.float32], n: int) -> Rows:
    """The n best positions of one row of scores: by descending score, then ascending position."""
    cut = np.partition(scores, len(scores) - n)[len(scores) - n]
    reaching = np.flatnonzero(scores >= cut)
    return reaching[np.argsort(-scores[reaching], kind="stable")[:n]]


def ordered(scores: FloatMatrix, rows: Rows) -> tuple[FloatMatrix, Rows]:
    """Each query's results by descending score, then ascending row; missing ones (-1) last with score -inf."""
    scores = np.where(rows >= 0, scores, -np.inf).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
