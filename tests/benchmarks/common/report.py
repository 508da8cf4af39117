"""From the entrants' answers to figures with intervals: JSON for programs, tables for people."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from models.evaluation.bootstrap import mean_interval, paired_uplift
from tests.benchmarks.common.problem import IntArray
from tests.benchmarks.common.search import Chosen
from tests.benchmarks.common.worker import Answers, Outcome

LOG_WIDTH = 170
BASE = "amf"
"""The model that uplifts are over."""
Figures = dict[str, Any]


def figures(answers: Answers, groups: IntArray, metrics: Sequence[str]) -> Figures:
    """Metric -> value, low, high (95 %) and the value of each seed; then coverage and share of best-sellers.

    Seeds are averaged for each row first, so that the interval is over whom the model is asked about. `groups` [n] are
    those of the case, of which the rows that count are taken.
    """
    found: Figures = {}
    for metric in metrics:
        seeds = answers.metrics[metric]
        interval = asdict(mean_interval(seeds.mean(axis=0), groups[answers.rows]))
        found[metric] = interval | {"seeds": [float(seed) for seed in seeds.mean(axis=1)]}
    return found | {
        "coverage@20": answers.coverage,
        "popular_1_percent_share@20": answers.popular_share,
        "rows": len(answers.rows),
    }


def uplifts(ours: Answers, theirs: Answers, groups: IntArray, metrics: Sequence[str]) -> dict[str, Any]:
    """Metric -> relative uplift, 0.2 being 20 %, with its paired interval; None where theirs is 0."""
    found: dict[str, Any] = {}
    for metric in metrics:
        pair = ours.metrics[metric].mean(axis=0), theirs.metrics[metric].mean(axis=0)
        try:
            found[metric] = asdict(paired_uplift(*pair, groups[ours.rows]))
        except ValueError:  # no ratio to a mean of 0, in the data or in a draw
            found[metric] = None
    return found


def costs(outcome: Outcome, chosen: Chosen) -> Figures:
    """What an entrant took."""
    names = ("train_seconds", "sessions_per_second", "encode_per_second", "peak_memory_mb")
    return {name: getattr(outcome, name) for name in names} | {
        "params": chosen.entrant.settings,
        "trials": chosen.trials,
        "validation_ndcg@10": chosen.value if chosen.trials else None,
        "search_seconds": chosen.seconds,
    }


def machine() -> dict[str, Any]:
    """Where this runs."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            processor = next((line.partition(":")[2].strip() for line in lines if line[:10] == "model name"), processor)
    except OSError:
        pass
    return {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version()}


def write(document: Mapping[str, Any], path: Path) -> None:
    """One JSON file, whole or as it was: it is written aside and renamed."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(aside, path)


def console() -> Console:
    """A terminal as it is; a log gets lines wide enough for the tables."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=LOG_WIDTH, highlight=False)


def quality_table(title: str, models: Mapping[str, Figures], metrics: Sequence[str]) -> Table:
    """One row per entrant: each metric in percent with its interval, then how its lists spread."""
    table = grid(title, "model", *map(label, metrics), "coverage@20", "to top 1 %")
    for name, found in models.items():
        shares = (f"{100 * found[key]:.1f}" for key in ("coverage@20", "popular_1_percent_share@20"))
        table.add_row(name, *(percent(found[metric]) for metric in metrics), *shares)
    return table


def uplift_table(models: Mapping[str, Figures], metrics: Sequence[str]) -> Table:
    """One row per entrant: its uplift over AMF in each metric."""
    table = grid("Uplift over AMF in percent, with its 95 % interval", "model", *map(label, metrics))
    for name, found in models.items():
        if found.get("uplift_over_amf"):
            table.add_row(name, *(signed(found["uplift_over_amf"].get(metric)) for metric in metrics))
    return table


def cost_table(models: Mapping[str, Figures]) -> Table:
    """One row per entrant: time and memory."""
    table = grid("Cost of the final fit", "model", "train s", "sessions/s", "encode/s", "peak MB", "trials", "search s")
    for name, found in models.items():
        numbers = (found[key] for key in ("sessions_per_second", "encode_per_second", "peak_memory_mb"))
        table.add_row(name, f"{found['train_seconds']:.1f}", *(f"{number:,.0f}" for number in numbers),
                      str(found["trials"]), f"{found['search_seconds']:.0f}")  # fmt: skip
    return table


def grid(title: str, *columns: str) -> Table:
    """An empty table, text to the left and figures to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    return table


def label(metric: str) -> str:
    """`ndcg@10` as people write it."""
    return metric.upper()


def percent(figure: Mapping[str, float]) -> str:
    """value [low, high] in percent."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*(100 * figure[key] for key in ("value", "low", "high")))


def signed(figure: Mapping[str, float] | None) -> str:
    """The same with signs; a dash where there is none."""
    if figure is None:
        return "-"
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * figure[key] for key in ("value", "low", "high")))
