"""Runs a whole night and shows on the terminal how far it is."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.errors import AwayError, BusyError, DamageError, EngineLostError, GateError, StepError, UserError
from jobs.lake.lake import Lake
from jobs.nights.progress import LINE
from jobs.nights.summary import print_summary
from jobs.report.pages import newest_model_page, page_path
from jobs.steps import STEPS

LOG_WIDTH = 110
PLAIN_SECONDS = 10.0
"""Least time between two progress lines where the output is no terminal."""
RETURNED = re.compile(r"Command exited with return code (?P<code>-?\d+)")
"""Matches the line of Airflow's log that has the exit code of a step."""
ERRORS = {kind.exit_code: kind for kind in (UserError, GateError, BusyError, EngineLostError, AwayError, DamageError)}
"""Exit code of a step -> error of its night."""
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
        """The caller's environment with the settings of the night, as commands read them."""
        return inherited | {
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


def run_night(plan: NightPlan, run_id: str, lake: Lake, command: Sequence[str], environment: dict[str, str]) -> None:
    """Run the steps of a night by `command`, show their progress and print the summary.

    The command is a process of its own, so that whatever its libraries print goes to the night's log, and one that is
    killed is told. Raises the step's own kind of UserError, with the step and its reason.
    """
    console = _console()
    log = plan.work / "logs" / f"night-{plan.as_of}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as sink:
        if plan.sample:
            _make_sample(plan, console)
        console.print(f"Night {plan.as_of} of {plan.raw}; its log is {log}", soft_wrap=True, highlight=False)
        try:
            _run_steps(plan, command, environment, sink, console)
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):  # after SIGHUP there may be no terminal any more
                console.print(f"The night {plan.as_of} was stopped; nothing is half done: the same command goes on.")
            raise
    pages = (("Shop window", "shop"), ("Report", "index"), ("Drift", "drift"), ("Experiments", "experiments"))
    places = {name: page_path(lake, plan.as_of, page) for name, page in pages}
    if not places["Experiments"].exists():  # a shop that does not log what it shows
        del places["Experiments"]
    if about := newest_model_page(lake, plan.as_of):
        places["Models"] = about
    places |= {"Tables": lake.root / "tables", "Log": log, "--root": lake.root}
    print_summary(lake, plan.as_of, run_id, console, places)
    console.print(f"The night took {time.monotonic() - began:.0f} s.", highlight=False)


def _console() -> Console:
    """The terminal; where the output is none, a console with lines wide enough for the summary."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


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


def _run_steps(
    plan: NightPlan, command: Sequence[str], environment: dict[str, str], sink: TextIO, console: Console
) -> None:
    said: dict[str, str] = {}
    tail: deque[str] = deque(maxlen=15)
    code = 0
    # Not as a context, which would wait for it while `all_ended` is about to end it.
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    with _status(console, STEPS) as show:
        for line in process.stdout:
            sink.write(line)
            tail.append(line.rstrip())
            if returned := RETURNED.search(line):
                code = int(returned["code"])
            found = LINE.search(line)
            if found and found["step"] in STEPS and said.get(found["step"]) != found["text"]:
                said[found["step"]] = found["text"]
                show(found["step"], found["text"])
    code = process.wait() if code == 0 else code
    unfinished = [step for step in STEPS if not said.get(step, "").startswith("done")]
    if code or unfinished:
        step = unfinished[0] if unfinished else STEPS[-1]
        raise _error(plan, step, said.get(step, ""), code, "\n".join(tail))


def _error(plan: NightPlan, step: str, said: str, code: int, tail: str) -> UserError:
    """The error of a night whose `step` ended with `code` after it had `said` something."""
    if said.startswith(("stopped: ", "failed: ")):
        why = f"Step {step} {said}"
    else:
        killed = f" was killed by signal {-code}" if code < 0 else ""
        why = f"Step {step}{killed}; the log's last lines:\n{tail}"
    return ERRORS.get(code, StepError)(f"the night {plan.as_of} stopped. {why}")


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
