"""One writer at a time: locks of a lake, which the system frees when their process ends, however it ends.

A whole night or backfill holds the lock `night` alone, and its steps say by its token that they belong to it. A step
that belongs to none holds `night` together with its like, so that it keeps nights out and nights keep it out. Every
step holds `step` alone. Locks are flock's: within one machine, or on a file system that knows it (NFS does).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.errors import BusyError

FOLDER = "locks"
NIGHT, STEP = "night", "step"
TRIES, PAUSE = 5, 0.05
"""A look at who holds a lock takes it for an instant, which must not turn anybody away."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as the lock's file says it to who comes second."""

    doing: str
    """A step, night, backfill or another command that writes."""
    night: str
    """The night it works on, or its first and last; empty where it is about none."""
    since: str
    """When it began, UTC."""
    host: str = ""
    pid: int = 0

    @property
    def token(self) -> str:
        """What the steps of a night show to be let in."""
        return f"{self.host}:{self.pid}:{self.since}"

    def __str__(self) -> str:
        of = f" of {self.night}" if self.night else ""
        return f"{self.doing}{of}, process {self.pid} on {self.host} since {self.since}"


def here(doing: str, night: str, since: str) -> Holder:
    """This process as a holder."""
    return Holder(doing, night, since, socket.gethostname(), os.getpid())


@contextmanager
def writing(root: Path, holder: Holder, token: str = "") -> Iterator[None]:
    """Hold the lake below `root` for one step or command; `token` is that of the night it belongs to, if any.

    Raises BusyError, at once and without changing anything, where somebody else writes.
    """
    with _opened(root, NIGHT) as night, _opened(root, STEP) as step:
        if not _taken(night, fcntl.LOCK_SH):
            owner = _read(night)
            if owner is None or owner.token != token:
                raise _busy(root, holder, owner)
        if not _taken(step, fcntl.LOCK_EX):
            raise _busy(root, holder, _read(step))
        with _signed(step, holder):
            yield


@contextmanager
def whole_night(root: Path, holder: Holder) -> Iterator[str]:
    """Hold the lake below `root` for a night or several; yields the token that lets the night's own steps in.

    Raises BusyError, at once and without changing anything, where somebody else writes.
    """
    with _opened(root, NIGHT) as night, _opened(root, STEP) as step:
        if not _taken(night, fcntl.LOCK_EX):
            by_a_step = _taken(night, fcntl.LOCK_SH, tries=1)
            raise _busy(root, holder, _read(step if by_a_step else night))
        # A step of a night that was killed may still be at work: nobody holds `night` then, but it holds `step`.
        if not _taken(step, fcntl.LOCK_EX):
            raise _busy(root, holder, _read(step))
        fcntl.flock(step, fcntl.LOCK_UN)
        with _signed(night, holder):
            yield holder.token


def holders(root: Path) -> list[Holder]:
    """Who writes to the lake below `root` right now: a night, a step, both or nobody."""
    found = []
    for name in (NIGHT, STEP):
        if not (root / FOLDER / name).exists():
            continue
        with _opened(root, name, os.O_RDONLY) as file:
            if not _taken(file, fcntl.LOCK_SH, tries=1) and (owner := _read(file)):
                found.append(owner)
    return found


@contextmanager
def _opened(root: Path, name: str, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    path = root / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)  # which also unlocks it


def _taken(file: int, kind: int, tries: int = TRIES) -> bool:
    for attempt in range(tries):
        with suppress(BlockingIOError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        if attempt + 1 < tries:
            time.sleep(PAUSE)
    return False


@contextmanager
def _signed(file: int, holder: Holder) -> Iterator[None]:
    """Write down who holds the lock, for as long as it does."""
    text = json.dumps(asdict(holder)).encode()
    os.pwrite(file, text, 0)
    os.ftruncate(file, len(text))
    try:
        yield
    finally:
        os.ftruncate(file, 0)


def _read(file: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(file, 65_536, 0)))
    except (ValueError, TypeError):  # between taking the lock and signing it
        return None


def _busy(root: Path, holder: Holder, owner: Holder | None) -> BusyError:
    return BusyError(
        f"the lake {root} is in use by {owner or 'another process'}; {holder.doing} has changed nothing. Try "
        "again when that has ended (`python -m jobs status` shows it)"
    )
