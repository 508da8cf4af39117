"""A co-purchase model over another night's products, as it was fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.copurchase import PSEUDO_COUNT, CoPurchase
from models.pairs import PairCounts
from models.top_n import Rows


def over_products(model: CoPurchase, rows: Rows) -> CoPurchase:
    """The model over n products of which product i was its product `rows[i]` [n], each at most once; -1: a new one.

    What is new was bought with nothing and sells as it did before: a product without baskets. The shares of all
    products add up to 1 as they did, give or take what came and went.
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


def _pairs(counts: PairCounts, rows: Rows) -> tuple[Rows, Rows, npt.NDArray[np.float64]]:
    """(offsets, columns, values) of the pairs whose products are both still there."""
    place = np.full(counts.products, -1, dtype=np.int64)
    place[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    owner, column = place[counts.owners], place[counts.columns]
    kept = np.flatnonzero((owner >= 0) & (column >= 0))
    if (np.diff(rows[rows >= 0]) < 0).any():  # in the order of before, as sorted ids are, the pairs stay in order
        kept = kept[np.lexsort((column[kept], owner[kept]))]
    lengths = np.bincount(owner[kept], minlength=len(rows))
    return np.concatenate(([0], np.cumsum(lengths))), column[kept], counts.values[kept]
