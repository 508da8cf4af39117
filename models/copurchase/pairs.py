"""Counts pairs of products as a sparse matrix: the base of co-purchase, Markov chain and item-kNN."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.ragged import Ragged, Rows, offsets_of, ranges
from models.sequences import EVENT_TYPES, Sequences

if TYPE_CHECKING:
    import torch

FloatVector = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

PAIRS_AT_ONCE = 8_000_000
"""Bounds the memory of counting: some 300 MB of keys and weights, whatever the number of baskets."""
VIEWS = tuple(EVENT_TYPES.index(name) for name in ("click", "save", "bag"))
"""Event types that count as looking at a product. Products of one purchase go together, but are no alternatives."""


@dataclass(frozen=True)
class PairCounts(Ragged):
    """Sparse [products, products] of non-negative weights; list i holds the pairs (i, j) that were seen."""

    columns: Rows
    """[pairs], j, rising within one row."""
    values: FloatVector
    """[pairs], above 0."""

    def row_sums(self) -> FloatVector:
        """[products], the weight of all pairs (i, .)."""
        return np.bincount(self.owners, weights=self.values, minlength=len(self)).astype(np.float64)

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

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse ")
            return torch.sparse_csr_tensor(
                torch.from_numpy(self.offsets),
                torch.from_numpy(self.columns),
                torch.from_numpy(self.values.astype(np.float32)),
                size=(len(self), len(self)),
                check_invariants=False,
            )


def count_together(offsets: Integers, products: Integers, weights: FloatVector, n_products: int) -> PairCounts:
    """How often two products are in one group (basket or history), both directions, never with themselves.

    `offsets` [groups + 1] cut `products`, whose repeats within a group count once; each pair of a group adds its
    `weights` [groups]. Memory grows with the distinct pairs, not with the groups.
    """
    offsets, products = distinct(offsets, products, n_products)
    lengths = np.diff(offsets)
    ends = np.repeat(offsets[1:], lengths)
    weight = np.repeat(weights, lengths)
    # Products rise within a group, so each pair is met once as (smaller, larger) and mirrored at the end.
    partners = ends - np.arange(len(products)) - 1
    keys, values = _sum_pairs(products, weight, np.arange(len(products)) + 1, partners, products, n_products)
    low, high = keys // n_products, keys % n_products
    return from_keys(np.concatenate((keys, high * n_products + low)), np.concatenate((values, values)), n_products)


def count_following(
    sources: Integers, weights: FloatVector, starts: Integers, lengths: Integers, targets: Integers, n_products: int
) -> PairCounts:
    """How often a target follows a source: source e meets `targets[starts[e] : starts[e] + lengths[e]]`,
    and adds `weights[e]` to each of those pairs.
    """
    return from_keys(*_sum_pairs(sources, weights, starts, lengths, targets, n_products), n_products)


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


def from_keys(keys: Rows, values: FloatVector, n_products: int) -> PairCounts:
    """Pairs keyed `i * n_products + j`, each key once, in any order."""
    order = np.argsort(keys)
    keys = keys[order]
    offsets = np.searchsorted(keys, np.arange(n_products + 1) * n_products)
    return PairCounts(offsets.astype(np.int64), keys % n_products, values[order])


def _sum_pairs(
    sources: Integers, weights: FloatVector, starts: Integers, lengths: Integers, targets: Integers, n_products: int
) -> tuple[Rows, FloatVector]:
    keys, values = np.empty(0, dtype=np.int64), np.empty(0)
    for chunk in _chunks(lengths):
        owner, position = ranges(starts[chunk], lengths[chunk])
        fresh = sources[chunk].astype(np.int64)[owner] * n_products + targets[position]
        keys, values = _reduced(np.concatenate((keys, fresh)), np.concatenate((values, weights[chunk][owner])))
    return keys, values


def _chunks(lengths: Integers) -> Iterator[slice]:
    """Successive slices of events that make at most PAIRS_AT_ONCE pairs, or one event."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


def _reduced(keys: Rows, values: FloatVector) -> tuple[Rows, FloatVector]:
    """Each key once, in rising order, with the sum of its values."""
    if not len(keys):
        return keys, values
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[first], np.add.reduceat(values[order], first)


def visits(sequences: Sequences, pause: int) -> tuple[Rows, npt.NDArray[np.int32], Rows]:
    """(offsets [v + 1], products, times [v]) of v visits: each customer's views, cut where over `pause` seconds pass.

    `times` are the seconds since 1970 UTC of the first view.
    """
    views = sequences.where(np.isin(sequences.events, VIEWS))
    offsets = views.basket_offsets(pause)
    return offsets, views.products, views.times[offsets[:-1]]
