"""One writer at a time: locks of a lake, which the system frees when their process ends, however it ends.

A whole night or backfill holds the lock `night` alone, and its steps say by its token that they belong to it. A step
that belongs to none holds `night` together with its like, so that it keeps nights out and nights keep it out. Every
step holds `step` alone. Locks are flock's: within one machine, or on a file system that knows it (NFS does). Object
storage has no such lock; there they are leases with the same rules (`jobs.lake.locks`).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from jobs.errors import BusyError, UserError
from jobs.lake import storage
from jobs.lake.storage import is_remote, put_if, signed_url

# Who writes to a lake, and what is said to who comes second; the same whatever kind of lock holds it.

NIGHT, STEP = "night", "step"
TRIES, PAUSE = 5, 0.05
"""A look at who holds a lock takes it for an instant, which must not turn anybody away."""


@dataclass(frozen=True)
class LockOwner:
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


def here(doing: str, night: str, since: str) -> LockOwner:
    """This process as a holder."""
    return LockOwner(doing, night, since, socket.gethostname(), os.getpid())


def busy(root: Path, holder: LockOwner, owner: LockOwner | None) -> BusyError:
    """What is raised by who comes second."""
    return BusyError(
        f"the lake {root} is in use by {owner or 'another process'}; {holder.doing} has changed nothing. Try "
        "again when that has ended (`python -m jobs status` shows it)"
    )


@contextmanager
def writing(root: Path, holder: LockOwner, token: str = "") -> Iterator[None]:
    """Hold the lake below `root` for one step or command; `token` is that of the night it belongs to, if any.

    Raises BusyError, at once and without changing anything, where somebody else writes.
    """
    if is_remote(root):
        with writing(root, holder, token):
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
def whole_night(root: Path, holder: LockOwner) -> Iterator[str]:
    """Hold the lake below `root` for a night or several; yields the token that lets the night's own steps in.

    Raises BusyError, at once and without changing anything, where somebody else writes.
    """
    if is_remote(root):
        with whole_night(root, holder):
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


def lock_owners(root: Path) -> list[LockOwner]:
    """Who writes to the lake below `root` right now: a night, a step, both or nobody."""
    if is_remote(root):
        return lock_owners(root)
    found = []
    for name in (NIGHT, STEP):
        if not (root / storage.LOCKS / name).exists():
            continue
        with _opened(root, name, os.O_RDONLY) as file:
            if not _taken(file, fcntl.LOCK_SH, tries=1) and (owner := _read(file)):
                found.append(owner)
    return found


@contextmanager
def _opened(root: Path, name: str, flags: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    path = root / storage.LOCKS / name
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
def _signed(file: int, holder: LockOwner) -> Iterator[None]:
    """Write down who holds the lock, for as long as it does."""
    text = json.dumps(asdict(holder)).encode()
    os.pwrite(file, text, 0)
    os.ftruncate(file, len(text))
    try:
        yield
    finally:
        os.ftruncate(file, 0)


def _read(file: int) -> LockOwner | None:
    try:
        return LockOwner(**json.loads(os.pread(file, 65_536, 0)))
    except (ValueError, TypeError):  # between taking the lock and signing it
        return None


# One writer at a time in object storage: leases, which a process that ends keeps no longer than two minutes.
#
# A lease is an object below `locks/` that says who holds it; an empty one is free. Each change of it is a conditional
# write (If-None-Match, If-Match), so that of two at once one fails. Its holder writes it anew every RENEW_SECONDS; one
# that was not renewed for LEASE_SECONDS may be taken over. Both times are the server's own, from one answer, so no
# clock of ours counts. A holder that finds its lease taken, or cannot renew it in time, ends its process at once.
#
# Rules are those of `jobs.lake.locks`: a night holds `night`, a step holds `step`, and each then looks at the other.

LEASE_SECONDS, RENEW_SECONDS = 120.0, 20.0
FREE = b""


@dataclass(frozen=True)
class _Found:
    """A lease as the server has it."""

    content: bytes
    tag: str
    age: float
    """Seconds since it was written, by the server's clock."""

    @property
    def holder(self) -> LockOwner | None:
        """Who holds it; None where it is free, was left, or cannot be read."""
        if self.content == FREE or self.age > LEASE_SECONDS:
            return None
        try:
            return LockOwner(**json.loads(self.content)["holder"])
        except (ValueError, TypeError, KeyError):
            return LockOwner("another process", "", "an unknown time")


