"""Compares the candidate models, baselines and the last champion on held-out days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from jobs.lake.lake import Lake
from jobs.model_inputs import categories, product_ids_seen, products_without_history, read_features, read_histories
from jobs.run import Run
from jobs.train.decision import LAST_CHAMPION, CandidateResult
from jobs.train.evaluate import (
    FEWEST,
    HEADLINE,
    HEADLINE_SLICE,
    Figure,
    SliceMetrics,
    baselines,
    drawn,
    measure,
    new_products,
    sliced,
    uplifts,
)
from jobs.train.held_out import Surface, read_surface
from models.arrays import BoolMask, Rows
from models.catalogue import Catalogue
from models.contract import Config, Recommender
from models.evaluation.days import CustomerDays, customer_days
from models.evaluation.metrics import Allowed, RecommenderScorer, RowScores, Scorer, from_scorer, from_vectors
from models.networks.artefacts import POPULARITY
from models.sequences import SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary

BATCH = 512
"""Pairs looked at at once."""
MOST_SHARE = 3
"""One in so many customers is held out to choose settings, at most."""


class NothingToCompareError(Exception):
    """The night's histories hold nothing that models could be compared on; the text says why."""


@dataclass(frozen=True)
class HeldOutDays:
    """What models may learn from, and the days after it that they are judged on."""

    train: Sequences
    """[customers], events before the first day, of products of the vocabulary."""
    days: CustomerDays
    """Of customers drawn evenly."""
    shown: Mapping[str, Allowed]
    """What may be shown on those days, by slice."""

    @staticmethod
    def of(sequences: Sequences, days: CustomerDays, surface: Surface, known: BoolMask) -> HeldOutDays:
        """The split of all `sequences`; `known` [V] are the products with an event before the first day."""
        early = sequences.where(sequences.times < days.first)
        return HeldOutDays(early.where(early.products >= 0), days, surface.shown(days, known))

    @property
    def customers(self) -> int:
        """Customers who turned to something that the surface could show."""
        found = [np.empty(0, np.int64)]
        for start in range(0, len(self.days), BATCH):
            rows = np.arange(start, min(start + BATCH, len(self.days)))
            targets = self.days.targets.take(rows)
            shown = self.shown[HEADLINE_SLICE](rows)[targets.owners, targets.products]
            found.append(np.unique(self.days.customers[rows[targets.owners[shown]]]))
        return len(np.unique(np.concatenate(found)))

    def headline(self, model: Recommender) -> float:
        """The mean of the metric that picks the champion."""
        row_scores = from_vectors(model.encode(self.days.histories), model.product_vectors())
        found = measure("", row_scores, self.days, {HEADLINE_SLICE: self.shown[HEADLINE_SLICE]})
        return float(found[HEADLINE_SLICE].metrics[HEADLINE].mean())


