"""One judge for every entrant: metrics of each row, over the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.contract import Progress, silent
from models.evaluation.metrics import (
    Metrics,
    RowScores,
    allowing,
    per_customer,
    rank_targets,
)
from models.sequences import Sequences
from tests.benchmarks.common.catalogue_metrics import coverage, most_popular, share_of_slots
from tests.benchmarks.common.problem import Case, IntArray

KS = (10, 20)
NAMES = {"ndcg": "ndcg", "hr": "hit_rate", "mrr": "mrr", "recall": "recall"}
"""Name in the results -> name in `models.evaluation.metrics`."""
BATCH = 256
"""Rows ranked at once: with 50,000 products some 50 MB of scores."""
POLICY = "the whole catalogue is ranked, without sampled negatives; ties count against the target"


@dataclass(frozen=True)
class Judged:
    """How one fitted entrant did in one case."""

    rows: IntArray
    """[m], which rows of the case are counted; the others had no answer that can be recommended."""
    metrics: Metrics
    """Such as `ndcg@10` -> [m]."""
    coverage: float
    """Share of the candidates that stands in the first 20 of at least one list."""
    popular_share: float
    """Share of the places among the first 20 that goes to the 1 % of products with the most training events."""


def judge(
    row_scores: RowScores, case: Case, histories: Sequences, counts: npt.NDArray[np.integer],
    progress: Progress = silent,
) -> Judged:  # fmt: skip
    """Rank `case` by the scores for `histories` [n]; `counts` [products] are training events.

    Raises ValueError on scores that are NaN or infinite, and where no row has an answer.
    """
    candidates = np.ones(len(counts), dtype=bool) if case.candidates is None else case.candidates
    targets, missed = case.targets, case.targets.lengths == 0
    if missed.all():
        raise ValueError(f"none of the {len(missed):,} rows of {case.name!r} has a target that was seen in training")
    if case.count_misses:
        targets = _answered(targets, missed)
    allowed = allowing(candidates, histories if case.exclude_seen else None)
    ranking = rank_targets(row_scores, targets, allowed, list_length=max(KS), batch=BATCH, progress=progress)
    found = per_customer(ranking, KS)
    if case.count_misses:
        for values in found.values():
            values[missed[ranking.customers]] = 0.0
    metrics = {f"{ours}@{k}": found[f"{theirs}@{k}"] for ours, theirs in NAMES.items() for k in KS}
    popular = np.zeros(len(candidates), dtype=bool)
    popular[: len(counts)] = most_popular(counts)
    lists = ranking.lists
    shares = coverage(lists, max(KS), candidates), share_of_slots(lists, max(KS), popular)
    return Judged(ranking.customers, metrics, *shares)


def _answered(targets: Sequences, missed: npt.NDArray[np.bool_]) -> Sequences:
    """The targets with product 0 where there are none, so that those rows get a list; their metrics are overwritten."""
    lengths = np.where(missed, 1, targets.lengths)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    products = np.zeros(offsets[-1], dtype=np.int32)
    products[np.repeat(~missed, lengths)] = targets.products
    return Sequences(offsets, products, np.zeros(len(products), np.int8), np.zeros(len(products), np.int64))
