"""Drift: how inputs, checks, lists and steps moved over the last nights, as one HTML page beside the report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from jobs.gate.counts import ListCounts, read_counts
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching
from jobs.report.pages import environment
from jobs.run import Run
from jobs.settings import Settings
from jobs.steps import STEPS
from jobs.tables.records import GATES, INPUTS, RUNS
from jobs.tables.shop import PRODUCT_LISTS, TITLES
from jobs.tables.table import Table
from jobs.text import clean


@dataclass(frozen=True)
class DriftConfig(Settings):
    """How far the page looks back."""

    nights: PositiveInt = 28
    """Newest nights that are drawn."""
    slices: PositiveInt = 12
    """Slices of one figure that are drawn: those that moved most."""


def path_beside(report: Path) -> Path:
    """Where the page lies, given where the night's report does."""
    return report.with_name("drift.html")


def written_of(lake: Lake, run: Run, config: DriftConfig, link: str) -> str:
    """The page as HTML; `link` is the name of the night's report beside it."""
    nights = nights_of(lake, run.as_of, config.nights)
    sections = (
        ("input", "What came in", "Figures of each night’s input. A slice of a figure is a market, a type of event or "
         "a column.", input_panels(lake, nights, config.slices)),
        ("lists", "The lists", "How long the lists are and where their places come from, in all lists of each night "
         "as its gate counted them.", list_panels(lake, nights)),
        ("checks", "The checks", "Each gate’s figure, with its limit as a broken line.", gate_panels(lake, nights)),
        ("steps", "The steps", "What the nights cost.", step_panels(lake, nights)),
    )  # fmt: skip
    return environment().get_template("drift.html").render(
        as_of=run.as_of, run_id=run.run_id, nights=nights, link=link, width=WIDTH, height=HEIGHT, edge=EDGE,
        sections=[(anchor, title, lead, [_drawn(panel, nights) for panel in panels])
                  for anchor, title, lead, panels in sections],
        marked=_marked([panel for *_, panels in sections for panel in panels], run.as_of),
    )  # fmt: skip


def _drawn(panel: Panel, nights: list[date]) -> dict[str, Any]:
    return {"title": panel.title, "note": panel.note, "charts": [draw(series, nights) for series in panel.series]}


def _marked(panels: list[Panel], as_of: date) -> list[tuple[str, str, str, str]]:
    """(heading, figure, mark, change) of what was marked on the night itself."""
    return [
        (panel.title, series.name, point.mark, series.change)
        for panel in panels for series in panel.series for point in series.points
        if point.mark and point.night == as_of
    ]  # fmt: skip


# Geometry of a small line chart over nights: places in a fixed box, a mark where a check failed or was let pass.

WIDTH, HEIGHT, EDGE = 260.0, 60.0, 6.0
"""Of the box, and its margin, in units of the drawing."""
LEAST_SPAN = 0.2
"""Least height of the box as a share of the largest value: a change of one percent must not look like a fall."""


@dataclass(frozen=True)
class Point:
    """A figure on one night."""

    night: date
    value: float
    mark: str = ""
    """failed, accepted or nothing."""


@dataclass(frozen=True)
class Series:
    """One figure over the nights, oldest first; nights without it are left out."""

    name: str
    points: tuple[Point, ...]
    rule: str = ""
    """Its limit in words: at least 0.9, at most 0.3."""

    @property
    def steady(self) -> bool:
        """Whether it never changed and nothing is marked: nothing to look at."""
        return len({point.value for point in self.points}) == 1 and not any(point.mark for point in self.points)

    @property
    def moved(self) -> float:
        """By how much the last value differs from the median of those before, as a share of the larger of the two."""
        before = [point.value for point in self.points[:-1]]
        if not before:
            return 0.0
        usual, last = median(before), self.points[-1].value
        return (last - usual) / (max(abs(usual), abs(last)) or 1.0)

    @property
    def change(self) -> str:
        """The last value beside the median of those before, in words."""
        before = [point.value for point in self.points[:-1]]
        if not before:
            return "first night"
        usual, last = median(before), self.points[-1].value
        if usual == last:
            return "as usual"
        return f"{last / usual - 1:+.1%}" if usual > 0 else f"from {usual:g}"


