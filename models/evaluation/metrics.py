"""Ranks targets among the whole catalogue and computes metrics: no sampled negatives, ties count against the target.

Why: a sampled metric can reverse the order of two models (Krichene and Rendle, KDD 2020), and a
model whose scores collapse to one value, or to NaN, must look bad instead of perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, top_n_of_scores
from models.contract import FloatMatrix, Progress, Recommender, silent
from models.ragged import offsets_of
from models.sequences import Sequences

Metrics = dict[str, npt.NDArray[np.float64]]
"""Metric name such as `ndcg@10` to its value for each evaluated customer, [m]."""


@dataclass(frozen=True)
class TargetRanks:
    """The ranks of m customers' targets among their candidates, and each customer's list."""

    customers: npt.NDArray[np.int64]
    """[m], position in the histories that were given; the others had no target left."""
    offsets: npt.NDArray[np.int64]
    """[m + 1], `offsets[i]:offsets[i+1]` are the targets of customer i; never empty."""
    ranks: npt.NDArray[np.int64]
    """[targets], 1 is the top; distinct and rising within one customer."""
    lists: npt.NDArray[np.int64]
    """[m, list length], the products that customer would see, best first, -1 past the last."""
    unreachable: int
    """Distinct targets that were no candidate (not live, or seen and seen products excluded)."""
    without_target: int
    """Customers who had a target, but none that was reachable."""


def rank_targets(
    row_scores: RowScores,
    histories: Sequences,
    targets: Sequences,
    candidates: BoolMask,
    *,
    exclude_seen: bool,
    list_length: int = 10,
    batch: int = 512,
    progress: Progress = silent,
) -> TargetRanks:
    """Rank every target among the candidates of its customer.

    `row_scores` comes from `scorers.from_vectors` or `scorers.from_scorer`. `histories` and
    `targets` [n] belong to the same customers in the same order; `candidates` [products] are those
    live at the split time. With `exclude_seen` the products of a history are neither candidates nor
    targets for it. A product that is a target twice counts once.
    Raises ValueError on scores that are not finite or not [batch, products].
    """
    if len(histories) != len(targets):
        raise ValueError(f"{len(histories)} histories and {len(targets)} target lists are not of the same customers")
    wanted = np.flatnonzero(targets.lengths)
    parts = []
    unreachable = 0
    for start in range(0, len(wanted), batch):
        rows = wanted[start : start + batch]
        seen = histories.take(rows)
        scores = _finite_scores(row_scores, rows, len(candidates))
        owner, product, missed = _reachable(targets.take(rows), seen, candidates, exclude_seen)
        unreachable += missed
        scores[:, ~candidates] = -np.inf
        if exclude_seen:
            scores[seen.owners, seen.products] = -np.inf
        kept, counts = np.unique(owner, return_counts=True)
        _, lists = top_n_of_scores(scores[kept], list_length)
        parts.append((rows[kept], counts, _ranks(scores, owner, product), lists))
        progress("customers ranked", start + len(rows), len(wanted))
    if not parts:
        raise ValueError("no customer has a target; widen the window that targets are taken from")
    customers, counts, ranks, lists = (np.concatenate(column) for column in zip(*parts, strict=True))
    return TargetRanks(customers, offsets_of(counts), ranks, lists, unreachable, len(wanted) - len(customers))


def per_customer(ranking: TargetRanks, ks: Sequence[int]) -> Metrics:
    """hit_rate@k, recall@k, ndcg@k and mrr@k of each customer, for every k.

    recall@k is the share of a customer's targets in the first k; ndcg@k has gain 1 for a target and
    its ideal puts min(k, targets) of them on top (Jarvelin and Kekalainen 2002); mrr@k is 1 / rank
    of the best target, 0 beyond k. With one target, recall@k equals hit_rate@k.
    """
    first = ranking.offsets[:-1]
    targets = np.diff(ranking.offsets)
    best = ranking.ranks[first]
    metrics: Metrics = {}
    for k in ks:
        within = ranking.ranks <= k
        gains = np.where(within, 1.0 / np.log2(ranking.ranks + 1.0), 0.0)
        ideal = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))[np.minimum(k, targets) - 1]
        metrics[f"hit_rate@{k}"] = (best <= k).astype(np.float64)
        metrics[f"recall@{k}"] = np.add.reduceat(within, first, dtype=np.float64) / targets
        metrics[f"ndcg@{k}"] = np.add.reduceat(gains, first) / ideal
        metrics[f"mrr@{k}"] = np.where(best <= k, 1.0 / best, 0.0)
    return metrics


def _finite_scores(row_scores: RowScores, rows: npt.NDArray[np.int64], products: int) -> FloatMatrix:
    scores = row_scores(rows)
    if scores.shape != (len(rows), products):
        raise ValueError(f"scores are {scores.shape}, expected {(len(rows), products)}: one column per product")
    # Comparisons with NaN are false, so a broken model would rank every target first.
    if not np.isfinite(scores).all():
        raise ValueError(f"{(~np.isfinite(scores)).sum()} scores are NaN or infinite; no metric is computed from them")
    return np.array(scores, dtype=np.float32)


def _reachable(
    targets: Sequences, histories: Sequences, candidates: BoolMask, exclude_seen: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Distinct targets that are candidates as (customer in batch, product), and how many were not."""
    width = len(candidates)
    keys = np.unique(targets.owners * width + targets.products)
    keep = candidates[keys % width]
    if exclude_seen:
        seen = histories.owners * width + histories.products
        keep &= ~np.isin(keys, seen)
    return keys[keep] // width, keys[keep] % width, int((~keep).sum())


