"""One writer at a time: locks of a lake, which the system frees when their process ends, however it ends.

A whole night or backfill holds the lock `night` alone, and its steps say by its token that they belong to it. A step
that belongs to none holds `night` together with its like, so that it keeps nights out and nights keep it out. Every
step holds `step` alone. Locks are flock's: within one machine, or on a file system that knows it (NFS does). Object
storage has no such lock; there they are leases with the same rules (`jobs.lease`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from jobs import folders, lease
from jobs.holder import NIGHT, PAUSE, STEP, TRIES, busy
from jobs.holder import Holder as Holder
from jobs.holder import here as here
from jobs.storage import is_remote


@contextmanager
def writing(root: Path, holder: Holder, token: str = "") -> Iterator[None]:
    """Hold the lake below `root` for one step or command; `token` is that of the night it belongs to, if any.

    Raises BusyError, at once and without changing anything, where somebody else writes.
    """
    if is_remote(root):
        with lease.writing(root, holder, token):
            yield
        return
    with _opened(root, NIGHT) as night, _opened(root, STEP) as step:
        if not _taken(night, fcntl.LOCK_SH):
            owner = _read(night)
            if owner is None or owner.token != token:
                raise busy(root, holder, owner)
        if not _taken(step, fcntl.LOCK_EX):
            raise busy(root, holder, _read(step))
        with _signed(step, holder):
            yield


@contextmanager
def whole_night(root: Path, holder: Holder) -> Iterator[str]:
    """Hold the lake below `root` for a night or several; yields the token that lets the night's own steps in.

    Raises BusyError, at once and without changing anything, where somebody else writes.
    """
    if is_remote(root):
        with lease.whole_night(root, holder):
            yield holder.token
        return
    with _opened(root, NIGHT) as night, _opened(root, STEP) as step:
        if not _taken(night, fcntl.LOCK_EX):
            by_a_step = _taken(night, fcntl.LOCK_SH, tries=1)
            raise busy(root, holder, _read(step if by_a_step else night))
        # A step of a night that was killed may still be at work: nobody holds `night` then, but it holds `step`.
        if not _taken(step, fcntl.LOCK_EX):
            raise busy(root, holder, _read(step))
        fcntl.flock(step, fcntl.LOCK_UN)
        with _signed(night, holder):
            yield holder.token


def holders(root: Path) -> list[Holder]:
    """Who writes to the lake below `root` right now: a night, a step, both or nobody."""
    if is_remote(root):
        return lease.holders(root)
    found = []
    for name in (NIGHT, STEP):
        if not (root / folders.LOCKS / name).exists():
            continue
        with _opened(root, name, os.O_RDONLY) as file:
            if not _taken(file, fcntl.LOCK_SH, tries=1) and (owner := _read(file)):
                found.append(owner)
    return found


@contextmanager
def _opened(root: Path, name: str, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    path = root / folders.LOCKS / name
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
