"""Renders templates with one spelling of numbers and days, and writes pages whole."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching
from jobs.report.charts import line_chart, shade
from jobs.report.figures import moment
from jobs.report.pictures import TEMPLATES, drawing
from jobs.tables.records import MODELS

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """Jinja with every value escaped, and an error for a name the template misspells."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "number": _number,
        "counted": _counted,
        "percent": _percent,
        "seconds": _seconds,
        "figure": _figure,
        "moment": moment,
        "day": _day,
        "drawing": lambda product: drawing(product.category, product.name, product.colour),
        "shade": shade,
        "line_chart": line_chart,
    }
    return jinja


def reported_nights(lake: Lake) -> list[date]:
    """The nights with a folder of pages, oldest first."""
    folders = (lake.root / storage.REPORTS).glob("as_of=*")
    return sorted(date.fromisoformat(folder.name.removeprefix("as_of=")) for folder in folders)


def page_path(lake: Lake, as_of: date, name: str = "index") -> Path:
    """The path of a night's page: index, shop, drift, model or experiments."""
    return lake.directory(storage.REPORTS, as_of) / f"{name}.html"


def comparison_path(lake: Lake, as_of: date) -> Path:
    """The path of the comparison for programs, which lies beside the page about the model."""
    return page_path(lake, as_of, "model").with_name("comparison.json")


def newest_model_page(lake: Lake, as_of: date) -> Path | None:
    """The newest page about the model up to a night; nights that compared models have one, and those asked for."""
    until = Wanted(where=pc.field("as_of") <= pa.scalar(as_of))
    nights = {as_of, *(row["as_of"] for row in matching(lake, MODELS, ("as_of",), until))}
    paths = (page_path(lake, night, "model") for night in sorted(nights, reverse=True))
    return next((path for path in paths if path.exists()), None)


def model_link(lake: Lake, as_of: date) -> str:
    """The address of `newest_model_page` from the pages of the night; empty without one."""
    path = newest_model_page(lake, as_of)
    if path is None:
        return ""
    return path.name if path == page_path(lake, as_of, "model") else f"../{path.parent.name}/{path.name}"


def write_page(path: Path, page: str) -> None:
    """Write a page, or a document, whole or not at all, in place of what is there."""
    storage.write_whole(path, page.encode())


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