@dataclass(frozen=True)
class Drawn:
    """A series as the page draws it."""

    series: Series
    lines: tuple[str, ...]
    """Points of each unbroken line; a night without a value breaks it."""
    dots: tuple[tuple[float, float, str, str], ...]
    """(x, y, mark, words) of the marked points and of the last one."""
    limit: float | None
    """y of the limit, where it lies in the box."""
    low: float
    high: float
    """The least and the greatest value."""


def draw(series: Series, nights: Sequence[date]) -> Drawn:
    """The series over `nights`, oldest first; every point of it is one of them."""
    values = [point.value for point in series.points if math.isfinite(point.value)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    bound = _bound(series.rule)
    floor, top = low, high
    if bound is not None and low - (high - low or abs(high)) <= bound <= high + (high - low or abs(high)):
        floor, top = min(low, bound), max(high, bound)
    missing = LEAST_SPAN * max(abs(floor), abs(top)) - (top - floor)
    if missing > 0:
        floor, top = floor - missing / 2, top + missing / 2
    place = {night: EDGE + n * (WIDTH - 2 * EDGE) / max(len(nights) - 1, 1) for n, night in enumerate(nights)}

    def y(value: float) -> float:
        share = (value - floor) / (top - floor) if top > floor else 0.5
        return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 1)

    known = {point.night: point for point in series.points if math.isfinite(point.value)}
    lines: list[list[str]] = [[]]
    for night in nights:
        if night in known:
            lines[-1].append(f"{place[night]:.1f},{y(known[night].value)}")
        elif lines[-1]:
            lines.append([])
    last = series.points[-1].night if series.points else None
    dots = tuple(
        (round(place[point.night], 1), y(point.value), point.mark, f"{point.night}: {point.value:,.4g} {point.mark}")
        for point in known.values() if point.mark or point.night == last
    )  # fmt: skip
    limit = y(bound) if bound is not None and floor <= bound <= top else None
    return Drawn(series, tuple(" ".join(line) for line in lines if line), dots, limit, low, high)


def _bound(rule: str) -> float | None:
    """The number of a limit in words; the first of a range."""
    for words in ("at least ", "at most "):
        if rule.startswith(words):
            try:
                return float(rule.removeprefix(words).split()[0].rstrip(",;"))
            except (ValueError, IndexError):
                return None
    return None


def stability(before: Sequence[float], now: Sequence[float]) -> float:
    """Population stability index of two distributions over the same slices: 0 for equal shares.

    By custom, below 0.1 nothing has moved and above 0.25 much has. A slice that is empty on one side counts as a
    ten-thousandth.
    """
    shares = [[max(value / (sum(side) or 1.0), 1e-4) for value in side] for side in (before, now)]
    return math.fsum((new - old) * math.log(new / old) for old, new in zip(*shares, strict=True))


# Figures of the last nights, as series: what came in, what was checked, what the lists hold, what the steps cost.

WATCHED = {
    "input_events": ("events", "all"), "input_markets": ("events", "market "), "input_types": ("events", "type "),
    "input_products": ("catalogue products", "all"), "input_pairs": ("available pairs", "all"),
    "input_market_pairs": ("available pairs", "market "), "input_prices": ("mean price", ""),
    "input_nulls": ("null share", ""), "input_columns": ("columns", ""), "input_age": ("newest event age", "all"),
}  # fmt: skip
"""Gate of the input -> the figure it watches, and what the names of its slices begin with."""


@dataclass(frozen=True)
class Panel:
    """Charts under one heading."""

    title: str
    series: tuple[Series, ...]
    note: str = ""
    """What the charts together say: how far shares have moved, what never changed."""


