"""Assembles the command line from its commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.common import (
    LAKE,
    NIGHT_TOKEN,
    REPOSITORY,
    SAMPLE_RAW,
    SAMPLE_SQL,
    Accept,
    AsOf,
    Config,
    EngineOption,
    OwnRaw,
    OwnRoot,
    Raw,
    Root,
    Source,
    accepted,
    config_named,
    day_of,
    lake_at,
    now,
    online_store,
    run_one,
    whole_night,
    work_of,
    writing,
)
from jobs.cli.operate import clean
from jobs.errors import UserError
from jobs.steps import NIGHT, STEPS, Step

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=(
    "Nightrail: a fashion shop's recommendation night. A night is the steps "
    + ", ".join(STEPS) + ", in this order, each for one date. Exit codes: 0 done, 1 a bug, 2 something you gave is "
    "wrong (the message says what), 3 a gate stopped the night, 4 somebody else writes to the lake: "
    "nothing was changed, try again later."))  # fmt: skip


def ingest(
    as_of: AsOf,
    root: Root = LAKE,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
    allow_empty_day: Annotated[
        bool, typer.Option(envvar="NIGHTRAIL_ALLOW_EMPTY_DAY", help="Let a last day without events pass.")
    ] = False,
    accept: Accept = None,
) -> None:
    """Raw files to events, catalogue, availability and rejected; exit code 3 where the input looks wrong."""
    changes: dict[str, Any] = {"allow_empty_day": True} if allow_empty_day else {}
    if may_fail := accepted("ingest", accept):
        changes["accepted"] = may_fail
    run_one("ingest", as_of, root, source, raw, engine, config, **changes)


def gate(
    as_of: AsOf,
    root: Root = LAKE,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
    accept: Accept = None,
) -> None:
    """Check the staged night; exit code 3 keeps last night live."""
    may_fail = accepted("gate", accept)
    changes = {"accepted": may_fail} if may_fail else {}
    run_one("gate", as_of, root, source, raw, engine, config, **changes)


def report(
    as_of: AsOf,
    root: Root = LAKE,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
    model_page: Annotated[
        bool, typer.Option("--model-page", help="Also write the page about the model if no models were compared.")
    ] = False,
) -> None:
    """Write the night's HTML pages."""
    if model_page:
        from jobs.report.step import write_model_page
        from jobs.run import Run

        lake, settings, night = lake_at(root, engine), config_named(config, source, raw), day_of(as_of)
        with writing(root, "report", night):
            write_model_page(lake, Run(night, f"{night}-model-page", now()), settings.report)
    run_one("report", as_of, root, source, raw, engine, config)


def _command_of(step: Step) -> Callable[..., None]:
    def command(
        as_of: AsOf,
        root: Root = LAKE,
        source: Source = SAMPLE_SQL,
        raw: Raw = SAMPLE_RAW,
        engine: EngineOption = "sail",
        config: Config = "standard",
    ) -> None:
        run_one(step.name, as_of, root, source, raw, engine, config)

    return command


OWN_OPTIONS: dict[str, Callable[..., None]] = {"ingest": ingest, "gate": gate, "report": report, "clean": clean}
"""Steps whose commands have options that the others lack."""
for _step in NIGHT:
    _run = OWN_OPTIONS.get(_step.name) or _command_of(_step)
    app.command(_step.name, help=_step.text, rich_help_panel="Steps of the night")(_run)


@app.command()
def apply(root: Root = LAKE) -> None:
    """Register the Feast definitions: part of a deployment, not of a night."""
    count = online_store(lake_at(root, "sail")).apply()
    typer.echo(f"{count} Feast objects registered")


@app.command()
def policy(
    file: Annotated[Path | None, typer.Option(help="CSV of all rules, to replace those of the table.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the file.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the rules with their state.")] = False,
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="Today (UTC) by default.")] = None,
    root: Root = LAKE,
) -> None:
    """Check, load or show the merchandisers' rules."""
    from rich.console import Console

    from jobs.cli.policy import run_policy

    day = datetime.now(UTC).date() if as_of is None else day_of(as_of)
    with writing(root, "policy") if file and not check else nullcontext():
        run_policy(lake_at(root, "sail"), day, file, check, show, Console())


@app.command()
def sample(
    size: Annotated[str, typer.Option(help="tiny, sample or million.")] = "sample",
    raw: Annotated[Path, typer.Option(help="Folder to write the raw files to.")] = SAMPLE_RAW,
) -> None:
    """Write the synthetic sample shop's raw files."""
    from jobs.nights.progress import StepLines
    from jobs.sample_shop import SIZES, write_shop

    if size not in SIZES:
        raise UserError(f"--size {size!r} is not one of {', '.join(SIZES)}")
    lines = StepLines("sample", time.monotonic)
    write_shop(raw, SIZES[size], lines, raw.with_name(raw.name + "_truth"))
    lines.say(f"done: synthetic shop {size} in {raw}; its last night is {SIZES[size].as_of}")


@app.command()
def night(
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="The sample's last by default.")] = None,
    root: OwnRoot = None,
    source: Source = SAMPLE_SQL,
    raw: OwnRaw = None,
    engine: EngineOption = "sail",
    config: Config = "standard",
) -> None:
    """Run a whole night under Airflow and print what came out: the main job."""
    from jobs.nights.airflow import Night, run_night

    if as_of is None and (raw is not None or source.resolve() != SAMPLE_SQL):
        raise UserError(
            "give --as-of DATE with a source or raw folder of your own; only the sample shop has a last night"
        )
    if raw is None and source.resolve() != SAMPLE_SQL:
        raise UserError(f"give --raw FOLDER: the raw files that {source} reads")
    if not source.is_file():
        raise UserError(f"the source {source} is not there; give a file with the SELECTs over the raw files")
    if as_of is None:
        from jobs.sample_shop import SIZES

        as_of = SIZES["sample"].as_of.isoformat()
    lake = (root or Path("var/lakes") / source.stem).resolve()
    plan = Night(
        day_of(as_of),
        lake,
        work_of(lake),
        source.resolve(),
        (raw or SAMPLE_RAW).resolve(),
        make_sample=raw is None,
        engine=engine,
        config=config,
        repository=REPOSITORY,
    )
    run_id = f"{plan.as_of}-{config_named(config, plan.source, plan.raw).hash[:8]}"
    tables = lake_at(plan.root, engine)
    with whole_night(plan.root, "night", plan.as_of) as token:
        run_night(plan, run_id, tables, dict(os.environ) | {NIGHT_TOKEN: token})


@app.command()
def airflow(
    port: Annotated[int, typer.Option(help="Port of the UI on 127.0.0.1.")] = 8080,
    root: OwnRoot = None,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineOption = "sail",
    config: Config = "standard",
) -> None:
    """Run a local Airflow, scheduler and UI, with the DAG scheduled nightly; stop it with Ctrl-C."""
    from jobs.nights.airflow import Night, run_airflow

    lake = (root or Path("var/lakes") / source.stem).resolve()
    plan = Night(date.min, lake, work_of(lake), source.resolve(), raw.resolve(), False, engine, config, REPOSITORY)
    run_airflow(plan, port, dict(os.environ))
