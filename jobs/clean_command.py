"""The command `clean`: the night's last step, which can also say what it would do."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.command import (
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
    now,
    run_one,
)


def add_clean(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command(rich_help_panel="Steps of the night")(clean)


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
    from jobs.clean import planned
    from jobs.run import Run

    settings = config_named(config, source, raw).clean
    for line in planned(lake_at(root, engine), Run(day_of(as_of), "", now()), settings):
        typer.echo(line)
