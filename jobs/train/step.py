"""Runs the step train: compares the candidates on the last days and refits the winner on everything, where due."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.lake.storage import staged_folder
from jobs.model_inputs import product_ids_seen, read_features, read_histories
from jobs.run import Counts, Progress, Run
from jobs.settings import StepSettings
from jobs.tables.records import EVALUATIONS, MODELS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES
from jobs.train.champions import ModelRow, champion, record_comparison, registered
from jobs.train.comparison import (
    ComparisonResults,
    EvaluationSplit,
    NothingToCompareError,
    SplitSizes,
    TrainedCandidate,
    compare,
    prepare,
)
from jobs.train.decision import BEHIND, DECISION, LAST_CHAMPION, Budget, ComparisonOutcome, decide
from jobs.train.evaluate import HEADLINE, HEADLINE_SLICE, Figure
from models.contract import Compute, NothingToLearnError, Recommender
from models.networks import artefacts
from models.networks.artefacts import POPULARITY
from models.vocabulary import Vocabulary

STANDARD: dict[str, dict[str, Any]] = {"amf": {}, "closed_form": {}, "transformer": {}}
"""The candidates of a night."""


@dataclass(frozen=True)
class TrainConfig(StepSettings):
    """Which candidates are compared, how often, and on which days."""

    candidates: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(STANDARD))
    """Model kind -> fields of its config that differ from the default. `transformers4rec` is a further kind."""
    retrain_days: PositiveInt = 7
    """Days from one comparison to the next."""
    holdout_days: PositiveInt = 7
    """Days before the night that candidates are compared on."""
    validation_days: NonNegativeInt = 7
    """Days before those on which each candidate's settings are chosen; 0: the settings are taken as they are."""
    evaluated_customers: PositiveInt = 5_000
    """Most customers that the comparison ranks for."""
    validation_customers: PositiveInt = 1_500
    """Most customers that a choice of settings ranks for, after every pass."""
    budget: Budget = field(default_factory=Budget)
    """Limits to what a champion may cost."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu or cuda."""
    seed: int = 17
    """Of every random draw."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.candidates or not artefacts.KINDS.keys() >= self.candidates.keys():
            raise UserError(
                f"candidates = {sorted(self.candidates)}; choose among {', '.join(sorted(artefacts.KINDS))}"
            )


def load_champion(lake: Lake, run: Run, compute: Compute) -> tuple[str, Recommender]:
    """(model_id, model) of the night's champion; raises UserError where none was trained or its files are damaged."""
    row = champion(lake, run)
    if row is None:
        raise UserError(f"no model was trained up to {run.as_of}; run `python -m jobs train --as-of {run.as_of}` first")
    try:
        model, _ = artefacts.read(lake.root / storage.MODELS / row["model_id"], compute)
    except artefacts.ArtefactError as error:
        raise UserError(str(error)) from None
    return row["model_id"], model


def execute(lake: Lake, run: Run, config: TrainConfig) -> Counts:
    """Write models, evaluations and the winner's artefact, unless the last comparison is recent enough."""
    last = champion(lake, run)
    if last and (note := _not_due(lake, last, run, config)):
        return Counts(note=note)
    compute = Compute(config.device, config.seed)
    sizes = SplitSizes(
        config.holdout_days, config.validation_days, config.evaluated_customers, config.validation_customers
    )
    try:
        evaluation = prepare(lake, run, sizes, config.seed)
        trained = _all_trained(evaluation, run, config, compute)
    except NothingToCompareError as why:
        return _without_comparison(lake, run, config, last, str(why))
    results = compare(evaluation, trained, _comparable(lake, last, evaluation, compute), run)
    incumbent = last["kind"] if last else None
    outcome = decide(
        results.candidates, incumbent, results.last_champion, config.budget, results.customers, results.popularity
    )
    winner, events = outcome.winner, 0
    served = last["model_id"] if winner == LAST_CHAMPION and last else _model_id(winner, run)
    if winner != LAST_CHAMPION:
        events = _refit(lake, run, config, winner, trained)
    for kind, candidate in trained.items():  # the others as they were compared, to look into: they never serve
        if kind != winner:
            compared = f"trained on the days before the last {config.holdout_days}"
            _write(lake, run, kind, candidate.model, {"compared": compared})
    _record(lake, run, config, results, outcome)
    record_comparison(lake, run, served, outcome.reasons[winner])
    figures = ", ".join(f"{kind} {found.ndcg.mean():.4f}" for kind, found in results.candidates.items())
    note = f"{winner} serves: {outcome.reasons[winner]} ({HEADLINE} {HEADLINE_SLICE}: {figures}"
    note += f"; {len(np.unique(results.customers)):,} customers compared)"
    if idle := config.candidates.keys() - trained.keys():
        note += f"; {', '.join(sorted(idle))} had nothing to learn from"
    return Counts(events, len(results.figures), evaluation.cold_events, note)


