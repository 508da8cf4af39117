"""Defines the commands that run steps and nights: each step, `night`, `airflow`, `backfill`, and `sample`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.common import (
    NIGHT_TOKEN,
    REPOSITORY,
    SAMPLE_RAW,
    SAMPLE_SQL,
    Accept,
    Adopt,
    AllowEmptyDay,
    AsOf,
    ConfigName,
    EngineName,
    OwnRaw,
    OwnRoot,
    Place,
    Raw,
    SetOption,
    Source,
    accepted,
    command,
    day_of,
    lines_of,
    now,
    own_gates,
    reported,
)
from jobs.errors import UserError
from jobs.lake import storage
from jobs.steps import NIGHT, STEPS
from jobs.tables.records import MODELS

if TYPE_CHECKING:
    from jobs.config import NightConfig
    from jobs.ingest.step import IngestConfig
    from jobs.lake.lake import Lake
    from jobs.nights.night import NightPlan
    from jobs.sample_shop import ShopSize


GIVE_BACK = {"MIMALLOC_PURGE_DELAY": "0"}
"""Makes Sail and Arrow return freed memory at once: of what ingest and sequences took nothing would come back else."""
COMPILE = "import os; os.nice(10); from models.compiling import compile_loops; compile_loops()"
"""Program of a process that compiles while another one works."""


def ingest(
    *,
    as_of: AsOf,
    place: Place,
    allow_empty_day: AllowEmptyDay = False,
    accept: Accept = None,
    adopt: Adopt = False,
) -> None:
    """Run the step, letting a last day without events pass where asked to."""
    changes = {"allow_empty_day": True} if allow_empty_day else {}
    place.run_step("ingest", as_of, adopt=adopt, **changes, **accepted("ingest", accept))


def gate(*, as_of: AsOf, place: Place, accept: Accept = None) -> None:
    """Run the step, letting gates fail that are named."""
    place.run_step("gate", as_of, **accepted("gate", accept))


def report(
    *,
    as_of: AsOf,
    place: Place,
    model_page: Annotated[
        bool, typer.Option("--model-page", help="Also write the page about the model if no models were compared.")
    ] = False,
) -> None:
    """Run the step, after writing the page about the model where asked to."""
    if model_page:
        from jobs.report.step import write_model_page
        from jobs.run import Run

        day = day_of(as_of)
        with place.writing("report", day):
            write_model_page(place.lake(), Run(day, f"{day}-model-page", now()), place.settings().report)
    place.run_step("report", as_of)


def clean(
    *,
    as_of: AsOf,
    place: Place,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
) -> None:
    """Run the step, or only list what it would remove."""
    if not dry_run:
        place.run_step("clean", as_of)
        return
    from jobs.clean.step import planned
    from jobs.run import Run

    for line in planned(place.lake(), Run(day_of(as_of), "", now()), place.settings().clean):
        typer.echo(line)


def _command_of(step: str) -> Callable[..., None]:
    def run(*, as_of: AsOf, place: Place) -> None:
        place.run_step(step, as_of)

    return run


OWN_OPTIONS: dict[str, Callable[..., None]] = {"ingest": ingest, "gate": gate, "report": report, "clean": clean}
"""Steps whose commands have options of their own."""
for _step in NIGHT:
    _run = OWN_OPTIONS.get(_step.name) or _command_of(_step.name)
    command(_step.name, help=_step.text, rich_help_panel="Steps of the night")(_run)


@command()
def sample(
    size: Annotated[str, typer.Option(help="tiny, sample or million.")] = "sample",
    raw: Annotated[Path, typer.Option(help="Folder to write the raw files to.")] = SAMPLE_RAW,
    days: Annotated[
        int | None, typer.Option(min=1, help="Write so many further days, after the last one in the folder.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --days: show their visitors the lists that are live in this lake.")
    ] = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="With sizes; their source is jobs/sources/sample_sizes.sql.")
    ] = False,
    facts: Annotated[
        bool, typer.Option("--facts", help="Write nothing; print how its customers behave, beside public data.")
    ] = False,
    real_data: Annotated[
        Path | None, typer.Option(envvar="REAL_DATA", help="With --facts: measure public sets below this folder anew.")
    ] = None,
) -> None:
    """Write the synthetic sample shop's raw files, or further days of them, or print facts about it."""
    from jobs.sample_shop import SIZES, write_days, write_shop

    if size not in SIZES:
        raise UserError(f"--size {size!r} is not one of {', '.join(SIZES)}")
    shop, lines = replace(SIZES[size], sized=sizes), lines_of("sample")
    if facts:
        _print_facts(raw, shop, real_data)
        return
    if days is None:
        write_shop(raw, shop, lines, raw.with_name(raw.name + "_truth"))
        lines.say(f"done: synthetic shop {size} in {raw}; its last night is {shop.as_of}")
        return
    begin = _written(raw, shop).stop or shop.days
    summary = write_days(raw, shop, range(begin, begin + days), lines)
    night = shop.date_of(begin + days)
    if root is not None:
        from jobs.cli.shown import show

        lines.say(f"{show(raw, shop, range(begin, begin + days), root):,} impressions of the lists that are live")
    lines.say(
        f"done: synthetic shop {size} in {raw} goes on from {summary.first_day} to {summary.last_day}; its last night "
        f"is --as-of {night} now"
    )


