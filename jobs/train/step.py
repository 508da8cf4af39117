"""Runs the step train: compares the candidates on the last days and refits the winner on everything, where due."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import PositiveInt

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
from jobs.train.comparison import ComparisonResults, EvaluationSplit, TrainedCandidate, compare, prepare
from jobs.train.decision import LAST_CHAMPION, Budget, ComparisonOutcome, decide
from jobs.train.evaluate import HEADLINE, Figure
from models.contract import Compute, Recommender
from models.networks import artefacts
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainConfig(StepSettings):
    """Which candidates are compared, how often, and on which days."""

    candidates: dict[str, dict[str, Any]] = field(default_factory=lambda: {"amf": {}, "transformer": {}})
    """Model kind -> fields of its config that differ from the default. `transformers4rec` is the third kind."""
    retrain_days: PositiveInt = 7
    """Days from one comparison to the next."""
    holdout_days: PositiveInt = 7
    """Days before the night that candidates are compared on."""
    evaluated_customers: PositiveInt = 5_000
    """Most customers that the comparison ranks for."""
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
    evaluation = prepare(lake, run, config.holdout_days, config.evaluated_customers, config.seed)
    trained = _train(evaluation, run, config, compute)
    results = compare(evaluation, trained, _comparable(lake, last, evaluation, compute), run)
    outcome = decide(results.candidates, last["kind"] if last else None, results.last_champion, config.budget)
    winner, events = outcome.winner, 0
    served = last["model_id"] if winner == LAST_CHAMPION and last else _model_id(winner, run)
    if winner != LAST_CHAMPION:
        events = _refit(lake, run, config, winner, {kind: each.losses for kind, each in trained.items()})
    for kind, candidate in trained.items():  # the others as they were compared, to look into: they never serve
        if kind != winner:
            days = (run.midnight - evaluation.at).days
            _write(lake, run, kind, candidate.model, {"compared": f"trained on the days before the last {days}"})
    _record(lake, run, config, results, outcome)
    record_comparison(lake, run, served, outcome.reasons[winner])
    figures = ", ".join(f"{kind} {found.ndcg.mean():.4f}" for kind, found in results.candidates.items())
    note = f"{winner} serves: {outcome.reasons[winner]} ({HEADLINE}: {figures}"
    note += f"; {len(evaluation.evaluated.train):,} customers compared)"
    return Counts(events, len(results.figures), evaluation.split.cold_events, note)


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


def _train(evaluation: EvaluationSplit, run: Run, config: TrainConfig, compute: Compute) -> dict[str, TrainedCandidate]:
    """Every candidate, fitted on the days before the split, by kind."""
    trained = {}
    for kind, overrides in config.candidates.items():
        began = run.clock()
        model = artefacts.create(kind, evaluation.vocabulary, compute, **overrides)
        fitted = model.fit(evaluation.split.train, evaluation.catalogue, _named(run, kind))
        trained[kind] = TrainedCandidate(model, run.clock() - began, list(fitted.losses))
    return trained


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


def _refit(lake: Lake, run: Run, config: TrainConfig, kind: str, losses: dict[str, list[float]]) -> int:
    """Fit the winner on every event before the night and write it; returns the number of those events."""
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of))
    histories = read_histories(lake, run.as_of, vocabulary)
    model = artefacts.create(kind, vocabulary, Compute(config.device, config.seed), **config.candidates[kind])
    catalogue = read_features(lake, run.as_of, vocabulary)
    fitted = model.fit(histories.sequences, catalogue, _named(run, f"champion {kind}"))
    learning = {**losses, f"{kind}, on everything": list(fitted.losses)}
    _write(lake, run, kind, model, {"learning": learning, "pairs": fitted.pairs, "steps": fitted.steps})
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
    ids = {kind: _model_id(kind, run) for kind in config.candidates}
    figures = list(results.figures)
    customers = len(next(iter(results.candidates.values())).ndcg)
    for kind, found in results.candidates.items():
        costs = {"train seconds": found.train_seconds, "customers encoded per second": found.encode_per_second}
        figures += [Figure(kind, name, "cost", value, value, value, customers) for name, value in costs.items()]
    for name, gap in outcome.differences.items():
        figures.append(
            Figure(name, f"{HEADLINE} minus the winner's", "decision", gap.value, gap.low, gap.high, customers)
        )
    evaluations = [
        {
            "model_id": ids.get(figure.model, figure.model),
            "metric": figure.metric,
            "slice": figure.slice,
            "value": figure.value,
            "ci_low": figure.low,
            "ci_high": figure.high,
            "customers": figure.customers,
            "dataset": f"last {config.holdout_days} days before {run.as_of}",
        }
        for figure in figures
    ]
    lake.replace_rows(EVALUATIONS, evaluations, run)
    models = [
        {
            "model_id": ids[kind],
            "kind": kind,
            "champion": kind == outcome.winner,
            "ndcg": float(found.ndcg.mean()),
            "reason": outcome.reasons[kind],
            "trained_on": json.dumps(_versions(lake)),
            "code_version": run.code_version,
            "config_hash": run.config_hash,
        }
        for kind, found in results.candidates.items()
    ]
    # Models that other settings trained stay: they may serve later nights.
    lake.replace_rows(MODELS, models, run, where=f"{night(run.as_of)} AND run_id = '{run.run_id}'")
