"""Writes the page about what came of the lists: experiments between variants, and how each touch point does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow.compute as pc

from jobs.checks import WARNED, WARNS, gates_of, outcome_of
from jobs.experiments.results import Results, is_decided, read_results
from jobs.experiments.summary import Part, TouchPointSummary, costly_rules, read_touch_points
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, count_rows, matching, of_night
from jobs.report.charts import IntervalLine, IntervalPanel, Point, Series
from jobs.report.pages import environment
from jobs.run import Run
from jobs.tables.experiments import EXPERIMENTS, OFF_POLICY
from jobs.tables.shop import TITLES
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


@dataclass(frozen=True)
class ShownTouchPoint:
    """One touch point as the page shows it."""

    summary: TouchPointSummary
    daily: Series
    """Clicks in 100 impressions of each day."""
    costly: Sequence[Part]
    """Rules that surely cost clicks."""
    panels: Sequence[IntervalPanel]
    """Clicks beyond what places lead to expect, by each dimension of COMPARED_BY that has two parts."""
    tonight: IntervalPanel | None
    """Clicks that the night's lists would have had beyond those shown on the day before; None without an estimate."""
    support: float
    """Least share of the places of these lists whose product was shown there."""


COMPARED_BY = {
    "source": "source",
    "rule": "rule",
    "product age": "age of the product",
    "brand age": "age of the brand",
    "market": "market",
}
"""Dimension -> its name in a title."""
MOST_PARTS, MOST_PLACES = 12, 24


def is_measured(lake: Lake, as_of: date) -> bool:
    """Whether nights up to this one measured what came of what was shown: only then it has a page about it."""
    return bool(count_rows(lake, EXPERIMENTS, as_of) or read_touch_points(lake, as_of))


def written_of(lake: Lake, run: Run) -> str:
    """The page of a night as HTML."""
    found = [ShownExperiment(one, *_panels(one)) for one in read_results(lake, run.as_of)]
    estimates = matching(lake, OFF_POLICY, OFF_POLICY.names, of_night(run.as_of))
    touch_points = [_touch_point(one, estimates) for one in read_touch_points(lake, run.as_of)]
    of_report = of_night(run.as_of) & (pc.field("step") == WARNS)
    return (
        environment()
        .get_template("experiments.html")
        .render(
            as_of=run.as_of,
            run_id=run.run_id,
            running=[one for one in found if one.results.running],
            ended=[one.results for one in found if not one.results.running],
            is_decided=is_decided,
            touch_points=touch_points,
            days=sorted({day for one in touch_points for day in one.summary.days}),
            most_places=MOST_PLACES,
            warned=[row for row in gates_of(lake, of_report) if outcome_of(row) == WARNED],
            titles=TITLES,
        )
    )


def _touch_point(one: TouchPointSummary, estimates: list[StoredRow]) -> ShownTouchPoint:
    daily = tuple(Point(day, 100 * row["rate"]) for day, row in one.days.items())
    panels = []
    for dimension, name in COMPARED_BY.items():
        lines = []
        for part in one.parts[dimension][:MOST_PARTS]:
            if beyond := part.beyond:
                lines.append(IntervalLine(clean(part.name), False, (Interval(*(100 * end for end in beyond)),)))
        if len(lines) > 1:
            panels.append(IntervalPanel(f"By {name}", ("clicks beyond those of such places",), tuple(lines), True))
    series = Series("clicks in 100 impressions", daily)
    tonight, support = _tonight([row for row in estimates if row["touch_point"] == one.touch_point])
    return ShownTouchPoint(one, series, costly_rules(one), panels, tonight, support)


def _tonight(estimates: list[StoredRow]) -> tuple[IntervalPanel | None, float]:
    lines = []
    for row in estimates:
        ends = (100 * row[name] / row["shown"] for name in ("gained", "gained_low", "gained_high"))
        lines.append(IntervalLine(clean(row["variant"]), False, (Interval(*ends),)))
    series = ("clicks beyond those shown the day before",)
    panel = IntervalPanel("This night’s lists, estimated", series, tuple(lines), percent=True) if lines else None
    return panel, min((row["support"] for row in estimates), default=0.0)


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
