"""Weighted counts of product pairs as a sparse matrix: the base of co-purchase, Markov chain and item-kNN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.sequences import EVENT_TYPES, Sequences

if TYPE_CHECKING:
    import torch

FloatVector = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]

PAIRS_AT_ONCE = 8_000_000
"""Bounds the memory of counting: some 300 MB of keys and weights, whatever the number of baskets."""


@dataclass(frozen=True)
class PairCounts:
    """Sparse [products, products] of non-negative weights; row i are the pairs (i, j) that were seen."""

    offsets: Indexes
    """[products + 1], `offsets[i]:offsets[i+1]` are the pairs of product i."""
    columns: Indexes
    """[pairs], j, rising within one row."""
    values: FloatVector
    """[pairs], above 0."""

    @property
    def products(self) -> int:
        """Rows, and as many columns."""
        return len(self.offsets) - 1

    @property
    def owners(self) -> Indexes:
        """[pairs], i of each pair."""
        return np.repeat(np.arange(self.products), np.diff(self.offsets))

    def row_sums(self) -> FloatVector:
        """[products], the weight of all pairs (i, .)."""
        return np.bincount(self.owners, weights=self.values, minlength=self.products).astype(np.float64)

    def with_values(self, values: FloatVector) -> PairCounts:
        """The same pairs with other weights."""
        return PairCounts(self.offsets, self.columns, values)

    def strongest(self, per_row: int) -> PairCounts:
        """At most `per_row` pairs of each row, those of the highest weight, ties by column."""
        owners = self.owners
        order = np.lexsort((self.columns, -self.values, owners))
        place = np.arange(len(order)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))
        kept = np.sort(order[place < per_row])
        offsets = np.concatenate(([0], np.cumsum(np.bincount(owners[kept], minlength=self.products))))
        return PairCounts(offsets, self.columns[kept], self.values[kept])

    def pairs_of(self, rows: npt.NDArray[np.integer]) -> tuple[Indexes, Indexes]:
        """(position in `rows`, position in `columns` and `values`) of every pair of those rows."""
        return ranges(self.offsets[rows], np.diff(self.offsets)[rows])

    def torch(self) -> torch.Tensor:
        """A float32 sparse CSR tensor of the same matrix, for products with dense ones."""
        import torch  # seconds to import, and counting needs none of it

        return torch.sparse_csr_tensor(
            torch.from_numpy(self.offsets),
            torch.from_numpy(self.columns),
            torch.from_numpy(self.values.astype(np.float32)),
            size=(self.products, self.products),
        )


def ranges(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> tuple[Indexes, Indexes]:
    """(which range, position) of every position in the ranges `starts[i] : starts[i] + lengths[i]`."""
    owner = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - np.repeat(before, lengths) + np.asarray(starts, dtype=np.int64)[owner]


def count_together(
    offsets: npt.NDArray[np.integer], products: npt.NDArray[np.integer], weights: FloatVector, n_products: int
) -> PairCounts:
    """How often two products stand in one group (basket or history), both directions, never with themselves.

    `offsets` [groups + 1] cut `products`, whose repeats within a group count once; `weights` [groups]
    is what one pair of that group adds. Memory grows with the distinct pairs, not with the groups.
    """
    offsets, products = distinct(offsets, products, n_products)
    lengths = np.diff(offsets)
    ends = np.repeat(offsets[1:], lengths)
    weight = np.repeat(weights, lengths)
    # Products rise within a group, so each pair is met once as (smaller, larger) and mirrored at the end.
    partners = ends - np.arange(len(products)) - 1
    total = _sum_pairs(products, weight, np.arange(len(products)) + 1, partners, products, n_products)
    keys, values = total
    low, high = keys // n_products, keys % n_products
    return from_keys(np.concatenate((keys, high * n_products + low)), np.concatenate((values, values)), n_products)


def count_following(
    sources: npt.NDArray[np.integer],
    weights: FloatVector,
    starts: npt.NDArray[np.integer],
    lengths: npt.NDArray[np.integer],
    targets: npt.NDArray[np.integer],
    n_products: int,
) -> PairCounts:
    """How often a target follows a source: source e meets `targets[starts[e] : starts[e] + lengths[e]]`,
    and adds `weights[e]` to each of those pairs.
    """
    return from_keys(*_sum_pairs(sources, weights, starts, lengths, targets, n_products), n_products)


def distinct(
    offsets: npt.NDArray[np.integer], products: npt.NDArray[np.integer], n_products: int
) -> tuple[Indexes, Indexes]:
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
    return np.concatenate(([0], np.cumsum(lengths))), keys % n_products


def from_keys(keys: Indexes, values: FloatVector, n_products: int) -> PairCounts:
    """Pairs keyed `i * n_products + j`, each key once, in any order."""
    order = np.argsort(keys)
    keys = keys[order]
    offsets = np.searchsorted(keys, np.arange(n_products + 1) * n_products)
    return PairCounts(offsets.astype(np.int64), keys % n_products, values[order])


def _sum_pairs(
    sources: npt.NDArray[np.integer],
    weights: FloatVector,
    starts: npt.NDArray[np.integer],
    lengths: npt.NDArray[np.integer],
    targets: npt.NDArray[np.integer],
    n_products: int,
) -> tuple[Indexes, FloatVector]:
    keys, values = np.empty(0, dtype=np.int64), np.empty(0)
    for chunk in _chunks(lengths):
        owner, position = ranges(starts[chunk], lengths[chunk])
        fresh = sources[chunk].astype(np.int64)[owner] * n_products + targets[position]
        keys, values = _reduced(np.concatenate((keys, fresh)), np.concatenate((values, weights[chunk][owner])))
    return keys, values


def _chunks(lengths: npt.NDArray[np.integer]) -> Iterator[slice]:
    """Successive slices of events that make at most PAIRS_AT_ONCE pairs, or one event."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


def _reduced(keys: Indexes, values: FloatVector) -> tuple[Indexes, FloatVector]:
    """Each key once, in rising order, with the sum of its values."""
    if not len(keys):
        return keys, values
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    return keys[first], np.add.reduceat(values[order], first)


# What customers looked at together: the views of a visit, which a pause ends.

VIEWS = tuple(EVENT_TYPES.index(name) for name in ("click", "save", "bag"))
"""What looking is; what is bought together goes together, but is no alternative."""


def visits(
    sequences: Sequences, pause: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(offsets [v + 1], products, times [v]) of v visits: each customer's views, cut where `pause` seconds pass.

    `times` are the seconds since 1970 UTC of the first view.
    """
    views = sequences.where(np.isin(sequences.events, VIEWS))
    total = len(views.products)
    opens = np.zeros(total + 1, dtype=bool)
    opens[views.offsets] = True
    opens[1:-1] |= np.diff(views.times) > pause
    offsets = np.flatnonzero(opens)
    if not total:
        return np.zeros(1, np.int64), views.products, np.empty(0, np.int64)
    return offsets, views.products, views.times[offsets[:-1]]
