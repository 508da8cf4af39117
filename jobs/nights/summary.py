"""Prints the end of a night in the terminal: its steps, some lists, and the paths of its pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import zip_longest
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from jobs.lake.lake import Lake
from jobs.report.examples import (
    CustomerExample,
    ListPlace,
    ProductExample,
    ShownProduct,
    customer_examples,
    product_examples,
)
from jobs.report.figures import LedgerStep, live_state_of, outcomes_of, steps_of
from jobs.text import clean

PRODUCTS = 3
CAROUSEL = 6
"""Products shown of each carousel."""
HISTORY = 8
"""Events shown of the customer's history, and products of the list."""
Named = Sequence[tuple[Text, str]]
"""(name, price) of each product of a list; the price is empty where there is none."""
STYLES = {"live": "bold green", "past": "bold", "staged": "bold yellow", "failed": "bold red"}


def print_summary(lake: Lake, as_of: date, run_id: str, console: Console, places: dict[str, Path]) -> None:
    """Print the run's steps, three products' carousels, one customer's list, and the paths in `places` (name -> path).

    Names from data are printed as `Text`, in which rich looks for no markup, and without control characters.
    """
    steps = steps_of(lake, as_of, run_id)
    state = live_state_of(lake, as_of, steps, outcomes_of(lake, as_of))
    console.print()
    title = Text.assemble((f"Night {as_of}", "bold"), "  ", (state.label, STYLES[state.state]))
    console.print(title, Text(state.sentence, style="dim"), sep="\n")
    _print_steps(console, steps)
    pages = product_examples(lake, as_of, PRODUCTS)
    _heading(console, "What shoppers see", "well-known products, the first of each carousel")
    for page in pages:
        _print_product(console, page)
    if not pages:
        console.print(Text("No product has a list this night."))
    for customer in customer_examples(lake, as_of, 1):
        _print_customer(console, customer)
    _heading(console, "Where it lies", "")
    _print_places(console, places)


def _heading(console: Console, title: str, note: str) -> None:
    console.print()
    console.print(Text.assemble((title, "bold"), f"  {note}" if note else ""))


def _grid() -> Grid:
    return Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")


def _print_steps(console: Console, steps: Sequence[LedgerStep]) -> None:
    if not steps:
        console.print(Text("The ledger has no step of this run."))
        return
    grid = _grid()
    grid.add_column("step", no_wrap=True)
    for name in ("rows in", "rows out", "rejected", "seconds"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("note", ratio=1, overflow="fold")
    for step in steps:
        style = "bold red" if step.status == "failed" else ""
        note = step.note if step.status == "done" else f"{step.status}: {step.note}"
        grid.add_row(
            Text(step.name, style=style),
            f"{step.rows_in:,}",
            f"{step.rows_out:,}",
            f"{step.rejected:,}",
            f"{step.seconds:,.1f}",
            Text(note, style=style),
        )
    console.print()
    console.print(grid)


def _print_product(console: Console, page: ProductExample) -> None:
    console.print()
    facts = [_brand(page.product), page.product.category, page.product.price_text, f"market {page.market}"]
    line = Text.assemble((page.product.name, "bold"), ("  " + ", ".join(fact for fact in facts if fact), "dim"))
    console.print(line)
    _print_side_by_side(
        console,
        "You Might Also Like",
        _named(page.alternatives, CAROUSEL),
        "People Also Bought",
        _named(page.bought, CAROUSEL),
    )


def _print_customer(console: Console, page: CustomerExample) -> None:
    events = page.history[-HISTORY:]
    note = f"market {page.market}, {len(page.history):,} events; newest last"
    _heading(console, f"Customer {page.customer}", note)
    console.print()
    history = [(Text.assemble((f"{touch.event_type:<9}", "dim"), _full_name(touch.product)), "") for touch in events]
    _print_side_by_side(console, "Last events", history, "Recommended for you", _named(page.places, HISTORY))


def _print_side_by_side(console: Console, left: str, left_rows: Named, right: str, right_rows: Named) -> None:
    """Two lists of (name, price) beside each other; a name that does not fit is cut, never wrapped."""
    rows = list(zip_longest(left_rows, right_rows, fillvalue=(Text(""), "")))
    if not rows:
        console.print(Text("No list was made."))
        return
    grid = _grid()
    for title, prices in ((left, [row[0][1] for row in rows]), (right, [row[1][1] for row in rows])):
        grid.add_column(title, ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column("", justify="right", no_wrap=True, width=max(map(len, prices)) or None)
    grid.expand = True
    for (name, price), (other, other_price) in rows:
        grid.add_row(name, Text(price), other, Text(other_price))
    console.print(grid)


def _named(places: Sequence[ListPlace], most: int) -> Named:
    return [(_full_name(place.product), place.product.price_text) for place in places[:most]]


def _full_name(product: ShownProduct) -> Text:
    brand = _brand(product)
    return Text.assemble(product.name, (f"  {brand}" if brand else "", "dim"))


def _brand(product: ShownProduct) -> str:
    """The brand, unless the name says it already."""
    return "" if product.brand.lower() in product.name.lower() else product.brand


def _print_places(console: Console, places: dict[str, Path]) -> None:
    """One line a place, never wrapped, so that a path can be copied whole."""
    widest = max((len(name) for name in places), default=0)
    for name, path in places.items():
        line = Text.assemble((f"{clean(name):<{widest}}  ", "dim"), clean(str(path)))
        console.print(line, soft_wrap=True)
