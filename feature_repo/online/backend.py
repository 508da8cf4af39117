"""What the versioned store asks of the place its bytes lie in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Renew = Callable[[], None]
"""Says that the writer is still at work; raises StoreBusyError where another one has taken over."""

Merged = Callable[[bytes | None, bytes], bytes]
"""(a key's value, a new record) -> one value of both."""


class StoreBusyError(RuntimeError):
    """Somebody else is writing to the store."""


class StoreUnableError(RuntimeError):
    """The store cannot do what was asked of it now; the text says what helps."""


class StoreSettingsError(ValueError):
    """The store cannot be reached as it is configured; never holds a password."""


class Backend(Protocol):
    """Keys and values of one store. All keys begin with `prefix`."""

    prefix: bytes
    away: tuple[type[Exception], ...]
    """What its methods raise where the store cannot be reached or does not answer as it should."""
    beside: bool
    """Whether what was added may lie beside what was there, so that `get` up to a number can leave something out."""

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        """The values, in one round trip as of one instant; over a cluster the first key is read before the others.

        With `upto`, of what was added to a key only the newest record up to that number has to be there, and to the
        first one nothing was ever added.
        """
        ...

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Set values."""
        ...

    def add(
        self, seq: int, items: Mapping[bytes, bytes], merged: Merged, chains: Mapping[bytes, bytes | None] | None = None
    ) -> None:
        """Put a record in front of what each key has; its number `seq` is that of no publication before it.

        Either by `merged`, for which `chains` are the keys' values where the caller has read them; or beside it, for
        `get` to put together.
        """
        ...

    def fold(self, agreed: int, given_up: Collection[int]) -> None:
        """Put together what lies beside, if it is time: of records up to `agreed`, only the newest is looked at.

        Those numbered in `given_up` count as not written.
        """
        ...

    def drop(self, keys: Sequence[bytes]) -> None:
        """Remove keys; one that is not there is no error."""
        ...

    def scrub(self) -> None:
        """Leave nothing of what was dropped in the store's files."""
        ...

    def scan(self, start: bytes) -> Iterator[list[bytes]]:
        """Every key that begins with `start`, in lists; one that is written meanwhile may come twice or not at all."""
        ...

    def writing(self) -> AbstractContextManager[Renew]:
        """The right to write, for one process at a time; raises StoreBusyError where it cannot be had."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
