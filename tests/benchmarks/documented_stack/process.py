"""A stage as a process: seconds, processor seconds and peak memory of it and everything it starts, within a limit."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.2
GRACE = 1.25
"""A stage may go on for so many times its limit until it is ended from outside: it stops between two parts first."""


@dataclass(frozen=True)
class Measured:
    """What a process took."""

    seconds: float
    cpu_seconds: float
    """Of all its processes; other programs on the machine disturb these less than the seconds."""
    memory_mb: float
    """Peak resident memory, summed over its processes."""
    code: int | None
    """Exit code; None where it was ended at its limit."""
    output: str
    """The last of its output."""
    progress: tuple[tuple[float, int, int], ...]
    """(seconds since its start, done, total), oldest first."""


def measured(
    command: list[str], cwd: Path, log: Path, limit: float, environment: Mapping[str, str], progress: Path | None = None
) -> Measured:
    """Run `command`; its output goes to `log`. The progress file is read, not made, here."""
    if progress is not None:
        progress.unlink(missing_ok=True)
    started, began = time.time(), time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=cwd, stdout=sink, stderr=sink, env=os.environ | dict(environment))
        watch = _Watch(process.pid)
        code: int | None
        try:
            code = process.wait(limit * GRACE)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.perf_counter() - began
        watch.end(kill=code is None)
        process.wait()
    return Measured(
        seconds, watch.cpu_seconds, watch.peak / 2**20, code, log.read_text("utf-8", "replace")[-6000:],
        _lines(progress, started),
    )  # fmt: skip


def _lines(progress: Path | None, started: float) -> tuple[tuple[float, int, int], ...]:
    if progress is None or not progress.exists():
        return ()
    rows = [json.loads(line) for line in progress.read_text("utf-8").splitlines()]
    return tuple((at - started, done, total) for at, done, total in rows)


class _Watch:
    """Samples a process and its children from a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._seen: dict[psutil.Process, float] = {self._root: 0.0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def cpu_seconds(self) -> float:
        """Of every process that was met; what one did after its last sample is lost."""
        return sum(self._seen.values())

    def end(self, kill: bool) -> None:
        """Stop sampling; end what still runs."""
        self._ended.set()
        self._thread.join()
        for process in list(self._seen) if kill else []:
            try:
                process.kill()
            except psutil.Error:
                continue

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            memory = 0
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in tree:
                try:
                    times = process.cpu_times()
                    self._seen[process] = times.user + times.system
                    memory += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, memory)
