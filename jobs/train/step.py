"""Train: the candidates compete on the last days, the winner is refitted on everything, or nothing is due."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import PositiveInt

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.lake.storage import written_aside
from jobs.model_inputs import product_ids_seen, read_features, read_histories
from jobs.run import Counts, Progress, Run
from jobs.settings import Settings
from jobs.tables.records import EVALUATIONS, MODELS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES
from jobs.train.champions import champion, record_comparison, registered
from jobs.train.comparison import EvaluationSplit, Results, hold, prepare
from jobs.train.decision import LAST_CHAMPION, Budget, Decision, decide
from jobs.train.evaluate import HEADLINE
from models.contract import Compute, Recommender
from models.networks import artefacts
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Which candidates compete, how often, and on what."""

    candidates: dict[str, dict[str, Any]] = field(default_factory=lambda: {"amf": {}, "transformer": {}})
    """Model kind -> fields of its config that differ from the default. `transformers4rec` is the third kind."""
    retrain_days: PositiveInt = 7
    """A champion that is so many days old is challenged again."""
    holdout_days: PositiveInt = 7
    """Days before the night that candidates are compared on."""
    evaluated_customers: PositiveInt = 5_000
    """At most so many customers are ranked in the comparison."""
    budget: Budget = field(default_factory=Budget)
    """What a champion may cost."""
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
    """Write models, evaluations and the winner's artefact, unless the last contest is recent enough."""
    last = champion(lake, run)
    if last and (note := _nothing_due(lake, last, run, config)):
        return Counts(note=note)
    compute = Compute(config.device, config.seed)
    ground = prepare(lake, run, config.holdout_days, config.evaluated_customers, config.seed)
    trained, seconds, losses = _train(ground, run, config, compute)
    results = hold(ground, trained, seconds, _unspoilt(lake, last, ground, compute), run)
    rival = results.last_champion
    decision = decide(
        results.contestants,
        last["kind"] if last and last["kind"] in trained else None,
        None if rival is None else rival.metrics[HEADLINE],
        config.budget,
    )
    events = 0
    if decision.winner != LAST_CHAMPION:
        events = _refit(lake, run, config, compute, decision.winner, losses)
    _keep_losers(lake, run, ground, {kind: model for kind, model in trained.items() if kind != decision.winner})
    _record(lake, run, config, results, decision)
    served = last["model_id"] if decision.winner == LAST_CHAMPION and last else f"{decision.winner}-{run.run_id}"
    record_comparison(lake, run, served, decision.reasons[decision.winner])
    headline = {kind: float(found.ndcg.mean()) for kind, found in results.contestants.items()}
    figures = ", ".join(f"{kind} {value:.4f}" for kind, value in headline.items())
    note = f"{decision.winner} serves: {decision.reasons[decision.winner]} ({HEADLINE}: {figures}"
    note += f"; {len(ground.judged.train):,} customers compared)"
    return Counts(events, len(results.figures), ground.split.cold_events, note)


def _nothing_due(lake: Lake, last: dict[str, Any], run: Run, config: TrainConfig) -> str:
    """Why the champion goes on without a contest; empty where one is due."""
    if not (lake.root / storage.MODELS / last["model_id"]).is_dir():
        return ""
    contests = {(row["as_of"], row["run_id"]) for row in registered(lake) if row["as_of"] <= run.as_of}
    age = (run.as_of - max(night for night, _ in contests)).days
    if not ((run.as_of, run.run_id) in contests if age == 0 else age < config.retrain_days):
        return ""
    return (
        f"{last['model_id']} serves: the last comparison is {age} days old, the next is due after {config.retrain_days}"
    )


def _train(
    ground: EvaluationSplit, run: Run, config: TrainConfig, compute: Compute
) -> tuple[dict[str, Recommender], dict[str, float], dict[str, list[float]]]:
    """Every candidate on the days before the split, the seconds it took, and its loss by epoch."""
    trained: dict[str, Recommender] = {}
    seconds, losses = {}, {}
    for kind, overrides in config.candidates.items():
        began = run.clock()
        model = artefacts.create(kind, ground.vocabulary, compute, **overrides)
        fitted = model.fit(ground.split.train, ground.catalogue, _named(run, kind))
        trained[kind], seconds[kind], losses[kind] = model, run.clock() - began, list(fitted.losses)
    return trained, seconds, losses


