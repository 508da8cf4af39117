"""What each part of the candidates is worth in a lake's own comparison: fitted and judged as the step train does.

    python -m tests.benchmarks.ablation --root var/lakes/sample --as-of 2026-04-06 --json OUT
    python -m tests.benchmarks.ablation --root LAKE --as-of DATE --only amf,transformer,"the network alone"

The lake needs the steps ingest and sequences of that night. `--validation` judges on the days before the held-out ones,
for choosing defaults: the held-out days are for reporting.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.train.comparison import EvaluationSplit, HeldOutDays, SplitSizes, prepare
from jobs.train.evaluate import AMF, HEADLINE, HEADLINE_SLICE, SliceMetrics, measure
from models.contract import Compute, Config, Recommender
from models.evaluation.bootstrap import paired_uplift
from models.evaluation.metrics import from_vectors
from models.networks import artefacts
from models.sequences import SECONDS_PER_DAY

TRANSFORMER = "transformer"
VARIANTS: dict[str, tuple[str, Config]] = {
    AMF: (AMF, {}),
    "amf at temperature .1": (AMF, {"temperature": 0.1}),
    "amf with the transformer's objective": (AMF, {"future_days": 1.0}),
    "closed_form": ("closed_form", {}),
    TRANSFORMER: (TRANSFORMER, {}),
    "next basket": (TRANSFORMER, {"future_days": 0.0}),
    "a window of 3 days": (TRANSFORMER, {"future_days": 3.0}),
    "all event types count alike": (TRANSFORMER, {"target_weights": (1.0, 1.0, 1.0, 1.0)}),
    "old windows read as often": (TRANSFORMER, {"recency": 0.0}),
    "temperature .12": (TRANSFORMER, {"temperature": 0.12}),
    "dropout .25": (TRANSFORMER, {"dropout": 0.25}),
    "one block": (TRANSFORMER, {"layers": 1}),
    "width 96": (TRANSFORMER, {"width": 96}),
    "transformers4rec": ("transformers4rec", {}),
}
"""Name -> kind, and settings that differ from its default."""
ALONE = "the network alone"
"""The transformer without the closed form beside it: measured on the same fit."""
SEED = 17


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Fit, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    parser.add_argument("--only", default=",".join(VARIANTS), help="names of variants, with commas between them")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    split = read(asked.root, asked.as_of, asked.validation, asked.seed)
    rows: list[dict[str, Any]] = []
    amf: SliceMetrics | None = None
    for name in [one for one in VARIANTS if one in asked.only.split(",")]:
        kind, settings = VARIANTS[name]
        began = datetime.now(UTC)
        model, chosen = fitted(kind, settings, split, asked.seed)
        seconds = (datetime.now(UTC) - began).total_seconds()
        parts = {name: model}
        if name == TRANSFORMER and chosen.get("visits_weight"):
            parts[ALONE] = artefacts.model_class(kind).restore(
                model.vocabulary,
                chosen | {"visits_weight": 0.0},
                {key: value for key, value in model.tensors().items() if not key.startswith("visits.")},
                Compute("auto", asked.seed),
            )
        for label, part in parts.items():
            found = judged(label, part, split.test)
            amf = found[HEADLINE_SLICE] if label == AMF else amf
            rows.append(row(found, amf, seconds, chosen))
            print(shown(rows[-1]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return rows


def read(root: Path, as_of: date, validation: bool, seed: int) -> EvaluationSplit:
    """The night's split; with `validation` that of a week before, as if the held-out days had not come."""
    run = Run(as_of, f"{as_of}-ablation", datetime.now(UTC))
    lake, sizes = Lake(root), SplitSizes(7, 7, 5_000, 1_500)
    if not validation:
        return prepare(lake, run, sizes, seed)
    split = prepare(lake, run, replace(sizes, days=14), seed)
    first_week = split.test.days.midnights < split.test.days.first + 7 * SECONDS_PER_DAY
    rows = np.flatnonzero(first_week)
    shown = {
        label: (lambda asked, allowed=allowed: allowed(rows[asked])) for label, allowed in split.test.shown.items()
    }
    return replace(split, test=HeldOutDays(split.test.train, split.test.days.take(rows), shown))


def fitted(kind: str, settings: Config, split: EvaluationSplit, seed: int) -> tuple[Recommender, Config]:
    """As the step train fits a candidate: (model, settings as chosen)."""
    model = artefacts.create(kind, split.vocabulary, Compute("auto", seed), **settings)
    if split.validation is None:
        model.fit(split.test.train, split.catalogue)
        return model, model.config()
    choice = model.choose(split.validation.train, split.catalogue, split.validation.headline)
    return model, choice.settings


def judged(name: str, model: Recommender, test: HeldOutDays) -> dict[str, SliceMetrics]:
    """Its metrics by slice."""
    return measure(
        name, from_vectors(model.encode(test.days.histories), model.product_vectors()), test.days, test.shown
    )


def row(found: dict[str, SliceMetrics], amf: SliceMetrics | None, seconds: float, chosen: Config) -> dict[str, Any]:
    """The figures of one variant."""
    headline = found[HEADLINE_SLICE]
    uplift = None
    if amf is not None and headline is not amf:
        interval = paired_uplift(headline.metrics[HEADLINE], amf.metrics[HEADLINE], headline.customers)
        uplift = [interval.value, interval.low, interval.high]
    means = {label: float(of_slice.metrics[HEADLINE].mean()) for label, of_slice in found.items()}
    kept = {name: chosen[name] for name in ("epochs", "visits_weight", "exponent", "rank") if name in chosen}
    return {"name": headline.model, "means": means, "uplift": uplift, "seconds": seconds, "chosen": kept}


def shown(figures: dict[str, Any]) -> str:
    """A row of the table in docs/benchmarks.md."""
    means = " | ".join(f"{value:.4f}" for value in figures["means"].values())
    uplift = figures["uplift"]
    gain = "-" if uplift is None else f"{uplift[0]:+.1%} [{uplift[1]:+.1%}, {uplift[2]:+.1%}]"
    return f"| {figures['name']} | {means} | {gain} | {figures['seconds']:.0f} s | {figures['chosen']} |"


if __name__ == "__main__":
    main()
