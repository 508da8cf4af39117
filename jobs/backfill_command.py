"""The command `backfill`: a range of nights in one go."""

from __future__ import annotations

from datetime import date
from typing import Annotated

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
    config_named,
    day_of,
    lake_at,
    lines_of,
    run_in,
    said,
    whole_night,
    writing,
)
from jobs.errors import UserError
from jobs.tables import STEPS


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
    from jobs.backfill import nights_between, run_nights

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