def nights_of(lake: Lake, as_of: date, most: int) -> list[date]:
    """The last nights up to `as_of` that the ledger or the figures know, oldest first."""
    known = {as_of}
    for table in (RUNS, INPUTS):
        known |= {row["as_of"] for row in matching(lake, table, ("as_of",), _until(as_of))}
    return sorted(known)[-most:]


def input_panels(lake: Lake, nights: Sequence[date], most: int) -> list[Panel]:
    """One panel a figure of `inputs`; at most so many slices, those that moved most."""
    marks = _input_marks(lake, nights)
    found: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(lake, INPUTS, ("figure", "slice", "value", "as_of"), nights):
        if row["value"] is not None:
            key = clean(row["figure"]), clean(row["slice"])
            found[key[0]][key[1]].append(Point(row["as_of"], row["value"], marks.get((*key, row["as_of"]), "")))
    order = list(dict.fromkeys(figure for figure, _ in WATCHED.values()))
    known = sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))
    return [_panel(figure, found[figure], most) for figure in known]


def gate_panels(lake: Lake, nights: Sequence[date]) -> list[Panel]:
    """One panel a list that customers see, and one of each other kind, with every check's figure and limit."""
    found: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    rules = {}
    for row in _rows(lake, GATES, ("gate", "value", "rule", "passed", "accepted", "as_of"), nights):
        if row["value"] is not None:
            name = clean(row["gate"])
            table = next((table for table in TITLES if name.startswith(table)), "")
            title = TITLES.get(table, "Input" if name.startswith("input_") else "Model and vectors")
            found[title][name].append(Point(row["as_of"], row["value"], _mark(row)))
            rules[name] = clean(row["rule"])
    order = ["Input", "Model and vectors", *TITLES.values()]
    return [
        _folded(title, [Series(name, tuple(points), rules[name]) for name, points in sorted(found[title].items())])
        for title in order if title in found
    ]  # fmt: skip


def step_panels(lake: Lake, nights: Sequence[date]) -> list[Panel]:
    """Seconds of each step and rejected rows, of each night's newest run; a step that failed is marked."""
    newest: dict[tuple[date, str], dict[str, Any]] = {}
    columns = ("step", "status", "started_at", "ended_at", "rejected", "as_of")
    for row in sorted(_rows(lake, RUNS, columns, nights), key=lambda row: row["started_at"]):
        newest[row["as_of"], row["step"]] = row
    seconds: dict[str, list[Point]] = defaultdict(list)
    rejected = []
    for (night, step), row in sorted(newest.items()):
        if row["ended_at"]:
            took = (row["ended_at"] - row["started_at"]).total_seconds()
            seconds[clean(step)].append(Point(night, took, "failed" if row["status"] == "failed" else ""))
        if step == "ingest" and row["rejected"] is not None:
            rejected.append(Point(night, float(row["rejected"])))
    series = [Series(step, tuple(seconds[step])) for step in STEPS if step in seconds]
    panels = [Panel("Seconds of each step", tuple(series))] if series else []
    return panels + ([Panel("Rejected rows", (Series("all", tuple(rejected)),))] if rejected else [])


def list_panels(lake: Lake, nights: Sequence[date]) -> list[Panel]:
    """Length of the lists of each touch point of a product, and where their places come from, as gates counted."""
    panels, read = [], {night: read_counts(lake, night) for night in nights}
    for table in PRODUCT_LISTS:
        looked = {night: counts[table.name] for night, counts in read.items() if table.name in counts}
        if not looked:
            continue
        names = sorted({source for counts in looked.values() for source in counts.sources})
        length = [Point(night, sum(c.sources.values()) / c.lists) for night, c in looked.items()]
        series = [Series("products in a list", tuple(length))]
        series += [Series(f"share of {clean(name)}", _shares(looked, name)) for name in names]
        panels.append(_folded(TITLES[table.name], series))
    return panels


