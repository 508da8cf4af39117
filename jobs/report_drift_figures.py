"""Figures of the last nights, as series: what came in, what was checked, what the lists hold, what the steps cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.list_counts import ListCounts, read_counts
from jobs.reading import Wanted, clean, matching
from jobs.report_figures import TITLES
from jobs.report_lines import Point, Series, stability
from jobs.tables import BAG_EXTRAS, GATES, INPUTS, PEOPLE_ALSO_BOUGHT, RUNS, STEPS, YOU_MIGHT_ALSO_LIKE, Table

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
    for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, BAG_EXTRAS):
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
