"""Lets one writer at a time into a lake.

A whole night or backfill owns the lock `night` exclusively, and gives its steps a token that lets them in. A step of
its own shares `night`, which keeps whole nights out, and is kept out by them. Every step owns the lock `step`
exclusively.

A lake in a folder uses flock, which the kernel releases when the process ends, however it ends; it holds within one
machine, or on a file system that supports it (NFS does). A lake in object storage uses leases with the same rules.
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

from jobs.errors import AwayError, BusyError, UserError
from jobs.lake import storage
from jobs.lake.storage import is_remote, put_if, signed_url

NIGHT, STEP, AIRFLOW = "night", "step", "airflow"
TRIES, PAUSE = 5, 0.05
"""`lock_owners` takes a lock for an instant, which must not turn a writer away."""


@dataclass(frozen=True)
class LockOwner:
    """The process that owns a lock, as it is written in the lock's file for others to read."""

    doing: str
    """A step, night, backfill or another command that writes."""
    night: str
    """The night it works on, or its first and last; empty for commands that concern no night."""
    since: str
    """When it began, UTC."""
    host: str = ""
    pid: int = 0

    @property
    def token(self) -> str:
        """Lets the steps of a night in while the night owns the lock."""
        return f"{self.host}:{self.pid}:{self.since}"

    def __str__(self) -> str:
        of = f" of {self.night}" if self.night else ""
        return f"{self.doing}{of}, process {self.pid} on {self.host} since {self.since}"


def here(doing: str, night: str, since: str) -> LockOwner:
    """This process as a lock owner."""
    return LockOwner(doing, night, since, socket.gethostname(), os.getpid())


@contextmanager
def writing(root: Path, owner: LockOwner, token: str = "") -> Iterator[None]:
    """Lock the lake at `root` for one step or command; `token` is that of the night it belongs to, if any.

    Raises BusyError, at once and without changing anything, while another process writes.
    """
    with _lease_writing(root, owner, token) if is_remote(root) else _flock_writing(root, owner, token):
        yield


@contextmanager
def whole_night(root: Path, owner: LockOwner) -> Iterator[str]:
    """Lock the lake at `root` for one or more whole nights; yields the token that lets the night's own steps in.

    Raises BusyError, at once and without changing anything, while another process writes.
    """
    with _lease_whole_night(root, owner) if is_remote(root) else _flock_whole_night(root, owner):
        yield owner.token


@contextmanager
def one_airflow(work: Path, owner: LockOwner) -> Iterator[int]:
    """Lock the lake's folder `work` on this machine for one Airflow; yields the lock's open file.

    A process that inherits the file holds the lock, too. Raises BusyError, at once, while another Airflow has it.
    """
    with _opened(work, AIRFLOW) as file:
        if not _taken(file, fcntl.LOCK_EX):
            other = _read(file)
            raise BusyError(
                f"an Airflow of the lake {work} runs already: {other or 'parts of it'}; nothing was started. End that "
                "first: two schedulers would run every night twice"
            )
        with _signed(file, owner):
            yield file


def lock_owners(root: Path) -> list[LockOwner]:
    """The processes that write to the lake at `root` now: a night, a step, both or none."""
    owner_of = _lease_owner if is_remote(root) else _flock_owner
    return [owner for name in (NIGHT, STEP) if (owner := owner_of(root, name))]


def _busy(root: Path, owner: LockOwner, other: LockOwner | None) -> BusyError:
    return BusyError(
        f"the lake {root} is in use by {other or 'another process'}; {owner.doing} has changed nothing. Try "
        "again when that has ended (`python -m jobs status` shows it)"
    )


# --- flock, in a folder


@contextmanager
def _flock_writing(root: Path, owner: LockOwner, token: str) -> Iterator[None]:
    with _opened(root, NIGHT) as night, _opened(root, STEP) as step:
        if not _taken(night, fcntl.LOCK_SH):
            other = _read(night)
            if other is None or other.token != token:
                raise _busy(root, owner, other)
        if not _taken(step, fcntl.LOCK_EX):
            raise _busy(root, owner, _read(step))
        with _signed(step, owner):
            yield


@contextmanager
def _flock_whole_night(root: Path, owner: LockOwner) -> Iterator[None]:
    with _opened(root, NIGHT) as night, _opened(root, STEP) as step:
        if not _taken(night, fcntl.LOCK_EX):
            by_a_step = _taken(night, fcntl.LOCK_SH, tries=1)
            raise _busy(root, owner, _read(step if by_a_step else night))
        # A step of a night that was killed may still run: `night` is free then, but the step owns `step`.
        if not _taken(step, fcntl.LOCK_EX):
            raise _busy(root, owner, _read(step))
        fcntl.flock(step, fcntl.LOCK_UN)
        with _signed(night, owner):
            yield


def _flock_owner(root: Path, name: str) -> LockOwner | None:
    if not (root / storage.LOCKS / name).exists():
        return None
    with _opened(root, name, os.O_RDONLY) as file:
        return None if _taken(file, fcntl.LOCK_SH, tries=1) else _read(file)


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
            # A command that failed to begin a lake removes what it made: the lock of a file that is gone is none.
            return os.fstat(file).st_nlink > 0
        if attempt + 1 < tries:
            time.sleep(PAUSE)
    return False


