"""Held-out comparison of candidates and baselines by one global time split (rules: README, How quality is measured)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask
from models.contract import Recommender
from models.evaluation.baselines import CategoryPopularity, ItemNeighbours, MarkovChain, OwnRepeat, Popularity
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
"""Slice name -> whether products already in a history are left out, for every model alike."""
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


@dataclass(frozen=True)
class Judged:
    """One scorer's metrics for each customer of one slice."""

    model: str
    slice: str
    customers: npt.NDArray[np.int64]
    """[m], rows of the split."""
    metrics: Metrics
    """Each [m]."""

    def figures(self) -> Iterator[Figure]:
        """Every metric's mean with its interval."""
        for metric, values in self.metrics.items():
            yield _figure(self.model, metric, self.slice, values)

    def within(self, label: str, rows: BoolMask) -> Iterator[Figure]:
        """The headline over the customers where `rows` [customers of the split] is true, if there are enough."""
        values = self.metrics[HEADLINE][rows[self.customers]]
        if len(values) >= FEWEST:
            yield _figure(self.model, HEADLINE, label, values)


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
    """The split with at most `most` evaluated customers, drawn evenly, for histories and targets alike.

    `known_customers` still says which rows of the whole split they are.
    """
    rows = split.known_customers
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return replace(split, train=split.train.take(rows), targets=split.targets.take(rows), known_customers=rows)


def judge(name: str, row_scores: RowScores, split: Split, candidates: BoolMask, label: str = "all") -> Judged:
    """Rank every customer's targets among the candidates, the same for every scorer."""
    ranking = rank_targets(row_scores, split.train, split.targets, candidates, exclude_seen=SLICES.get(label, False))
    return Judged(name, label, ranking.customers, per_customer(ranking, KS))


def sliced(
    judged: Judged,
    row_scores: RowScores,
    split: Split,
    candidates: BoolMask,
    markets: Sequence[str],
    by_event: dict[str, Sequences],
) -> Iterator[Figure]:
    """The headline by history length, by market [customers of the split] and, from `by_event`, on each customer's
    next products of one event type: what they buy next is another question than what they click next.
    """
    lengths, market = split.train.lengths, np.array(markets)
    for least, most in HISTORY_LENGTHS:
        label = f"history {least}-{most}" if most else f"history {least}+"
        yield from judged.within(label, (lengths >= least) & (lengths <= (most or lengths.max(initial=0))))
    for code in np.unique(market):
        yield from judged.within(f"market {code}", market == code)
    for event, targets in by_event.items():
        if np.count_nonzero(targets.lengths) >= FEWEST:
            apart = judge(judged.model, row_scores, replace(split, targets=targets), candidates)
            yield _figure(judged.model, HEADLINE, f"target {event}", apart.metrics[HEADLINE])


def new_products(
    models: dict[str, Recommender], split: Split, wanted: Sequences, categories: Sequence[str], known: int
) -> Iterator[Figure]:
    """The headline on targets that were not in training, ranked among all such products.

    `models` know every product, the first `known` of them from training; `wanted` holds, for the split's customers,
    the new products that they went on to; `categories` names each product's. Beside them stand the popularity of a
    new product's category with that customer, and `random order`, which knows nothing.
    """
    new = np.arange(len(categories)) >= known
    split = replace(split, targets=wanted)
    if np.count_nonzero(wanted.lengths) < FEWEST:
        return
    scorers: dict[str, Scorer] = {name: RecommenderScorer(model) for name, model in models.items()}
    scorers["category popularity"] = CategoryPopularity(split.train, np.unique(categories, return_inverse=True)[1])
    for name, scorer in scorers.items():
        judged = judge(name, from_scorer(scorer, split.train), split, new)
        yield _figure(name, HEADLINE, "new products", judged.metrics[HEADLINE])
    gains = 1 / np.log2(np.arange(2, 12))[: int(new.sum())]
    expected = np.full(np.count_nonzero(wanted.lengths), gains.sum() / new.sum())
    yield _figure("random order", HEADLINE, "new products", expected)


def _figure(model: str, metric: str, label: str, values: npt.NDArray[np.float64]) -> Figure:
    interval = mean_interval(values)
    return Figure(model, metric, label, interval.value, interval.low, interval.high, len(values))
