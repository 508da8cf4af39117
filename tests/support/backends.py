"""Places for the bytes: a dict; SQLite and Redis whose process can be told to end."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from feature_repo.online.backend import Merged
from feature_repo.online.redis_backend import RedisBackend
from feature_repo.online.sqlite_backend import SqliteBackend


class Killed(BaseException):
    """The process ended here."""


class Mortal:
    """Ends the process at its n-th write, when told to."""

    writes_left: int | None = None

    def _step(self) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise Killed


class DictBackend(Mortal):
    """A Backend in memory."""

    beside = False

    def __init__(self, prefix: bytes = b"n") -> None:
        self.prefix = prefix
        self.items: dict[bytes, bytes] = {}

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        return [self.items.get(key) for key in keys]

    def put(self, items: Mapping[bytes, bytes]) -> None:
        for key, value in items.items():
            self._step()
            assert isinstance(value, bytes)
            self.items[key] = value

    def add(
        self, seq: int, items: Mapping[bytes, bytes], merged: Merged, chains: Mapping[bytes, bytes | None] | None = None
    ) -> None:
        known = self.items if chains is None else chains
        self.put({key: merged(known.get(key), record) for key, record in items.items()})

    def fold(self, agreed: int, given_up: Collection[int]) -> None:
        pass

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


class MortalSqlite(Mortal, SqliteBackend):
    """A file; the process ends within a transaction, before the commit."""

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with super()._transaction() as connection:
            yield connection
            self._step()


class MortalRedis(Mortal, RedisBackend):
    """A server; the process ends between two keys of one batch."""

    def put(self, items: Mapping[bytes, bytes]) -> None:
        for key, value in items.items():
            self._step()
            super().put({key: value})

    def drop(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._step()
            super().drop([key])
