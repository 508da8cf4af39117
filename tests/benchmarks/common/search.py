"""Hyper-parameters from a small automatic search inside the training data: equal trials for every trained model."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna

from models.contract import Progress
from models.networks import artefacts
from models.sequences import Sequences
from tests.benchmarks.common.fit import Contestant, is_trained, warm_up
from tests.benchmarks.common.judge import judge
from tests.benchmarks.common.log import Log, readable
from tests.benchmarks.common.presets import Preset
from tests.benchmarks.common.problem import Entrant, Problem

OBJECTIVE = "ndcg@10"
SEARCHED = ("table_learning_rate", "learning_rate", "dropout", "weight_decay", "recency", "temperature")
EXTRA = {"amf": ("exponent",), "transformer": (), "transformers4rec": ()}
"""What a kind has to tune beside that."""


@dataclass(frozen=True)
class Chosen:
    """What a search ended with."""

    entrant: Entrant
    """Ready for the final fit: its settings are those of the best trial."""
    trials: int
    value: float
    """OBJECTIVE on the validation rows."""
    seconds: float


def search(entrant: Entrant, trial: Problem, finale: Problem, reference: Sequences, preset: Preset, log: Log) -> Chosen:
    """The best settings for `entrant` on the validation rows that both problems share.

    `trial` and `finale` learn from the same past, `trial` from its newest part; `reference` is what the final fit will
    read, the scale of `recency`. A trial whose loss is not finite counts as one that failed.
    """
    if not is_trained(entrant.kind) or entrant.kind == "closed_form":  # the latter as a night begins with it
        return Chosen(entrant, 0, 0.0, 0.0)
    started = time.perf_counter()
    fixed = _fixed(entrant, preset)
    warm_up(_with(entrant, fixed), trial)
    warm = time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=_sampler(preset))
    defaults = _defaults(entrant, fixed)
    study.enqueue_trial(defaults)

    def objective(asked: optuna.Trial) -> float:
        settings = fixed | _suggested(asked, entrant, defaults) | _passes(preset, entrant, preset.trial_epochs)
        doing = f"{entrant.name}: trial {asked.number + 1} of {preset.trials}"
        return _value(entrant, trial, settings, reference, preset, log.progress(doing))

    def tell(done: optuna.Study, last: optuna.trial.FrozenTrial) -> None:
        left = (time.perf_counter() - warm) / (last.number + 1) * (preset.trials - last.number - 1)
        value = "failed" if last.value is None else f"{OBJECTIVE} {last.value:.4f}"
        log.say(f"{entrant.name}: trial {last.number + 1} of {preset.trials}: {value} with {_short(last.params)}; "
                f"about {readable(left)} left in the trials")  # fmt: skip

    study.optimize(objective, preset.trials, catch=(FloatingPointError,), callbacks=[tell])
    settings, value = _finale(study, entrant, finale, fixed, reference, preset, log)
    return Chosen(_with(entrant, settings), len(study.trials), value, time.perf_counter() - started)


def for_span(settings: dict[str, Any], train: Sequences, reference: Sequences) -> dict[str, Any]:
    """The settings for a fit on `train`: `recency` is meant for the time that `reference` spans, and the model counts
    it over what it is given, so that a shorter past gets a smaller one and the same loss of weight per day.
    """
    share = int(np.ptp(train.times)) / max(1, int(np.ptp(reference.times)))
    return settings | {"recency": float(settings.get("recency", 0.0) * share)}


def _finale(
    study: optuna.Study, entrant: Entrant, problem: Problem, fixed: dict[str, Any], reference: Sequences,
    preset: Preset, log: Log,
) -> tuple[dict[str, Any], float]:  # fmt: skip
    """The best settings and their value: of the best trials, each as the final fit would be."""
    ranked = sorted((t for t in study.trials if t.value is not None), key=lambda t: -(t.value or 0.0))
    if not ranked:
        raise FloatingPointError(f"all {len(study.trials)} trials of {entrant.name} ended in a loss that is not finite")
    best = [
        fixed | _settings(trial.params) | _passes(preset, entrant, epochs)
        for trial in ranked[: preset.finalists]
        for epochs in preset.epochs
    ]
    if len(best) == 1:
        return best[0], float(ranked[0].value or 0.0)
    values = []
    for number, settings in enumerate(best, 1):
        doing = f"{entrant.name}: finalist {number} of {len(best)}"
        values.append(_value(entrant, problem, settings, reference, preset, log.progress(doing)))
        log.say(f"{doing}: {OBJECTIVE} {values[-1]:.4f} with {_short(settings)}")
    return best[int(np.argmax(values))], max(values)


def _value(
    entrant: Entrant, problem: Problem, settings: dict[str, Any], reference: Sequences, preset: Preset,
    progress: Progress,
) -> float:  # fmt: skip
    fitted = Contestant(_with(entrant, for_span(settings, problem.train, reference)), problem, preset.seed, progress)
    counts = np.bincount(problem.train.products, minlength=problem.products)
    asked = next(iter(fitted.answers()))
    return float(judge(asked.row_scores, asked.case, asked.histories, counts).metrics[OBJECTIVE].mean())


def _fixed(entrant: Entrant, preset: Preset) -> dict[str, Any]:
    """What is not searched: the sizes that all share, and the entrant's own."""
    shape: dict[str, Any] = {} if entrant.kind == "amf" else {"layers": preset.layers, "heads": preset.heads}
    if entrant.kind == "transformer":
        # On sessions the closed form costs, and so does the dropout of a night's transformer: docs/benchmarks.md.
        shape |= {"visits_weight": 0.0, "dropout": 0.25, "temperature": 0.07}
    if entrant.kind != "amf" and preset.dropout is not None:
        shape["dropout"] = preset.dropout
    return preset.common | shape | entrant.settings


