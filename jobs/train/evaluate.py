"""Computes the figures of models and baselines on held-out days (rules: docs/models.md, How quality is measured)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jobs.train.held_out import SERVED
from models.arrays import Rows
from models.contract import FloatMatrix, Recommender
from models.evaluation.baselines import CategoryPopularity, ItemNeighbours, MarkovChain, OwnRepeat, PopularityScorer
from models.evaluation.bootstrap import Interval, mean_interval, mean_intervals, paired_uplift
from models.evaluation.days import CustomerDays
from models.evaluation.metrics import (
    Allowed,
    Metrics,
    RecommenderScorer,
    RowScores,
    Scorer,
    from_scorer,
    per_customer,
    rank_slices,
)
from models.networks.artefacts import POPULARITY
from models.sequences import EVENT_TYPES, Sequences

KS = (10, 20)
HEADLINE = "ndcg@10"
"""The metric that picks the champion, on the slice HEADLINE_SLICE."""
HEADLINE_SLICE = SERVED
NEW_PRODUCTS = "new products"
"""Slice of targets that were not in training."""
UPLIFT = "uplift over amf"
"""Slice of the headline's uplift over AMF, as a fraction."""
HISTORY_LENGTHS = ((1, 4), (5, 9), (10, 19), (20, None))
"""Events in a history, for the slices `history 1-4` to `history 20+`."""
AMF = "amf"
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
    def mean(model: str, metric: str, label: str, values: npt.NDArray[np.float64], customers: Rows) -> Figure:
        """The mean over pairs of a customer and a day; its interval draws `customers`, with all of their days."""
        interval = mean_interval(values, customers)
        return Figure.of(model, metric, label, interval, customers)

    @staticmethod
    def of(model: str, metric: str, label: str, interval: Interval, customers: Rows) -> Figure:
        """An interval as a row."""
        return Figure(model, metric, label, interval.value, interval.low, interval.high, len(np.unique(customers)))


@dataclass(frozen=True)
class SliceMetrics:
    """One model's metrics on one slice, for each pair of a customer and a day that has a target there."""

    model: str
    slice: str
    rows: Rows
    """[m], positions among the pairs."""
    customers: Rows
    """[m], the customer of each."""
    metrics: Metrics
    """Each [m]."""

    def figures(self) -> Iterator[Figure]:
        """Every metric's mean with its interval; nothing where no pair has a target."""
        if not len(self.rows):
            return
        intervals = mean_intervals(list(self.metrics.values()), self.customers)
        for metric, interval in zip(self.metrics, intervals, strict=True):
            yield Figure.of(self.model, metric, self.slice, interval, self.customers)

    def within(self, label: str, rows: npt.NDArray[np.bool_]) -> Iterator[Figure]:
        """The headline over the pairs where `rows` [pairs] is true, if there are enough customers."""
        chosen = rows[self.rows]
        if len(np.unique(self.customers[chosen])) >= FEWEST:
            values = self.metrics[HEADLINE][chosen]
            yield Figure.mean(self.model, HEADLINE, label, values, self.customers[chosen])


def baselines(sequences: Sequences, days: CustomerDays, products: int) -> dict[str, RowScores]:
    """The scores of the rules that every trained model has to beat, for the pairs of `days`.

    Neighbours and the Markov chain are counted before the first day, popularity before each, as a night would. Only
    `sequences` [customers] of products below `products` count.
    """
    known = sequences.where((sequences.products >= 0) & (sequences.products < products))
    before = known.where(known.times < days.first)

    def each_day(scorer: Callable[[Sequences, int], Scorer]) -> RowScores:
        midnights = np.unique(days.midnights)
        of_day = {int(m): scorer(known.where(known.times < m), int(m)) for m in midnights}
        return lambda rows: _by_day(of_day, days, rows, products)

    def popular(of: Sequences, midnight: int, window: float) -> PopularityScorer:
        return PopularityScorer(of, products, until=midnight, days=window)

    return {
        POPULARITY: each_day(lambda of, midnight: PopularityScorer(of, products)),
        "popularity of 7 days": each_day(lambda of, midnight: popular(of, midnight, 7)),
        "markov chain": from_scorer(MarkovChain(before, products), days.histories),
        "item-knn": from_scorer(ItemNeighbours(before, products), days.histories),
        "own repeat": each_day(lambda of, midnight: OwnRepeat(popular(of, midnight, 7))),
        "own counts, then popularity of 14 days": each_day(
            lambda of, midnight: OwnRepeat(popular(of, midnight, 14), recency=1.0)
        ),
    }


