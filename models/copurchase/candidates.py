"""Ranks co-purchase candidates from an index together with pairs that were seen; moves a model to other products."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.arrays import Rows
from models.contract import FloatMatrix
from models.copurchase.model import PSEUDO_COUNT, CoPurchase, Neighbours
from models.copurchase.pairs import Floats, Integers, PairCounts
from models.ragged import offsets_of


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


def over_products(model: CoPurchase, rows: Rows) -> CoPurchase:
    """The fitted model over n products, of which product i was its product `rows[i]` [n], each at most once; -1: new.

    A new product counts as one without baskets. The shares of all products add up to 1 but for those that came or went.
    """
    settings, tensors = model.config(), model.tensors()
    counts = PairCounts(tensors["pair_offsets"], tensors["pair_columns"], tensors["pair_values"])
    total = (counts.row_sums() + PSEUDO_COUNT).sum()
    nothing = float(np.log(PSEUDO_COUNT / total))
    bias = -settings["popularity_discount"] * nothing
    offsets, columns, values = _pairs(counts, rows)
    return CoPurchase.restore(
        settings,
        {
            "sources": _at(tensors["sources"], rows, 0.0),
            "targets": _at(tensors["targets"], rows, 0.0),
            "log_share": _at(tensors["log_share"], rows, nothing),
            "bias": _at(tensors["bias"], rows, bias),
            "log_normaliser": _at(tensors["log_normaliser"], rows, 0.0),
            "pair_offsets": offsets,
            "pair_columns": columns,
            "pair_values": values,
        },
    )


def _at(values: npt.NDArray[Any], rows: Rows, missing: float) -> npt.NDArray[Any]:
    found = values[np.maximum(rows, 0)]
    found[rows < 0] = missing
    return found


def _pairs(counts: PairCounts, rows: Rows) -> tuple[Rows, Integers, Floats]:
    """(offsets, columns, values) of the pairs whose products both remain."""
    place = np.full(len(counts), -1, dtype=np.int32)
    place[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    owner, column = np.repeat(place, counts.lengths), place[counts.columns]
    kept = (owner >= 0) & (column >= 0)
    owner, column, values = owner[kept], column[kept], counts.values[kept]
    if (np.diff(rows[rows >= 0]) < 0).any():  # in the same order, as sorted ids are, pairs need no sorting
        order = np.lexsort((column, owner))
        owner, column, values = owner[order], column[order], values[order]
    return offsets_of(np.bincount(owner, minlength=len(rows))), column, values