def _without_comparison(lake: Lake, run: Run, config: TrainConfig, last: ModelRow | None, why: str) -> Counts:
    """A model that served goes on where nothing can be compared; else what is popular serves."""
    why = f"{why} (`--set train.holdout_days=N` takes other days)"
    if last and last["kind"] != POPULARITY and (lake.root / storage.MODELS / last["model_id"]).is_dir():
        return Counts(note=f"{last['model_id']} serves on, nothing could be compared: {why}")
    reason = f"no model could be compared: {why}"
    events = _refit(lake, run, config, POPULARITY, {})
    lake.replace_rows(EVALUATIONS, [], run)
    _register(lake, run, [_model_row(lake, run, POPULARITY, True, None, reason)])
    record_comparison(lake, run, _model_id(POPULARITY, run), reason)
    return Counts(events, note=f"{POPULARITY} serves, with the same popular products for everybody; {reason}")


def _model_id(kind: str, run: Run) -> str:
    return f"{kind}-{run.run_id}"


def _not_due(lake: Lake, last: ModelRow, run: Run, config: TrainConfig) -> str:
    """Why the champion continues without a comparison; empty where one is due."""
    if not (lake.root / storage.MODELS / last["model_id"]).is_dir():
        return ""
    comparisons = {(row["as_of"], row["run_id"]) for row in registered(lake) if row["as_of"] <= run.as_of}
    age = (run.as_of - max(night for night, _ in comparisons)).days
    if not ((run.as_of, run.run_id) in comparisons if age == 0 else age < config.retrain_days):
        return ""
    return (
        f"{last['model_id']} serves: the last comparison is {age} days old, the next is due after {config.retrain_days}"
    )


def _all_trained(
    evaluation: EvaluationSplit, run: Run, config: TrainConfig, compute: Compute
) -> dict[str, TrainedCandidate]:
    """The candidates that found something to learn from; raises NothingToCompareError where none did."""
    trained = {}
    for kind in config.candidates:
        with suppress(NothingToLearnError):
            trained[kind] = _trained(kind, evaluation, run, config, compute)
    if not trained:
        raise NothingToCompareError(
            f"the events before {evaluation.at:%Y-%m-%d} hold nothing that {', '.join(config.candidates)} could learn "
            "from"
        )
    return trained


def _trained(
    kind: str, evaluation: EvaluationSplit, run: Run, config: TrainConfig, compute: Compute
) -> TrainedCandidate:
    """A candidate that learned from the days before the test, with settings chosen on the last of these."""
    began, given, validation = run.clock(), config.candidates[kind], evaluation.validation
    try:
        model = artefacts.create(kind, evaluation.vocabulary, compute, **given)
    except ValueError as error:
        raise UserError(f"train.candidates.{kind}: {error}") from None
    if validation is None:
        fitted = model.fit(evaluation.test.train, evaluation.catalogue, _named(run, kind))
        return TrainedCandidate(model, given, run.clock() - began, list(fitted.losses), [])
    choice = model.choose(validation.train, evaluation.catalogue, validation.headline, _named(run, kind))
    return TrainedCandidate(model, choice.settings, run.clock() - began, list(choice.losses), list(choice.figures))


def _comparable(lake: Lake, last: ModelRow | None, evaluation: EvaluationSplit, compute: Compute) -> Recommender | None:
    """The model that serves, if it was trained on nothing of the held-out days."""
    if last is None or last["as_of"] > evaluation.at.date():
        return None
    try:
        return artefacts.read(lake.root / storage.MODELS / last["model_id"], compute)[0]
    except artefacts.ArtefactError:  # it cannot serve either, so a new model has to
        return None