def _by_day(scorers: Mapping[int, Scorer], days: CustomerDays, rows: Rows, products: int) -> FloatMatrix:
    found = np.empty((len(rows), products), np.float32)
    midnights = days.midnights[rows]
    for midnight in np.unique(midnights):
        at = np.flatnonzero(midnights == midnight)
        found[at] = scorers[int(midnight)].scores(days.histories.take(rows[at]))
    return found


def drawn(days: CustomerDays, most: int, seed: int) -> CustomerDays:
    """The pairs of at most `most` customers, drawn evenly, with all of their days."""
    customers = np.unique(days.customers)
    if len(customers) <= most:
        return days
    kept = np.random.default_rng(seed).choice(customers, most, replace=False)
    return days.take(np.flatnonzero(np.isin(days.customers, kept)))


def measure(
    name: str, row_scores: RowScores, days: CustomerDays, slices: Mapping[str, Allowed]
) -> dict[str, SliceMetrics]:
    """Rank every pair's targets among the products that may be shown on each slice, the same for every model."""
    return {
        label: SliceMetrics(name, label, ranks.customers, days.customers[ranks.customers], per_customer(ranks, KS))
        for label, ranks in rank_slices(row_scores, days.targets, slices).items()
    }


def sliced(
    whole: SliceMetrics, row_scores: RowScores, days: CustomerDays, allowed: Allowed, markets: Sequence[str]
) -> Iterator[Figure]:
    """The headline by history length, by market [pairs] and on the products that a customer turned to by one event
    type: which product they buy next is another question than which they click next.
    """
    lengths, market = days.histories.lengths, np.array(markets)
    for least, most in HISTORY_LENGTHS:
        label = f"history {least}-{most}" if most else f"history {least}+"
        yield from whole.within(label, (lengths >= least) & (lengths <= (most or lengths.max(initial=0))))
    for code in np.unique(market):
        yield from whole.within(f"market {code}", market == code)
    for code, event in enumerate(EVENT_TYPES):
        part = replace(days, targets=days.targets.where(days.targets.events == code))
        if len(np.unique(days.customers[part.targets.lengths > 0])) >= FEWEST:
            found = measure(whole.model, row_scores, part, {whole.slice: allowed})[whole.slice]
            if len(np.unique(found.customers)) >= FEWEST:  # the others' targets may not be shown
                yield Figure.mean(whole.model, HEADLINE, f"target {event}", found.metrics[HEADLINE], found.customers)


def new_products(
    models: Mapping[str, Recommender], days: CustomerDays, allowed: Allowed, categories: Sequence[str]
) -> Iterator[Figure]:
    """The headline on targets that were not in training, ranked among all such products.

    `models` know every product; `days` has the new products as targets and `allowed` shows them alone; `categories`
    names each product's. Compared with them are the popularity of a new product's category with that customer, and
    `random order`, which knows nothing.
    """
    if len(np.unique(days.customers)) < FEWEST:
        return
    scorers: dict[str, Scorer] = {name: RecommenderScorer(model) for name, model in models.items()}
    codes = np.unique(categories, return_inverse=True)[1]
    scorers["category popularity"] = CategoryPopularity(days.histories, codes)
    for name, scorer in scorers.items():
        found = measure(name, from_scorer(scorer, days.histories), days, {NEW_PRODUCTS: allowed})[NEW_PRODUCTS]
        if len(np.unique(found.customers)) < FEWEST:
            return
        yield Figure.mean(name, HEADLINE, NEW_PRODUCTS, found.metrics[HEADLINE], found.customers)
    yield Figure.mean("random order", HEADLINE, NEW_PRODUCTS, _by_chance(days, allowed, found.rows), found.customers)


def _by_chance(days: CustomerDays, allowed: Allowed, rows: Rows) -> npt.NDArray[np.float64]:
    """The expected NDCG@10 of a random order of what may be shown, for the pairs `rows`."""
    shown, targets = allowed(rows), days.targets.take(rows)
    wanted = np.zeros_like(shown)
    wanted[targets.owners, targets.products] = True
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, 12)))])
    many, hits = shown.sum(axis=1), (wanted & shown).sum(axis=1)
    return np.asarray(hits * gains[np.minimum(many, 10)] / many / gains[np.minimum(hits, 10)])


def uplifts(headline: Mapping[str, npt.NDArray[np.float64]], customers: Rows) -> Iterator[Figure]:
    """The uplift of every model's headline [pairs] over AMF's, on the same customers; nothing where AMF has none."""
    for name, values in headline.items():
        if name != AMF and AMF in headline:
            with suppress(ValueError):  # a mean of 0 has no uplift
                yield Figure.of(name, HEADLINE, UPLIFT, paired_uplift(values, headline[AMF], customers), customers)