def _ranks(scores: FloatMatrix, owner: npt.NDArray[np.int64], product: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[targets], rising within each customer: 1 + every other candidate that scores at least as high.

    Tied targets of one customer take successive ranks among themselves: they are interchangeable.
    Overwrites `scores`.
    """
    reached = scores[owner, product]
    scores[owner, product] = -np.inf
    by_score = np.lexsort((-reached, owner))
    owner, reached = owner[by_score], reached[by_score]
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    place = np.arange(len(owner)) - np.repeat(starts, np.diff(starts, append=len(owner)))
    ranks = place + 1
    for nth in range(int(place.max(initial=-1)) + 1):
        at = np.flatnonzero(place == nth)
        ranks[at] += (scores[owner[at]] >= reached[at, None]).sum(axis=1)
    return ranks


RowScores = Callable[[npt.NDArray[np.int64]], FloatMatrix]
"""From positions of q customers to their scores [q, products], higher is closer."""


class Scorer(Protocol):
    """Scores of the whole catalogue from histories, higher is closer."""

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products] of n histories, float32, finite."""
        ...


class RecommenderScorer:
    """A Recommender seen as a Scorer: customer vectors times product vectors."""

    def __init__(self, recommender: Recommender, own: npt.NDArray[np.integer] | None = None) -> None:
        """`own` [products] is each product's index in the recommender's vocabulary, -1 where it is not there; these
        products come last. By default the products are the recommender's own.
        """
        self._recommender = recommender
        self._own = np.arange(len(recommender.vocabulary)) if own is None else own
        self._products = recommender.product_vectors()[self._own]

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]."""
        mapped = replace(sequences, products=self._own[sequences.products].astype(np.int32))
        scores: FloatMatrix = self._recommender.encode(mapped.where(mapped.products >= 0)) @ self._products.T
        scores[:, self._own < 0] = scores.min(initial=0) - 1
        return scores


def from_scorer(scorer: Scorer, histories: Sequences) -> RowScores:
    """The customers' scores computed from their histories [n], a batch at a time."""
    return lambda rows: scorer.scores(histories.take(rows))


def from_vectors(customers: FloatMatrix, products: FloatMatrix) -> RowScores:
    """The scores that exported vectors give: customers [n, d], products [p, d].

    Raises ValueError when their dimensions differ.
    """
    if customers.shape[1] != products.shape[1]:
        raise ValueError(
            f"customer vectors of {customers.shape[1]} and product vectors of {products.shape[1]} dimensions "
            "have no dot product; take both from one model"
        )
    return lambda rows: customers[rows] @ products.T