def _passes(preset: Preset, entrant: Entrant, epochs: int) -> dict[str, Any]:
    return {"epochs": preset.passes(entrant.kind, epochs)}


def _suggested(trial: optuna.Trial, entrant: Entrant, defaults: dict[str, Any]) -> dict[str, Any]:
    """The search space, the same for every kind but for EXTRA; learning rates are sought around the kind's own."""
    usual, table = defaults["learning_rate"], defaults["table_learning_rate"]
    params: dict[str, Any] = {
        "scoring": trial.suggest_categorical("scoring", ["cosine", "dot"]),
        "learning_rate": trial.suggest_float("learning_rate", usual / 3, usual * 3, log=True),
        "table_learning_rate": trial.suggest_float("table_learning_rate", table / 4, table * 4, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.5, log=True),
        "recency": trial.suggest_float("recency", 0.0, 4.0),
    }
    if params["scoring"] == "cosine":
        params["temperature"] = trial.suggest_float("temperature", 0.04, 0.15, log=True)
    for name in EXTRA[entrant.kind]:
        params[name] = trial.suggest_float(name, 0.0, 1.0)
    return _settings(params)


def _settings(params: dict[str, Any]) -> dict[str, Any]:
    """The search's parameters as fields of a config: `scoring` is no field, and dot product is no temperature."""
    fields = {name: value for name, value in params.items() if name != "scoring"}
    return fields | {"temperature": fields.get("temperature")}


def _defaults(entrant: Entrant, fixed: dict[str, Any]) -> dict[str, Any]:
    """The kind's own settings as parameters of the search."""
    settings = artefacts.model_class(entrant.kind).config_class(**fixed)
    values = {name: getattr(settings, name) for name in (*SEARCHED, *EXTRA[entrant.kind])}
    params = {name: value for name, value in values.items() if value is not None}
    return params | {"scoring": "cosine" if "temperature" in params else "dot"}


def _sampler(preset: Preset) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=preset.seed, n_startup_trials=max(3, preset.trials // 2))


def _with(entrant: Entrant, settings: dict[str, Any]) -> Entrant:
    return replace(entrant, settings=settings)


def _short(settings: dict[str, Any]) -> str:
    shown = {name: settings[name] for name in (*SEARCHED, "exponent", "epochs") if settings.get(name) is not None}
    values = (f"{name} {value:.3g}" for name, value in shown.items())
    return ", ".join(values) + ("" if shown.get("temperature") else ", dot product")