def _named(run: Run, name: str) -> Progress:
    return lambda what, done, total: run.progress(f"{name}: {what}", done, total)


def _refit(lake: Lake, run: Run, config: TrainConfig, kind: str, trained: Mapping[str, TrainedCandidate]) -> int:
    """Fit the winner, POPULARITY or one of the `trained`, on every event before the night and write it; returns the
    number of those events.
    """
    settings = {} if kind == POPULARITY else trained[kind].settings
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of))
    histories = read_histories(lake, run.as_of, vocabulary)
    model = artefacts.create(kind, vocabulary, Compute(config.device, config.seed), **settings)
    catalogue = read_features(lake, run.as_of, vocabulary)
    fitted = model.fit(histories.sequences, catalogue, _named(run, f"champion {kind}"))
    learning = {name: each.losses for name, each in trained.items()}
    learning[f"{kind}, on everything"] = list(fitted.losses)
    validation = {name: each.validation for name, each in trained.items()}
    metadata = {"learning": learning, "validation": validation, "pairs": fitted.pairs, "steps": fitted.steps}
    _write(lake, run, kind, model, metadata)
    return len(histories.sequences.products)


def _write(lake: Lake, run: Run, kind: str, model: Recommender, metadata: dict[str, Any]) -> None:
    """Write a model's artefact with its origin."""
    origin = {
        "as_of": run.as_of.isoformat(),
        "run_id": run.run_id,
        "versions": _versions(lake),
        "code_version": run.code_version,
        "config_hash": run.config_hash,
    }
    artefacts.write(model, lake.root / storage.MODELS / _model_id(kind, run), origin | metadata, staged_folder)


def _versions(lake: Lake) -> dict[str, int]:
    """Delta versions of the tables that models are trained on."""
    return {table.name: lake.version(table) for table in (CUSTOMER_SEQUENCES, CATALOGUE)}


def _record(lake: Lake, run: Run, config: TrainConfig, results: ComparisonResults, outcome: ComparisonOutcome) -> None:
    """Write the figures to `evaluations` and the candidates to `models`."""
    own = [*config.candidates, *([POPULARITY] if outcome.winner == POPULARITY else [])]
    ids = {kind: _model_id(kind, run) for kind in own}
    figures = list(results.figures)
    customers = len(np.unique(results.customers))
    for kind, found in results.candidates.items():
        costs = {"train seconds": found.train_seconds, "customers encoded per second": found.encode_per_second}
        figures += [Figure(kind, name, "cost", value, value, value, customers) for name, value in costs.items()]
    for name, gap in outcome.differences.items():
        figures.append(Figure(name, BEHIND, DECISION, gap.value, gap.low, gap.high, customers))
    evaluations = [
        {
            "model_id": ids.get(figure.model, figure.model),
            "metric": figure.metric,
            "slice": figure.slice,
            "value": figure.value,
            "ci_low": figure.low,
            "ci_high": figure.high,
            "customers": figure.customers,
            "dataset": f"each of the last {config.holdout_days} days before {run.as_of}",
        }
        for figure in figures
    ]
    lake.replace_rows(EVALUATIONS, evaluations, run)
    models = [
        _model_row(lake, run, kind, kind == outcome.winner, float(found.ndcg.mean()), outcome.reasons[kind])
        for kind, found in results.candidates.items()
    ]
    if outcome.winner == POPULARITY:
        figure = float(results.popularity.mean())
        models.append(_model_row(lake, run, POPULARITY, True, figure, outcome.reasons[POPULARITY]))
    _register(lake, run, models)


def _model_row(lake: Lake, run: Run, kind: str, serves: bool, ndcg: float | None, reason: str) -> ModelRow:
    return {
        "model_id": _model_id(kind, run),
        "kind": kind,
        "champion": serves,
        "ndcg": ndcg,
        "reason": reason,
        "trained_on": json.dumps(_versions(lake)),
        "code_version": run.code_version,
        "config_hash": run.config_hash,
    }


def _register(lake: Lake, run: Run, models: list[ModelRow]) -> None:
    """Write the run's rows of `models`; those that other settings trained stay, because they may serve later nights."""
    lake.replace_rows(MODELS, models, run, where=f"{night(run.as_of)} AND run_id = '{run.run_id}'")
