"""Defines the command `status`, which prints the last nights, the live one and the running processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.common import LAKE, Place, Root, command, now
from jobs.errors import DamageError, UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from jobs.nights.status import NightState, Status

STYLES = {"done": "green", "running": "yellow", "failed": "bold red", "killed": "bold red"}
WIDTH = 160
"""Columns of the output where it is no terminal."""
BACK = 5
"""Most nights to roll back to that are listed."""


@command()
def status(
    nights: Annotated[int, typer.Option(help="How many of the newest nights.")] = 14,
    root: Root = LAKE,
) -> None:
    """Show the last nights step by step, what is live, what can be rolled back to, and which processes write."""
    from rich.console import Console

    from jobs.nights.status import status_of

    if nights < 1:
        raise UserError(f"--nights {nights}: give at least 1")
    console, place = Console(), Place(root)
    found = status_of(place.lake(), nights, now())
    show(found, _online(place, found), console if console.is_terminal else Console(width=WIDTH))
    if not found.nights:
        typer.echo(f"This is the lake {root}; --root FOLDER or NIGHTRAIL_ROOT names another.")
    if found.damaged:
        raise typer.Exit(DamageError.exit_code)


def show(found: Status, online: str, console: Console) -> None:
    """Print the status, with the line `online`; names from data are `Text`, in which rich looks for no markup."""
    from rich.text import Text

    from jobs.cli.operate import described

    for damage in found.damaged:
        console.print(Text(damage, style="bold red"))
    console.print(Text(_live(found), style="bold"))
    console.print(Text(online))
    if found.staged_since:
        tables = ", ".join(found.staged_since)
        console.print(Text(f"Made again since, and not published: {tables}", style="yellow"))
    back = "; ".join(map(described, found.back[:BACK])) + ("; .." if len(found.back) > BACK else "")
    console.print(Text(f"Can be rolled back to: {back or 'nothing'}"))
    at_work = "; ".join(map(str, found.at_work))
    console.print(Text(f"Writing to the lake: {at_work}" if at_work else "No process writes to the lake."))
    if not found.nights:
        console.print(Text("The ledger has no night yet."))
        return
    console.print()
    console.print(_nights(found))
    console.print()
    console.print(_steps(found.nights[0]))


def _live(found: Status) -> str:
    if found.live is None:
        return "What is live cannot be told." if found.damaged else "Nothing is live yet."
    since = f" since {found.published_at:%Y-%m-%d %H:%M} UTC" if found.published_at else ""
    return f"Live: the night of {found.live}{since}; it knows nothing of the last {found.hours_old:,.0f} hours"


def _online(place: Place, found: Status) -> str:
    """What the online store shows, and whether that is the live night."""
    try:
        live = place.online_store().live()
    except UserError as error:
        return f"Online store: away. {error}"
    if not live.seq:
        return "Online store: no night was ever published there."
    shown = f"Online store: the night of {live.as_of}, publication {live.seq}"
    return shown if live.as_of == f"{found.live}" else f"{shown}, which is not the live one; publish it again"


def _grid() -> Grid:
    from rich import box
    from rich.table import Table as Grid

    return Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")


def _nights(found: Status) -> Grid:
    """One line for each night: the seconds of finished steps, the state of others."""
    from rich.text import Text

    from jobs.steps import STEPS

    grid = _grid()
    grid.add_column("night", no_wrap=True)
    for name in (*STEPS, "rejected"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("gates", overflow="fold")
    grid.add_column("champion", overflow="fold")
    for one in found.nights:
        live = one.as_of == found.live
        cells = [Text(f"{one.as_of}{' live' if live else ''}", style="bold green" if live else "")]
        for name in STEPS:
            step = one.steps.get(name)
            text = "-" if step is None else f"{step.seconds:,.1f}" if step.state == "done" else step.state
            cells.append(Text(text, style="dim" if step is None else STYLES.get(step.state, "")))
        grid.add_row(*cells, Text(f"{one.rejected:,}"), _gates(one), Text(one.model_id or "-"))
    return grid


def _gates(one: NightState) -> Text:
    from rich.text import Text

    found = one.gates
    if not found.checked:
        return Text("-", style="dim")
    return Text(str(found), style="bold red" if found.failed else "yellow" if found.accepted or found.warned else "")


def _steps(one: NightState) -> Grid:
    """The steps of one night with all figures."""
    from rich.text import Text

    grid = _grid()
    grid.add_column(f"steps of {one.as_of}", no_wrap=True)
    grid.add_column("state", no_wrap=True)
    for name in ("seconds", "rows in", "rows out", "rejected", "MB"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("note", ratio=1, overflow="fold")
    for step in one.steps.values():
        figures = (
            f"{step.seconds:,.1f}",
            *(f"{n:,}" for n in (step.rows_in, step.rows_out, step.rejected)),
            f"{step.memory_mb:,.0f}",
        )
        grid.add_row(
            Text(step.name), Text(step.state, style=STYLES.get(step.state, "")), *map(Text, figures), Text(step.note)
        )
    return grid
