"""The command `backfill`: a range of nights in one go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.common import (
    LAKE,
    SAMPLE_RAW,
    SAMPLE_SQL,
    AsOf,
    Config,
    EngineOption,
    Raw,
    Root,
    Source,
    config_named,
    day_of,
    lake_at,
    lines_of,
    now,
    online_store,
    run_in,
    run_one,
    said,
    secret,
    whole_night,
    writing,
)
from jobs.errors import UserError
from jobs.steps import STEPS

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.lake.lake import Lake
    from jobs.publish.store import OnlineStore


def add_backfill(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(backfill)


def backfill(
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first night.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="The last night.")],
    step: Annotated[list[str] | None, typer.Option(help="Only this step of each night; repeat.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Run nights that are done already, too.")] = False,
    allow_empty_day: Annotated[
        bool, typer.Option(envvar="NIGHTRAIL_ALLOW_EMPTY_DAY", help="Let days without events pass.")
    ] = False,
    root: Root = LAKE,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
) -> None:
    """Run several nights in order; given again, it goes on where it stopped. Nights before the live one are staged."""
    if unknown := [name for name in step or () if name not in STEPS]:
        raise UserError(f"--step {unknown[0]!r} is not one of {', '.join(STEPS)}")
    if not source.is_file():
        raise UserError(f"the source {source} is not there; give a file with the SELECTs over the raw files")
    from jobs.nights.backfill import nights_between, run_nights

    nights = nights_between(day_of(first), day_of(last))
    settings = config_named(config, source, raw)
    changes = {"ingest": {"allow_empty_day": True}} if allow_empty_day else {}
    steps = [name for name in STEPS if name in (step or STEPS)]
    lines = lines_of("backfill")
    lake = lake_at(root, engine, raw)
    with said("backfill"), whole_night(root, "backfill", f"{first} to {last}") as token:

        def run(night: date, name: str) -> None:
            with said(name), writing(root, name, night, token):
                run_in(lake, name, night, settings, **changes.get(name, {}))

        try:
            ran = run_nights(lake, nights, steps, settings, again, run, lines)
        finally:
            lake.stop()
        lines.say(f"done: {len(ran):,} nights run, {len(nights) - len(ran):,} were done already")


# The command `clean`: the night's last step, which can also say what it would do.


def clean(
    as_of: AsOf,
    root: Root = LAKE,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
) -> None:
    """Remove old nights by policy; compact and vacuum the tables."""
    if not dry_run:
        run_one("clean", as_of, root, source, raw, engine, config)
        return
    from jobs.clean.step import planned
    from jobs.run import Run

    settings = config_named(config, source, raw).clean
    for line in planned(lake_at(root, engine), Run(day_of(as_of), "", now()), settings):
        typer.echo(line)


# `python -m jobs forget`: who is to be forgotten, and what a person is told about it.


def add_forget(app: typer.Typer, clock: Callable[[], datetime], seconds: Callable[[], float]) -> None:
    """Register the command of this module; `clock` gives the time in UTC, `seconds` those that pass."""

    def forget(
        customer: Annotated[list[str] | None, typer.Option(help="A customer id; repeat it for several.")] = None,
        file: Annotated[Path | None, typer.Option(help="File with one customer id a line.")] = None,
        root: Root = LAKE,
    ) -> None:
        """Remove customers from every table, old version, page, log and the online store, and keep them out."""
        ids = [*(customer or []), *(ids_in(file) if file else [])]
        if not ids:
            raise UserError("nobody is named; give --customer ID, or --file with one id a line")
        _run(ids, root, clock(), seconds)

    app.command()(forget)


def ids_in(file: Path) -> list[str]:
    """The ids of a file, one a line, empty lines left out; raises UserError where it cannot be read."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the ids {file} cannot be read: {error}; give a UTF-8 file with one id a line") from None
    return [line.strip(" \r") for line in text.split("\n") if line.strip(" \r")]


def _run(ids: list[str], root: Path, now: datetime, seconds: Callable[[], float]) -> None:
    from rich.console import Console
    from rich.markup import escape

    from jobs.forget.step import forget as forgotten
    from jobs.nights.progress import StepLines
    from jobs.text import clean

    lake = lake_at(root, "sail")
    with writing(root, "forget"):
        done = forgotten(lake, online_store(lake), ids, now, StepLines("forget", seconds))
    console = Console()
    for customer, rows in done.rows.items():
        there = ", ".join(f"{n:,} of {name}" for name, n in sorted(rows.items())) or "nothing was there"
        console.print(f"{escape(clean(customer))}: {there}", highlight=False, soft_wrap=True)
    for path in done.deleted:
        console.print(f"deleted: {escape(clean(path))}", highlight=False, soft_wrap=True)
    for place, count in sorted(done.elsewhere.items()):
        console.print(f"note: {escape(clean(place))} has the same text, {count:,} times, as the name of something else",
                      highlight=False, soft_wrap=True)  # fmt: skip
    console.print(f"read back {done.files:,} files: none names them; recorded in forgotten", highlight=False)


# `python -m jobs rollback`: an earlier checked night live again, online store and `published` together.


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
    from jobs.lake.live import live_night
    from jobs.publish.step import nights_to_roll_back_to

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

    from jobs.publish.load import kept_night
    from jobs.publish.step import SURFACES
    from jobs.tables.records import PUBLISHED

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


# `python -m jobs serve`: Feast's feature server with our services, on loopback or behind a token.


def add_serve(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; another than loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 6566,
    workers: Annotated[int, typer.Option(help="Processes; one a core.")] = 1,
    tls_key: Annotated[Path | None, typer.Option(help="TLS key file.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate file.")] = None,
    root: Root = LAKE,
) -> None:
    """Serve the feature services over HTTP; stop it with Ctrl-C. NIGHTRAIL_TOKEN is what requests must bear."""
    from jobs.serve import ServeConfig
    from jobs.serve import serve as run

    config = ServeConfig(host, port, workers, secret("NIGHTRAIL_TOKEN"), tls_key, tls_cert)
    store = online_store(lake_at(root, "sail"))
    scheme, guarded = ("http", "https")[tls_key is not None], "with a token" if config.token else "without a token"
    typer.echo(f"serving on {scheme}://{host}:{port} {guarded}: POST /get-online-features, GET /health /ready /metrics")
    run(store, config)
