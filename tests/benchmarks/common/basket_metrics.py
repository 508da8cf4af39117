"""Measures lists of products bought together on the other products of later baskets; classic scores to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from models.arrays import Rows, top_n_of_scores
from models.copurchase.pairs import count_together, distinct
from models.evaluation.metrics import Metrics
from models.ragged import ranges


@dataclass(frozen=True)
class BasketQueries:
    """Every product of every later basket asks for the rest of its basket."""

    sources: Rows
    """[queries], the product whose page is open."""
    baskets: Rows
    """[queries], number of its basket: queries of one basket are not independent."""
    offsets: Rows
    """[baskets + 1] over `products`."""
    products: Rows
    """[lines], distinct and rising within a basket."""
    cold_lines: int
    """Lines dropped because their product was never sold before the split (given as -1)."""
    single_baskets: int
    """Baskets without a query: they have fewer than two known products."""


def basket_queries(
    offsets: npt.NDArray[np.integer], products: npt.NDArray[np.integer], n_products: int
) -> BasketQueries:
    """Queries from test baskets: basket k is `products[offsets[k]:offsets[k+1]]`, -1 for an unknown product."""
    known = products >= 0
    kept_before = np.concatenate(([0], np.cumsum(known)))
    offsets, kept = distinct(kept_before[offsets], products[known], n_products)
    asking = np.diff(offsets) > 1
    baskets = np.repeat(np.arange(len(asking)), np.diff(offsets))
    lines = np.flatnonzero(asking[baskets])
    return BasketQueries(kept[lines], baskets[lines], offsets, kept, int((~known).sum()), int((~asking).sum()))


def judge_lists(lists: Rows, queries: BasketQueries, ks: Sequence[int] = (6, 24), batch: int = 65_536) -> Metrics:
    """hit_rate@k, recall@k and ndcg@10 of each query, [queries].

    `lists` [products, n] is the list of each source product, -1 where it is short. A query's targets
    are the other products of its basket; recall@k divides by their number, ndcg@10's ideal puts
    min(10, targets) on top. Raises ValueError when a list names its own source or is too short for ks.
    """
    depth = max(*ks, 10)
    if lists.shape[1] < depth:
        raise ValueError(f"lists of {lists.shape[1]} places cannot be judged at {depth}; ask for longer ones")
    if (lists == np.arange(len(lists))[:, None]).any():
        raise ValueError("a list names its own source product, which is no recommendation")
    width = len(lists)
    line_keys = np.repeat(np.arange(len(queries.offsets) - 1), np.diff(queries.offsets)) * width + queries.products
    others = np.diff(queries.offsets)[queries.baskets] - 1
    hits = np.empty((len(queries.sources), depth), dtype=bool)
    for start in range(0, len(hits), batch):
        part = slice(start, start + batch)
        shown = lists[queries.sources[part], :depth]
        keys = np.where(shown >= 0, queries.baskets[part, None] * width + shown, -1)
        hits[part] = line_keys[np.minimum(np.searchsorted(line_keys, keys), len(line_keys) - 1)] == keys
    gains: npt.NDArray[np.float64] = 1.0 / np.log2(np.arange(2, 12))
    best_case = np.cumsum(gains)
    ideal = best_case[np.minimum(others, 10) - 1]
    metrics: Metrics = {}
    metrics["ndcg@10"] = np.asarray((hits[:, :10] * gains).sum(axis=1) / ideal)
    for k in ks:
        metrics[f"hit_rate@{k}"] = np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)
        metrics[f"recall@{k}"] = np.asarray(hits[:, :k].sum(axis=1) / others)
    return metrics


def baskets_at(
    offsets: npt.NDArray[np.integer], products: npt.NDArray[np.integer], chosen: npt.NDArray[np.bool_]
) -> tuple[Rows, Rows]:
    """(offsets, products) of the baskets where `chosen` [baskets] is true."""
    lengths = np.diff(offsets)[chosen]
    _, lines = ranges(offsets[:-1][chosen], lengths)
    return np.concatenate(([0], np.cumsum(lengths))), np.asarray(products[lines], dtype=np.int64)


# Classic item-to-item scores from unweighted basket counts: c_ij baskets hold both products, n_i hold product i.

Formula = Literal["cosine", "lift", "conditional", "popularity"]
FORMULAS: tuple[Formula, ...] = get_args(Formula)


def basket_baseline(
    offsets: npt.NDArray[np.integer],
    products: npt.NDArray[np.integer],
    n_products: int,
    formula: Formula,
    n: int,
    batch: int = 1024,
) -> Rows:
    """The n best products for every source product, [n_products, n], -1 where no pair was seen.

    cosine c_ij / sqrt(n_i n_j), lift c_ij / (n_i n_j), conditional c_ij / n_i, popularity n_j; equal
    scores go by popularity. Basket k is `products[offsets[k]:offsets[k+1]]`.
    """
    offsets, products = distinct(offsets, products, n_products)
    sold = np.bincount(products, minlength=n_products).astype(np.float64)
    tie_break = sold / (1e6 * max(1.0, sold.max(initial=0.0)))
    counts = count_together(offsets, products, np.ones(len(offsets) - 1), n_products)
    source, target = sold[counts.owners], sold[counts.columns]
    values = {
        "cosine": counts.values / np.sqrt(source * target),
        "lift": counts.values / (source * target),
        "conditional": counts.values / source,
        "popularity": counts.values,
    }[formula]
    values = values * (1.0 + tie_break[counts.columns])
    lists = []
    for start in range(0, n_products, batch):
        rows = np.arange(start, min(start + batch, n_products))
        scores = np.full((len(rows), n_products), -np.inf, dtype=np.float32)
        if formula == "popularity":
            scores[:] = sold
            scores[rows - start, rows] = -np.inf
        else:
            owner, pair = counts.pairs_of(rows)
            scores[owner, counts.columns[pair]] = values[pair]
        lists.append(top_n_of_scores(scores, n)[1])
    return np.concatenate(lists)
