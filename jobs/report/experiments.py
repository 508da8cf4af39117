"""Writes the page about what came of the lists: experiments between variants, and how each touch point does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from jobs.experiments.results import Results, is_decided, read_results
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, count_rows
from jobs.report.charts import IntervalLine, IntervalPanel
from jobs.report.pages import environment
from jobs.run import Run
from jobs.tables.experiments import EXPERIMENTS
from jobs.text import clean
from models.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class ShownExperiment:
    """One experiment as the page shows it."""

    results: Results
    panel: IntervalPanel | None
    """Uplifts of all markets with their intervals for daily looks; None where no metric has one yet."""
    markets: IntervalPanel | None
    """Uplifts in clicks of each market; None where there is one market."""


def is_measured(lake: Lake, as_of: date) -> bool:
    """Whether the night measured what came of what was shown: only then it has a page about it."""
    return count_rows(lake, EXPERIMENTS, as_of) > 0


def written_of(lake: Lake, run: Run) -> str:
    """The page of a night as HTML."""
    found = [ShownExperiment(one, *_panels(one)) for one in read_results(lake, run.as_of)]
    return (
        environment()
        .get_template("experiments.html")
        .render(
            as_of=run.as_of,
            run_id=run.run_id,
            running=[one for one in found if one.results.running],
            ended=[one.results for one in found if not one.results.running],
            is_decided=is_decided,
        )
    )


def _panels(results: Results) -> tuple[IntervalPanel | None, IntervalPanel | None]:
    first = results.rows[0]["metric"]
    everywhere = _panel("Uplift over the control, all markets", results.of(), "metric")
    single = [row for market in results.markets for row in results.of(market, first)]
    return everywhere, _panel(f"Uplift in {first} by market", single, "market")


def _panel(title: str, rows: list[StoredRow], line: str) -> IntervalPanel | None:
    """A line for each value of the column `line`, in each the interval of every variant but the control."""
    variants = [*dict.fromkeys(row["variant"] for row in rows if row["variant"] != row["control"])]
    lines = []
    for name in dict.fromkeys(row[line] for row in rows):
        of = {row["variant"]: row for row in rows if row[line] == name and row["uplift"] is not None}
        if of:
            figures = tuple(_interval(of[variant]) if variant in of else None for variant in variants)
            lines.append(IntervalLine(clean(name or "unknown market"), False, figures))
    return IntervalPanel(title, tuple(map(clean, variants)), tuple(lines), percent=True) if lines else None


def _interval(row: StoredRow) -> Interval:
    return Interval(*(100 * row[name] for name in ("uplift", "always_low", "always_high")))
