"""Places for the bytes: a dict, SQLite, Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class Killed(BaseException):
    """The process ended here."""


class DictBackend:
    """A Backend in memory that can be told to end the process at its n-th write."""

    def __init__(self, prefix: bytes = b"n") -> None:
        self.prefix = prefix
        self.items: dict[bytes, bytes] = {}
        self.writes_left: int | None = None

    def _step(self) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise Killed

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.items.get(key) for key in keys]

    def put(self, items: Mapping[bytes, bytes]) -> None:
        for key, value in items.items():
            self._step()
            assert isinstance(value, bytes)
            self.items[key] = value

    def drop(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._step()
            self.items.pop(key, None)

    def scan(self, start: bytes) -> Iterator[list[bytes]]:
        yield [key for key in self.items if key.startswith(start)]

    @contextmanager
    def writing(self) -> Iterator[object]:
        yield lambda: None

    def close(self) -> None:
        pass
