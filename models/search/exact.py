"""Searches packed product vectors exactly on CPUs; threads share the queries."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import Rows
from models.contract import FloatMatrix

QUERIES = 192
"""Queries that a thread works on at once: enough to read the products seldom, few enough for its cache."""
SHARES = (32, 8, 2)
"""After 1/32, 1/8 and 1/2 of the products, a query's limit is guessed from the best it has seen."""
GOLDEN = 0.6180339887498949
"""Steps of that share of a circle spread evenly over it, however many there are."""


Excluded = tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]
"""(offsets [q + 1], rows): query i gets none of `rows[offsets[i]:offsets[i + 1]]`."""


@dataclass(frozen=True)
class PackedProducts:
    """The vectors of some products in the kernel's layout."""

    panels: npt.NDArray[np.float32]
    """[panels, d, 16], zeros past the last product."""
    row_of: Rows
    """[panels * 16], the row of the whole matrix at each place, -1 past the last product."""
    count: int
    """Products in it."""


def pack(vectors: FloatMatrix, rows: Rows, threads: int = 1) -> PackedProducts:
    """Pack the given rows of `vectors` [p, d], shuffled so that any first share of them is a sample of all.

    Raises ValueError on vectors without dimensions.
    """
    from models.search.exact_kernels import COLUMNS, pack_products

    if not vectors.shape[1]:
        raise ValueError(f"product vectors of shape {vectors.shape} have no dimension to search in")
    row_of = np.full(-(-len(rows) // COLUMNS) * COLUMNS, -1, dtype=np.int64)
    row_of[: len(rows)] = rows[_spread(len(rows))]
    panels = np.empty((len(row_of) // COLUMNS, vectors.shape[1], COLUMNS), dtype=np.float32)
    part = max(256, -(-len(panels) // threads))
    in_threads(lambda a, b: pack_products(vectors, row_of, panels, a, b), len(panels), part, threads)
    return PackedProducts(panels, row_of, len(rows))


def best_products(
    queries: FloatMatrix,
    packed: PackedProducts,
    n: int,
    excluded: Excluded | None = None,
    threads: int = 1,
    batch: int = QUERIES,
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]) of the n best products by inner product; -inf and -1 where there are fewer.

    Order: score falling, then row rising. A score depends on its two vectors alone, not on the rest of the search.
    Raises ValueError where shapes do not fit together.
    """
    from models.search.exact_kernels import best_of_queries

    if queries.shape[1] != packed.panels.shape[1]:
        raise ValueError(f"queries of {queries.shape[1]} dimensions cannot be scored by {packed.panels.shape[1]}")
    scores = np.full((len(queries), n), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), n), -1, dtype=np.int64)
    settled = np.zeros(len(queries), dtype=bool)
    products, hidden = (packed.panels, packed.row_of), rising(excluded, len(queries))

    def fill(chosen: Rows, plan: tuple[Rows, Rows]) -> None:
        def work(first: int, last: int) -> None:
            best_of_queries(queries, chosen[first:last], products, plan, hidden, (scores, rows, settled))

        in_threads(work, len(chosen), min(batch, -(-len(chosen) // threads)), threads)

    if packed.count and n:
        stops, ranks = _plan(packed, min(n, packed.count))
        fill(np.arange(len(queries)), (stops, ranks))
        scores[~settled], rows[~settled] = -np.inf, -1
        fill(np.flatnonzero(~settled), (stops[-1:], ranks[-1:]))
    return scores, rows


def in_threads(work: Callable[[int, int], None], count: int, part: int, threads: int) -> None:
    """Call `work(first, last)` for parts of [0, count); threads help only where it lets go of the interpreter."""
    firsts = range(0, count, max(1, part))
    if threads < 2 or len(firsts) < 2:
        for first in firsts:
            work(first, min(first + part, count))
        return
    with ThreadPoolExecutor(min(threads, len(firsts))) as pool:
        list(pool.map(lambda first: work(first, min(first + part, count)), firsts))


def _plan(packed: PackedProducts, n: int) -> tuple[Rows, Rows]:
    """(stops, ranks) of a `models.search.exact_kernels.CutPlan`.

    Of the n best of all, a share s of the products holds n s give or take their square root. So the best n s and
    three times that more set a limit that leaves fewer than n about once in a thousand queries.
    """
    panels, stops, ranks = len(packed.panels), [], []
    for share in SHARES:
        rank, stop = math.ceil(n / share + 3 * math.sqrt(n / share) + 3), panels // share
        if rank < n and 4 * rank <= stop * len(packed.row_of) // panels:
            stops.append(stop)
            ranks.append(rank)
    return np.array([*stops, panels]), np.array([*ranks, n])


def _spread(count: int) -> Rows:
    """0 .. count - 1 in steps of the golden ratio around the circle."""
    step = max(1, round(count * GOLDEN))
    while math.gcd(step, count) > 1:
        step += 1
    return np.arange(count) * step % max(count, 1)


def rising(excluded: Excluded | None, queries: int) -> tuple[Rows, Rows]:
    """Excluded rows in rising order within each query, as the kernel looks them up."""
    if excluded is None:
        return np.zeros(queries + 1, dtype=np.int64), np.empty(0, dtype=np.int64)
    offsets, rows = (np.ascontiguousarray(values, dtype=np.int64) for values in excluded)
    counts = np.diff(offsets)
    if len(counts) != queries:
        raise ValueError(f"{queries} queries but exclusions for {len(counts)}: give an empty range for none")
    if offsets[0] or offsets[-1] != len(rows) or (counts < 0).any():
        raise ValueError(f"offsets of exclusions have to rise from 0 to {len(rows)}, the number of excluded rows")
    return offsets, rows[np.lexsort((rows, np.repeat(np.arange(queries), counts)))]
