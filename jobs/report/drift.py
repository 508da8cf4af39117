"""Writes the page of drift: inputs, checks, lists and steps over the last nights, as line charts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from jobs.checks import PASSED, outcome_of
from jobs.gate.counts import ListCounts, read_counts
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, matching, matching_old, of_night
from jobs.report.charts import Point, Series
from jobs.report.figures import GATE_GROUPS, group_of
from jobs.report.pages import environment
from jobs.run import Run
from jobs.settings import StepSettings
from jobs.steps import STEPS
from jobs.tables.records import GATES, INPUTS, RUNS
from jobs.tables.shop import PRODUCT_LISTS, TITLES
from jobs.tables.table import Table
from jobs.text import clean


@dataclass(frozen=True)
class DriftConfig(StepSettings):
    """How far the page looks back."""

    nights: PositiveInt = 28
    """Newest nights that are drawn."""
    slices: PositiveInt = 12
    """Slices of one figure that are drawn: those that moved most."""


def written_of(lake: Lake, run: Run, config: DriftConfig) -> str:
    """The page of a night as HTML."""
    nights = nights_of(lake, run.as_of, config.nights)
    history = first_load(lake, nights)
    left_out = f" {_left_out(lake, history)}" if history else ""
    sections = (
        (
            "input",
            "The input",
            f"Figures of each night’s input. A slice of a figure is a market, a type of event or a column.{left_out}",
            input_panels(lake, nights, config.slices),
        ),
        (
            "lists",
            "The lists",
            "Lengths of the lists and sources of their products, over all lists of a night, as its gate counted them.",
            list_panels(lake, nights),
        ),
        (
            "checks",
            "The checks",
            "The figure of each check; the broken line is its limit.",
            gate_panels(lake, nights),
        ),
        ("steps", "The steps", f"Seconds of each step, and rejected rows.{left_out}", step_panels(lake, nights)),
    )
    marked = [
        (panel.title, series.name, point.mark, series.change)
        for *_, panels in sections
        for panel in panels
        for series in panel.series
        for point in series.points
        if point.mark and point.at == run.as_of
    ]
    page = environment().get_template("drift.html")
    return page.render(as_of=run.as_of, run_id=run.run_id, nights=nights, sections=sections, marked=marked)


def stability(before: Sequence[float], now: Sequence[float]) -> float:
    """Population stability index of two distributions over the same slices: 0 for equal shares.

    By custom, below 0.1 nothing has moved and above 0.25 much has. A slice that is empty on one side counts as a
    ten-thousandth.
    """
    shares = [[max(value / (sum(side) or 1.0), 1e-4) for value in side] for side in (before, now)]
    return math.fsum((new - old) * math.log(new / old) for old, new in zip(*shares, strict=True))


AGE = "days since newest event"
WATCHED = {
    "input_events": ("events", "all"),
    "input_markets": ("events", "market "),
    "input_types": ("events", "type "),
    "input_products": ("catalogue products", "all"),
    "input_pairs": ("available pairs", "all"),
    "input_market_pairs": ("available pairs", "market "),
    "input_prices": ("mean product price", ""),
    "input_nulls": ("share of nulls", ""),
    "input_columns": ("columns", ""),
    "input_age": (AGE, "all"),
}
"""Gate of the input -> (the figure it checks, the start of the names of its slices)."""
EVENTS_READ = "events"
OF_THE_LOAD = (
    EVENTS_READ, "late events", "corrected events", "retracted events", "known events", "rejected rows",
    "excluded rows", "raw files", "customers",
)  # fmt: skip
"""Figures that count what a night read: they compare with other nights', but not with the load of a whole history."""
NOT_DRAWN = ("events version",)
"""Figures that are no quantity."""


@dataclass(frozen=True)
class DriftPanel:
    """Charts under one heading."""

    title: str
    series: tuple[Series, ...]
    note: str = ""
    """How far shares have moved, and which series never changed."""


def nights_of(lake: Lake, as_of: date, most: int) -> list[date]:
    """The last nights up to `as_of` that the ledger or the figures know, oldest first."""
    known = {as_of}
    for table in (RUNS, INPUTS):
        known |= {row["as_of"] for row in matching(lake, table, ("as_of",), _until(as_of))}
    return sorted(known)[-most:]


def first_load(lake: Lake, nights: Sequence[date]) -> date | None:
    """The night that read the shop's whole history, if it is among `nights` and is not the only one with events."""
    events = (pc.field("figure") == EVENTS_READ) & (pc.field("slice") == "all") & (pc.field("value") > 0)
    loads = sorted({row["as_of"] for row in matching(lake, INPUTS, ("as_of",), _until(nights[-1]) & events)})
    return loads[0] if len(loads) > 1 and loads[0] in nights else None


def input_panels(lake: Lake, nights: Sequence[date], most: int) -> list[DriftPanel]:
    """One panel for each figure of `inputs`, with at most `most` slices: those that moved most."""
    marks, history = _input_marks(lake, nights), first_load(lake, nights)
    found: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(lake, INPUTS, ("figure", "slice", "value", "as_of"), nights):
        whole = row["as_of"] == history and row["figure"] in OF_THE_LOAD
        if row["value"] is not None and row["figure"] not in NOT_DRAWN and not whole:
            key = clean(row["figure"]), clean(row["slice"])
            found[key[0]][key[1]].append(Point(row["as_of"], row["value"], marks.get((*key, row["as_of"]), "")))
    order = list(dict.fromkeys(figure for figure, _ in WATCHED.values()))
    known = sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))
    return [_panel(figure, found[figure], most) for figure in known]


