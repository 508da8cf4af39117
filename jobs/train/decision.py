"""Decides which model serves, from the figures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import Rows
from models.evaluation.bootstrap import Interval, paired_difference
from models.networks.artefacts import POPULARITY

LAST_CHAMPION = "last champion"
BEHIND, DECISION = "ndcg@10 minus the winner's", "decision"
"""Metric and slice of the differences in `evaluations`."""


@dataclass(frozen=True)
class CandidateResult:
    """One candidate's figures on the held-out customers."""

    ndcg: npt.NDArray[np.float64]
    """[m], NDCG@10 of each pair of a customer and a day, the same pairs for all candidates."""
    train_seconds: float
    """Seconds to choose settings and to fit on the data before the split."""
    encode_per_second: float
    """Customers encoded per second."""


@dataclass(frozen=True)
class Budget:
    """Limits to what a champion may cost."""

    train_minutes: float = 120.0
    """Most minutes of one fit; every candidate is fitted twice, for the comparison and on everything."""
    encode_per_second: float = 200.0
    """Fewest customers encoded per second."""

    def breach(self, result: CandidateResult) -> str:
        """Which limit a candidate exceeds, in words; empty for none."""
        if result.train_seconds > 60 * self.train_minutes:
            return f"training took {result.train_seconds / 60:.0f} of {self.train_minutes:g} minutes"
        if result.encode_per_second < self.encode_per_second:
            return f"encodes {result.encode_per_second:,.0f} customers a second of {self.encode_per_second:,.0f}"
        return ""


@dataclass(frozen=True)
class ComparisonOutcome:
    """Which model serves, and why the others do not."""

    winner: str
    """A candidate, LAST_CHAMPION where the model of the last comparison continues to serve, or POPULARITY."""
    reasons: dict[str, str]
    """Of every candidate and, where they were compared, of LAST_CHAMPION and POPULARITY."""
    differences: dict[str, Interval]
    """NDCG@10 of every other model, and of POPULARITY, minus the winner's, on the same customers."""


def decide(
    candidates: Mapping[str, CandidateResult],
    incumbent: str | None,
    last_champion: npt.NDArray[np.float64] | None,
    budget: Budget,
    customers: Rows | None = None,
    popularity: npt.NDArray[np.float64] | None = None,
) -> ComparisonOutcome:
    """The kind that served (`incumbent`) is replaced only by a significantly better one. The very model that served
    (`last_champion`, [m] its NDCG@10) is kept where the new winner is significantly worse.

    Significant: the 95 % interval of the paired difference, which draws `customers` [m] (None: each pair is one's),
    lies on one side of 0. A candidate over budget cannot win; where all are over budget, the one that trains fastest
    wins, because one model has to serve. Where no other model served before, POPULARITY wins if the mean of
    `popularity` [m] is not below that of every model that can; elsewhere the gates stop such a night.
    """
    breaches = {name: budget.breach(found) for name, found in candidates.items()}
    able = [name for name in candidates if not breaches[name]]
    able = able or [min(candidates, key=lambda name: candidates[name].train_seconds)]
    best = max(able, key=lambda name: float(candidates[name].ndcg.mean()))
    reason, winner = "highest ndcg@10", best
    if incumbent in able and incumbent != best:
        lead = paired_difference(candidates[best].ndcg, candidates[incumbent].ndcg, customers)
        reason = f"beats {incumbent}, which served, by {lead}"
        if lead.low <= 0:
            winner, reason = incumbent, f"served, and {best}'s lead of {lead} is within the interval"
    scores = {name: found.ndcg for name, found in candidates.items()}
    if last_champion is not None:
        scores[LAST_CHAMPION] = last_champion
        loss = paired_difference(candidates[winner].ndcg, last_champion, customers)
        if loss.high < 0:
            winner, reason = LAST_CHAMPION, f"the best new model, {winner}, falls behind it by {loss}"
    if popularity is not None and incumbent in (None, POPULARITY) and popularity.mean() >= scores[winner].mean():
        reason = (
            f"ndcg@10 {popularity.mean():.4f}, and that of the best model, {winner}, is {scores[winner].mean():.4f}"
        )
        winner = POPULARITY
    if popularity is not None:
        scores[POPULARITY] = popularity
    differences = {
        name: paired_difference(values, scores[winner], customers) for name, values in scores.items() if name != winner
    }
    reasons = {name: f"ndcg@10 minus that of {winner}: {gap}" for name, gap in differences.items()}
    reasons |= {name: f"over budget: {text}" for name, text in breaches.items() if text and name != winner}
    return ComparisonOutcome(winner, reasons | {winner: reason}, differences)
