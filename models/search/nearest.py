"""Finds the nearest products of every product, going on from those of an earlier night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import Rows
from models.contract import FloatMatrix
from models.search.search import exact_top_n


@dataclass(frozen=True)
class NearestProducts:
    """The n nearest products of each of p products, themselves among them; order and ties as in `exact_top_n`."""

    scores: FloatMatrix
    """[p, n], -inf past the last."""
    rows: Rows
    """[p, n], -1 past the last."""


def nearest_products(vectors: FloatMatrix, n: int) -> NearestProducts:
    """Those of `vectors` [p, d] by inner product."""
    return NearestProducts(*exact_top_n(vectors, vectors, n))


def renewed(
    vectors: FloatMatrix, n: int, before: FloatMatrix, known: NearestProducts, row_before: Rows
) -> NearestProducts:
    """`nearest_products` of `vectors`, bit for bit, from those that were `known` of the vectors `before` [q, d].

    `row_before` [p] is the row that each product had there, -1 for a new one. A list without a changed product can only
    gain changed and new ones, so these alone are searched; all other lists are searched whole.
    """
    same = row_before >= 0
    same[same] = (before[row_before[same]] == vectors[np.flatnonzero(same)]).all(axis=1)
    kept, moved = np.flatnonzero(same), np.flatnonzero(~same)
    if known.rows.shape[1] != n or (np.diff(row_before[kept]) < 0).any():  # equal scores are in the order of rows
        return nearest_products(vectors, n)
    row_now = np.full(len(before) + 1, -1)  # the last one is for -1
    row_now[row_before[kept]] = kept
    rows, scores = row_now[known.rows[row_before[kept]]], known.scores[row_before[kept]]
    whole = (rows >= 0).all(axis=1)
    found = NearestProducts(np.empty((len(vectors), n), np.float32), np.empty((len(vectors), n), np.int64))
    anew = np.setdiff1d(np.arange(len(vectors)), kept[whole])
    found.scores[anew], found.rows[anew] = exact_top_n(vectors[anew], vectors, n)
    more = exact_top_n(vectors[kept[whole]], vectors, min(n, len(moved)), moved)
    scores = np.concatenate((scores[whole], more[0]), axis=1)
    rows = np.concatenate((rows[whole], more[1]), axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :n]
    found.scores[kept[whole]] = np.take_along_axis(scores, order, axis=1)
    found.rows[kept[whole]] = np.take_along_axis(rows, order, axis=1)
    return found