def gate_panels(lake: Lake, nights: Sequence[date]) -> list[DriftPanel]:
    """One panel for the input, the model and each touch point, with the figure and limit of each check."""
    found: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    rules = {}
    for row in _rows(lake, GATES, GATES.names, nights):
        if row["value"] is not None:
            name = clean(row["gate"])
            found[group_of(name)][name].append(Point(row["as_of"], row["value"], _mark(row)))
            rules[name] = clean(row["rule"])
    return [
        _folded(
            title,
            [
                Series(name, tuple(points), rules[name], near_zero=name == "input_age")
                for name, points in sorted(found[title].items())
            ],
        )
        for title in GATE_GROUPS
        if title in found
    ]


def step_panels(lake: Lake, nights: Sequence[date]) -> list[DriftPanel]:
    """Seconds of each step, and rejected rows, of the newest run of each night; failed steps are marked.

    Without the first load, whose steps have a whole history to do.
    """
    history = first_load(lake, nights)
    nights = [night for night in nights if night != history]
    newest: dict[tuple[date, str], StoredRow] = {}
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
    panels = [DriftPanel("Seconds of each step", tuple(series))] if series else []
    return panels + ([DriftPanel("Rejected rows", (Series("all", tuple(rejected)),))] if rejected else [])


def list_panels(lake: Lake, nights: Sequence[date]) -> list[DriftPanel]:
    """Length of the lists of each of PRODUCT_LISTS, and the shares of their sources, as the gates counted them."""
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


def _panel(figure: str, slices: Mapping[str, Sequence[Point]], most: int) -> DriftPanel:
    series = [Series(name, tuple(points), near_zero=figure == AGE) for name, points in slices.items()]
    first = [one for one in series if one.name == "all"]
    rest = [one for one in series if one.name != "all"]
    panel = _folded(figure, rest)
    shown = sorted(panel.series, key=lambda one: (not any(p.mark for p in one.points), -abs(one.moved), one.name))
    notes = [_moved(slices, prefix) for prefix in ("market ", "type ")] + [panel.note]
    if len(shown) > most:
        notes.append(f"{len(shown) - most} more moved less and are not drawn")
    return DriftPanel(figure, (*first, *shown[:most]), "; ".join(note for note in notes if note))


def _folded(title: str, series: Iterable[Series]) -> DriftPanel:
    """A panel of the series that change; its note names those that never do."""
    series = list(series)
    steady = [one for one in series if one.steady and len(one.points) > 1]
    names = ", ".join(f"{one.name} ({one.points[0].value:,.4g})" for one in steady[:12])
    more = f" and {len(steady) - 12} more" if len(steady) > 12 else ""
    note = f"unchanged: {names}{more}" if steady else ""
    return DriftPanel(title, tuple(one for one in series if one not in steady), note)


def _moved(slices: Mapping[str, Sequence[Point]], prefix: str) -> str:
    """How far the shares of the slices moved, if they add up to the whole."""
    parts = {name: points for name, points in slices.items() if name.startswith(prefix)}
    whole = slices.get("all", ())
    if len(parts) < 2 or len(whole) < 2:
        return ""
    last = whole[-1].at
    now = [sum(p.value for p in points if p.at == last) for points in parts.values()]
    if abs(sum(now) - whole[-1].value) > 0.01 * abs(whole[-1].value):
        return ""
    before = [sum(p.value for p in points if p.at != last) for points in parts.values()]
    return f"shares by {prefix.strip()}: stability index {stability(before, now):.3f} against the nights before"


def _input_marks(lake: Lake, nights: Sequence[date]) -> dict[tuple[str, str, date], str]:
    """(figure, slice, night) -> mark of the slices that a gate of the input names as wrong."""
    marks = {}
    slices = {(row["figure"], row["slice"]) for row in _rows(lake, INPUTS, ("figure", "slice"), nights)}
    for row in _rows(lake, GATES, GATES.names, nights):
        if row["gate"] not in WATCHED or not _mark(row):
            continue
        figure, prefix = WATCHED[row["gate"]]
        for name, part in slices:
            if name == figure and part.startswith(prefix) and (part == "all" or part in (row["detail"] or "")):
                marks[clean(name), clean(part), row["as_of"]] = _mark(row)
    return marks


def _mark(gate: StoredRow) -> str:
    outcome = outcome_of(gate)
    return "" if outcome == PASSED else outcome


def _rows(lake: Lake, table: Table, columns: Sequence[str], nights: Sequence[date]) -> list[StoredRow]:
    """The rows of some nights, oldest night first; a column that an older table lacks is null."""
    wanted = Wanted(where=pc.field("as_of").isin(pa.array(nights, pa.date32())))
    rows = matching_old(lake, table, tuple(dict.fromkeys((*columns, "as_of"))), wanted)
    return sorted(rows, key=lambda row: row["as_of"])


def _left_out(lake: Lake, history: date) -> str:
    """Why the first load is not drawn, with its size."""
    events = (pc.field("figure") == EVENTS_READ) & (pc.field("slice") == "all")
    (row,) = matching(lake, INPUTS, ("value",), of_night(history) & events)
    return (
        f"The night of {history} read the whole history, {row['value']:,.0f} events: what counts rows or seconds "
        "of a load is drawn, and compared, without it."
    )


def _until(as_of: date) -> Wanted:
    return Wanted(where=pc.field("as_of") <= pa.scalar(as_of))
