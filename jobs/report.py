"""Report: the night as one HTML page that needs nothing from outside, for operators, analysts and merchandisers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jobs import report_chart
from jobs.errors import UserError
from jobs.examples import customer_pages, product_pages
from jobs.lake import Lake
from jobs.reading import count_rows, of_night
from jobs.report_figures import Gate, gates_of, moment, quality_of, rejections_of, standing_of, steps_of
from jobs.report_shares import shares_of
from jobs.run import Counts, Run
from jobs.swatches import paint
from jobs.tables import CATALOGUE, CUSTOMER_SEQUENCES, EVENTS

TEMPLATES = Path(__file__).resolve().parent / "templates"
FOLDER = "reports"


@dataclass(frozen=True)
class ReportConfig:
    """How much the page shows."""

    examples: int = 6
    """Products whose carousels are shown."""
    customers: int = 3
    """Customers whose history and list are shown."""
    shown: int = 6
    """Products of each list that are shown."""
    history: int = 8
    """Most recent events of each customer that are shown."""
    groups: int = 10
    """Brands, and categories, in the tables of shares."""

    def __post_init__(self) -> None:
        for name in ("examples", "customers", "shown", "history", "groups"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}; use at least 1")


def execute(lake: Lake, run: Run, config: ReportConfig) -> Counts:
    """Write the page of the night; it tells what is there, so it can be written after any step."""
    context = _context(lake, run, config)
    page = environment().get_template("report.html").render(context)
    path = report_path(lake, run.as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(page, encoding="utf-8", newline="\n")
    aside.replace(path)
    read = sum(summed.lists for summed in context["shares"].lists)
    return Counts(read, 1, note=f"{lake.relative(path)}, {path.stat().st_size / 1024:,.0f} KiB")


def report_path(lake: Lake, as_of: date) -> Path:
    """Where the page of a night lies."""
    return lake.directory(FOLDER, as_of) / "index.html"


def environment() -> Environment:
    """Jinja with every value escaped, and an error for a name the template misspells."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters |= {
        "number": _number, "counted": _counted, "percent": _percent, "seconds": _seconds, "figure": _figure,
        "moment": moment, "day": _day, "paint": paint,
    }  # fmt: skip
    return jinja


def _context(lake: Lake, run: Run, config: ReportConfig) -> dict[str, Any]:
    as_of = run.as_of
    parts = 5
    steps, gates = steps_of(lake, as_of, run.run_id), gates_of(lake, as_of)
    standing = standing_of(lake, as_of, steps, gates)
    run.progress("parts of the page read", 1, parts)
    rejections = rejections_of(lake, as_of)
    quality = quality_of(lake, as_of, standing.model_id)
    run.progress("parts of the page read", 2, parts)
    shares = shares_of(lake, as_of, config.groups)
    run.progress("parts of the page read", 3, parts)
    pages = product_pages(lake, as_of, config.examples, awkward=True)
    run.progress("parts of the page read", 4, parts)
    customers = customer_pages(lake, as_of, config.customers)
    run.progress("parts of the page read", 5, parts)
    return {
        "as_of": as_of, "run_id": run.run_id, "config": config, "standing": standing, "steps": steps, "gates": gates,
        "gate_groups": _by_group(gates),
        "faults": [r for r in rejections if not r.expected], "exclusions": [r for r in rejections if r.expected],
        "chart": report_chart.draw(quality), "verdict": report_chart.verdict(quality), "quality": quality,
        "shares": shares, "pages": pages, "customers": customers,
        "totals": {
            "products": shares.products or count_rows(lake, CATALOGUE, of_night(as_of)),
            "customers": count_rows(lake, CUSTOMER_SEQUENCES, of_night(as_of)),
            "events": count_rows(lake, EVENTS, of_night(as_of)),
        },
    }  # fmt: skip


def _by_group(gates: list[Gate]) -> dict[str, list[Gate]]:
    """Heading -> its gates in their order; what failed stands apart, first."""
    groups: dict[str, list[Gate]] = {}
    for gate in gates:
        groups.setdefault(gate.group if gate.passed else "Failed", []).append(gate)
    return groups


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _counted(value: int, noun: str) -> str:
    """A number with its noun: 1 row, 1,234 rows."""
    return f"{value:,} {noun if value == 1 else noun + 's'}"


def _percent(share: float) -> str:
    """A share as percent: one decimal, and neither nothing nor all unless it is."""
    if 0 < share < 0.0005:
        return "< 0.1%"
    return "> 99.9%" if 0.9995 <= share < 1 else f"{100 * share:.1f}%"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s" if value < 120 else f"{value / 60:,.1f} min"


def _figure(value: float) -> str:
    """A gate's figure: counts whole, shares with up to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else ""