def _written(raw: Path, size: ShopSize) -> range:
    """The days of the sample shop that are in the folder."""
    from jobs.sample_shop import written_days

    try:
        return written_days(raw, size)
    except ValueError as error:
        raise UserError(str(error)) from None


def _print_facts(raw: Path, size: ShopSize, real_data: Path | None) -> None:
    """Print the facts of the shop in `raw`, or of one made in passing, beside those of public sets."""
    from jobs.sample_shop import write_shop
    from jobs.sample_shop.facts import facts_of, public_facts, recorded, shop_actions, table

    with TemporaryDirectory() as made:
        if not _written(raw, size):
            raw = Path(made) / "raw"
            write_shop(raw, size, lines_of("sample"))
        shop = {name: facts_of(actions) for name, actions in shop_actions(raw).items()}
    told = recorded()
    measured = public_facts(real_data) if real_data else {}
    for line in table(shop | told.sets | measured):
        typer.echo(line)
    typer.echo('\n"x": times what chance gives. "-": cannot be told from the set. Sessions have no customers.')
    for name, source in told.sources.items():
        typer.echo(f"{name}: {source}; measured {'now' if name in measured else told.measured}")
    for line in told.published:
        typer.echo(line)


@command()
def night(
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="The sample's last by default.")] = None,
    root: OwnRoot = None,
    source: Source = SAMPLE_SQL,
    raw: OwnRaw = None,
    engine: EngineName = "sail",
    config: ConfigName = "standard",
    changed: SetOption = None,
    allow_empty_day: AllowEmptyDay = False,
    adopt: Adopt = False,
    airflow: Annotated[
        bool, typer.Option("--airflow", help="Run the DAG under Airflow, a process for each step; slower.")
    ] = False,
) -> None:
    """Run a whole night and print what came out: the main job."""
    from jobs.nights.night import run_night
    from jobs.nights.processes import all_ended
    from jobs.sample_shop import SIZES

    own = source.resolve() != SAMPLE_SQL
    if as_of is None and (raw is not None or own):
        raise UserError(
            "give --as-of DATE with a source or raw folder of your own; only the sample shop has a last night"
        )
    if raw is None and own:
        raise UserError(f"give --raw FOLDER: the raw files that {source} reads")
    place = _of_its_own(root, source, raw or SAMPLE_RAW, engine, config, changed)
    settings, as_of = place.settings(), as_of or _last_night(SIZES["sample"])
    plan = _plan(place, day_of(as_of), raw is None)
    lake = place.lake("night")
    if token := os.environ.get(NIGHT_TOKEN):
        _run_steps(place, lake, plan.as_of, settings, token, allow_empty_day)
        return
    with place.whole_night("night", plan.as_of) as token:
        ingest = replace(settings.ingest, allow_empty_day=allow_empty_day or settings.ingest.allow_empty_day)
        _check_first(place, ingest if own else None, as_of, adopt)
        more = {NIGHT_TOKEN: token} | ({"NIGHTRAIL_ALLOW_EMPTY_DAY": "1"} if allow_empty_day else {})
        command, environment = _steps_of(plan, airflow, dict(os.environ) | more)
        with all_ended():
            run_night(plan, f"{plan.as_of}-{settings.hash[:8]}", lake, command, environment)


