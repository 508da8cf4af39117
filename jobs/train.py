"""Train: the candidates compete on the last days, the champion is refitted on everything, or nothing is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from jobs.errors import UserError
from jobs.evaluate import Figure, baselines, compare, evaluation_rows
from jobs.histories import product_ids_seen, read_histories
from jobs.lake import Lake
from jobs.run import Counts, Progress, Run
from jobs.tables import CUSTOMER_SEQUENCES, EVALUATIONS, MODELS
from models import artefacts, registry
from models.contract import Compute, Recommender
from models.splits import Split, time_split
from models.vocabulary import Vocabulary

HEADLINE = "ndcg@10"
"""The metric that picks the champion, on the slice `all`."""


@dataclass(frozen=True)
class TrainConfig:
    """Which candidates compete, how often, and on what."""

    candidates: dict[str, dict[str, Any]] = field(default_factory=lambda: {"amf": {}, "transformers4rec": {}})
    """Model kind -> fields of its config that differ from the default."""
    retrain_days: int = 7
    """A champion that is so many days old is challenged again."""
    holdout_days: int = 7
    """Days before the night that candidates are compared on."""
    evaluated_customers: int = 5_000
    """At most so many customers are ranked in the comparison."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu or cuda."""
    seed: int = 17
    """Of every random draw."""

    def __post_init__(self) -> None:
        unknown = set(self.candidates) - set(registry.KINDS)
        if unknown or not self.candidates:
            raise UserError(f"candidates = {sorted(self.candidates)}; choose among {', '.join(sorted(registry.KINDS))}")
        for name in ("retrain_days", "holdout_days", "evaluated_customers"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}; use at least 1")


def champion(lake: Lake, run: Run) -> dict[str, Any] | None:
    """The row of `models` whose vectors serve this night: the newest champion up to it."""
    rows = [row for row in lake.arrow(MODELS).to_pylist() if row["champion"] and row["as_of"] <= run.as_of]
    return max(rows, key=lambda row: row["as_of"], default=None)


def load_champion(lake: Lake, run: Run, compute: Compute) -> tuple[str, Recommender]:
    """(model_id, model) of the night's champion; raises UserError where none was trained or its files are damaged."""
    row = champion(lake, run)
    if row is None:
        raise UserError(f"no model was trained up to {run.as_of}; run `python -m jobs train --as-of {run.as_of}` first")
    try:
        model, _ = artefacts.read(lake.root / "models" / row["model_id"], compute)
    except artefacts.ArtefactError as error:
        raise UserError(str(error)) from None
    return row["model_id"], model


def execute(lake: Lake, run: Run, config: TrainConfig) -> Counts:
    """Write models, evaluations and the champion's artefact, unless the champion is young enough."""
    last = champion(lake, run)
    if last and _serves(lake, last, run, config):
        age = (run.as_of - last["as_of"]).days
        return Counts(note=f"{last['model_id']} is {age} days old, younger than {config.retrain_days}: it serves")
    compute = Compute(config.device, config.seed)
    split, vocabulary, customers = _split(lake, run, config)
    figures = _compare(split, vocabulary, run, config, compute)
    headline = {f.model: f for f in figures if (f.metric, f.slice) == (HEADLINE, "all")}
    winner = max(config.candidates, key=lambda kind: headline[kind].value)
    model_id = f"{winner}-{run.run_id}"
    events = _refit(lake, run, config, compute, winner, model_id, headline[winner])
    _record(lake, run, config, figures, headline, winner, model_id)
    others = ", ".join(f"{name} {figure.value:.4f}" for name, figure in headline.items() if name != winner)
    note = f"{model_id} with {HEADLINE} {headline[winner].value:.4f} (others: {others})"
    return Counts(events, len(figures), split.cold_events, note + f"; {customers:,} customers compared")