def _shares(looked: Mapping[date, ListCounts], name: str) -> tuple[Point, ...]:
    return tuple(Point(night, c.sources.get(name, 0) / (sum(c.sources.values()) or 1)) for night, c in looked.items())


def _panel(figure: str, slices: Mapping[str, Sequence[Point]], most: int) -> Panel:
    series = [Series(name, tuple(points)) for name, points in slices.items()]
    first = [one for one in series if one.name == "all"]
    rest = [one for one in series if one.name != "all"]
    panel = _folded(figure, rest)
    shown = sorted(panel.series, key=lambda one: (not any(p.mark for p in one.points), -abs(one.moved), one.name))
    notes = [_moved(slices, prefix) for prefix in ("market ", "type ")] + [panel.note]
    if len(shown) > most:
        notes.append(f"{len(shown) - most} more moved less and are not drawn")
    return Panel(figure, (*first, *shown[:most]), "; ".join(note for note in notes if note))


def _folded(title: str, series: Iterable[Series]) -> Panel:
    """A panel of the series that change; what never does is named in its note."""
    series = list(series)
    steady = [one for one in series if one.steady and len(one.points) > 1]
    names = ", ".join(f"{one.name} ({one.points[0].value:,.4g})" for one in steady[:12])
    more = f" and {len(steady) - 12} more" if len(steady) > 12 else ""
    note = f"unchanged: {names}{more}" if steady else ""
    return Panel(title, tuple(one for one in series if one not in steady), note)


def _moved(slices: Mapping[str, Sequence[Point]], prefix: str) -> str:
    """How far the shares of the slices moved, where they are parts of a whole."""
    parts = {name: points for name, points in slices.items() if name.startswith(prefix)}
    whole = slices.get("all", ())
    if len(parts) < 2 or len(whole) < 2:
        return ""
    last = whole[-1].night
    now = [sum(p.value for p in points if p.night == last) for points in parts.values()]
    if abs(sum(now) - whole[-1].value) > 0.01 * abs(whole[-1].value):
        return ""
    before = [sum(p.value for p in points if p.night != last) for points in parts.values()]
    return f"shares by {prefix.strip()}: stability index {stability(before, now):.3f} against the nights before"


def _input_marks(lake: Lake, nights: Sequence[date]) -> dict[tuple[str, str, date], str]:
    """(figure, slice, night) of what a gate of the input found wrong; the gate names the slices."""
    marks = {}
    slices = {(row["figure"], row["slice"]) for row in _rows(lake, INPUTS, ("figure", "slice"), nights)}
    for row in _rows(lake, GATES, ("gate", "passed", "accepted", "detail", "as_of"), nights):
        if row["gate"] not in WATCHED or not _mark(row):
            continue
        figure, prefix = WATCHED[row["gate"]]
        for name, part in slices:
            if name == figure and part.startswith(prefix) and (part == "all" or part in (row["detail"] or "")):
                marks[clean(name), clean(part), row["as_of"]] = _mark(row)
    return marks


def _mark(gate: Mapping[str, Any]) -> str:
    if gate["accepted"]:
        return "accepted"
    return "" if gate["passed"] else "failed"


def _rows(lake: Lake, table: Table, columns: Sequence[str], nights: Sequence[date]) -> list[dict[str, Any]]:
    """The nights' rows, oldest night first; a column that an older lake lacks is null."""
    if not lake.exists(table):
        return []
    there = set(lake.dataset(table).schema.names)
    wanted = Wanted(where=pc.field("as_of").isin(pa.array(nights, pa.date32())))
    known = [name for name in dict.fromkeys((*columns, "as_of")) if name in there]
    rows = [dict.fromkeys(columns) | row for row in matching(lake, table, known, wanted)]
    return sorted(rows, key=lambda row: row["as_of"])


def _until(as_of: date) -> Wanted:
    return Wanted(where=pc.field("as_of") <= pa.scalar(as_of))
