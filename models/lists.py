"""From nearest neighbours to what may be shown: without bought products, and market by market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from models.contract import FloatMatrix
from models.exact_search import QUERIES, in_threads
from models.search import exact_top_n, threads
from models.top_n import BoolMask, Rows

TOGETHER = 8192
"""Lists that a thread fills at once."""
ExactSearch = Callable[[Rows, BoolMask], tuple[FloatMatrix, Rows]]
"""From positions of q queries and the allowed products [p] to (scores [q, n], rows [q, n])."""


@dataclass(frozen=True)
class MarketLists:
    """The lists of every query in one market."""

    market: int
    """Row of `available`."""
    rows: Rows
    """[q, n], best first, -1 past the last product there is."""
    scores: FloatMatrix
    """[q, n], -inf where the row is -1."""
    searched: int
    """Queries whose neighbours did not fill n places, so that they were searched exactly."""


def top_n_by_market(
    neighbours: Rows, scores: FloatMatrix, available: BoolMask, n: int, exact: ExactSearch
) -> Iterator[MarketLists]:
    """The lists of q queries in each market, from one search over all products.

    `neighbours` and `scores` [q, depth] are each query's best products of all, best first, -1 past
    the last; `available` is [markets, products]. A market's top n lies inside them whenever at
    least n of them are available there; only where fewer are is `exact` called. Raises ValueError
    where shapes do not fit together.
    """
    from models.market_kernels import first_available

    if neighbours.shape != scores.shape or neighbours.max(initial=-1) >= available.shape[1]:
        raise ValueError(
            f"neighbours {neighbours.shape} up to row {neighbours.max(initial=-1)} do not fit scores {scores.shape} "
            f"and {available.shape[1]} products"
        )
    neighbours = np.ascontiguousarray(neighbours, dtype=np.int64)
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    for market, strided in enumerate(available):
        allowed = np.ascontiguousarray(strided)  # markets that were picked by column lie apart in memory
        rows = np.empty((len(neighbours), n), dtype=np.int64)
        best = np.empty((len(neighbours), n), dtype=np.float32)
        found = np.empty(len(neighbours), dtype=np.int64)
        in_threads(
            partial(first_available, neighbours, scores, allowed, rows, best, found),
            len(neighbours), TOGETHER, threads(),
        )  # fmt: skip
        # Where the market itself has no more products to give, the neighbours may already be all of them.
        short = np.flatnonzero(found < min(n, int(allowed.sum())))
        if len(short):
            best[short], rows[short] = exact(short, allowed)
        yield MarketLists(market, rows, best, len(short))


def top_n_excluding(
    queries: FloatMatrix,
    vectors: FloatMatrix,
    n: int,
    excluded_offsets: npt.NDArray[np.int64],
    excluded_rows: npt.NDArray[np.integer],
    allowed: BoolMask | None = None,
    batch: int = QUERIES,
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]): exact top n of `vectors` [p, d] without what each query excludes.

    Query i excludes `excluded_rows[excluded_offsets[i]:excluded_offsets[i+1]]`: the products a
    customer bought, or the product itself. `allowed` [p] is what the market has. `batch` is the
    number of queries that a thread works on at once.
    """
    return exact_top_n(queries, vectors, n, allowed, (excluded_offsets, excluded_rows), batch)
