"""The store in one SQLite file: embedded, for one machine."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from feature_repo.online.backend import Renew, StoreBusyError

AT_ONCE = 500
"""Keys of one SELECT."""
WAIT_SECONDS = 30.0
"""How long a write waits for another one's transaction."""


class SqliteBackend:
    """`Backend` over a file, made on the first write; readers see the last commit while a batch is written."""

    away: tuple[type[Exception], ...] = (sqlite3.Error, OSError)

    def __init__(self, path: Path, prefix: bytes = b"n") -> None:
        self.path, self.prefix = path, prefix
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        made: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if made is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            made = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("PRAGMA synchronous=NORMAL")
            made.execute("CREATE TABLE IF NOT EXISTS online (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
            self._own.connection = made
            self._all.append(made)
        return made

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See Backend. One statement, or one transaction of several, is one instant."""
        connection = self._connection()
        found: dict[bytes, bytes] = {}
        several = len(keys) > AT_ONCE
        if several:
            connection.execute("BEGIN")
        try:
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(connection.execute(f"SELECT key, value FROM online WHERE key IN ({marks})", some))  # noqa: S608
        finally:
            if several:
                connection.execute("COMMIT")
        return [found.get(key) for key in keys]

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """See Backend. One transaction."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO online VALUES (?, ?)", items.items())

    def drop(self, keys: Sequence[bytes]) -> None:
        """See Backend."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM online WHERE key = ?", [(key,) for key in keys])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def scan(self, start: bytes) -> Iterator[list[bytes]]:
        """See Backend."""
        last, end = start, start[:-1] + bytes((start[-1] + 1,))
        query = "SELECT key FROM online WHERE key >= ? AND key < ? ORDER BY key LIMIT 5001"
        while True:
            found = [row[0] for row in self._connection().execute(query, (last, end))]
            if found[:5000]:
                yield found[:5000]
            if len(found) <= 5000:
                return
            last = found[-1]

    @contextmanager
    def writing(self) -> Iterator[Renew]:
        """See Backend. A lock on a file beside the store, which ends with the process that holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self.path.with_name(self.path.name + ".lock").open("a")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreBusyError(f"another process is writing to {self.path}; try again when it is done") from None
            yield lambda: None

    def close(self) -> None:
        """See Backend. Every thread's connection; what was written lies in the one file then."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._own = threading.local()
