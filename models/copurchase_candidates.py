"""People Also Bought through an index: what it finds among pairs never seen, and the pairs that were seen."""

from __future__ import annotations

import numpy as np

from models.contract import FloatMatrix
from models.copurchase import CoPurchase, Neighbours
from models.top_n import Rows


def neighbours_through_index(model: CoPurchase, sources: Rows, found: Rows, n: int, batch: int = 4096) -> Neighbours:
    """The n best of `found` [q, depth] (an index over `target_vectors` searched with `source_vectors`) and of
    the products bought together with each source [q]. Equal to `CoPurchase.neighbours` where the index is exact
    and the depth leaves n products that were never bought together with the source.
    """
    parts = []
    for start in range(0, len(sources), batch):
        rows = sources[start : start + batch]
        candidates = _without_repeats(np.concatenate((found[start : start + batch], model.best_seen(rows, n)), axis=1))
        scores, seen = model.rescore(rows, candidates)
        parts.append(_best(candidates, scores, seen, n))
    if not parts:
        return Neighbours(np.empty((0, n), np.int64), np.empty((0, n), np.float32), np.empty((0, n), bool))
    return Neighbours(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _without_repeats(candidates: Rows) -> Rows:
    """Rows sorted, with every repeat of a product replaced by -1."""
    rising = np.sort(candidates, axis=1)
    rising[:, 1:][rising[:, 1:] == rising[:, :-1]] = -1
    return rising


def _best(candidates: Rows, scores: FloatMatrix, seen: np.ndarray, n: int) -> tuple[Rows, FloatMatrix, np.ndarray]:
    rows = np.where(np.isfinite(scores), candidates, -1)
    width = rows.shape[1]
    if width < n:
        pad = ((0, 0), (0, n - width))
        rows, scores = np.pad(rows, pad, constant_values=-1), np.pad(scores, pad, constant_values=-np.inf)
        seen = np.pad(seen, pad)
    order = np.lexsort((rows, -scores), axis=1)[:, :n]
    best_scores, best_rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return (
        best_rows,
        np.where(best_rows >= 0, best_scores, -np.inf),
        np.take_along_axis(seen, order, 1) & (best_rows >= 0),
    )
