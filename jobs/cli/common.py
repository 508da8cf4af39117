"""What the commands share: their options, and running one step from what they were given."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.errors import UserError
from jobs.lake import locks, storage
from jobs.nights.progress import StepLines

REPOSITORY = Path(__file__).resolve().parents[2]
AsOf = Annotated[
    str, typer.Option("--as-of", metavar="DATE", help="The night: all events before 00:00 UTC of this day.")
]
PLACE: dict[str, Any] = {"parser": storage.place, "metavar": "FOLDER|s3://.."}
Root = Annotated[
    Path, typer.Option(envvar="NIGHTRAIL_ROOT", help="The lake: tables, models, indexes, reports.", **PLACE)
]
Source = Annotated[Path, typer.Option(envvar="NIGHTRAIL_SOURCE", help="File with the SELECTs over the raw files.")]
Raw = Annotated[Path, typer.Option(envvar="NIGHTRAIL_RAW", help="Folder of the raw files.", **PLACE)]
EngineOption = Annotated[str, typer.Option(envvar="NIGHTRAIL_ENGINE", help="sail (embedded) or spark.")]
Config = Annotated[str, typer.Option(envvar="NIGHTRAIL_CONFIG", help="Settings by name: standard or quick.")]
Accept = Annotated[list[str] | None, typer.Option(help="A gate that may fail tonight; repeat.")]
OwnRoot = Annotated[
    Path | None,
    typer.Option(envvar="NIGHTRAIL_ROOT", help="The lake; by default one per source, below var/lakes.", **PLACE),
]
OwnRaw = Annotated[
    Path | None, typer.Option(envvar="NIGHTRAIL_RAW", help="Raw files; the sample shop by default.", **PLACE)
]
LAKE = Path("var/lakes/sample")
SAMPLE_SQL = REPOSITORY / "jobs" / "sources" / "sample.sql"
SAMPLE_RAW = Path("var/raw/sample")
PROCESS_DEFAULTS = {
    # A waiting OpenMP thread must not spin: beside other load on few cores, training would take several times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # equal sums in every run, on a card too
    "RUST_LOG": "error",  # Sail's server says what it does at every start
    # Beyond it Sail's sorts and sums go to disk: the sequences of 20 M events took 1.7 GB instead of 3.7.
    "SAIL_RUNTIME__MEMORY_POOL__TYPE": "fair",
    "SAIL_RUNTIME__MEMORY_POOL__FAIR__MAX_SIZE": str(2 << 30),
}
"""What the libraries in a process of ours read from the environment, where it does not say otherwise."""
WORK = Path("var/work")
"""Below it lies what a lake in object storage keeps on this machine, where NIGHTRAIL_WORK names no other folder."""
NIGHT_TOKEN = "NIGHTRAIL_NIGHT_TOKEN"  # noqa: S105 - a name, no secret
"""Variable by which the steps of `night` say that they belong to it."""
OLDEST_YEAR, NEWEST_YEAR = 1990, 2999
"""Of a night: days around it are counted with, and the first and last years have none."""


def set_process_defaults() -> None:
    """Before any of those libraries is imported."""
    for name, value in PROCESS_DEFAULTS.items():
        os.environ.setdefault(name, value)


def accepted(step: str, given: list[str] | None) -> list[str]:
    """Gates that may fail in `step`: those given on the command line, and the step's own of NIGHTRAIL_ACCEPT."""
    from jobs.checks import ACCEPT

    named = [name.strip() for name in os.environ.get(ACCEPT, "").split(",") if name.strip()]
    own = [name for name in named if name.startswith("input_") == (step == "ingest")]
    return list(dict.fromkeys([*(given or []), *own]))


def day_of(text: str) -> date:
    """A date as the command line gives it; raises UserError for anything else."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UserError(f"--as-of {text!r} is no date; write it as 2026-04-06") from None
    if not OLDEST_YEAR <= day.year <= NEWEST_YEAR:
        raise UserError(f"--as-of {text!r} is not within the years {OLDEST_YEAR} to {NEWEST_YEAR}")
    return day


def check_text(arguments: Sequence[str]) -> None:
    """Raise UserError for an argument with bytes that are no UTF-8: no id or path of ours has any."""
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UserError(f"{argument.encode('utf-8', 'replace').decode()!r} is no UTF-8; write it again")


def lake_at(root: Path, engine: str, raw: Path | None = None) -> Any:
    """The Lake at `root`, which starts the engine when a step first needs it; `raw` is where that finds raw files.

    Raises UserError where either is in object storage, and that does not answer.
    """
    from jobs.lake.lake import Lake

    remote = os.environ.get("SPARK_REMOTE")
    places = [place for place in (root, raw) if place and storage.is_remote(place)]
    storage.check_reachable(*places)
    work = work_of(root)

    def start() -> Any:
        from jobs.lake.engine import start as start_engine

        log = work / "logs" / "spark.log"
        return start_engine(engine, remote, log, bool(places))  # type: ignore[arg-type]

    # Feast's settings name this variable; the lake decides where its registry and embedded store lie.
    os.environ.setdefault("NIGHTRAIL_FEAST", str(work / "feast"))
    return Lake(root.resolve(), start, work, on_executors=engine == "spark" or bool(remote))


def work_of(root: Path) -> Path:
    """The lake's folder on this machine: the lake itself, or for one in object storage NIGHTRAIL_WORK."""
    if not storage.is_remote(root):
        return root.resolve()
    return Path(os.environ.get("NIGHTRAIL_WORK") or WORK / str(root).removeprefix(storage.SCHEME)).resolve()


