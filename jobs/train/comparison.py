"""The held-out days on which candidates meet: what everyone trains on, and how each one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.model_inputs import categories, product_ids_seen, products_without_history, read_features, read_histories
from jobs.run import Run
from jobs.train.decision import LAST_CHAMPION, Contestant
from jobs.train.evaluate import (
    HEADLINE,
    SLICES,
    Figure,
    Judged,
    baselines,
    evaluation_rows,
    judge,
    new_products,
    sliced,
)
from models.catalogue import Catalogue
from models.contract import Recommender
from models.evaluation.metrics import RowScores, Scorer, TranslatedScorer, from_scorer, from_vectors
from models.sequences import EVENT_TYPES, Sequences, Split, time_split
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class EvaluationSplit:
    """One split of a night's histories; products without an event before it are new."""

    at: datetime
    """Midnight of the split, UTC."""
    split: Split
    """All customers."""
    judged: Split
    """The customers that are ranked."""
    markets: list[str]
    """[judged customers]."""
    by_event: dict[str, Sequences]
    """Event type -> [judged customers], the products of each one's next basket of that type."""
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
    """[judged customers], the new products they went on to."""


def prepare(lake: Lake, run: Run, holdout_days: int, most_customers: int, seed: int) -> EvaluationSplit:
    """Split the night's histories; raises UserError where that leaves nothing to compare on."""
    at = run.midnight - timedelta(days=holdout_days)
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of, before=at))
    new = products_without_history(lake, run.as_of, vocabulary)
    every = Vocabulary([*vocabulary.ids.to_pylist(), *new.ids.to_pylist()])
    histories = read_histories(lake, run.as_of, every, keep_unknown=True)
    try:
        split = time_split(histories.sequences, int(at.timestamp()), holdout_days)
    except ValueError as error:
        raise UserError(f"the candidates cannot be compared on the {holdout_days} days before {run.as_of}: "
                        f"{error}; ingest more days or shorten holdout_days") from None  # fmt: skip
    if not len(split.known_customers):
        raise UserError(f"no customer has events both before and after {at:%Y-%m-%d}, so no candidate can be "
                        "compared; ingest more days or change holdout_days")  # fmt: skip
    judged = evaluation_rows(split, most_customers, seed)
    later = histories.sequences.where(
        (histories.sequences.times >= int(at.timestamp())) & (histories.sequences.products >= len(vocabulary))
    )
    return EvaluationSplit(
        at=at,
        split=split,
        judged=judged,
        by_event=_by_event(histories.sequences, int(at.timestamp()), holdout_days, judged.known_customers),
        markets=histories.markets.take(judged.known_customers).to_pylist(),
        vocabulary=vocabulary,
        catalogue=read_features(lake, run.as_of, vocabulary),
        new=new,
        new_catalogue=read_features(lake, run.as_of, new),
        categories=categories(lake, run.as_of, every),
        wanted_new=later.take(judged.known_customers),
    )


def _by_event(histories: Sequences, at: int, days: int, customers: npt.NDArray[np.int64]) -> dict[str, Sequences]:
    """Targets by event type; a type that nobody has in those days is left out."""
    found = {}
    for code, event in enumerate(EVENT_TYPES):
        kept = (histories.times < at) | (histories.events == code)
        if ((histories.times >= at) & kept).any():
            found[event] = time_split(histories.where(kept), at, days).targets.take(customers)
    return found


@dataclass(frozen=True)
class Results:
    """What came out of a contest."""

    contestants: dict[str, Contestant]
    """By kind of model."""
    last_champion: Judged | None
    """The model that served until now, as it is, where it has seen nothing of the held-out days."""
    figures: list[Figure]
    """Of everyone who was judged."""


def hold(ground: EvaluationSplit, trained: dict[str, Recommender], seconds: dict[str, float], last: Recommender | None,
         run: Run) -> Results:  # fmt: skip
    """Judge the baselines, the candidates (`trained`, with the `seconds` each took) and the `last` champion."""
    candidates = np.ones(len(ground.vocabulary), dtype=bool)
    histories = ground.judged.train
    simple = baselines(ground.split.train, len(ground.vocabulary), int(ground.at.timestamp()))
    scores = {name: from_scorer(scorer, histories) for name, scorer in simple.items()}
    rates = {}
    for kind, model in trained.items():
        scores[kind], rates[kind] = _encoded(model, histories, run)
    if last is not None:
        scores[LAST_CHAMPION] = from_scorer(_translated(ground, last), histories)
    figures: list[Figure] = []
    whole: dict[str, Judged] = {}
    for done, (name, row_scores) in enumerate(scores.items()):
        run.progress("models judged", done, len(scores))
        for label in SLICES:
            judged = judge(name, row_scores, ground.judged, candidates, label)
            figures += judged.figures()
            whole.setdefault(name, judged)
        if name in trained:
            figures += sliced(whole[name], row_scores, ground.judged, candidates, ground.markets, ground.by_event)
    figures += _on_new_products(ground, trained)
    contestants = {kind: Contestant(whole[kind].metrics[HEADLINE], seconds[kind], rate) for kind, rate in rates.items()}
    return Results(contestants, whole.get(LAST_CHAMPION), figures)


def _encoded(model: Recommender, histories: Sequences, run: Run) -> tuple[RowScores, float]:
    """Scores from vectors made once, and the customers encoded per second: infinite for a run without a clock."""
    began = run.clock()
    vectors = model.encode(histories)
    took = run.clock() - began
    return from_vectors(vectors, model.product_vectors()), len(histories) / took if took > 0 else float("inf")


def _on_new_products(ground: EvaluationSplit, trained: dict[str, Recommender]) -> Iterator[Figure]:
    if not len(ground.new):
        return
    larger = {name: model.extended(ground.new.ids.to_pylist(), ground.new_catalogue) for name, model in trained.items()}
    able = {name: model for name, model in larger.items() if model is not trained[name]}
    yield from new_products(able, ground.judged, ground.wanted_new, ground.categories, len(ground.vocabulary))


def _translated(ground: EvaluationSplit, model: Recommender) -> Scorer:
    """A model of an earlier night over the products of this split; those it lacks, from their features if it can."""
    ours = ground.vocabulary.ids
    lacking = np.flatnonzero(model.vocabulary.encode(ours, missing="negative") < 0)
    model = model.extended(ours.take(lacking).to_pylist(), Catalogue(ground.catalogue.features[lacking]))
    return TranslatedScorer(model, model.vocabulary.encode(ours, missing="negative"))
