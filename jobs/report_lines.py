"""Geometry of a small line chart over nights: places in a fixed box, a mark where a check failed or was let pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

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