@dataclass(frozen=True)
class EvaluationSplit:
    """One split of a night's histories; products without an event before it are new."""

    at: datetime
    """Midnight of the split, UTC."""
    test: HeldOutDays
    """The days after it."""
    validation: HeldOutDays | None
    """The days before it, on which settings are chosen; None where there are too few."""
    sequences: Sequences
    """[customers], all events before the night, of products of `vocabulary`, then of `new`."""
    markets: list[str]
    """[pairs of the test], the market of each one's customer."""
    vocabulary: Vocabulary
    """Products with an event before the split, the only ones that a model may train on."""
    catalogue: Catalogue
    """Of `vocabulary`."""
    new: Vocabulary
    """The night's other products."""
    new_catalogue: Catalogue
    """Of `new`."""
    categories: list[str]
    """Of `vocabulary`, then of `new`."""
    test_of_new: CustomerDays
    """The test days of the same customers, with the new products that they turned to."""
    shown_of_new: Allowed
    """The new products that may be shown on those days."""

    @property
    def cold_events(self) -> int:
        """Events from the split on whose product is new."""
        late = self.sequences.times >= self.test.days.first
        return int(np.count_nonzero(late & (self.sequences.products >= len(self.vocabulary))))


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate that was fitted on the days before the split."""

    model: Recommender
    settings: Config
    """As given or as chosen on the validation days."""
    seconds: float
    """Of the choice and the fit."""
    losses: list[float]
    """Mean training loss of each epoch, nats."""
    validation: list[float]
    """The headline on the validation days after each epoch of the chosen settings; empty without a choice."""


@dataclass(frozen=True)
class ComparisonResults:
    """The figures of a comparison."""

    candidates: dict[str, CandidateResult]
    """By kind of model."""
    last_champion: npt.NDArray[np.float64] | None
    """[m], NDCG@10 of the model that served until now, where it has seen nothing of the held-out days."""
    popularity: npt.NDArray[np.float64]
    """[m], that of the popularity of all time."""
    customers: Rows
    """[m], the customer of each value."""
    figures: list[Figure]
    """Of candidates, baselines and the last champion."""


@dataclass(frozen=True)
class SplitSizes:
    """How many days and customers a comparison takes."""

    days: int
    """Days before the night that candidates are compared on."""
    validation_days: int
    """Days before those on which settings are chosen; 0: none are chosen."""
    customers: int
    """Most customers that are evaluated."""
    validation_customers: int
    """Most customers of the validation days."""


def prepare(lake: Lake, run: Run, sizes: SplitSizes, seed: int) -> EvaluationSplit:
    """Split the night's histories; raises NothingToCompareError where that leaves too little to compare on."""
    at = run.midnight - timedelta(days=sizes.days)
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of, before=at))
    new = products_without_history(lake, run.as_of, vocabulary)
    every = Vocabulary([*vocabulary.ids.to_pylist(), *new.ids.to_pylist()])
    histories = read_histories(lake, run.as_of, every)
    sequences, first = histories.sequences, int(at.timestamp())
    known = np.arange(len(every)) < len(vocabulary)
    cut = customer_days(sequences, first, sizes.days, known, known)
    if not len(cut):
        raise NothingToCompareError(_too_few(0, at, sizes.days))
    early = sequences.times < first
    surface = read_surface(lake, run, histories, every, at)
    days = drawn(cut, sizes.customers, seed)
    test = HeldOutDays.of(sequences, days, surface, known[: len(vocabulary)])
    if (there := test.customers) < min(FEWEST, sizes.customers):
        raise NothingToCompareError(_too_few(there, at, sizes.days))
    of_new = customer_days(sequences, first, sizes.days, known, ~known)
    of_new = of_new.take(np.flatnonzero(np.isin(of_new.customers, days.customers)))
    return EvaluationSplit(
        at=at,
        test=test,
        validation=_validation(sequences.where(early & known[sequences.products]), surface, sizes, first, seed),
        sequences=sequences,
        markets=histories.markets.take(days.customers).to_pylist(),
        vocabulary=vocabulary,
        catalogue=read_features(lake, run.as_of, vocabulary),
        new=new,
        new_catalogue=read_features(lake, run.as_of, new),
        categories=categories(lake, run.as_of, every),
        test_of_new=of_new,
        shown_of_new=surface.shown(of_new, ~known)[HEADLINE_SLICE],
    )


