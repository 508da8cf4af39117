"""Counts pairs of products as a sparse matrix: the base of co-purchase, Markov chain and item-kNN."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.ragged import Ragged, Rows, offsets_of, ranges
from models.sequences import EVENT_TYPES, Sequences

if TYPE_CHECKING:
    import torch

FloatVector = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

PAIRS_AT_ONCE = 4_000_000
"""At least so many pairs wait before they are counted."""
VIEWS = tuple(EVENT_TYPES.index(name) for name in ("click", "save", "bag"))
"""Event types that count as looking at a product. Products of one purchase go together, but are no alternatives."""


@dataclass(frozen=True)
class PairCounts(Ragged):
    """Sparse [products, products] of non-negative weights; list i holds the pairs (i, j) that were seen."""

    columns: Integers
    """[pairs], j, rising within one row."""
    values: Floats
    """[pairs], above 0."""

    def row_sums(self) -> FloatVector:
        """[products], the weight of all pairs (i, .)."""
        sums, filled = np.zeros(len(self)), self.lengths > 0
        sums[filled] = np.add.reduceat(self.values, self.offsets[:-1][filled], dtype=np.float64)
        return sums

    def strongest(self, per_row: int) -> PairCounts:
        """At most `per_row` pairs of each row, those of the highest weight, ties by column."""
        order = np.lexsort((self.columns, -self.values, self.owners))
        place = np.arange(len(order)) - np.repeat(self.offsets[:-1], self.lengths)
        kept = np.zeros(len(order), dtype=bool)
        kept[order[place < per_row]] = True
        return self.where(kept)

    def pairs_of(self, rows: Integers) -> tuple[Rows, Rows]:
        """(position in `rows`, position in `columns` and `values`) of every pair of those rows."""
        return ranges(self.offsets[rows], self.lengths[rows])

    def torch(self) -> torch.Tensor:
        """A float32 sparse CSR tensor of the same matrix, for products with dense ones."""
        import torch  # seconds to import, and counting needs none of it

        kind = np.int32 if len(self.columns) < 2**31 else np.int64
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse ")
            return torch.sparse_csr_tensor(
                torch.from_numpy(self.offsets.astype(kind)),
                torch.from_numpy(self.columns.astype(kind, copy=False)),
                torch.from_numpy(self.values.astype(np.float32, copy=False)),
                size=(len(self), len(self)),
                check_invariants=False,
            )


class PairCounter:
    """Counts how often two products are in one group (basket or history), both directions, never with themselves.

    Groups come in batches; memory grows with the distinct pairs, not with the groups.
    """

    def __init__(self, n_products: int) -> None:
        self._counts = _nothing(n_products)
        self._lines: list[tuple[Integers, Integers, FloatVector]] = []
        self._waiting = 0

    def add(self, offsets: Integers, products: Integers, weights: FloatVector) -> None:
        """Count groups: `offsets` [groups + 1] cut `products`, which rise within a group; each pair of a group adds its
        `weights` [groups], which are above 0.
        """
        lengths = np.diff(offsets)
        # Products rise within a group, so each pair is met once as (smaller, larger) and mirrored at the end.
        partners = np.repeat(offsets[1:], lengths) - np.arange(len(products)) - 1
        self._lines.append((products.astype(np.int32), partners.astype(np.int32), np.repeat(weights, lengths)))
        self._waiting += int(partners.sum())
        # Merging reads every pair known so far: it pays once as many wait, which keeps the whole linear.
        if self._waiting >= max(PAIRS_AT_ONCE, len(self._counts.columns)):
            self._merge()

    def counts(self) -> PairCounts:
        """The pairs of all groups."""
        from models.copurchase.kernels import mirrored

        self._merge()
        return PairCounts(*mirrored(self._counts.offsets, self._counts.columns, self._counts.values))

    def _merge(self) -> None:
        if self._lines:
            products, partners, weights = (np.concatenate(column) for column in zip(*self._lines, strict=True))
            self._lines, self._waiting = [], 0
            starts = np.arange(len(products)) + 1
            self._counts = _added(self._counts, products, weights, starts, partners, products)


def count_together(offsets: Integers, products: Integers, weights: FloatVector, n_products: int) -> PairCounts:
    """What `PairCounter` counts in groups whose products come in any order, and repeats in a group once."""
    counter = PairCounter(n_products)
    counter.add(*distinct(offsets, products, n_products), weights)
    return counter.counts()


def count_following(
    sources: Integers, weights: FloatVector, starts: Integers, lengths: Integers, targets: Integers, n_products: int
) -> PairCounts:
    """How often a target follows a source: source e meets `targets[starts[e] : starts[e] + lengths[e]]`,
    and adds `weights[e]`, above 0, to each of those pairs.
    """
    found = _added(_nothing(n_products), sources, weights, starts, lengths, targets)
    order = np.lexsort((found.columns, found.owners))
    return replace(found, columns=found.columns[order], values=found.values[order])


def _nothing(n_products: int) -> PairCounts:
    return PairCounts(np.zeros(n_products + 1, np.int64), np.empty(0, np.int32), np.empty(0))


def _added(
    counts: PairCounts, sources: Integers, weights: FloatVector, starts: Integers, lengths: Integers, targets: Integers
) -> PairCounts:
    """`counts` and those that `count_following` describes, the columns of a row in any order."""
    from models.copurchase.kernels import add_pairs

    room = len(counts.columns) + int(lengths.sum())  # of which only what is written becomes memory
    columns, values = np.empty(room, np.int32), np.empty(room)
    before = counts.offsets, counts.columns, counts.values
    events = sources.astype(np.int32), weights, starts.astype(np.int64), lengths.astype(np.int32)
    offsets = add_pairs(before, events, targets.astype(np.int32), columns, values)
    return PairCounts(offsets, columns[: offsets[-1]], values[: offsets[-1]])


def distinct(offsets: Integers, products: Integers, n_products: int) -> tuple[Rows, Rows]:
    """The same groups, each product once and rising within its group: (offsets, products).

    Raises ValueError on a product outside 0 .. n_products - 1.
    """
    if len(products) and (products.min() < 0 or products.max() >= n_products):
        raise ValueError(
            f"products reach from {products.min()} to {products.max()}, expected 0 to {n_products - 1}; "
            "drop events of unknown products before counting"
        )
    groups = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    # Sorting beats numpy's own unique, which hashes, several times over.
    keys = np.sort(groups * n_products + products)
    keys = keys[np.flatnonzero(np.diff(keys, prepend=-1))]
    lengths = np.bincount(keys // n_products, minlength=len(offsets) - 1)
    return offsets_of(lengths), keys % n_products


@dataclass(frozen=True)
class Baskets:
    """b baskets or visits; `products[offsets[k]:offsets[k + 1]]` are those of basket k."""

    offsets: Rows
    products: Integers
    times: Rows | None = None
    """[b], seconds since 1970 UTC of each basket's first event; None where that is not known."""

    def __len__(self) -> int:
        return len(self.offsets) - 1


def visits(sequences: Sequences, pause: int) -> Baskets:
    """Each customer's views, cut where over `pause` seconds pass."""
    views = sequences.where(np.isin(sequences.events, VIEWS))
    offsets = views.basket_offsets(pause)
    return Baskets(offsets, views.products, views.times[offsets[:-1]])
