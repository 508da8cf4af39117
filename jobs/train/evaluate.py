"""Computes the figures of models and baselines on held-out days (rules: README, How quality is measured)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask
from models.contract import Recommender
from models.evaluation.baselines import CategoryPopularity, ItemNeighbours, MarkovChain, OwnRepeat, PopularityScorer
from models.evaluation.bootstrap import mean_interval
from models.evaluation.metrics import (
    Metrics,
    RecommenderScorer,
    RowScores,
    Scorer,
    from_scorer,
    per_customer,
    rank_targets,
)
from models.sequences import Sequences, Split

KS = (10, 20)
HEADLINE = "ndcg@10"
"""The metric that picks the champion, on the slice `all`."""
SLICES = {"all": False, "new to the customer": True}
"""Slice name -> whether products of a customer's own history are left out, for every model alike."""
HISTORY_LENGTHS = ((1, 4), (5, 9), (10, 19), (20, None))
"""Events in a history, for the slices `history 1-4` to `history 20+`."""
FEWEST = 20
"""Customers below which a slice's mean says nothing and gets no row."""


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

    @staticmethod
    def mean(model: str, metric: str, label: str, values: npt.NDArray[np.float64]) -> Figure:
        """The mean of one value for each customer, with its interval."""
        interval = mean_interval(values)
        return Figure(model, metric, label, interval.value, interval.low, interval.high, len(values))


@dataclass(frozen=True)
class SliceMetrics:
    """One model's metrics for each customer of one slice."""

    model: str
    slice: str
    customers: npt.NDArray[np.int64]
    """[m], rows of the split."""
    metrics: Metrics
    """Each [m]."""

    def figures(self) -> Iterator[Figure]:
        """Every metric's mean with its interval."""
        for metric, values in self.metrics.items():
            yield Figure.mean(self.model, metric, self.slice, values)

    def within(self, label: str, rows: BoolMask) -> Iterator[Figure]:
        """The headline over the customers where `rows` [customers of the split] is true, if there are enough."""
        values = self.metrics[HEADLINE][rows[self.customers]]
        if len(values) >= FEWEST:
            yield Figure.mean(self.model, HEADLINE, label, values)


def baselines(train: Sequences, products: int, split_time: int) -> dict[str, Scorer]:
    """The scorers that every trained model has to beat."""
    recent = PopularityScorer(train, products, until=split_time, days=7)
    return {
        "popularity": PopularityScorer(train, products),
        "popularity of 7 days": recent,
        "markov chain": MarkovChain(train, products),
        "item-knn": ItemNeighbours(train, products),
        "own repeat": OwnRepeat(recent),
    }


def evaluation_rows(split: Split, most: int, seed: int) -> Split:
    """The split with at most `most` evaluated customers, drawn evenly, for histories and targets alike.

    `known_customers` are still rows of the whole split.
    """
    rows = split.known_customers
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return replace(split, train=split.train.take(rows), targets=split.targets.take(rows), known_customers=rows)


def measure(name: str, row_scores: RowScores, split: Split, candidates: BoolMask, label: str = "all") -> SliceMetrics:
    """Rank every customer's targets among the candidates [products], the same for every model."""
    ranks = rank_targets(row_scores, split.train, split.targets, candidates, exclude_seen=SLICES.get(label, False))
    return SliceMetrics(name, label, ranks.customers, per_customer(ranks, KS))


def sliced(
    whole: SliceMetrics,
    row_scores: RowScores,
    split: Split,
    candidates: BoolMask,
    markets: Sequence[str],
    by_event: Mapping[str, Sequences],
) -> Iterator[Figure]:
    """The headline by history length, by market [customers of the split] and, from `by_event`, on each customer's
    next products of one event type: which product they buy next is another question than which they click next.
    """
    lengths, market = split.train.lengths, np.array(markets)
    for least, most in HISTORY_LENGTHS:
        label = f"history {least}-{most}" if most else f"history {least}+"
        yield from whole.within(label, (lengths >= least) & (lengths <= (most or lengths.max(initial=0))))
    for code in np.unique(market):
        yield from whole.within(f"market {code}", market == code)
    for event, targets in by_event.items():
        if np.count_nonzero(targets.lengths) >= FEWEST:
            found = measure(whole.model, row_scores, replace(split, targets=targets), candidates)
            yield Figure.mean(whole.model, HEADLINE, f"target {event}", found.metrics[HEADLINE])


def new_products(
    models: Mapping[str, Recommender], split: Split, wanted: Sequences, categories: Sequence[str], known: int
) -> Iterator[Figure]:
    """The headline on targets that were not in training, ranked among all such products.

    `models` know every product, the first `known` of them from training; `wanted` holds, for the split's customers,
    the new products that they went on to; `categories` names each product's. Compared with them are the popularity of
    a new product's category with that customer, and `random order`, which knows nothing.
    """
    new = np.arange(len(categories)) >= known
    split = replace(split, targets=wanted)
    if np.count_nonzero(wanted.lengths) < FEWEST:
        return
    scorers: dict[str, Scorer] = {name: RecommenderScorer(model) for name, model in models.items()}
    scorers["category popularity"] = CategoryPopularity(split.train, np.unique(categories, return_inverse=True)[1])
    for name, scorer in scorers.items():
        found = measure(name, from_scorer(scorer, split.train), split, new)
        yield Figure.mean(name, HEADLINE, "new products", found.metrics[HEADLINE])
    gains = 1 / np.log2(np.arange(2, 12))[: int(new.sum())]
    expected = np.full(np.count_nonzero(wanted.lengths), gains.sum() / new.sum())
    yield Figure.mean("random order", HEADLINE, "new products", expected)
