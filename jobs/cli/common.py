"""Defines the options that commands share, and builds the lake, the settings and the lock that they name."""

from __future__ import annotations

import inspect
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from jobs.errors import UserError
from jobs.lake import locks, storage
from jobs.lake.damage import damage_named
from jobs.nights.memory import peak_memory_mb, share_heaps
from jobs.nights.progress import StepLines
from jobs.steps import STEPS

if TYPE_CHECKING:
    from jobs.config import NightConfig
    from jobs.ingest.lake_shop import ShopFiles
    from jobs.lake.engine import Engine
    from jobs.lake.lake import Lake
    from jobs.publish.store import OnlineStore

Held = TypeVar("Held")
REPOSITORY = Path(__file__).resolve().parents[2]
LAKE = Path("var/lakes/sample")
SAMPLE_SQL = REPOSITORY / "jobs" / "sources" / "sample.sql"
SAMPLE_RAW = Path("var/raw/sample")
WORK = Path("var/work")
"""Holds what a lake in object storage keeps on this machine, unless NIGHTRAIL_WORK names another folder."""
NIGHT_TOKEN = "NIGHTRAIL_NIGHT_TOKEN"  # noqa: S105 - a name, no secret
"""Variable that tells the lock which night a step belongs to."""
BEGIN = ("ingest", "night", "backfill", "apply", "policy")
"""What may write to a lake that is not there yet."""
OLDEST_YEAR, NEWEST_YEAR = 1990, 2999
"""Limits of a night's year: dates are counted around a night, and the first and last years have none."""
PROCESS_DEFAULTS = {
    # A waiting OpenMP thread must not spin: beside other load on few cores, training would take several times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # equal sums in every run, on a GPU too
    "RUST_LOG": "error",  # Sail's server logs every start
    # Above this limit Sail sorts and aggregates on disk: the sequences of 20 M events took 1.7 GB instead of 3.7.
    "SAIL_RUNTIME__MEMORY_POOL__TYPE": "fair",
    "SAIL_RUNTIME__MEMORY_POOL__FAIR__MAX_SIZE": str(2 << 30),
}
"""Environment variables of libraries that a process of ours sets where they are not set already."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=f"Nightrail: a fashion shop's recommendation night. A night is the steps {', '.join(STEPS)}, in this order, "
    "each for one date. Exit codes: 0 done, 1 a bug, 2 a mistake in what you gave (the message says which), 3 a gate "
    "stopped the night, 4 another process writes to the lake, 5 Spark does not answer, 6 a service, a raw file or room "
    "on a disk is missing for now, 7 a file of the lake or the online store is damaged (the message says which). After "
    "4, 5 and 6 nothing is half done: try again later.",
)

PLACE: dict[str, Any] = {"parser": storage.place, "metavar": "FOLDER|s3://.."}
AsOf = Annotated[
    str, typer.Option("--as-of", metavar="DATE", help="The night: all events before 00:00 UTC of this day.")
]
Root = Annotated[
    Path, typer.Option(envvar="NIGHTRAIL_ROOT", help="The lake: tables, models, indexes, reports.", **PLACE)
]
Source = Annotated[Path, typer.Option(envvar="NIGHTRAIL_SOURCE", help="File with the SELECTs over the raw files.")]
Raw = Annotated[Path, typer.Option(envvar="NIGHTRAIL_RAW", help="Folder of the raw files.", **PLACE)]
EngineName = Annotated[str, typer.Option(envvar="NIGHTRAIL_ENGINE", help="sail (embedded) or spark.")]
ConfigName = Annotated[
    str, typer.Option(envvar="NIGHTRAIL_CONFIG", help="Settings by name: standard, quick or with_transformers4rec.")
]
OwnRoot = Annotated[
    Path | None,
    typer.Option(envvar="NIGHTRAIL_ROOT", help="The lake; by default one per source, below var/lakes.", **PLACE),
]
OwnRaw = Annotated[
    Path | None, typer.Option(envvar="NIGHTRAIL_RAW", help="Raw files; the sample shop by default.", **PLACE)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="STEP.FIELD=VALUE",
        help="Change a setting, such as train.holdout_days=3; repeat. NIGHTRAIL_SET holds some for whole nights.",
    ),
]
SET = "NIGHTRAIL_SET"
"""Variable with settings as --set takes them, separated by blanks and quoted as in a shell; --set comes on top."""
Accept = Annotated[list[str] | None, typer.Option(help="A gate that may fail tonight; repeat.")]
Adopt = Annotated[
    bool,
    typer.Option(envvar="NIGHTRAIL_ADOPT", help="The lake's shop has moved: take source and raw folder as its own."),
]
AllowEmptyDay = Annotated[bool, typer.Option(envvar="NIGHTRAIL_ALLOW_EMPTY_DAY", help="Let days without events pass.")]


def command(name: str | None = None, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of `app`; a parameter that is a dataclass stands for an option per field."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
        parameters = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in groups:
                kinds = get_type_hints(groups[parameter.name], include_extras=True)
                options_of = [
                    (field.name, field.default, kinds[field.name]) for field in fields(groups[parameter.name])
                ]
            else:
                options_of = [(parameter.name, parameter.default, hints[parameter.name])]
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
                for name, default, kind in options_of
            ]

        def call(**given: Any) -> None:
            for parameter, group in groups.items():
                given[parameter] = group(**{field.name: given.pop(field.name) for field in fields(group)})
            root = given.get("root") or getattr(given.get("place"), "root", None)
            with damage_named(root):
                function(**given)

        call.__name__, call.__doc__ = function.__name__, function.__doc__
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name, **options)(call)
        return function

    return register


@dataclass(frozen=True)
class Place:
    """The options of commands that run steps: the lake, its source and raw files, the engine and the settings."""

    root: Root = LAKE
    source: Source = SAMPLE_SQL
    raw: Raw = SAMPLE_RAW
    engine: EngineName = "sail"
    config: ConfigName = "standard"
    changed: SetOption = None

    @property
    def work(self) -> Path:
        """The lake's folder on this machine: the lake itself, or for one in object storage NIGHTRAIL_WORK."""
        if not storage.is_remote(self.root):
            return self.root.resolve()
        return Path(os.environ.get("NIGHTRAIL_WORK") or WORK / str(self.root).removeprefix(storage.SCHEME)).resolve()

    def check_there(self) -> None:
        """Raise UserError where there is no lake, so that a mistyped root is told and nothing is made there."""
        storage.check_reachable(self.root)
        # The first night of a lake holds its lock before it has written a table.
        if not (self.root / "tables").is_dir() and not locks.lock_owners(self.root):
            raise UserError(
                f"there is no lake at {self.root}: give --root (NIGHTRAIL_ROOT) the folder of one, or begin one with "
                "`python -m jobs night`"
            )

    def lake(self, doing: str = "") -> Lake:
        """The lake, which starts the engine when a step first needs it; of those in BEGIN, `doing` may begin one.

        Raises UserError where there is none, AwayError where object storage with the lake or the raw files does not
        answer.
        """
        from jobs.lake.lake import Lake

        spark, work = os.environ.get("SPARK_REMOTE"), self.work
        remote = [place for place in (self.root, self.raw) if storage.is_remote(place)]
        storage.check_reachable(*remote)
        if doing not in BEGIN:
            self.check_there()

        def start() -> Engine:
            from jobs.lake.engine import start as start_engine

            return start_engine(self.engine, spark, work / "logs" / "spark.log", bool(remote))  # type: ignore[arg-type]

        self._set_feast_folder()
        return Lake(self.root.resolve(), start, work, on_executors=self.engine == "spark" or bool(spark))

    def online_store(self) -> OnlineStore:
        """The online store, configured by NIGHTRAIL_FEATURE_STORE or the repository's own file."""
        from jobs.publish.store import OnlineStore

        self._set_feast_folder()
        return OnlineStore(self.root.resolve(), feature_store_file(), self.work)

    def _set_feast_folder(self) -> None:
        """Feast's settings file names this variable; the lake decides where registry and embedded store lie."""
        os.environ["NIGHTRAIL_FEAST"] = os.environ.get("NIGHTRAIL_FEAST") or str(self.work / "feast")

    @property
    def changes(self) -> list[str]:
        """What NIGHTRAIL_SET and then --set change in the settings."""
        try:
            return [*shlex.split(os.environ.get(SET, "")), *(self.changed or ())]
        except ValueError as error:
            raise UserError(f"{SET}={os.environ[SET]} cannot be read: {error}; close the quotes") from None

    def settings(self) -> NightConfig:
        """The settings that --config names, with `changes`; raises UserError for what does not exist and for a missing
        source.
        """
        from jobs.config import CONFIGS, with_settings

        if self.config not in CONFIGS:
            raise UserError(f"--config {self.config!r} is not one of {', '.join(CONFIGS)}")
        if not self.source.is_file():
            raise UserError(f"the source {self.source} is not there; give a file with the SELECTs over the raw files")
        config = with_settings(CONFIGS[self.config](self.source.resolve(), self.raw.resolve()), self.changes)
        return replace(config, publish=replace(config.publish, feature_store=feature_store_file()))

    def writing(self, doing: str, night: date | str = "", token: str = "") -> AbstractContextManager[None]:
        """Hold the lake's lock; raises BusyError (exit code 4) where another process holds it, UserError where there is
        no lake and `doing` does not begin one.

        `token` is that of the night in this process that the command belongs to; else the environment names the night.
        """
        if doing not in BEGIN:
            self.check_there()
        owner, token = locks.here(doing, str(night), _clock()), token or os.environ.get(NIGHT_TOKEN, "")
        held = locks.writing(self.root.resolve(), owner, token)
        return held if token else self._beginning(held)

    def whole_night(self, doing: str, night: date | str) -> AbstractContextManager[str]:
        """Hold the lake for one night or several; yields the token (NIGHT_TOKEN) for the processes of the steps."""
        return self._beginning(locks.whole_night(self.root.resolve(), locks.here(doing, str(night), _clock())))

    @contextmanager
    def _beginning(self, held: AbstractContextManager[Held]) -> Iterator[Held]:
        """`held`; where a mistake ends it and no lake was there before, nothing stays: the root may be mistyped."""
        root = self.root.resolve()
        made = [] if storage.is_remote(root) else [path for path in (root, *root.parents) if not path.exists()]
        with held as given:
            try:
                yield given
            except UserError as error:
                if made and error.exit_code == UserError.exit_code and _has_only_failed(root):
                    shutil.rmtree(root, ignore_errors=True)
                    with suppress(OSError):  # a folder that another process has begun to use
                        for path in made[1:]:
                            path.rmdir()
                raise

    def run_step(self, step: str, as_of: str, **changes: Any) -> None:
        """Run one step. The run's identity comes from the settings before `changes`, which only let things through."""
        night, settings, lake = day_of(as_of), self.settings(), self.lake(step)
        try:
            self.run_in(lake, step, night, settings, **changes)
        finally:
            lake.stop()

    def run_in(
        self,
        lake: Lake,
        step: str,
        night: date,
        settings: NightConfig,
        token: str = "",
        adopt: bool = False,
        **changes: Any,
    ) -> None:
        """Run one step in the lake under its lock; `token` is that of a night in this process, as in `writing`.

        An ingest raises UserError where the lake holds another shop, unless the lake shall `adopt` the files.
        """
        from jobs.ingest.lake_shop import record_shop

        with reported(step), damage_named(self.root), self.writing(step, night, token):
            shop = self.shop(adopt) if step == "ingest" else None
            _run_in(lake, step, night, settings, **changes)
            if shop:
                record_shop(lake.root, shop)

    def shop(self, adopt: bool) -> ShopFiles:
        """The shop's files; raises UserError where the lake holds another shop, unless it shall `adopt` the files."""
        from jobs.ingest.lake_shop import check_shop, record_shop, shop_files

        given = shop_files(self.root, self.source, self.raw)
        if adopt:
            record_shop(self.root, given)
        check_shop(self.root, given)
        return given


