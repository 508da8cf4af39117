"""Drift: how inputs, checks, lists and steps moved over the last nights, as one HTML page beside the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.lake import Lake
from jobs.pages import environment
from jobs.report_drift_figures import Panel, gate_panels, input_panels, list_panels, nights_of, step_panels
from jobs.report_lines import EDGE, HEIGHT, WIDTH, draw
from jobs.run import Run


@dataclass(frozen=True)
class DriftConfig:
    """How far the page looks back."""

    nights: int = 28
    """Newest nights that are drawn."""
    slices: int = 12
    """Slices of one figure that are drawn: those that moved most."""

    def __post_init__(self) -> None:
        for name in ("nights", "slices"):
            if getattr(self, name) < 1:
                raise UserError(f"drift: {name} = {getattr(self, name)}; use at least 1")


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
