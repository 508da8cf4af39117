"""Geometry of the quality chart: every place a share of the plot's width, so that text keeps its size on a phone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.report.figures import HEADLINE, Quality
from jobs.train.decision import LAST_CHAMPION

SLICES = ("all", "new to the customer")
"""The slices drawn, the headline's first."""


@dataclass(frozen=True)
class Mark:
    """One figure with its interval; places are percent of the plot's width."""

    slice: str
    value: float
    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One scorer's figures."""

    scorer: str
    champion: bool
    trained: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Chart:
    """Scorers from best to worst on the slice `all`."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    """(percent, label) of the axis, from 0."""
    customers: dict[str, int]
    """Slice -> customers the figures are means over."""
    dataset: str


def draw(quality: list[Quality]) -> Chart | None:
    """The chart of the headline metric; None where nothing was measured."""
    figures = {(q.scorer, q.slice): q for q in quality if q.metric == HEADLINE and math.isfinite(q.value)}
    ranked = sorted((q for q in figures.values() if q.slice == SLICES[0]), key=lambda q: (-q.value, q.scorer))
    if not ranked:
        return None
    drawn = [figures[key] for q in ranked for key in ((q.scorer, s) for s in SLICES) if key in figures]
    step = _step(max(max(q.high, q.value) for q in drawn))
    ends = math.ceil(round(max(max(q.high, q.value) for q in drawn) / step, 6)) or 1
    top = step * ends

    def percent(value: float) -> float:
        return round(100 * min(max(value, 0.0) / top, 1.0), 2)

    rows = []
    for best in ranked:
        own = [figures[(best.scorer, s)] for s in SLICES if (best.scorer, s) in figures]
        marks = tuple(Mark(q.slice, q.value, percent(q.value), percent(q.low), percent(q.high)) for q in own)
        rows.append(Row(best.scorer, best.champion, best.trained, marks))
    ticks = tuple((percent(step * n), f"{step * n:g}") for n in range(ends + 1))
    return Chart(tuple(rows), ticks, {q.slice: q.customers for q in drawn}, ranked[0].dataset)


def _step(highest: float) -> float:
    """A round distance that cuts 0 .. highest into two to five parts."""
    if highest <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(highest))
    return next(round(scale * part, 12) for part in (0.2, 0.25, 0.5, 1.0, 2.0) if highest / (scale * part) <= 5)


def verdict(quality: list[Quality]) -> str:
    """The comparison in a sentence: the night's model beside the best baseline."""
    figures = [q for q in quality if (q.metric, q.slice) == (HEADLINE, SLICES[0])]
    model = next((q for q in figures if q.champion), None)
    baselines = [q for q in figures if not q.trained and not q.champion and q.scorer != LAST_CHAMPION]
    if model is None or not baselines:
        return ""
    best = max(baselines, key=lambda q: q.value)
    if best.value <= 0:
        return f"{model.scorer} reaches {model.value:.4f}; no baseline is above 0."
    gain = model.value / best.value - 1
    word = "above" if gain >= 0 else "below"
    apart = model.low > best.high or model.high < best.low
    doubt = "do not overlap" if apart else "overlap: it may be chance"
    return (
        f"{model.scorer} reaches {model.value:.4f}, {abs(gain):.0%} {word} the best baseline "
        f"({best.scorer}, {best.value:.4f}); their intervals {doubt}."
    )
