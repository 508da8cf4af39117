"""Sums up the last days of each touch point, and warns of a day that did far worse than those before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check
from jobs.experiments.touch_points import ALL, DIMENSIONS, NO_RULE
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, matching
from jobs.tables.experiments import TOUCH_POINT_DAYS
from jobs.tables.shop import TITLES
from models.experiments.comparison import FEWEST, NORMAL

WEEK = 7
"""Days that parts are summed up over."""
DRAWN = 28
"""Days that are drawn one by one."""
COMPARED, LEAST_COMPARED = 14, 3
"""Days, at most and at least, that a day is compared with."""
MOST_LOST = 0.2
"""Share of the usual clicks per impression that a day may lose before it is warned of."""


@dataclass(frozen=True)
class Part:
    """A part of a touch point over some days: a place, a source, a rule, .."""

    name: str
    impressions: int
    clicks: int
    expected: float
    """Clicks that as many impressions at the same places have."""
    half: float
    """Half of the 95 % interval of the clicks, days taken as independent; Poisson's where a day has few clicks."""

    @property
    def rate(self) -> float:
        """Clicks per impression."""
        return self.clicks / max(self.impressions, 1)

    @property
    def beyond(self) -> tuple[float, float, float] | None:
        """(value, low, high) of clicks above the expected ones, as a fraction; None for too few to tell."""
        if self.clicks < FEWEST or not self.expected:
            return None
        value, low, high = ((self.clicks + way * self.half) / self.expected - 1 for way in (0, -1, 1))
        return value, max(low, -1.0), high


@dataclass(frozen=True)
class TouchPointSummary:
    """What came of one touch point in the last days."""

    touch_point: str
    days: Mapping[date, StoredRow]
    """Day -> its row as a whole, oldest first."""
    parts: Mapping[str, Sequence[Part]]
    """Dimension -> its parts over a week, the most shown first; places in their order."""

    @property
    def title(self) -> str:
        """The heading that customers see."""
        return TITLES.get(self.touch_point, self.touch_point)

    @property
    def whole(self) -> Part | None:
        """All of it over a week; None without a day."""
        return next(iter(self.parts.get(ALL, ())), None)


def read_touch_points(lake: Lake, as_of: date) -> list[TouchPointSummary]:
    """The touch points that showed something in the days before the night, the most shown first."""
    day = pc.field("shown_date")
    where = (day < pa.scalar(as_of)) & (day >= pa.scalar(as_of - timedelta(DRAWN)))
    rows = matching(lake, TOUCH_POINT_DAYS, TOUCH_POINT_DAYS.names, Wanted(where=where))
    found = []
    for name in dict.fromkeys(row["touch_point"] for row in rows):
        own = [row for row in rows if row["touch_point"] == name]
        week = [row for row in own if row["shown_date"] >= as_of - timedelta(WEEK)]
        days = {row["shown_date"]: row for row in own if row["dimension"] == ALL}
        parts = {dimension: _parts(dimension, week) for dimension in DIMENSIONS}
        found.append(TouchPointSummary(name, days, parts))
    return sorted(found, key=lambda one: (-(one.whole.impressions if one.whole else 0), one.touch_point))


def drift_checks(touch_points: Iterable[TouchPointSummary], as_of: date) -> list[Check]:
    """Of each touch point, the clicks per impression of the day before the night beside those of the days before it.

    The figure is the upper end of the day's interval, so that a small shop's chance is no fall.
    """
    found, yesterday = [], as_of - timedelta(1)
    for one in touch_points:
        now = one.days.get(yesterday)
        past = [row for day, row in one.days.items() if 0 < (yesterday - day).days <= COMPARED and row["clicks"]]
        if now and now["high"] is not None and len(past) >= LEAST_COMPARED:
            usual = median(row["rate"] for row in past)
            detail = (
                f"{now['rate']:.2%} of what was shown on {yesterday} was clicked in the same visit, {usual:.2%} in the "
                f"median of {len(past)} days before; the figure is the upper end of the first by the second"
            )
            found.append(Check(f"{one.touch_point}_clicks", now["high"] / usual, least=1 - MOST_LOST, detail=detail))
    return found


def costly_rules(one: TouchPointSummary) -> list[Part]:
    """Rules whose places have surely fewer clicks than such places have, the costliest first."""
    below = [part for part in one.parts["rule"] if part.beyond and part.beyond[2] < 0 and part.name != NO_RULE]
    return sorted(below, key=lambda part: part.clicks - part.expected)


def _parts(dimension: str, rows: Iterable[StoredRow]) -> list[Part]:
    by_slice: dict[str, list[StoredRow]] = {}
    for row in rows:
        if row["dimension"] == dimension:
            by_slice.setdefault(row["slice"], []).append(row)
    parts = [
        Part(
            name,
            sum(row["impressions"] for row in of),
            sum(row["clicks"] for row in of),
            math.fsum(row["expected"] for row in of),
            math.hypot(*map(_half, of)),
        )
        for name, of in by_slice.items()
    ]
    return sorted(parts, key=lambda part: int(part.name) if dimension == "place" else (-part.impressions, part.name))


def _half(row: StoredRow) -> float:
    if row["high"] is None:
        return NORMAL * math.sqrt(row["clicks"])
    return float((row["high"] - row["rate"]) * row["impressions"])
