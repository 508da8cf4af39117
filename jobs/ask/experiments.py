"""Prints what nights measured of experiments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from jobs.experiments.results import Results, is_decided, read_results
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow
from jobs.tables.experiments import EXPERIMENTS
from jobs.text import clean

NOTHING = (
    "No experiment was measured. It takes a source that gives impressions (docs/data.md) and two variants in the "
    "settings (docs/merchandisers.md)."
)


def print_experiments(lake: Lake, as_of: date | None, console: Console) -> None:
    """Print the results up to a night, by default the newest: the verdict first, then every metric of all markets."""
    night = as_of or max(lake.nights(EXPERIMENTS), default=None)
    found = read_results(lake, night) if night else []
    for one in found:
        state = "running" if one.running else "ended"
        console.print(Text(clean(f"{one.name}, {state}, by the night of {one.night}: {one.headline}."), style="bold"))
        if one.rows[0]["mixed"]:
            console.print(Text(f"{one.rows[0]['mixed']:,} customers saw several variants and count for none."))
        console.print(_grid(one))
    if not found:
        console.print(NOTHING)


def _grid(results: Results) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")
    grid.add_column("metric", no_wrap=True)
    grid.add_column("variant", overflow="fold")
    for name in ("customers", "value", "uplift", "interval, daily looks"):
        grid.add_column(name, justify="right", no_wrap=True)
    for row in results.of():
        style = "bold" if is_decided(row) else ""
        grid.add_row(*(Text(clean(cell), style=style) for cell in _cells(row)))
    return grid


def _cells(row: StoredRow) -> Sequence[str]:
    value = "-" if row["value"] is None else f"{row['value']:.4g}"
    told = "control" if row["variant"] == row["control"] else "too few"
    ends = ""
    if row["uplift"] is not None:
        told, ends = f"{row['uplift']:+.1%}", f"{row['always_low']:+.1%} to {row['always_high']:+.1%}"
    return row["metric"], row["variant"], f"{row['customers']:,}", value, told, ends
