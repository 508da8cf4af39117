"""`python -m jobs rollback`: an earlier checked night live again, online store and `published` together."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.command import (
    LAKE,
    SAMPLE_RAW,
    SAMPLE_SQL,
    Config,
    EngineOption,
    Raw,
    Root,
    Source,
    day_of,
    lake_at,
    online_store,
    run_one,
)
from jobs.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.lake import Lake
    from jobs.online import OnlineStore


def add_rollback(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(rollback)


def rollback(
    to: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The night; by default the newest before the live one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    root: Root = LAKE,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
) -> None:
    """Make an earlier checked night live again, online store and `published` together."""
    from rich.console import Console

    lake = lake_at(root, engine)
    night = chosen_night(lake, None if to is None else day_of(to))
    if dry_run:
        print_plan(lake, online_store(lake), night, Console())
        return
    run_one("publish", night.isoformat(), root, source, raw, engine, config, replace_newer=True)


def chosen_night(lake: Lake, to: date | None) -> date:
    """The night to make live: `to`, or the newest one before the live one; raises UserError for one that cannot be."""
    from jobs.gate import live_night
    from jobs.publish import nights_to_roll_back_to

    nights, live = nights_to_roll_back_to(lake), live_night(lake)
    can = f"nights that can: {', '.join(map(str, nights)) or 'none'}"
    if to is not None:
        if to not in nights:
            raise UserError(f"{to} cannot be made live; {can}")
        return to
    earlier = [night for night in nights if live and night < live]
    if not earlier:
        raise UserError(f"there is no night before the live one ({live}) that can be made live; {can}")
    return earlier[-1]


def print_plan(lake: Lake, store: OnlineStore, to: date, console: Console) -> None:
    """Surface by surface: what is live, what would be, and what that would write."""
    from rich.table import Table as Grid

    from jobs.online_load import kept_night
    from jobs.publish import SURFACES
    from jobs.tables import PUBLISHED

    published = {row["surface"]: row["as_of"] for row in lake.arrow(PUBLISHED, ("surface", "as_of")).to_pylist()}
    online = store.live().as_of or "nothing"
    kept = kept_night(lake, store.nights(), SURFACES, to)
    grid = Grid(title=f"Rollback to {to}: nothing is changed by this", title_justify="left", box=None, padding=(0, 1))
    for heading in ("surface", "published", "online", "would be", "online rows to write"):
        grid.add_column(heading)
    for table in SURFACES:
        rows = "none" if kept is not None else f"those of {lake.count(table, to):,} that differ"
        grid.add_row(table.name, str(published.get(table.name, "nothing")), online, str(to), rows)
    console.print(grid)
    console.print(
        "The night's rows are still online: one value is moved, and every reader sees the night whole at once."
        if kept is not None
        else "The night's rows are not online any more, or its tables were changed since: they are loaded beside the "
        "live night and shown at once when all are there.",
        soft_wrap=True,
    )
