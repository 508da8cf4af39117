"""Runs a whole night with Airflow's own runner, and a local Airflow with scheduler and UI."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.locks import LockOwner, one_airflow
from jobs.nights.progress import LINE
from jobs.nights.summary import print_summary
from jobs.report.pages import newest_model_page, page_path
from jobs.steps import GPU_POOL, SPARK_POOL, STEPS

DAG = "nightly_recommendations"
LOG_WIDTH = 110
POOLS = {SPARK_POOL: "Steps that run on Spark", GPU_POOL: "Training, encoding and lists"}
"""Airflow pools with their descriptions, of one slot each: one step of a kind at a time, of whichever night."""
WORKERS = 4
"""Processes of the local Airflow that wait for tasks; a night has one task at a time."""
PLAIN_SECONDS = 10.0
"""Least time between two progress lines where the output is no terminal."""
Show = Callable[[str, str], None]
"""Shows how far a step is: (step, text)."""


@dataclass(frozen=True)
class NightPlan:
    """What to run and where; every path is absolute."""

    as_of: date
    root: Path
    work: Path
    """The lake's folder on this machine (`Lake.work`), which holds Airflow's home and the logs."""
    source: Path
    raw: Path
    engine: str
    config: str
    repository: Path
    changes: tuple[str, ...] = ()
    """Settings that differ from the config's, as --set takes them."""
    sample: bool = False
    """Whether this is the synthetic sample shop, which gets no new files by itself."""

    def environment(self, inherited: dict[str, str]) -> dict[str, str]:
        """The caller's environment with the settings of Airflow and of the night."""
        # Airflow's parts start each other by the name `airflow`.
        path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
        return inherited | {
            "PATH": path,
            "AIRFLOW_HOME": str(self.work / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.repository / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(self.sample),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONPATH": str(self.repository),
            "PYTHONUNBUFFERED": "1",
            "NIGHTRAIL_ROOT": str(self.root),
            "NIGHTRAIL_WORK": str(self.work),
            "NIGHTRAIL_SOURCE": str(self.source),
            "NIGHTRAIL_RAW": str(self.raw),
            "NIGHTRAIL_ENGINE": self.engine,
            "NIGHTRAIL_CONFIG": self.config,
            "NIGHTRAIL_SET": shlex.join(self.changes),
        }


def run_night(plan: NightPlan, run_id: str, lake: Lake, inherited: dict[str, str]) -> None:
    """Run the DAG for one night, show its progress and print the summary.

    `inherited` is the environment of the steps; its token (NIGHT_TOKEN) lets them write under the night's lock.
    Raises UserError with the step that failed and its reason.
    """
    console = _console()
    log = plan.work / "logs" / f"night-{plan.as_of}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = plan.environment(inherited)
    environment["NIGHTRAIL_WAIT"] = "0"  # a person looks on
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as sink:
        if plan.sample:
            _make_sample(plan, console)
        console.print(
            f"Night {plan.as_of}: the DAG {DAG} for {plan.raw}; its log is {log}", soft_wrap=True, highlight=False
        )
        _call(["airflow", "db", "migrate"], environment, sink, log)
        try:
            failure = _run_dag(plan, environment, sink, console)
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):  # after SIGHUP there may be no terminal any more
                console.print(f"The night {plan.as_of} was stopped; nothing is half done: the same command goes on.")
            raise
    if failure is not None:
        raise UserError(f"the night {plan.as_of} stopped. {failure} Airflow's log: {log}")
    places = {
        name: page_path(lake, plan.as_of, page)
        for name, page in (("Shop window", "shop"), ("Report", "index"), ("Drift", "drift"))
    }
    if about := newest_model_page(lake, plan.as_of):
        places["Models"] = about
    places |= {"Tables": lake.root / "tables", "Log": log, "--root": lake.root}
    print_summary(lake, plan.as_of, run_id, console, places)
    console.print(f"The night took {time.monotonic() - began:.0f} s.", highlight=False)


