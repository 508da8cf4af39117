"""Computes the places of marks in charts: figures with intervals on an axis, and lines over nights or epochs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from jobs.report.figures import Quality
from models.evaluation.bootstrap import Interval

WIDTH, HEIGHT, EDGE = 260.0, 60.0, 6.0
"""Size and margin of a line chart, in units of the drawing; the page stretches it to its column."""
LEAST_SPAN = 0.2
"""Least height of a line chart as a share of its largest value: a change of one percent must not look like a fall."""


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, both whole steps, with 0 between them or at an end."""

    low: float
    high: float
    step: float

    @staticmethod
    def over(values: Iterable[float]) -> Axis:
        """The shortest axis of two to six round steps that holds 0 and the values."""
        values = [0.0, *values]
        span = max(values) - min(values) or 1.0
        scale = 10.0 ** math.floor(math.log10(span))
        step = next(scale * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if span / (scale * part) <= 5)
        low, high = step * math.floor(round(min(values) / step, 6)), step * math.ceil(round(max(values) / step, 6))
        return Axis(low, high if high > low else step, step)

    def at(self, value: float) -> float:
        """The place of a value in percent of the axis; what lies beyond an end is placed there."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(percent, label) of every step."""
        steps = round((self.high - self.low) / self.step)
        values = [self.low + self.step * n for n in range(steps + 1)]
        return [(self.at(value), f"{round(value, 12):g}") for value in values]


def shade(weight: float) -> str:
    """How opaque a cell of a heat map is, 0 to 1: the square root of its weight, so that small ones are seen."""
    return f"{min(max(weight, 0.0), 1.0) ** 0.5:.2f}"


@dataclass(frozen=True)
class IntervalLine:
    """The figures of one scorer, or of one slice."""

    label: str
    marked: bool
    """Whether it is the champion's."""
    figures: tuple[Quality | Interval | None, ...]
    """One a series; None where it was not measured."""


@dataclass(frozen=True)
class IntervalPanel:
    """A chart of figures with their intervals: lines from top to bottom, in each a figure for some of the series."""

    title: str
    series: tuple[str, ...]
    lines: tuple[IntervalLine, ...]
    percent: bool = False
    """Whether the figures are percentages with a sign."""

    @property
    def axis(self) -> Axis:
        """The axis that holds every interval."""
        figures = [figure for line in self.lines for figure in line.figures if figure]
        return Axis.over(end for figure in figures for end in (figure.low, figure.value, figure.high))


@dataclass(frozen=True)
class Point:
    """A figure on one night or after one epoch."""

    at: date | int
    value: float
    mark: str = ""
    """failed, accepted, warned or nothing."""


@dataclass(frozen=True)
class Series:
    """One figure over the nights, oldest first; nights without it are left out."""

    name: str
    points: tuple[Point, ...]
    rule: str = ""
    """Its limit in words: at least 0.9, at most 0.3."""
    near_zero: bool = False
    """Whether it is usually near 0 and may be any part of its limit: its change is a difference and no percentage."""

    @property
    def steady(self) -> bool:
        """Whether it never changed and nothing is marked: nothing to look at."""
        return len({point.value for point in self.points}) == 1 and not any(point.mark for point in self.points)

    @property
    def usual(self) -> float | None:
        """The median of the values before the last one; None for the first night."""
        return median(point.value for point in self.points[:-1]) if len(self.points) > 1 else None

    @property
    def moved(self) -> float:
        """By how much the last value differs from the usual one: a share of the larger of the two, or a difference."""
        if self.usual is None:
            return 0.0
        last = self.points[-1].value
        if self.near_zero:
            return last - self.usual
        return (last - self.usual) / (max(abs(self.usual), abs(last)) or 1.0)

    @property
    def change(self) -> str:
        """The last value beside the usual one, in words."""
        usual, last = self.usual, self.points[-1].value
        if usual is None:
            return "first figure"
        if usual == last:
            return "as usual"
        if self.near_zero:
            return f"{last - usual:+.2f}"
        return f"{last / usual - 1:+.1%}" if usual > 0 else f"from {usual:g}"


@dataclass(frozen=True)
class LineChart:
    """A series with the places of its marks."""

    series: Series
    lines: tuple[str, ...]
    """Points of each unbroken line; a night without a value breaks it."""
    dots: tuple[tuple[float, float, str, str], ...]
    """(x, y, mark, words) of the marked points and of the last one."""
    limit: float | None
    """y of the limit, where it lies in the chart."""
    low: float
    high: float
    """The least and the greatest value."""


def line_chart(series: Series, places: Sequence[date | int]) -> LineChart:
    """The series over `places`, oldest night or first epoch first; every point of it is one of them."""
    known = {point.at: point for point in series.points if math.isfinite(point.value)}
    values = [point.value for point in known.values()]
    low, high = min(values, default=0.0), max(values, default=0.0)
    bound, near = _bound(series.rule), high - low or abs(high)
    if bound is not None and not low - near <= bound <= high + near:
        bound = None  # a far limit would flatten the line
    floor, top = (low, high) if bound is None else (min(low, bound), max(high, bound))
    missing = max(LEAST_SPAN * max(abs(floor), abs(top)) - (top - floor), 0.0)
    floor, top = floor - missing / 2, top + missing / 2

    def x(place: date | int) -> float:
        return round(EDGE + places.index(place) * (WIDTH - 2 * EDGE) / max(len(places) - 1, 1), 1)

    def y(value: float) -> float:
        share = (value - floor) / (top - floor) if top > floor else 0.5
        return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 1)

    lines: list[list[str]] = [[]]
    for place in places:
        if place in known:
            lines[-1].append(f"{x(place)},{y(known[place].value)}")
        elif lines[-1]:
            lines.append([])
    dots = tuple(
        (x(point.at), y(point.value), point.mark, f"{point.at}: {point.value:,.4g} {point.mark}".rstrip())
        for point in known.values()
        if point.mark or point is series.points[-1]
    )
    limit = None if bound is None else y(bound)
    return LineChart(series, tuple(" ".join(line) for line in lines if line), dots, limit, low, high)


def _bound(rule: str) -> float | None:
    """The number of a limit in words; the first of a range."""
    for words in ("at least ", "at most "):
        if rule.startswith(words):
            try:
                return float(rule.removeprefix(words).split()[0].rstrip(",;"))
            except (ValueError, IndexError):
                return None
    return None
