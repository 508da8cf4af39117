"""The main job: a whole night through Airflow's own runner, shown to a person as it goes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.nights.progress import LINE
from jobs.nights.summary import print_summary
from jobs.report.pages import newest_model_page, page_path
from jobs.steps import STEPS

DAG = "nightly_recommendations"
LOG_WIDTH = 110
POOLS = {
    "nightrail_spark": {"slots": 1, "description": "Steps that run on Spark"},
    "nightrail_gpu": {"slots": 1, "description": "Training, encoding and lists"},
}
"""What the DAG's tasks run in where NIGHTRAIL_POOLS=1: one step of a kind at a time, whichever night it is of."""
PLAIN_SECONDS = 10.0
"""Between two progress lines of one step where the output is no terminal."""


@dataclass(frozen=True)
class Night:
    """What to run and where; every path is absolute."""

    as_of: date
    root: Path
    work: Path
    """The lake's folder on this machine (`Lake.work`): Airflow's home and the logs."""
    source: Path
    raw: Path
    make_sample: bool
    """Whether `raw` is the synthetic sample shop, to be made when it is not there."""
    engine: str
    config: str
    repository: Path

    def environment(self, inherited: dict[str, str]) -> dict[str, str]:
        """Airflow's settings and the night's, over what the caller has."""
        home = self.work / "airflow"
        # Airflow's standalone server starts its parts by the name `airflow`.
        path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
        return inherited | {
            "PATH": path,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.repository / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
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
        }


def run_night(night: Night, run_id: str, lake: Lake, inherited: dict[str, str]) -> None:
    """Run the DAG for one night, show its progress, print the summary; UserError says which step failed and why.

    `inherited` is the environment of the steps: it carries the token by which they belong to the night.
    """
    console = _console()
    log = night.work / "logs" / f"night-{night.as_of}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = night.environment(inherited)
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as sink:
        if night.make_sample:
            _make_sample(night, console)
        console.print(
            f"Night {night.as_of}: the DAG {DAG} for {night.raw}; its log is {log}", soft_wrap=True, highlight=False
        )
        _call(["airflow", "db", "migrate"], environment, sink, log)
        failure = _run_dag(night, environment, sink, console)
    if failure is not None:
        raise UserError(f"the night {night.as_of} stopped. {failure} Airflow's log: {log}")
    places = {
        name: page_path(lake, night.as_of, page)
        for name, page in (("Shop window", "shop"), ("Report", "index"), ("Drift", "drift"))
    }
    if about := newest_model_page(lake, night.as_of):
        places["Models"] = about
    places |= {"Tables": lake.root / "tables", "Log": log}
    print_summary(lake, night.as_of, run_id, console, places)
    console.print(f"The night took {time.monotonic() - began:.0f} s.", highlight=False)


def _console() -> Console:
    """A terminal as it is; a log file gets lines wide enough for the summary."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def run_airflow(night: Night, port: int, inherited: dict[str, str]) -> None:
    """Airflow's parts on loopback until interrupted; prints the UI's address and where its login lies.

    Not `airflow standalone`: its scheduler and triggerer serve their logs on every network address.
    """
    environment = night.environment(inherited) | {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # On a busy machine its default of 5 s makes tasks fail before they begin.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "NIGHTRAIL_POOLS": "1",
    }
    when = inherited.get("NIGHTRAIL_SCHEDULE", "0 2 * * *")
    home = Path(environment["AIRFLOW_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    Console().print(
        f"Airflow starts on http://127.0.0.1:{port} (Ctrl-C stops it). User admin; its password is in "
        f"{home / 'simple_auth_manager_passwords.json.generated'}.\nThe DAG {DAG} runs at {when} (cron, UTC) for "
        f"{night.raw} into {night.root}; the last one that is due starts at once. It needs the raw files of the day "
        "before, and stops at ingest where there are none.\n"
        "Trigger it with the parameter as_of for any other night.", soft_wrap=True, highlight=False,
    )  # fmt: skip
    log = night.work / "logs" / "airflow.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as sink, ExitStack() as running:
        _call(["airflow", "db", "migrate"], environment, sink, log)
        pools = home / "pools.json"
        pools.write_text(json.dumps({name: pool | {"include_deferred": False} for name, pool in POOLS.items()}))
        _call(["airflow", "pools", "import", str(pools)], environment, sink, log)
        parts = [running.enter_context(_part(["api-server"], environment, sink))]
        with suppress(KeyboardInterrupt):
            # A task asks the server for its work: one that is started before the server answers has failed.
            while not _answers(port) and parts[0].poll() is None:
                time.sleep(0.5)
            for part in (["dag-processor"], ["scheduler", "--skip-serve-logs"], ["triggerer", "--skip-serve-logs"]):
                parts.append(running.enter_context(_part(part, environment, sink)))
            while all(part.poll() is None for part in parts):
                time.sleep(1)
            raise UserError(f"a part of Airflow stopped; its output is in {log}")


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def _part(arguments: list[str], environment: dict[str, str], sink: TextIO) -> Iterator[subprocess.Popen[str]]:
    """One of Airflow's processes, ended with the block."""
    command = _python_tool(["airflow", *arguments])
    process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _make_sample(night: Night, console: Console) -> None:
    from jobs.sample_shop import SIZES, write_shop

    done = night.raw / "SYNTHETIC.txt"
    size = SIZES["sample"]
    newest = night.raw / "events" / f"{size.last_day}.csv.gz"
    if done.exists() and newest.exists():
        return
    with _status(console, ("sample shop",)) as show:
        write_shop(night.raw, size, lambda what, now, total: show("sample shop", f"{what} {now:,}/{total:,}"),
                   night.raw.with_name(night.raw.name + "_truth"))  # fmt: skip
        show("sample shop", "done: the synthetic shop's raw files are written")


def _call(command: list[str], environment: dict[str, str], sink: TextIO, log: Path) -> None:
    done = subprocess.run(_python_tool(command), env=environment, stdout=sink, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed with exit code {done.returncode}; its output is in {log}")


def _python_tool(command: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def _run_dag(night: Night, environment: dict[str, str], sink: TextIO, console: Console) -> str | None:
    """Run the DAG; returns why it stopped, or None."""
    command = _python_tool(["airflow", "dags", "test", DAG, night.as_of.isoformat()])
    said: dict[str, str] = {}
    tail: deque[str] = deque(maxlen=15)
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", cwd=night.repository) as process,
        _status(console, STEPS) as show,
    ):  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sink.write(line)
                tail.append(line.rstrip())
                found = LINE.search(line)
                if found and found["step"] in STEPS and said.get(found["step"]) != found["text"]:
                    said[found["step"]] = found["text"]
                    show(found["step"], found["text"])
        except KeyboardInterrupt:
            process.terminate()
            raise
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
def _status(console: Console, steps: tuple[str, ...]) -> Iterator[Any]:
    """A function (step, text) that shows where each step is: live on a terminal, as plain lines in a log."""
    if not console.is_terminal:
        yield _PlainLines(console)
        return
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description:<12}"), BarColumn(bar_width=12),
               TimeElapsedColumn(), TextColumn("{task.fields[text]}", markup=False))  # fmt: skip
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