def _console() -> Console:
    """The terminal; where the output is none, a console with lines wide enough for the summary."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def run_airflow(plan: NightPlan, port: int, owner: LockOwner, inherited: dict[str, str]) -> None:
    """Run Airflow's parts on loopback until interrupted; prints the UI's address and the file of its password.

    Not `airflow standalone`, whose scheduler and triggerer serve their logs on every network address. Raises UserError
    for a taken port, BusyError where an Airflow of the lake runs already.
    """
    if _answers(port):
        raise UserError(f"port {port} of 127.0.0.1 is taken, by another Airflow perhaps; end that, or give --port")
    when = inherited.get("NIGHTRAIL_SCHEDULE", "none" if plan.sample else "0 2 * * *")
    environment = plan.environment(inherited) | {
        "AIRFLOW__CORE__PARALLELISM": str(WORKERS),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # On a busy machine tasks fail before they begin with the default of 5 s.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "NIGHTRAIL_POOLS": "1",
        "NIGHTRAIL_SCHEDULE": when,
    }
    log, home = plan.work / "logs" / "airflow.log", Path(environment["AIRFLOW_HOME"])
    with one_airflow(plan.work, owner) as lock:
        for folder in (log.parent, home):
            folder.mkdir(parents=True, exist_ok=True)
        Console().print(_introduction(plan, port, when, home), soft_wrap=True, highlight=False)
        with log.open("a", encoding="utf-8") as sink:
            _call(["airflow", "db", "migrate"], environment, sink, log)
            pools = home / "pools.json"
            pools.write_text(
                json.dumps(
                    {name: {"slots": 1, "description": text, "include_deferred": False} for name, text in POOLS.items()}
                )
            )
            _call(["airflow", "pools", "import", str(pools)], environment, sink, log)
            # The umask keeps the generated password from other users of the machine.
            parts = [_part(["api-server"], environment, sink, lock, umask=0o077)]
            # A task gets its work from the server: it fails where the server does not answer yet.
            while not _answers(port) and parts[0].poll() is None:
                time.sleep(0.5)
            for part in (["dag-processor"], ["scheduler", "--skip-serve-logs"], ["triggerer", "--skip-serve-logs"]):
                parts.append(_part(part, environment, sink, lock))
            while all(part.poll() is None for part in parts):
                time.sleep(1)
    raise UserError(f"a part of Airflow stopped; its output is in {log}")


def _introduction(plan: NightPlan, port: int, when: str, home: Path) -> str:
    begin = (
        "It starts paused, because the sample shop gets no new files by itself: unpause it (the switch beside its name "
        f"in the UI), and trigger it with the parameter as_of, such as {plan.as_of}. `python -m jobs sample` writes "
        "the sample's files."
        if plan.sample
        else "The last night that is due starts at once. A night needs the raw files of the day before, and waits for "
        "them. Trigger the DAG with the parameter as_of for any other night."
    )
    runs = "by hand only" if when == "none" else f"at {when} (cron, UTC)"
    return (
        f"Airflow starts on http://127.0.0.1:{port} (Ctrl-C stops it). User admin; its password is in "
        f"{home / 'simple_auth_manager_passwords.json.generated'}.\nThe DAG {DAG} runs {runs}, for {plan.raw} into "
        f"{plan.root}. {begin}"
    )


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _part(
    arguments: list[str], environment: dict[str, str], sink: TextIO, lock: int, umask: int = -1
) -> subprocess.Popen[bytes]:
    """Start one of Airflow's processes, which holds the lock as well, should it outlive this process."""
    return subprocess.Popen(
        _python_tool(["airflow", *arguments]),
        env=environment,
        stdout=sink,
        stderr=subprocess.STDOUT,
        umask=umask,
        pass_fds=(lock,),
    )


def _make_sample(plan: NightPlan, console: Console) -> None:
    from jobs.sample_shop import SIZES, write_shop

    marker = plan.raw / "SYNTHETIC.txt"
    size = SIZES["sample"]
    newest = plan.raw / "events" / f"{size.last_day}.csv.gz"
    if marker.exists() and newest.exists():
        return
    with _status(console, ("sample shop",)) as show:

        def progress(counted: str, done: int, total: int) -> None:
            show("sample shop", f"{counted} {done:,}/{total:,}")

        write_shop(plan.raw, size, progress, plan.raw.with_name(plan.raw.name + "_truth"))
        show("sample shop", "done: the synthetic shop's raw files are written")


def _call(command: list[str], environment: dict[str, str], sink: TextIO, log: Path) -> None:
    done = subprocess.run(_python_tool(command), env=environment, stdout=sink, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed with exit code {done.returncode}; its output is in {log}")


def _python_tool(command: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def _run_dag(plan: NightPlan, environment: dict[str, str], sink: TextIO, console: Console) -> str | None:
    """Run the DAG; returns the reason where it stopped, else None."""
    command = _python_tool(["airflow", "dags", "test", DAG, plan.as_of.isoformat()])
    said: dict[str, str] = {}
    tail: deque[str] = deque(maxlen=15)
    # Not as a context, which would wait for it while `all_ended` is about to end it.
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=plan.repository,
    )
    assert process.stdout is not None
    with _status(console, STEPS) as show:
        for line in process.stdout:
            sink.write(line)
            tail.append(line.rstrip())
            found = LINE.search(line)
            if found and found["step"] in STEPS and said.get(found["step"]) != found["text"]:
                said[found["step"]] = found["text"]
                show(found["step"], found["text"])
    process.wait()
    unfinished = [step for step in STEPS if not said.get(step, "").startswith("done")]
    if process.returncode == 0 and not unfinished:
        return None
    if not said:
        return "Airflow started none of its steps."
    step = unfinished[0] if unfinished else STEPS[-1]
    reason = said.get(step, "")
    if reason.startswith(("stopped: ", "failed: ")):
        return f"Step {step} {reason}"
    return f"Step {step}; the log's last lines:\n" + "\n".join(tail) + "\n"


@contextmanager
def _status(console: Console, steps: tuple[str, ...]) -> Iterator[Show]:
    """Shows the progress of each step: bars on a terminal, else plain lines."""
    if not console.is_terminal:
        yield _PlainLines(console)
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=12),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {step: bars.add_task(step, total=1, start=False, text="") for step in steps}

        def show(step: str, text: str) -> None:
            bars.start_task(tasks[step])
            done = text.startswith("done")
            bars.update(tasks[step], text=text, completed=1 if done else 0)
            if text.startswith(("stopped", "failed")):
                bars.stop_task(tasks[step])

        yield show


class _PlainLines:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.said = 0.0

    def __call__(self, step: str, text: str) -> None:
        now = time.monotonic()
        if text.startswith(("started", "done", "stopped", "failed")) or now - self.said >= PLAIN_SECONDS:
            self.said = now
            self.console.print(f"{step:<12} {text}", markup=False, highlight=False, soft_wrap=True)
