"""One writer at a time in object storage: leases, which a process that ends keeps no longer than two minutes.

A lease is an object below `locks/` that says who holds it; an empty one is free. Each change of it is a conditional
write (If-None-Match, If-Match), so that of two at once one fails. Its holder writes it anew every RENEW_SECONDS; one
that was not renewed for LEASE_SECONDS may be taken over. Both times are the server's own, from one answer, so no clock
of ours counts. A holder that finds its lease taken, or cannot renew it in time, ends its process at once.

Rules are those of `jobs.lock`: a night holds `night`, a step holds `step`, and each then looks at the other.
"""

from __future__ import annotations

import json
import os
import secrets
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

from jobs import folders
from jobs.errors import BusyError, UserError
from jobs.holder import NIGHT, PAUSE, STEP, TRIES, Holder, busy
from jobs.storage import put_if, signed_url

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
    def holder(self) -> Holder | None:
        """Who holds it; None where it is free, was left, or cannot be read."""
        if self.content == FREE or self.age > LEASE_SECONDS:
            return None
        try:
            return Holder(**json.loads(self.content)["holder"])
        except (ValueError, TypeError, KeyError):
            return Holder("another process", "", "an unknown time")


@contextmanager
def writing(root: Path, holder: Holder, token: str = "") -> Iterator[None]:
    """`jobs.lock.writing` for a lake in object storage."""

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
def whole_night(root: Path, holder: Holder) -> Iterator[None]:
    """`jobs.lock.whole_night` for a lake in object storage."""
    with _held(root, NIGHT, holder):
        if owner := _holder(root, STEP):
            raise busy(root, holder, owner)
        yield


def holders(root: Path) -> list[Holder]:
    """`jobs.lock.holders` for a lake in object storage."""
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


def _holder(root: Path, name: str) -> Holder | None:
    found = _found(root / folders.LOCKS / name)
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
def _held(root: Path, name: str, holder: Holder) -> Iterator[None]:
    path = root / folders.LOCKS / name
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

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        self.tag = ""
        self._mark = secrets.token_hex(8)
        self._count = 0

    def take(self) -> Holder | None:
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
