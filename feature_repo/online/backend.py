"""Defines the interface between the versioned store and the database that holds its bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Renew = Callable[[], None]
"""Renews the writer's lock; raises StoreBusyError where another writer has taken it over."""
Merged = Callable[[bytes | None, bytes], bytes]
"""(value of a key, new record) -> value of both."""


class StoreBusyError(RuntimeError):
    """Another process writes to the store."""


class StoreUnableError(RuntimeError):
    """The store cannot do this now; the message names the remedy."""


class StoreMissingError(FileNotFoundError):
    """There is no store where one should be read; the message names the place and the remedy."""


class StoreSettingsError(ValueError):
    """The settings do not lead to a store; the message never holds a password."""


class Backend(Protocol):
    """Keys and values of one store. All keys begin with `prefix`."""

    prefix: bytes
    away: tuple[type[Exception], ...]
    """Errors of its methods where the store cannot be reached or fails."""
    beside: bool
    """Whether `add` may put records beside the old value, so that `get` with `upto` can leave records out."""

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        """The values, in one round trip and of one instant; a cluster reads the first key before the others.

        With `upto` a value has to hold only the newest added record up to that number; nothing was ever added to the
        first key.
        """
        ...

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Set values."""
        ...

    def add(
        self, seq: int, items: Mapping[bytes, bytes], merged: Merged, chains: Mapping[bytes, bytes | None] | None = None
    ) -> None:
        """Put a record in front of each key's value; no earlier publication has its number `seq`.

        Either through `merged`, with `chains` as the keys' values where the caller has read them; or beside the value,
        for `get` to join.
        """
        ...

    def fold(self, agreed: int, abandoned: Collection[int]) -> None:
        """Join records beside values, if there are many: readers see only the newest record up to `agreed`.

        Records numbered in `abandoned` are dropped.
        """
        ...

    def drop(self, keys: Sequence[bytes]) -> None:
        """Remove keys; an unknown one is no error."""
        ...

    def scrub(self) -> None:
        """Erase dropped values from the store's files."""
        ...

    def scan(self, start: bytes) -> Iterator[list[bytes]]:
        """Every key that begins with `start`, in lists; one written meanwhile may come twice or be left out."""
        ...

    def writing(self) -> AbstractContextManager[Renew]:
        """The lock of the only writing process; raises StoreBusyError where another one holds it."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...
