"""Two at once: one wins, the other says so with an exit code of its own and changes nothing; death frees the lake."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.cli.common import NIGHT_TOKEN
from jobs.errors import BusyError
from jobs.lake import locks, storage
from tests.support.command_line import jobs, jobs_process
from tests.support.repository import REPOSITORY

HOLD = """
import sys
from jobs.lake import locks, storage
kind, root, doing, token = sys.argv[1:]
holder = locks.here(doing, "2026-04-06", "2026-04-06 02:00:00 UTC")
root = storage.place(root)
held = locks.writing(root, holder, token) if kind == "step" else locks.whole_night(root, holder)
with held as given:
    print(given, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(kind: str, root: Path, doing: str, token: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the lake, and the token it gives out."""
    command = [sys.executable, "-c", HOLD, kind, str(root), doing, token]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        said = process.stdout.readline().strip()
        assert said, "the other process did not get the lock"
        try:
            yield process, said
        finally:
            process.stdin.close()


def test_the_lock_of_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = fcntl.flock

    def removed_first(file: int, kind: int) -> None:  # by a command that failed to begin the lake
        shutil.rmtree(tmp_path / storage.LOCKS, ignore_errors=True)
        taken(file, kind)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", removed_first)
        with pytest.raises(BusyError, match="in use by another process"):
            locks.writing(tmp_path, holder("lists")).__enter__()
    with locks.writing(tmp_path, holder("lists")):
        assert [one.doing for one in locks.lock_owners(tmp_path)] == ["lists"]


def holder(doing: str) -> locks.LockOwner:
    """This process."""
    return locks.here(doing, "2026-04-06", "2026-04-06 02:00:01 UTC")


def content(root: Path) -> list[str]:
    """What lies below the root, locks aside."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if storage.LOCKS not in p.relative_to(root).parts)


STEP = ("sequences", "--as-of", "2026-04-06")
OWN = ("--source", "jobs/sources/sample.sql", "--raw", "tests")


def test_the_second_step_says_who_is_at_work_and_changes_nothing(tmp_path: Path) -> None:
    with held_elsewhere("step", tmp_path, "lists") as (process, _):
        done = jobs(tmp_path, *STEP)
        assert done.returncode == 4
        words = rf"in use by lists of 2026-04-06, process {process.pid} on \S+ since 2026-04-06 02:00:00 UTC"
        assert re.search(words, done.stderr) and "sequences has changed nothing" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout.strip().splitlines()[-1].startswith("nightrail: sequences: stopped: the lake")
    assert content(tmp_path) == []


@pytest.mark.parametrize("command", [("night", "--as-of", "2026-04-06", *OWN),
                                     ("backfill", "--from", "2026-04-05", "--to", "2026-04-06", *OWN)])  # fmt: skip
@pytest.mark.parametrize(("kind", "doing"), [("step", "lists"), ("night", "backfill")])
def test_a_second_night_changes_nothing(command: tuple[str, ...], kind: str, doing: str, tmp_path: Path) -> None:
    with held_elsewhere(kind, tmp_path, doing):
        done = jobs(tmp_path, *command)
        assert done.returncode == 4, done.stderr
        assert f"in use by {doing} of 2026-04-06" in done.stderr
    assert content(tmp_path) == []


@pytest.mark.parametrize("command", [("promote", "amf-1", "--from", "2026-04-06", "--reason", "asked for"),
                                     ("demote", "--from", "2026-04-06"), ("apply",), ("forget", "--customer", "C1"),
                                     ("policy", "--file", "rules.csv")])  # fmt: skip
def test_other_writers_wait_for_the_lake_too(command: tuple[str, ...], tmp_path: Path) -> None:
    with held_elsewhere("step", tmp_path, "lists"):
        done = jobs(tmp_path, *command)
        assert done.returncode == 4 and "in use by lists of 2026-04-06" in done.stderr, done.stderr
    assert content(tmp_path) == []


def test_a_step_of_its_own_waits_for_the_night_and_the_nights_own_steps_do_not(tmp_path: Path) -> None:
    with held_elsewhere("night", tmp_path, "night") as (_, token):
        assert jobs(tmp_path, *STEP).returncode == 4
        assert jobs(tmp_path, *STEP, **{NIGHT_TOKEN: "somebody:1:else"}).returncode == 4
        inside = jobs_process(tmp_path, *STEP, **{NIGHT_TOKEN: token})
        assert inside.returncode == 2 and "no customer has an event" in inside.stderr, "the step itself ran"
        with held_elsewhere("step", tmp_path, "lists", token):
            assert jobs(tmp_path, *STEP, **{NIGHT_TOKEN: token}).returncode == 4, "one step at a time also inside"


@pytest.mark.parametrize("kind", ["step", "night"])
def test_a_killed_holder_holds_nothing(kind: str, tmp_path: Path) -> None:
    with held_elsewhere(kind, tmp_path, "night") as (process, _):
        with pytest.raises(BusyError, match="in use by night"), locks.writing(tmp_path, holder("lists")):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert locks.lock_owners(tmp_path) == []
        with locks.whole_night(tmp_path, holder("night")) as token, locks.writing(tmp_path, holder("ingest"), token):
            assert [h.doing for h in locks.lock_owners(tmp_path)] == ["night", "ingest"]


def test_a_step_that_outlives_its_killed_night_keeps_the_next_night_out(tmp_path: Path) -> None:
    with (
        held_elsewhere("night", tmp_path, "night") as (night, token),
        held_elsewhere("step", tmp_path, "lists", token) as (step, _),
    ):
        night.send_signal(signal.SIGKILL)
        night.wait()
        with pytest.raises(BusyError, match=f"in use by lists .*process {step.pid}"):
            locks.whole_night(tmp_path, holder("night")).__enter__()


def test_one_of_many_that_come_at_once_wins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, "step", str(tmp_path), "lists", ""]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    many = [subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes) for _ in range(5)]  # type: ignore[call-overload]
    said = [process.stdout.readline().strip() for process in many]
    for process in many:
        process.communicate()
    assert said.count("None") == 1 and said.count("") == 4


def test_who_only_looks_turns_nobody_away(tmp_path: Path) -> None:
    looking = (
        "import sys; from pathlib import Path; from jobs.lake import locks\nprint('looking', flush=True)\n"
        "while True: locks.lock_owners(Path(sys.argv[1]))"
    )
    with locks.writing(tmp_path, holder("ingest")):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", looking, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        one.stdout.readline()
        for _ in range(10):
            with locks.whole_night(tmp_path, holder("night")) as token, locks.writing(tmp_path, holder("x"), token):
                pass
        os.kill(one.pid, signal.SIGKILL)


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.writing(tmp_path, holder("lists")):
        raise ZeroDivisionError
    with locks.whole_night(tmp_path, holder("night")):
        assert [str(h).split(",")[0] for h in locks.lock_owners(tmp_path)] == ["night of 2026-04-06"]
    assert locks.lock_owners(tmp_path) == []