def _serves(lake: Lake, last: dict[str, Any], run: Run, config: TrainConfig) -> bool:
    """Whether nothing is due: the champion is of this very run, or of an earlier night and not too old."""
    age = (run.as_of - last["as_of"]).days
    if not (lake.root / "models" / last["model_id"]).is_dir():
        return False
    return bool(last["run_id"] == run.run_id if age == 0 else age < config.retrain_days)


def _split(lake: Lake, run: Run, config: TrainConfig) -> tuple[Split, Vocabulary, int]:
    """The comparison's two sides; the vocabulary knows only products seen before the split."""
    split_at = run.midnight - timedelta(days=config.holdout_days)
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of, before=split_at))
    histories = read_histories(lake, run.as_of, vocabulary, keep_unknown=True)
    try:
        split = time_split(histories.sequences, int(split_at.timestamp()), config.holdout_days)
    except ValueError as error:
        raise UserError(f"the candidates cannot be compared on the {config.holdout_days} days before {run.as_of}: "
                        f"{error}; ingest more days or shorten holdout_days") from None  # fmt: skip
    if not len(split.known_customers):
        raise UserError(f"no customer has events both before and after {split_at:%Y-%m-%d}, so no candidate can be "
                        "compared; ingest more days or change holdout_days")  # fmt: skip
    return split, vocabulary, len(split.known_customers)


def _compare(split: Split, vocabulary: Vocabulary, run: Run, config: TrainConfig, compute: Compute) -> list[Figure]:
    trained = {}
    for kind, overrides in config.candidates.items():
        model = registry.create(kind, vocabulary, compute, **overrides)
        model.fit(split.train, _named(run, kind))
        trained[kind] = model
    simple = baselines(split.train, len(vocabulary), int(run.midnight.timestamp()) - config.holdout_days * 86_400)
    judged = evaluation_rows(split, config.evaluated_customers, config.seed)
    return list(compare(trained, simple, judged, np.ones(len(vocabulary), dtype=bool)))


def _named(run: Run, name: str) -> Progress:
    return lambda what, done, total: run.progress(f"{name}: {what}", done, total)


def _refit(
    lake: Lake, run: Run, config: TrainConfig, compute: Compute, kind: str, model_id: str, figure: Figure
) -> int:
    """Fit the winner on every event before the night and write it; returns the events it saw."""
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of))
    histories = read_histories(lake, run.as_of, vocabulary)
    model = registry.create(kind, vocabulary, compute, **config.candidates[kind])
    fitted = model.fit(histories.sequences, _named(run, f"champion {kind}"))
    metadata = {
        "as_of": run.as_of.isoformat(),
        "run_id": run.run_id,
        "versions": {CUSTOMER_SEQUENCES.name: lake.version(CUSTOMER_SEQUENCES)},
        "training": dict(fitted),
        HEADLINE: figure.value,
    }
    artefacts.write(model, lake.root / "models" / model_id, metadata)
    return len(histories.sequences.products)


def _record(
    lake: Lake, run: Run, config: TrainConfig, figures: list[Figure], headline: dict[str, Figure], winner: str,
    model_id: str,
) -> None:  # fmt: skip
    ids = {kind: f"{kind}-{run.run_id}" for kind in config.candidates}
    dataset = f"last {config.holdout_days} days before {run.as_of}"
    lake.replace_rows(
        EVALUATIONS,
        [{"model_id": ids.get(f.model, f.model), "dataset": dataset, "metric": f.metric, "slice": f.slice,
          "value": f.value, "ci_low": f.low, "ci_high": f.high, "customers": f.customers} for f in figures],
        run,
    )  # fmt: skip
    rows = []
    for kind, own_id in ids.items():
        reason = f"highest {HEADLINE} on {dataset}" if kind == winner else f"{HEADLINE} below {model_id}'s"
        rows.append({"model_id": own_id, "kind": kind, "champion": kind == winner, "ndcg": headline[kind].value,
                     "reason": reason})  # fmt: skip
    lake.replace_rows(MODELS, rows, run)