def set_process_defaults() -> None:
    """Set PROCESS_DEFAULTS, before any of those libraries is imported, and let threads share their heaps."""
    for name, value in PROCESS_DEFAULTS.items():
        os.environ.setdefault(name, value)
    share_heaps()


def accepted(step: str, given: list[str] | None) -> dict[str, list[str]]:
    """The change of settings that lets gates of `step` fail: those given, and the step's own of NIGHTRAIL_ACCEPT."""
    from jobs.checks import ACCEPT

    named = [name.strip() for name in os.environ.get(ACCEPT, "").split(",") if name.strip()]
    may_fail = list(dict.fromkeys([*(given or []), *own_gates(step, named)]))
    return {"accepted": may_fail} if may_fail else {}


def own_gates(step: str, gates: Sequence[str] | None) -> list[str]:
    """Those of the gates of a whole night that `step` checks: ingest those of the input, gate all others."""
    return [name for name in gates or () if name.startswith("input_") == (step == "ingest")]


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
    """Raise UserError for an argument that is not UTF-8: no id or path of ours has such bytes."""
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UserError(f"{argument.encode('utf-8', 'replace').decode()!r} is not UTF-8; write it again")


def feature_store_file() -> Path:
    """Feast's settings file; raises UserError where NIGHTRAIL_FEATURE_STORE names no file."""
    given = Path(os.environ.get("NIGHTRAIL_FEATURE_STORE", REPOSITORY / "feature_repo" / "feature_store.yaml"))
    if not given.is_file():
        raise UserError(
            f"NIGHTRAIL_FEATURE_STORE={given} is no file; give Feast's settings, such as feature_repo/redis.yaml"
        )
    return given.resolve()