def _code_version() -> str:
    try:
        package = version("nightrail")
    except PackageNotFoundError:
        package = "source"
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # a worker without git
        commit = ""
    return f"{package} {commit}".strip()


def online_store(lake: Any) -> Any:
    """Feast over the lake, configured by NIGHTRAIL_FEATURE_STORE or the repository's own file."""
    from jobs.publish.store import OnlineStore

    return OnlineStore(lake.root, feature_store_file(), lake.work)


def feature_store_file() -> Path:
    """Feast's settings; raises UserError where NIGHTRAIL_FEATURE_STORE names no file."""
    given = Path(os.environ.get("NIGHTRAIL_FEATURE_STORE", REPOSITORY / "feature_repo" / "feature_store.yaml"))
    if not given.is_file():
        raise UserError(f"NIGHTRAIL_FEATURE_STORE={given} is no file; give Feast's settings, such as "
                        "feature_repo/redis.yaml")  # fmt: skip
    return given.resolve()


def secret(name: str) -> str | None:
    """A secret from the environment, where alone it belongs; None where it is not set."""
    return os.environ.get(name) or None


def config_named(name: str, source: Path, raw: Path) -> Any:
    """The NightConfig called `name`; raises UserError for an unknown name."""
    from jobs.config import CONFIGS

    if name not in CONFIGS:
        raise UserError(f"--config {name!r} is not one of {', '.join(CONFIGS)}")
    config = CONFIGS[name](source.resolve(), raw.resolve())
    return replace(config, publish=replace(config.publish, feature_store=feature_store_file()))


def now() -> datetime:
    """The time, UTC: for ledgers, decisions and lines, never for what is computed."""
    return datetime.now(UTC)


def writing(root: Path, doing: str, night: date | str = "", token: str = "") -> AbstractContextManager[None]:
    """Hold the lake while a command writes to it; raises BusyError (exit code 4) where somebody else does.

    `token` is that of the night in this process it belongs to; else the environment names the night, if there is one.
    """
    return locks.writing(root.resolve(), _holder(doing, night), token or os.environ.get(NIGHT_TOKEN, ""))


def whole_night(root: Path, doing: str, night: date | str) -> AbstractContextManager[str]:
    """Hold the lake for a night or several; yields the token for NIGHT_TOKEN of the processes that run the steps."""
    return locks.whole_night(root.resolve(), _holder(doing, night))


def _holder(doing: str, night: date | str) -> locks.LockOwner:
    return locks.here(doing, str(night), f"{now():%Y-%m-%d %H:%M:%S} UTC")


def run_one(
    step: str, as_of: str, root: Path, source: Path, raw: Path, engine: str, config_name: str, **changes: Any
) -> None:
    """Identity comes from the settings before `changes`, which only say what is let through tonight."""
    night = day_of(as_of)
    if not source.is_file():
        raise UserError(f"the source {source} is not there; give a file with the SELECTs over the raw files")
    config = config_named(config_name, source, raw)
    lake = lake_at(root, engine, raw)
    try:
        with said(step), writing(root, step, night):
            run_in(lake, step, night, config, **changes)
    finally:
        lake.stop()


def lines_of(step: str) -> StepLines:
    """The lines in which a command says how far it is."""
    return StepLines(step, time.monotonic)


def run_in(lake: Any, step: str, night: date, config: Any, **changes: Any) -> None:
    """Run a step in a lake that is held, under the ledger; its last line has its figures, which Airflow keeps."""
    from jobs.nights.ledger import peak_memory_mb, run_step
    from jobs.run import Run

    lines = lines_of(step)
    began = now()
    run = Run(night, f"{night}-{config.hash[:8]}", began, lines, time.monotonic)
    if changes:
        config = replace(config, **{step: replace(getattr(config, step), **changes)})
    lines.say(f"started for {night}")
    counts = run_step(step, lake, run, config, _code_version(), now)
    lines.say(
        f"done in {(now() - began).total_seconds():.1f} s, {peak_memory_mb():,.0f} MB, {counts.rows_in:,} rows in, "
        f"{counts.rows_out:,} out, {counts.rejected:,} rejected: {counts.note}"
    )


@contextmanager
def said(step: str) -> Iterator[None]:
    """Say in the step's last line why it did not get done."""
    lines = lines_of(step)
    try:
        yield
    except UserError as error:
        lines.say(f"stopped: {error}")
        raise
    except Exception as error:
        lines.say(f"failed: {type(error).__name__}: {error}")
        raise