def _steps_of(plan: NightPlan, airflow: bool, inherited: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command that runs the steps of a night, and its environment."""
    if airflow:
        from jobs.nights.airflow import dag_of_a_night

        return dag_of_a_night(plan, inherited)
    command = [sys.executable, "-m", "jobs", "night", "--as-of", str(plan.as_of)]
    return command, GIVE_BACK | plan.environment(inherited)


def _run_steps(place: Place, lake: Lake, night: date, settings: NightConfig, token: str, allow_empty_day: bool) -> None:
    """Run the steps of a night one after the other in this process, which the night has started for them."""
    changes = _changes(None, allow_empty_day)
    if not lake.exists(MODELS):
        # What a first night compiles takes 16 s of a core; training leaves that much of a second one idle.
        subprocess.Popen([sys.executable, "-c", COMPILE])
    try:
        for step in STEPS:
            _run_one_of_many(place, lake, step, night, settings, token, **changes.get(step, {}))
    finally:
        lake.stop()


def _run_one_of_many(
    place: Place, lake: Lake, step: str, night: date, settings: NightConfig, token: str, **changes: Any
) -> None:
    """Run a step in a process that runs others before and after it."""
    from jobs.nights.memory import hand_back_memory

    if step == "train":
        lake.stop()  # it may take an hour, after which a Spark server has forgotten its session
    place.run_in(lake, step, night, settings, token, **changes)
    hand_back_memory()


def _changes(accept: list[str] | None, allow_empty_day: bool) -> dict[str, dict[str, Any]]:
    """Step -> changes of its settings that let things through in a whole night."""
    changes = {name: accepted(name, own_gates(name, accept)) for name in ("ingest", "gate")}
    return changes | {"ingest": changes["ingest"] | ({"allow_empty_day": True} if allow_empty_day else {})}


def _check_first(place: Place, unread: IngestConfig | None, as_of: str, adopt: bool) -> None:
    """Before the steps, raise UserError for another shop's files, and where an `unread` source gives no night."""
    from jobs.cli.source import checked
    from jobs.ingest.lake_shop import is_known, shop_files

    known = is_known(place.root, shop_files(place.root, place.source, place.raw))
    place.shop(adopt)
    if unread and not known and checked(unread, as_of).stops:
        raise UserError("no night was begun, for the reasons above; correct the source or the raw files")


def _last_night(size: ShopSize) -> str:
    """The night after the sample shop's last day, further days included."""
    return max(size.as_of, size.date_of(_written(SAMPLE_RAW, size).stop)).isoformat()


@command()
def airflow(
    port: Annotated[int, typer.Option(help="Port of the UI on 127.0.0.1.")] = 8080,
    root: OwnRoot = None,
    source: Source = SAMPLE_SQL,
    raw: Raw = SAMPLE_RAW,
    engine: EngineName = "sail",
    config: ConfigName = "standard",
    changed: SetOption = None,
    adopt: Adopt = False,
) -> None:
    """Run a local Airflow, scheduler and UI, with the DAG scheduled nightly; stop it with Ctrl-C."""
    from jobs.lake.locks import here
    from jobs.nights.airflow import run_airflow
    from jobs.nights.processes import all_ended
    from jobs.sample_shop import SIZES

    place = _of_its_own(root, source, raw, engine, config, changed)
    place.settings()
    storage.check_reachable(place.root)
    place.shop(adopt)
    sample = (place.source.resolve(), place.raw) == (SAMPLE_SQL, SAMPLE_RAW.absolute())
    plan = _plan(place, day_of(_last_night(SIZES["sample"])) if sample else date.min, sample)
    owner = here("airflow", "", f"{now():%Y-%m-%d %H:%M:%S} UTC")
    with suppress(KeyboardInterrupt, SystemExit), all_ended():
        run_airflow(plan, port, owner, dict(os.environ))


def _of_its_own(
    root: Path | None, source: Path, raw: Path, engine: str, config: str, changed: list[str] | None
) -> Place:
    """The place of a source: by default a lake of its own."""
    lake = root or Path("var/lakes") / source.stem
    return Place(lake.resolve(), source.absolute(), raw.absolute(), engine, config, changed)


def _plan(place: Place, as_of: date, sample: bool) -> NightPlan:
    from jobs.nights.night import NightPlan

    paths = place.root, place.work, place.source, place.raw
    return NightPlan(as_of, *paths, place.engine, place.config, REPOSITORY, tuple(place.changes), sample)


@command()
def backfill(
    *,
    first: Annotated[str, typer.Option("--from", metavar="DATE", help="The first night.")],
    last: Annotated[str, typer.Option("--to", metavar="DATE", help="The last night.")],
    step: Annotated[list[str] | None, typer.Option(help="Only this step of each night; repeat.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Run nights that are done already, too.")] = False,
    allow_empty_day: AllowEmptyDay = False,
    accept: Accept = None,
    adopt: Adopt = False,
    place: Place,
) -> None:
    """Run several nights in order; given again, it goes on where it stopped. Nights before the live one are staged."""
    if unknown := [name for name in step or () if name not in STEPS]:
        raise UserError(f"--step {unknown[0]!r} is not one of {', '.join(STEPS)}")
    settings = place.settings()
    from jobs.nights.backfill import nights_between, run_nights

    nights = nights_between(day_of(first), day_of(last))
    changes = _changes(accept, allow_empty_day)
    steps = [name for name in STEPS if name in (step or STEPS)]
    lines, lake = lines_of("backfill"), place.lake("backfill")
    with reported("backfill"), place.whole_night("backfill", f"{first} to {last}") as token:
        place.shop(adopt)

        def run(night: date, name: str) -> None:
            _run_one_of_many(place, lake, name, night, settings, token, **changes.get(name, {}))

        try:
            ran = run_nights(lake, nights, steps, settings, again, run, lines)
        finally:
            lake.stop()
        lines.say(f"done: {len(ran):,} nights run, {len(nights) - len(ran):,} were done already")
