"""Compares the candidate models, baselines and the last champion on held-out days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.model_inputs import categories, product_ids_seen, products_without_history, read_features, read_histories
from jobs.run import Run
from jobs.train.decision import LAST_CHAMPION, CandidateResult
from jobs.train.evaluate import (
    HEADLINE,
    SLICES,
    Figure,
    SliceMetrics,
    baselines,
    evaluation_rows,
    measure,
    new_products,
    sliced,
)
from models.catalogue import Catalogue
from models.contract import Recommender
from models.evaluation.metrics import RecommenderScorer, RowScores, Scorer, from_scorer, from_vectors
from models.sequences import EVENT_TYPES, Sequences, Split, time_split
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class EvaluationSplit:
    """One split of a night's histories; products without an event before it are new."""

    at: datetime
    """Midnight of the split, UTC."""
    split: Split
    """All customers."""
    evaluated: Split
    """The customers that models are evaluated on."""
    markets: list[str]
    """[evaluated customers]."""
    by_event: dict[str, Sequences]
    """Event type -> [evaluated customers], the products of each one's next basket of that type."""
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
    wanted_new: Sequences
    """[evaluated customers], the new products they went on to."""


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate that was fitted on the days before the split."""

    model: Recommender
    seconds: float
    """Of the fit."""
    losses: list[float]
    """Mean training loss of each epoch, nats."""


@dataclass(frozen=True)
class ComparisonResults:
    """The figures of a comparison."""

    candidates: dict[str, CandidateResult]
    """By kind of model."""
    last_champion: npt.NDArray[np.float64] | None
    """[m], NDCG@10 of the model that served until now, where it has seen nothing of the held-out days."""
    figures: list[Figure]
    """Of candidates, baselines and the last champion."""


def prepare(lake: Lake, run: Run, holdout_days: int, most_customers: int, seed: int) -> EvaluationSplit:
    """Split the night's histories; raises UserError where that leaves nothing to compare on."""
    at = run.midnight - timedelta(days=holdout_days)
    split_time = int(at.timestamp())
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of, before=at))
    new = products_without_history(lake, run.as_of, vocabulary)
    every = Vocabulary([*vocabulary.ids.to_pylist(), *new.ids.to_pylist()])
    histories = read_histories(lake, run.as_of, every, keep_unknown=True)
    sequences = histories.sequences
    try:
        split = time_split(sequences, split_time, holdout_days)
    except ValueError as error:
        raise UserError(
            f"the candidates cannot be compared on the {holdout_days} days before {run.as_of}: {error}; "
            "ingest more days or shorten holdout_days"
        ) from None
    if not len(split.known_customers):
        raise UserError(
            f"no customer has events both before and after {at:%Y-%m-%d}, so no candidate can be compared; "
            "ingest more days or change holdout_days"
        )
    evaluated = evaluation_rows(split, most_customers, seed)
    later_new = sequences.where((sequences.times >= split_time) & (sequences.products >= len(vocabulary)))
    return EvaluationSplit(
        at=at,
        split=split,
        evaluated=evaluated,
        markets=histories.markets.take(evaluated.known_customers).to_pylist(),
        by_event=_by_event(sequences, split_time, holdout_days, evaluated.known_customers),
        vocabulary=vocabulary,
        catalogue=read_features(lake, run.as_of, vocabulary),
        new=new,
        new_catalogue=read_features(lake, run.as_of, new),
        categories=categories(lake, run.as_of, every),
        wanted_new=later_new.take(evaluated.known_customers),
    )


def _by_event(histories: Sequences, at: int, days: int, customers: npt.NDArray[np.int64]) -> dict[str, Sequences]:
    """Targets by event type; a type without events in those days is left out."""
    found = {}
    for code, event in enumerate(EVENT_TYPES):
        kept = (histories.times < at) | (histories.events == code)
        if ((histories.times >= at) & kept).any():
            found[event] = time_split(histories.where(kept), at, days).targets.take(customers)
    return found


def compare(
    evaluation: EvaluationSplit, trained: Mapping[str, TrainedCandidate], last: Recommender | None, run: Run
) -> ComparisonResults:
    """Evaluate the baselines, the candidates (`trained`) and the `last` champion on the same customers."""
    split, live = evaluation.evaluated, np.ones(len(evaluation.vocabulary), dtype=bool)
    simple = baselines(evaluation.split.train, len(evaluation.vocabulary), int(evaluation.at.timestamp()))
    scores = {name: from_scorer(scorer, split.train) for name, scorer in simple.items()}
    rates = {}
    for kind, candidate in trained.items():
        scores[kind], rates[kind] = _encoded(candidate.model, split.train, run)
    if last is not None:
        scores[LAST_CHAMPION] = from_scorer(_translated(evaluation, last), split.train)
    figures: list[Figure] = []
    whole: dict[str, SliceMetrics] = {}
    for done, (name, row_scores) in enumerate(scores.items()):
        run.progress("models compared", done, len(scores))
        for label in SLICES:
            found = measure(name, row_scores, split, live, label)
            figures += found.figures()
            whole.setdefault(name, found)
        if name in trained:
            figures += sliced(whole[name], row_scores, split, live, evaluation.markets, evaluation.by_event)
    figures += _on_new_products(evaluation, trained)
    ndcg = {name: found.metrics[HEADLINE] for name, found in whole.items()}
    candidates = {kind: CandidateResult(ndcg[kind], trained[kind].seconds, rate) for kind, rate in rates.items()}
    return ComparisonResults(candidates, ndcg.get(LAST_CHAMPION), figures)


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
    known = len(evaluation.vocabulary)
    yield from new_products(able, evaluation.evaluated, evaluation.wanted_new, evaluation.categories, known)


def _translated(evaluation: EvaluationSplit, model: Recommender) -> Scorer:
    """A model of an earlier night over the products of this split; those it lacks, from their features if it can."""
    ours = evaluation.vocabulary.ids
    lacking = np.flatnonzero(model.vocabulary.encode(ours, missing="negative") < 0)
    model = model.extended(ours.take(lacking).to_pylist(), Catalogue(evaluation.catalogue.features[lacking]))
    return RecommenderScorer(model, model.vocabulary.encode(ours, missing="negative"))
