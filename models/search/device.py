"""Exact search on a card: it finds candidates, the CPU gives them their scores, and both agree with a CPU's search.

A card sums a score in another order, so its last bits differ and near ties change places. So it is only asked for a
few candidates more than wanted; these are scored again as a search on a CPU scores, and the list is taken where no
other product can come near it by the bound on what rounding does. Elsewhere, where many tie, the CPU searches.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch

from models.arrays import BoolMask, Rows
from models.contract import Compute, FloatMatrix
from models.networks.device import (
    Array,
    Landing,
    cells_within,
    free_memory,
    full_float32,
    pick,
    run_batches,
    to_device,
    to_host,
)
from models.search.exact import Excluded, best_products, in_threads, pack, rising

MOST_CELLS = 1 << 28
"""Scores held on a card at once, whatever its memory: 1 GiB."""
CELL_BYTES = 12
"""What a score may take there: itself, and what a top-k sorts it by."""
CHUNK = 1 << 20
"""Products scored at once: a larger catalogue is searched part after part, and the best of the parts are joined."""
MORE = 16
"""Candidates beyond those wanted."""
ALONE = Lock()
"""Held by a search on a card, which sizes itself by the memory that is free."""
ROUNDING = 2.0**-24
"""The relative error of one operation in float32."""


@dataclass(frozen=True)
class DeviceProducts:
    """Product vectors to be searched on a card, sent there once; where they do not fit, part after part each time."""

    vectors: FloatMatrix
    """[p, d], finite."""
    resident: torch.Tensor | None
    """[p, d] on the device; None where they do not fit."""
    device: torch.device
    longest: float
    """The largest length of a vector."""

    @staticmethod
    def of(vectors: FloatMatrix, compute: Compute) -> DeviceProducts:
        """`vectors` [p, d], finite, on compute's device; raises ValueError where there is none."""
        device = pick(compute)
        free = free_memory(device)
        fits = free is None or cells_within(free, vectors.itemsize, 0, vectors.size) == vectors.size
        lengths = np.linalg.norm(vectors, axis=1)
        return DeviceProducts(
            vectors, to_device(device, vectors)[0] if fits else None, device, float(lengths.max(initial=0))
        )


