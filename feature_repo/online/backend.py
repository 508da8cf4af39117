"""What the versioned store asks of the place its bytes lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Renew = Callable[[], None]
"""Says that the writer is still at work; raises StoreBusyError where another one has taken over."""


class StoreBusyError(RuntimeError):
    """Somebody else is writing to the store."""


class StoreSettingsError(ValueError):
    """The store cannot be reached as it is configured; never holds a password."""


class Backend(Protocol):
    """Keys and values of one store. All keys begin with `prefix`."""

    prefix: bytes
    away: tuple[type[Exception], ...]
    """What its methods raise where the store cannot be reached or does not answer as it should."""

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values, in one round trip as of one instant; over a cluster the first key is read before the others."""
        ...

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Set values."""
        ...

    def drop(self, keys: Sequence[bytes]) -> None:
        """Remove keys; one that is not there is no error."""
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
