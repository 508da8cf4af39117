"""Ranks targets among the whole catalogue and computes metrics: no sampled negatives, ties count against the target.

Why: a sampled metric can reverse the order of two models (Krichene and Rendle, KDD 2020), and a
model whose scores collapse to one value, or to NaN, must look bad instead of perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    targets: Sequences,
    allowed: Allowed,
    *,
    list_length: int = 10,
    batch: int = 512,
    progress: Progress = silent,
) -> TargetRanks:
    """Rank every target [n lists] among what its customer may be shown: `rank_slices` of one slice."""
    return rank_slices(row_scores, targets, {"": allowed}, list_length=list_length, batch=batch, progress=progress)[""]


def rank_slices(
    row_scores: RowScores,
    targets: Sequences,
    slices: Mapping[str, Allowed],
    *,
    list_length: int = 10,
    batch: int = 512,
    progress: Progress = silent,
) -> dict[str, TargetRanks]:
    """Rank every target [n lists] among what its customer may be shown, on each slice; scores are computed once.

    `row_scores` comes from `from_vectors` or `from_scorer`, what may be shown from `allowing`. A product that is a
    target twice counts once, one that may not be shown is no target.
    Raises ValueError on scores that are not finite or not [batch, products].
    """
    wanted = np.flatnonzero(targets.lengths)
    if not len(wanted):
        raise ValueError("no customer has a target; widen the window that targets are taken from")
    parts: dict[str, list[TargetRanks]] = {label: [] for label in slices}
    for start in range(0, len(wanted), batch):
        rows = wanted[start : start + batch]
        scores, of_rows = None, targets.take(rows)
        for label, allowed in slices.items():
            shown = allowed(rows)
            if scores is None:
                scores = _finite_scores(row_scores, rows, shown.shape[1])
            parts[label].append(_ranked(np.where(shown, scores, -np.inf), rows, of_rows, shown, list_length))
        progress("customers ranked", start + len(rows), len(wanted))
    return {label: _joined(of_slice) for label, of_slice in parts.items()}


def _ranked(
    scores: FloatMatrix, rows: npt.NDArray[np.int64], targets: Sequences, shown: BoolMask, list_length: int
) -> TargetRanks:
    """Of one batch; overwrites `scores`, which are -inf where nothing may be shown."""
    owner, product, missed = _reachable(targets, shown)
    kept, counts = np.unique(owner, return_counts=True)
    _, lists = top_n_of_scores(scores[kept], list_length)
    ranks = _ranks(scores, owner, product)
    return TargetRanks(rows[kept], offsets_of(counts), ranks, lists, missed, len(rows) - len(kept))


def _joined(parts: Sequence[TargetRanks]) -> TargetRanks:
    return TargetRanks(
        np.concatenate([part.customers for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.lists for part in parts]),
        sum(part.unreachable for part in parts),
        sum(part.without_target for part in parts),
    )


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


def _reachable(targets: Sequences, shown: BoolMask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Distinct targets that may be shown as (customer in batch, product), and how many may not."""
    width = shown.shape[1]
    keys = np.unique(targets.owners * width + targets.products)
    owner, product = keys // width, keys % width
    keep = shown[owner, product]
    return owner[keep], product[keep], int((~keep).sum())


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


Allowed = Callable[[npt.NDArray[np.int64]], BoolMask]
"""From positions of q customers to what each may be shown, [q, products]."""


def allowing(
    live: BoolMask, excluded: Sequences | None = None, markets: npt.NDArray[np.int64] | None = None
) -> Allowed:
    """The products that are `live` [products], or in the customer's market: [m, products] with `markets` [n], without
    the products of the customer's list in `excluded` [n].
    """

    def allowed(rows: npt.NDArray[np.int64]) -> BoolMask:
        shown = np.tile(live, (len(rows), 1)) if markets is None else live[markets[rows]]
        if excluded is not None:
            own = excluded.take(rows)
            shown[own.owners, own.products] = False
        return shown

    return allowed


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
