"""From nearest neighbours to what may be shown: without bought products, and market by market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract import FloatMatrix
from models.search import exact_top_n
from models.top_n import BoolMask, Rows

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
    least n of them are available there; only where fewer are is `exact` called.
    """
    for market, allowed in enumerate(available):
        keep = (neighbours >= 0) & allowed[neighbours]
        rows, kept_scores = _first_kept(neighbours, scores, keep, n)
        short = np.flatnonzero(rows[:, -1] < 0)
        # Where the market itself has no more products to give, the neighbours may already be all of them.
        short = short[keep[short].sum(axis=1) < min(n, int(allowed.sum()))]
        if len(short):
            kept_scores[short], rows[short] = exact(short, allowed)
        yield MarketLists(market, rows, kept_scores, len(short))


def top_n_excluding(
    queries: FloatMatrix,
    vectors: FloatMatrix,
    n: int,
    excluded_offsets: npt.NDArray[np.int64],
    excluded_rows: npt.NDArray[np.integer],
    allowed: BoolMask | None = None,
    batch: int = 4096,
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]): exact top n of `vectors` [p, d] without what each query excludes.

    Query i excludes `excluded_rows[excluded_offsets[i]:excluded_offsets[i+1]]`: the products a
    customer bought, or the product itself. `allowed` [p] is what the market has. Queries that
    exclude equally much share a batch, since each is searched n + the batch's largest exclusion deep.
    """
    counts = np.diff(excluded_offsets)
    if len(counts) != len(queries):
        raise ValueError(f"{len(queries)} queries but exclusions for {len(counts)}: give an empty range for none")
    subset = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    candidates = np.ascontiguousarray(vectors[subset])
    place = np.full(len(vectors) + 1, -1)
    place[subset] = np.arange(len(subset))
    scores = np.full((len(queries), n), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), n), -1, dtype=np.int64)
    order = np.argsort(counts, kind="stable")
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        depth = min(n + int(counts[chosen[-1]]), len(subset))
        if not depth:
            continue
        found_scores, found = exact_top_n(queries[chosen], candidates, depth)
        hidden = _pairs(excluded_offsets, place[excluded_rows], chosen, len(subset))
        keep = ~np.isin(np.arange(len(chosen))[:, None] * len(subset) + found, hidden)
        kept, scores[chosen] = _first_kept(found, found_scores, keep, n)
        rows[chosen] = np.where(kept >= 0, subset[kept], -1)
    return scores, rows


def _pairs(offsets: npt.NDArray[np.int64], values: Rows, chosen: Rows, width: int) -> Rows:
    """The chosen ranges' values >= 0 as keys `position in chosen * width + value`."""
    lengths = np.diff(offsets)[chosen]
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    hidden = values[np.repeat(offsets[chosen], lengths) + inside]
    owner = np.repeat(np.arange(len(chosen)), lengths)
    return np.asarray((owner * width + hidden)[hidden >= 0], dtype=np.int64)


def _first_kept(rows: Rows, scores: FloatMatrix, keep: BoolMask, n: int) -> tuple[Rows, FloatMatrix]:
    """The first n kept places of each query, moved to the left; -1 and -inf past the last."""
    place = np.cumsum(keep, axis=1, dtype=np.int32) - 1
    query, column = np.nonzero(keep & (place < n))
    kept_rows = np.full((len(rows), n), -1, dtype=np.int64)
    kept_scores = np.full((len(rows), n), -np.inf, dtype=np.float32)
    kept_rows[query, place[query, column]] = rows[query, column]
    kept_scores[query, place[query, column]] = scores[query, column]
    return kept_rows, kept_scores
