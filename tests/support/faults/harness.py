"""Nights in child processes that may be killed: the zygote's other end, and lakes as they were before each step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.repository import REPOSITORY

KILLED = -9


class Zygote:
    """Runs jobs in forks of a process that has imported everything; see `tests.support.faults.zygote`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder
        self._numbers = count()

    def job(self, what: str, root: Path, **more: Any) -> tuple[int, Any, str]:
        """(exit status, negative for a signal; what the child found; what it printed)."""
        assert self.process.stdin is not None and self.process.stdout is not None
        out = self.folder / f"{next(self._numbers)}"
        job = {"what": what, "root": str(root), "out": str(out)}
        job |= {name: str(value) if isinstance(value, Path | date) else value for name, value in more.items()}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, f"the process that forks is gone: {self.process.poll()}"
        status = int(json.loads(answer))
        found = json.loads(out.read_text()) if status == 0 else None
        return status, found, Path(f"{out}.log").read_text(errors="replace")


@contextmanager
def zygote(folder: Path, *under: str) -> Iterator[Zygote]:
    """A zygote, ended with the block; `under` is a command that runs it, such as `unshare`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "zygote.log").open("w") as log, subprocess.Popen(
        [*under, sys.executable, "-m", "tests.support.faults.zygote"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", (folder / "zygote.log").read_text()
            yield Zygote(process, folder)
        finally:
            process.kill()


@dataclass(frozen=True)
class Nights:
    """One shop's nights as children run them."""

    zygote: Zygote
    source: Path

    def run(
        self, root: Path, steps: tuple[str, ...], as_of: date, raw: Path, kill_at: str | None = None, **more: Any
    ) -> tuple[int, list[str], str]:
        """Run steps, the last one watched: its exit status, the points it passed, what it printed."""
        status, points, said = self.zygote.job(
            "run", root, steps=steps, as_of=as_of, source=self.source, raw=raw, kill_at=kill_at, watched=True, **more
        )
        return status, points or [], said

    def describe(self, root: Path, visible_only: bool = False, **more: Any) -> dict[str, Any]:
        """What is in a lake, or what its readers see."""
        status, found, said = self.zygote.job("describe", root, visible_only=visible_only, **more)
        assert status == 0, said[-3000:]
        described: dict[str, Any] = found
        return described


def copied(root: Path, to: Path) -> Path:
    """A copy of a lake, in place of an earlier one."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(root, to)
    return to


def sample(points: list[str], most: int) -> list[str]:
    """At most so many points, evenly spread."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