def secret(name: str) -> str | None:
    """A secret from the environment, the only place for one; None where it is not set."""
    return os.environ.get(name) or None


def now() -> datetime:
    """The time, UTC: for ledgers, decisions and progress lines, never for what is computed."""
    return datetime.now(UTC)


def _clock() -> str:
    return f"{now():%Y-%m-%d %H:%M:%S} UTC"


def _has_only_failed(root: Path) -> bool:
    """Whether a lake has nothing but locks, logs and the ledger's row of the command that was to begin it."""
    tables = root / "tables"
    return {path.name for path in root.iterdir()} <= {storage.LOCKS, "tables", "logs"} and (
        not tables.is_dir() or {path.name for path in tables.iterdir()} <= {"runs"}
    )


def lines_of(step: str) -> StepLines:
    """Writes the progress lines of a command."""
    return StepLines(step, time.monotonic)


def _run_in(lake: Lake, step: str, night: date, config: NightConfig, **changes: Any) -> None:
    """Run a step under the ledger in a lake whose lock is held; Airflow keeps the last line, which has the figures."""
    from jobs.nights.ledger import run_step
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
def reported(step: str) -> Iterator[None]:
    """Write why a step failed as its last line."""
    try:
        yield
    except UserError as error:
        lines_of(step).say(f"stopped: {error}")
        raise
    except Exception as error:
        lines_of(step).say(f"failed: {type(error).__name__}: {error}")
        raise


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
