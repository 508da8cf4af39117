"""Held-out comparison of candidates and baselines by one global time split (rules: README, How quality is measured)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.baselines import ItemNeighbours, MarkovChain, OwnRepeat, Popularity
from models.bootstrap import mean_interval
from models.contract import Recommender
from models.metrics import per_customer, rank_targets
from models.scorers import RecommenderScorer, Scorer, from_scorer
from models.sequences import Sequences
from models.splits import Split
from models.top_n import BoolMask

KS = (10, 20)
SLICES = {"all": False, "new to the customer": True}
"""Slice name -> whether products already in a history are left out, for every model alike."""


@dataclass(frozen=True)
class Figure:
    """One row of `evaluations`."""

    model: str
    metric: str
    slice: str
    value: float
    low: float
    high: float
    customers: int


def baselines(train: Sequences, products: int, split_time: int) -> dict[str, Scorer]:
    """The scorers that every trained model has to beat."""
    recent = Popularity(train, products, until=split_time, days=7)
    return {
        "popularity": Popularity(train, products),
        "popularity of 7 days": recent,
        "markov chain": MarkovChain(train, products),
        "item-knn": ItemNeighbours(train, products),
        "own repeat": OwnRepeat(recent),
    }


def evaluation_rows(split: Split, most: int, seed: int) -> Split:
    """The split with at most `most` evaluated customers, drawn evenly, for histories and targets alike."""
    rows = split.known_customers
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    from dataclasses import replace

    return replace(split, train=split.train.take(rows), targets=split.targets.take(rows),
                   known_customers=np.arange(len(rows)))  # fmt: skip


def compare(
    trained: dict[str, Recommender], simple: dict[str, Scorer], split: Split, candidates: BoolMask
) -> Iterator[Figure]:
    """Every figure of every scorer on the split's customers; all rank the same candidates."""
    scorers: dict[str, Scorer] = {**simple, **{name: RecommenderScorer(model) for name, model in trained.items()}}
    for name, scorer in scorers.items():
        for label, exclude_seen in SLICES.items():
            ranking = rank_targets(
                from_scorer(scorer, split.train), split.train, split.targets, candidates, exclude_seen=exclude_seen
            )
            for metric, values in per_customer(ranking, KS).items():
                interval = mean_interval(values)
                yield Figure(name, metric, label, interval.value, interval.low, interval.high, len(values))