def best_on_device(
    queries: FloatMatrix, products: DeviceProducts, subset: Rows, n: int, excluded: Excluded | None = None,
    threads: int = 1, most_cells: int = MOST_CELLS, chunk: int = CHUNK,
) -> tuple[FloatMatrix, Rows]:  # fmt: skip
    """(scores [q, n], rows [q, n]) of the n best of the rising rows `subset`, to the bit those of
    `models.search.exact.best_products`, whose order, padding and `excluded` they have.

    `threads` score and search on the CPU; a batch holds at most `most_cells` scores, `chunk` products at a time.
    Raises ValueError where shapes do not fit together.
    """
    vectors = products.vectors
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions cannot be scored by {vectors.shape[1]}")
    offsets, hidden = rising(excluded, len(queries))
    scores = np.full((len(queries), n), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), n), -1, dtype=np.int64)
    search = _Search(queries, products, subset, min(n + MORE, len(subset)), offsets, hidden, chunk)
    settled = np.full(len(queries), not (len(subset) and n))

    def take(batch: Rows, found: Array) -> None:
        settled[batch] = search.settled(batch, found, scores, rows, threads)

    free, width = free_memory(products.device), max(1, min(chunk, len(subset)))
    cells = most_cells if free is None else cells_within(free, CELL_BYTES, width, most_cells)
    per_batch = max(1, cells // width)
    wanted = np.flatnonzero(~settled)
    with torch.inference_mode(), full_float32():
        run_batches([wanted[i : i + per_batch] for i in range(0, len(wanted), per_batch)], search.begin, take)
    if len(left := np.flatnonzero(~settled)):
        counts = np.diff(offsets)[left]
        mine = np.concatenate([hidden[offsets[i] : offsets[i + 1]] for i in left])
        own = np.concatenate(([0], np.cumsum(counts))), mine
        scores[left], rows[left] = best_products(queries[left], pack(vectors, subset, threads), n, own, threads)
    return scores, rows


class _Search:
    """One call's search; `found` is what it asks of the card for each query."""

    def __init__(
        self, queries: FloatMatrix, products: DeviceProducts, subset: Rows, found: int, offsets: Rows, hidden: Rows,
        chunk: int,
    ) -> None:  # fmt: skip
        self.queries, self.products, self.subset, self.found = queries, products, subset, found
        self.offsets, self.hidden, self.chunk = offsets, hidden, chunk
        self.whole = len(subset) == len(products.vectors)
        # Row -> place in the subset; one row more, so that an excluded row of -1 is no place either.
        self.place = np.full(len(products.vectors) + 1, -1)
        self.place[subset] = np.arange(len(subset))
        # Every order of summing d products is within d roundings of the sum of their sizes (Higham 2002, section 3.1),
        # which is at most the product of the two lengths (Cauchy and Schwarz); both sides round. One more for ours.
        d = queries.shape[1]
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        self.doubt = 2 * (d + 2) * ROUNDING * 1.01 * lengths * products.longest + d * 2.0**-125  # the last: underflow
        self.only: torch.Tensor | None = None

    def begin(self, batch: Rows) -> Landing:
        """Candidates of a batch of queries as one float64 array [q, found + 1]: places, -1 for none, then the score
        that no other product is above.
        """
        asked = to_device(self.products.device, self.queries[batch])[0]
        counts = self.offsets[batch + 1] - self.offsets[batch]
        owner = np.repeat(np.arange(len(batch)), counts)
        first = np.repeat(self.offsets[batch] - (np.cumsum(counts) - counts), counts)
        hidden = self.place[self.hidden[first + np.arange(len(first))]]
        best = columns = None
        for start in range(0, len(self.subset), self.chunk):
            stop = min(start + self.chunk, len(self.subset))
            dense = asked @ self._vectors(start, stop).T
            inside = (hidden >= start) & (hidden < stop)
            at = to_device(dense.device, owner[inside], hidden[inside] - start)
            dense[at] = -torch.inf
            best, columns = self._joined(best, columns, dense, start)
        assert best is not None, "a search has products"
        assert columns is not None
        columns = columns.masked_fill(best == -torch.inf, -1)
        return to_host(torch.cat([columns.double(), best[:, -1:].double()], dim=1))

    def settled(self, batch: Rows, found: Array, scores: FloatMatrix, rows: Rows, threads: int) -> BoolMask:
        """Write the lists of a batch; which of them no other product can change."""
        from models.search.device_kernels import settle

        places, least = found[:, :-1].astype(np.int64), found[:, -1]
        candidates = np.where(places >= 0, self.subset[places], -1)
        asked = np.ascontiguousarray(self.queries[batch])
        own_scores = np.empty((len(batch), scores.shape[1]), np.float32)
        own_rows = np.empty((len(batch), scores.shape[1]), np.int64)
        in_threads(
            lambda a, b: settle(asked, self.products.vectors, candidates, own_scores, own_rows, a, b),
            len(batch), max(256, -(-len(batch) // threads)), threads,
        )  # fmt: skip
        scores[batch], rows[batch] = own_scores, own_rows
        every = (places[:, -1] < 0) | (self.found == len(self.subset))
        return np.asarray(every | (own_scores[:, -1] > least + self.doubt[batch]))

    def _vectors(self, start: int, stop: int) -> torch.Tensor:
        """[stop - start, d] of the subset's products from `start` to `stop`; kept where that is all of them."""
        if self.only is not None:
            return self.only
        rows, resident, device = self.subset[start:stop], self.products.resident, self.products.device
        if resident is None:
            found = to_device(device, self.products.vectors[rows])[0]
        else:
            found = resident[start:stop] if self.whole else resident.index_select(0, to_device(device, rows)[0])
        self.only = found if len(rows) == len(self.subset) else None
        return found

    def _joined(
        self, best: torch.Tensor | None, columns: torch.Tensor | None, dense: torch.Tensor, start: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(scores, places) of the best so far, of what was found before and of a chunk's scores."""
        top, at = torch.topk(dense, min(self.found, dense.shape[1]), dim=1)
        at = at + start
        if best is not None and columns is not None:
            top, at = torch.cat([best, top], dim=1), torch.cat([columns, at], dim=1)
            top, order = torch.topk(top, min(self.found, top.shape[1]), dim=1)
            at = at.gather(1, order)
        return top, at