def _validation(sequences: Sequences, surface: Surface, sizes: SplitSizes, end: int, seed: int) -> HeldOutDays | None:
    """The days before `end` (seconds since 1970 UTC), the first of the test, of some customers: their events on these
    days are left out of what models learn from. `sequences` are what lies before `end`.
    """
    if not sizes.validation_days:
        return None
    first = end - sizes.validation_days * SECONDS_PER_DAY
    products = int(sequences.products.max(initial=-1)) + 1
    known = np.bincount(sequences.products[sequences.times < first], minlength=products) > 0
    days = customer_days(sequences, first, sizes.validation_days, known, known)
    active = len(np.unique(days.customers))
    if active < MOST_SHARE * FEWEST:
        return None
    days = drawn(days, min(sizes.validation_customers, active // MOST_SHARE), seed)
    left_out = np.isin(sequences.owners, days.customers) & (sequences.times >= first)
    found = HeldOutDays(sequences.where(~left_out), days, surface.shown(days, known))
    return found if found.customers else None


def _too_few(customers: int, at: datetime, days: int) -> str:
    who = "no customer has" if not customers else "1 customer has" if customers == 1 else f"{customers} customers have"
    return (
        f"{who} events before {at:%Y-%m-%d} and, in the {days} days after it, turned to a product that Recommended for "
        f"you may show; a comparison needs {FEWEST} such customers"
    )


def compare(
    evaluation: EvaluationSplit, trained: Mapping[str, TrainedCandidate], last: Recommender | None, run: Run
) -> ComparisonResults:
    """Evaluate the baselines, the candidates (`trained`) and the `last` champion on the same customers and days."""
    test, figures = evaluation.test, list[Figure]()
    scores = baselines(evaluation.sequences, test.days, len(evaluation.vocabulary))
    rates = {}
    for kind, candidate in trained.items():
        scores[kind], rates[kind] = _encoded(candidate.model, test.days.histories, run)
    if last is not None:
        scores[LAST_CHAMPION] = from_scorer(_translated(evaluation, last), test.days.histories)
    headline: dict[str, SliceMetrics] = {}
    for done, (name, row_scores) in enumerate(scores.items()):
        run.progress("models compared", done, len(scores))
        found = measure(name, row_scores, test.days, test.shown)
        headline[name] = found[HEADLINE_SLICE]
        for of_slice in found.values():
            figures += of_slice.figures()
        if name in trained:
            figures += sliced(headline[name], row_scores, test.days, test.shown[HEADLINE_SLICE], evaluation.markets)
    figures += _on_new_products(evaluation, trained)
    ndcg = {name: of_model.metrics[HEADLINE] for name, of_model in headline.items()}
    customers = next(iter(headline.values())).customers
    figures += uplifts(ndcg, customers)
    candidates = {kind: CandidateResult(ndcg[kind], trained[kind].seconds, rate) for kind, rate in rates.items()}
    return ComparisonResults(candidates, ndcg.get(LAST_CHAMPION), ndcg[POPULARITY], customers, figures)


def _encoded(model: Recommender, histories: Sequences, run: Run) -> tuple[RowScores, float]:
    """Scores from vectors computed once, and the customers encoded per second: infinite for a run without a clock."""
    began = run.clock()
    vectors = model.encode(histories)
    took = run.clock() - began
    return from_vectors(vectors, model.product_vectors()), len(histories) / took if took > 0 else float("inf")


def _on_new_products(evaluation: EvaluationSplit, trained: Mapping[str, TrainedCandidate]) -> Iterator[Figure]:
    """The figures of candidates that can recommend products without events."""
    if not len(evaluation.new):
        return
    ids, able = evaluation.new.ids.to_pylist(), {}
    for kind, candidate in trained.items():
        larger = candidate.model.extended(ids, evaluation.new_catalogue)
        if larger is not candidate.model:
            able[kind] = larger
    yield from new_products(able, evaluation.test_of_new, evaluation.shown_of_new, evaluation.categories)


def _translated(evaluation: EvaluationSplit, model: Recommender) -> Scorer:
    """A model of an earlier night over the products of this split; those it lacks, from their features if it can."""
    ours = evaluation.vocabulary.ids
    lacking = np.flatnonzero(model.vocabulary.encode(ours, missing="negative") < 0)
    model = model.extended(ours.take(lacking).to_pylist(), Catalogue(evaluation.catalogue.features[lacking]))
    return RecommenderScorer(model, model.vocabulary.encode(ours, missing="negative"))
