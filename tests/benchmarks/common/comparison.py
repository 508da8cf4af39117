"""Every entrant in turn: its search inside the training data, its final fits, its answers to the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.sequences import Sequences
from tests.benchmarks.common.fit import is_trained
from tests.benchmarks.common.log import Log
from tests.benchmarks.common.presets import Preset
from tests.benchmarks.common.problem import Entrant, IntArray, Problem
from tests.benchmarks.common.report import BASE, uplifts
from tests.benchmarks.common.search import Chosen, search
from tests.benchmarks.common.worker import Outcome, run


def contest(
    entrants: list[Entrant], problem: Problem, finale: Problem, preset: Preset, seeds: int, scratch: Path, log: Log
) -> Iterator[tuple[Outcome, Chosen]]:
    """Yield each entrant's outcome on `problem` as soon as it is there.

    `finale` has the past before the validation window and the window's rows; trials learn from its newest part.
    """
    problem.save(scratch)
    trial = replace(finale, train=_newest(finale, preset.trial_sessions))
    found: dict[str, Chosen] = {}
    for number, entrant in enumerate(entrants, 1):
        log.say(f"{entrant.name}: {number} of {len(entrants)}, {_tuned(entrant, preset)}")
        if entrant.like:
            settings = found[entrant.like].entrant.settings | entrant.settings
            chosen = replace(found[entrant.like], entrant=replace(entrant, settings=settings))
        else:
            chosen = found[entrant.name] = search(entrant, trial, finale, problem.train, preset, log)
        numbers = [preset.seed + place for place in range(seeds)]
        yield run(chosen.entrant, scratch, numbers, log), chosen


def with_uplifts(
    models: Mapping[str, dict[str, Any]],
    outcomes: Mapping[str, Outcome],
    case: str,
    groups: IntArray,
    metrics: tuple[str, ...],
) -> None:
    """Give every model but AMF its `uplift_over_amf`, as soon as AMF is there; empty until then."""
    for name, found in models.items():
        if found.get("uplift_over_amf"):
            continue
        known = BASE in outcomes and name != BASE and case in outcomes[BASE].answers
        pair = (outcomes[name].answers[case], outcomes[BASE].answers[case]) if known else None
        found["uplift_over_amf"] = uplifts(*pair, groups, metrics) if pair else {}


def _tuned(entrant: Entrant, preset: Preset) -> str:
    if entrant.like:
        return f"with the settings of {entrant.like}"
    return f"{preset.trials} trials" if is_trained(entrant.kind) else "nothing to tune"


def _newest(problem: Problem, most: int | None) -> Sequences:
    """The histories of the `most` latest last events, in their order; None: all."""
    train = problem.train
    if most is None or len(train) <= most:
        return train
    ends = train.times[np.maximum(train.offsets[1:] - 1, 0)]
    return train.take(np.sort(np.argsort(ends, kind="stable")[-most:]))