@contextmanager
def _signed(file: int, owner: LockOwner) -> Iterator[None]:
    """Write the owner into the lock's file until the block ends."""
    text = json.dumps(asdict(owner)).encode()
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


# --- leases, in object storage
#
# A lease is an object below `locks/` that names its owner; an empty one is free. Every change is a conditional write
# (If-None-Match, If-Match), so of two simultaneous ones one fails. The owner renews it every RENEW_SECONDS; a lease
# that was not renewed for LEASE_SECONDS may be taken over, so a process that ended keeps its lease two minutes at most.
# Both times are the server's own, from one response, so no clock of ours counts. An owner that finds its lease taken,
# or cannot renew it in time, ends its process at once.
#
# The rules are those of flock above: a night takes `night`, a step takes `step`, and each then checks the other.

LEASE_SECONDS, RENEW_SECONDS = 120.0, 20.0
FREE = b""


@dataclass(frozen=True)
class _Found:
    """A lease as the server returned it."""

    content: bytes
    tag: str
    age: float
    """Seconds since it was written, by the server's clock."""

    @property
    def owner(self) -> LockOwner | None:
        """Its owner; None if it is free or has run out."""
        if self.content == FREE or self.age > LEASE_SECONDS:
            return None
        try:
            return LockOwner(**json.loads(self.content)["holder"])
        except (ValueError, TypeError, KeyError):
            return LockOwner("another process", "", "an unknown time")


@contextmanager
def _lease_writing(root: Path, owner: LockOwner, token: str) -> Iterator[None]:
    def check_night() -> None:
        other = _lease_owner(root, NIGHT)
        if other and other.token != token:
            raise _busy(root, owner, other)

    check_night()
    with _leased(root, STEP, owner):
        # A night that begins now sees this step; one that began a moment before has to let go again.
        _retried(check_night)
        yield


@contextmanager
def _lease_whole_night(root: Path, owner: LockOwner) -> Iterator[None]:
    with _leased(root, NIGHT, owner):
        if other := _lease_owner(root, STEP):
            raise _busy(root, owner, other)
        yield


def _retried(check: Callable[[], None]) -> None:
    for attempt in range(TRIES):
        try:
            return check()
        except BusyError:
            if attempt + 1 == TRIES:
                raise
            time.sleep(PAUSE)
    return None


def _lease_owner(root: Path, name: str) -> LockOwner | None:
    found = _found(root / storage.LOCKS / name)
    return found.owner if found else None


def _found(path: Path) -> _Found | None:
    """The lease at `path`, in one request, so that its content, its age and the server's clock are of one moment."""
    try:
        with urllib.request.urlopen(signed_url(path), timeout=60) as answer:  # noqa: S310 - the end point we were given
            now, written = (parsedate_to_datetime(answer.headers[name]) for name in ("Date", "Last-Modified"))
            return _Found(answer.read(), answer.headers["ETag"], (now - written).total_seconds())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        kind = AwayError if error.code >= 500 else UserError
        raise kind(f"the lease {path} cannot be read: the answer is {error.code} {error.reason}") from None
    except OSError as error:
        raise AwayError(f"the lease {path} cannot be read: {type(error).__name__}") from None


@contextmanager
def _leased(root: Path, name: str, owner: LockOwner) -> Iterator[None]:
    path = root / storage.LOCKS / name
    lease = _Lease(path, owner)
    if other := lease.take():
        raise _busy(root, owner, other)
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
    """One lease, as its owner knows it."""

    def __init__(self, path: Path, owner: LockOwner) -> None:
        self.path, self.owner = path, owner
        self.tag = ""
        self._mark = secrets.token_hex(8)
        self._count = 0

    def take(self) -> LockOwner | None:
        """Take the lease; returns its owner if another process has it."""
        content = self._content()
        while True:
            found = _found(self.path)
            if found and found.content == content:  # written, though the response was lost
                self.tag = found.tag
                return None
            if found and (other := found.owner):
                return other
            if tag := put_if(self.path, content, found.tag if found else None):
                self.tag = tag
                return None
            time.sleep(PAUSE)

    def keep(self, ended: threading.Event) -> None:
        """Renew it until `ended`; if that fails, end the process, since another one may write by now."""
        renewed = time.monotonic()
        while not ended.wait(RENEW_SECONDS):
            try:
                kept = self._renew()
            except Exception:  # whatever it is, a later try may still be in time
                kept = time.monotonic() - renewed < LEASE_SECONDS - RENEW_SECONDS
            else:
                renewed = time.monotonic()
            if not kept:
                message = f"error: the lease {self.path} was lost; {self.owner.doing} ends at once"
                print(message, file=sys.stderr, flush=True)
                os._exit(BusyError.exit_code)

    def _renew(self) -> bool:
        # No two renewals have equal content: an ETag follows from it, and must not match a later one.
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
        """Free it, if it is still ours."""
        with suppress(Exception):  # the work is done; a lease that is not freed runs out
            put_if(self.path, FREE, self.tag)

    def _content(self) -> bytes:
        return json.dumps({"holder": asdict(self.owner), "mark": self._mark, "renewed": self._count}).encode()
