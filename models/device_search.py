"""Exact search on a GPU: one matrix product and one top-k a batch, with the same order as on a CPU."""

from __future__ import annotations

import numpy as np
import torch

from models.contract import Compute, FloatMatrix
from models.device import pick
from models.exact_search import Excluded, rising
from models.top_n import Rows

CELLS = 1 << 28
"""Scores held on the device at once: 1 GiB."""


def best_on_device(
    queries: FloatMatrix, vectors: FloatMatrix, subset: Rows, n: int, excluded: Excluded | None = None,
    compute: Compute = Compute(), cells: int = CELLS,
) -> tuple[FloatMatrix, Rows]:  # fmt: skip
    """(scores [q, n], rows [q, n]) of the n best of the rising rows `subset` of `vectors` [p, d], on compute's device.

    Order, padding and `excluded` are those of `models.exact_search.best_products`. `cells` bounds the scores held at
    once. Scores are float32 without TF32, rounded as the device's matrix product rounds. Raises ValueError where
    shapes do not fit together.
    """
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions cannot be scored by {vectors.shape[1]}")
    offsets, hidden = rising(excluded, len(queries))
    scores = np.full((len(queries), n), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), n), -1, dtype=np.int64)
    found, device = min(n, len(subset)), pick(compute)
    products = torch.from_numpy(vectors[subset]).to(device).T
    # Row -> place in the subset; one row more, so that an excluded row of -1 is no place either.
    place = np.full(len(vectors) + 1, -1)
    place[subset] = np.arange(len(subset))
    batch = max(1, cells // max(1, len(subset)))
    for first in range(0, len(queries) if found else 0, batch):
        last = min(first + batch, len(queries))
        owner = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        own = place[hidden[offsets[first] : offsets[last]]]
        dense = torch.from_numpy(queries[first:last]).to(device) @ products
        dense[torch.from_numpy(owner[own >= 0]).to(device), torch.from_numpy(own[own >= 0]).to(device)] = -torch.inf
        best, columns = (part.cpu().numpy() for part in _top(dense, found))
        scores[first:last, :found] = best
        rows[first:last, :found] = np.where(np.isfinite(best), subset[columns], -1)
    return scores, rows


def _top(scores: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores, columns) of the n highest of each row [q, p], equal ones by rising column, also across the cut."""
    best, columns = torch.topk(scores, min(n + 1, scores.shape[1]), dim=1)
    tied = torch.nonzero(best[:, n - 1] == best[:, -1]).ravel() if best.shape[1] > n else columns.new_empty(0)
    columns, order = torch.sort(columns[:, :n], dim=1)
    best, order = torch.sort(best[:, :n].gather(1, order), dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    if len(tied):
        whole = torch.sort(scores[tied], dim=1, descending=True, stable=True)
        best[tied], columns[tied] = whole.values[:, :n], whole.indices[:, :n]
    return best, columns