@contextmanager
def lease_writing(root: Path, holder: LockOwner, token: str = "") -> Iterator[None]:
    """`jobs.lake.locks.writing` for a lake in object storage."""

    def own_night() -> None:
        owner = _holder(root, NIGHT)
        if owner and owner.token != token:
            raise busy(root, holder, owner)

    own_night()
    with _held(root, STEP, holder):
        # Now that a night that begins can see this step: one that began a moment before has to let go again.
        _tried(own_night)
        yield


@contextmanager
def lease_whole_night(root: Path, holder: LockOwner) -> Iterator[None]:
    """`jobs.lake.locks.whole_night` for a lake in object storage."""
    with _held(root, NIGHT, holder):
        if owner := _holder(root, STEP):
            raise busy(root, holder, owner)
        yield


def lease_holders(root: Path) -> list[LockOwner]:
    """`jobs.lake.locks.lock_owners` for a lake in object storage."""
    return [owner for name in (NIGHT, STEP) if (owner := _holder(root, name))]


def _tried(look: Callable[[], None]) -> None:
    for attempt in range(TRIES):
        try:
            return look()
        except BusyError:
            if attempt + 1 == TRIES:
                raise
            time.sleep(PAUSE)
    return None


def _holder(root: Path, name: str) -> LockOwner | None:
    found = _found(root / storage.LOCKS / name)
    return found.holder if found else None


def _found(path: Path) -> _Found | None:
    """The lease at `path`, in one request, so that its content, its time and the server's time belong together."""
    try:
        with urllib.request.urlopen(signed_url(path), timeout=60) as answer:  # noqa: S310 - the end point we were given
            now, written = (parsedate_to_datetime(answer.headers[name]) for name in ("Date", "Last-Modified"))
            return _Found(answer.read(), answer.headers["ETag"], (now - written).total_seconds())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise UserError(f"the lease {path} cannot be read: the answer is {error.code} {error.reason}") from None
    except OSError as error:
        raise UserError(f"the lease {path} cannot be read: {type(error).__name__}") from None


@contextmanager
def _held(root: Path, name: str, holder: LockOwner) -> Iterator[None]:
    path = root / storage.LOCKS / name
    lease = _Lease(path, holder)
    if owner := lease.take():
        raise busy(root, holder, owner)
    ended = threading.Event()
    renewing = threading.Thread(target=lease.keep, args=(ended,), name=f"lease {name}", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        lease.free()


class _Lease:
    """One lease as its holder knows it."""

    def __init__(self, path: Path, holder: LockOwner) -> None:
        self.path, self.holder = path, holder
        self.tag = ""
        self._mark = secrets.token_hex(8)
        self._count = 0

    def take(self) -> LockOwner | None:
        """Take the lease; returns who holds it where somebody does."""
        content = self._content()
        while True:
            found = _found(self.path)
            if found and found.content == content:  # written, though the answer was lost
                self.tag = found.tag
                return None
            if found and (owner := found.holder):
                return owner
            if tag := put_if(self.path, content, found.tag if found else None):
                self.tag = tag
                return None
            time.sleep(PAUSE)

    def keep(self, ended: threading.Event) -> None:
        """Renew it until `ended`; ends the process where that fails, since somebody else may write by now."""
        renewed = time.monotonic()
        while not ended.wait(RENEW_SECONDS):
            try:
                kept = self._renew()
            except Exception:  # whatever it is: what counts is whether it passes in time
                kept = time.monotonic() - renewed < LEASE_SECONDS - RENEW_SECONDS
            else:
                renewed = time.monotonic()
            if not kept:
                print(f"error: the lease {self.path} was lost; {self.holder.doing} ends at once", file=sys.stderr,
                      flush=True)  # fmt: skip
                os._exit(BusyError.exit_code)

    def _renew(self) -> bool:
        # No two renewals are alike: an ETag is made from the content, and must not fit a later one.
        self._count += 1
        content = self._content()
        if tag := put_if(self.path, content, self.tag):
            self.tag = tag
            return True
        found = _found(self.path)
        if found is None or found.content != content:
            return False
        self.tag = found.tag
        return True

    def free(self) -> None:
        """Let it go, if it is still ours."""
        with suppress(Exception):  # the work is done, and a lease that is not freed runs out
            put_if(self.path, FREE, self.tag)

    def _content(self) -> bytes:
        return json.dumps({"holder": asdict(self.holder), "mark": self._mark, "renewed": self._count}).encode()
