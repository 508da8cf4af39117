"""Ends every process that a command started, also when the command is told to stop."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import psutil

STOPS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that leave a block as Ctrl-C does."""
ROUNDS, ROUND_SECONDS = 10, 0.5
"""Rounds of waiting for processes to end, and seconds of each, before they are killed."""
PR_SET_CHILD_SUBREAPER = 36


@contextmanager
def all_ended() -> Iterator[None]:
    """End with the block every process that it started: also those in sessions of their own, as Airflow runs steps, and
    those whose parent is gone already. What has not ended 5 s after SIGTERM is killed.

    SIGTERM and SIGHUP leave the block by SystemExit, whose code is 128 and the signal's number, as shells have it.
    """
    others = psutil.Process().children(recursive=True)
    before = {stop: signal.signal(stop, _leave) for stop in STOPS}
    _adopt(True)
    try:
        yield
    finally:
        before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
        for stop in before:
            signal.signal(stop, signal.SIG_IGN)  # a second one must not leave a process behind
        _end_all_but(others)
        _adopt(False)
        for stop, handler in before.items():
            signal.signal(stop, handler)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _adopt(orphans: bool) -> None:
    """Whether this process becomes the parent of processes whose parent ends, in place of the system's first one."""
    with suppress(AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0)


def _end_all_but(others: Collection[psutil.Process]) -> None:
    told = set[psutil.Process]()
    for round_ in range(2 * ROUNDS):
        left = [process for process in psutil.Process().children(recursive=True) if process not in others]
        if not left:
            return
        for process in left:
            with suppress(psutil.NoSuchProcess):
                if round_ >= ROUNDS:
                    process.kill()
                elif process not in told:
                    process.terminate()
        told.update(left)
        psutil.wait_procs(left, ROUND_SECONDS)