def _unspoilt(lake: Lake, last: dict[str, Any] | None, ground: EvaluationSplit, compute: Compute) -> Recommender | None:
    """The model that serves, if it was trained on nothing of the days that it would be judged on."""
    if last is None or last["as_of"] > ground.at.date():
        return None
    try:
        return artefacts.read(lake.root / storage.MODELS / last["model_id"], compute)[0]
    except artefacts.ArtefactError:  # it cannot serve either: somebody new has to
        return None


def _named(run: Run, name: str) -> Progress:
    return lambda what, done, total: run.progress(f"{name}: {what}", done, total)


def _refit(
    lake: Lake, run: Run, config: TrainConfig, compute: Compute, kind: str, losses: dict[str, list[float]]
) -> int:
    """Fit the winner on every event before the night and write it; returns the events it saw."""
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of))
    histories = read_histories(lake, run.as_of, vocabulary)
    model = artefacts.create(kind, vocabulary, compute, **config.candidates[kind])
    catalogue = read_features(lake, run.as_of, vocabulary)
    fitted = model.fit(histories.sequences, catalogue, _named(run, f"champion {kind}"))
    metadata = {
        "as_of": run.as_of.isoformat(),
        "run_id": run.run_id,
        "versions": _versions(lake),
        "code_version": run.code_version,
        "config_hash": run.config_hash,
        "learning": {**losses, f"{kind}, on everything": list(fitted.losses)},
        "pairs": fitted.pairs,
        "steps": fitted.steps,
    }
    artefacts.write(model, lake.root / storage.MODELS / f"{kind}-{run.run_id}", metadata, written_aside)
    return len(histories.sequences.products)


def _keep_losers(lake: Lake, run: Run, ground: EvaluationSplit, trained: dict[str, Recommender]) -> None:
    """Write the other candidates as they were compared: for people to look into, they never serve."""
    for kind, model in trained.items():
        metadata = {
            "as_of": run.as_of.isoformat(),
            "run_id": run.run_id,
            "versions": _versions(lake),
            "code_version": run.code_version,
            "config_hash": run.config_hash,
            "compared": f"trained on the days before the last {(run.midnight - ground.at).days}",
        }
        artefacts.write(model, lake.root / storage.MODELS / f"{kind}-{run.run_id}", metadata, written_aside)


def _versions(lake: Lake) -> dict[str, int]:
    """Delta versions of what models are trained on."""
    return {table.name: lake.version(table) for table in (CUSTOMER_SEQUENCES, CATALOGUE)}


def _record(lake: Lake, run: Run, config: TrainConfig, results: Results, decision: Decision) -> None:
    ids = {kind: f"{kind}-{run.run_id}" for kind in config.candidates}
    dataset = f"last {config.holdout_days} days before {run.as_of}"
    found = [(f.model, f.metric, f.slice, f.value, f.low, f.high, f.customers) for f in results.figures]
    for kind, contestant in results.contestants.items():
        customers = len(contestant.ndcg)
        costs = {
            "train seconds": contestant.train_seconds,
            "customers encoded per second": contestant.encode_per_second,
        }
        found += [(kind, name, "cost", value, value, value, customers) for name, value in costs.items()]
    for name, gap in decision.differences.items():
        customers = len(next(iter(results.contestants.values())).ndcg)
        metric = f"{HEADLINE} minus the winner's"
        found.append((name, metric, "decision", gap.value, gap.low, gap.high, customers))
    columns = ("model_id", "metric", "slice", "value", "ci_low", "ci_high", "customers")
    rows = [dict(zip(columns, (ids.get(row[0], row[0]), *row[1:]), strict=True)) for row in found]
    lake.replace_rows(EVALUATIONS, [row | {"dataset": dataset} for row in rows], run)
    lake.replace_rows(
        MODELS,
        [{"model_id": ids[kind], "kind": kind, "champion": kind == decision.winner,
          "ndcg": float(contestant.ndcg.mean()), "reason": decision.reasons[kind],
          "trained_on": json.dumps(_versions(lake)), "code_version": run.code_version, "config_hash": run.config_hash}
         for kind, contestant in results.contestants.items()],
        run,
        where=f"{night(run.as_of)} AND run_id = '{run.run_id}'",  # what other settings trained may serve later nights
    )  # fmt: skip
