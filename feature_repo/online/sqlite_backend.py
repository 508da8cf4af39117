"""The store in one SQLite file: embedded, for one machine.

`online` holds a value a key. What a night adds to keys that are there goes to `recent` in the order it comes: a shop
whose every eighth row differs would otherwise rewrite nearly every page of the file, with all its older versions,
every night. Once `recent` is large it becomes `older`, and an `older` whose nights nobody tells apart any more is
folded into `online`.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from feature_repo.online.backend import Merged, Renew, StoreBusyError, StoreUnableError

AT_ONCE = 500
"""Keys of one SELECT."""
NEWEST_AT_ONCE = 50
"""Keys of one SELECT that has an expression for each."""
WAIT_SECONDS = 30.0
"""How long a write waits for another one's transaction."""
FOLDED_AT_ONCE = 50_000
"""Rows folded in one transaction."""
LAID = """CREATE TABLE IF NOT EXISTS {} (
    key BLOB NOT NULL, seq INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, seq))"""
UPDATE = "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
"""A row that stays where it is keeps neighbours of the file neighbours by key."""


class SqliteBackend:
    """`Backend` over a file, made on the first write; readers see the last commit while a batch is written."""

    away: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
    beside = True

    def __init__(self, path: Path, prefix: bytes = b"n", share: float = 0.5) -> None:
        """`share`: what `recent` may grow to, as a share of the keys."""
        self.path, self.prefix, self.share = path, prefix, share
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
            made.execute("PRAGMA secure_delete=ON").fetchall()  # what is forgotten is not in the file any more
            made.execute("CREATE TABLE IF NOT EXISTS online (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
            for name in ("recent", "older"):
                made.execute(LAID.format(name))
            self._own.connection = made
            self._all.append(made)
        return made

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        """See Backend. One statement, or one transaction of several, is one instant."""
        connection = self._connection()
        if upto is not None and len(keys) <= NEWEST_AT_ONCE:
            return list(connection.execute(_newest(len(keys)), (upto, *keys)).fetchone()) if keys else []
        connection.execute("BEGIN")
        try:
            found: dict[bytes, bytes] = {}
            once = list(dict.fromkeys(keys))
            for start in range(0, len(once), AT_ONCE):
                for key, value in self._whole(connection, once[start : start + AT_ONCE]):
                    found[key] = found[key] + value if key in found else value
        finally:
            connection.execute("COMMIT")
        return [found.get(key) for key in keys]

    def _whole(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """What each table has of some keys, newest first."""
        there = f"WHERE key IN ({','.join('?' * len(keys))})"
        for name in ("recent", "older"):
            if connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone():  # noqa: S608
                yield from connection.execute(f"SELECT key, value FROM {name} {there} ORDER BY key, seq DESC", keys)  # noqa: S608
        yield from connection.execute(f"SELECT key, value FROM online {there}", keys)  # noqa: S608

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """See Backend. One transaction."""
        if not items:
            return
        first, last = min(items), max(items)
        with self._transaction() as connection:
            for name in ("recent", "older"):
                among = f"SELECT 1 FROM {name} WHERE key BETWEEN ? AND ? LIMIT 1"  # noqa: S608
                if connection.execute(among, (first, last)).fetchone():
                    connection.executemany(f"DELETE FROM {name} WHERE key = ?", [(key,) for key in items])  # noqa: S608
            connection.executemany(f"INSERT INTO online VALUES (?, ?) {UPDATE}", items.items())  # noqa: S608

    def add(
        self, seq: int, items: Mapping[bytes, bytes], merged: Merged, chains: Mapping[bytes, bytes | None] | None = None
    ) -> None:
        """See Backend. One transaction, which looks at nothing that is there."""
        with self._transaction() as connection:
            rows = ((key, seq, value) for key, value in items.items())
            connection.executemany("INSERT OR REPLACE INTO recent VALUES (?, ?, ?)", rows)

    def drop(self, keys: Sequence[bytes]) -> None:
        """See Backend. One transaction."""
        self._clear()
        with self._transaction() as connection:
            for name in ("recent", "older", "online"):
                connection.executemany(f"DELETE FROM {name} WHERE key = ?", [(key,) for key in keys])  # noqa: S608

    def scrub(self) -> None:
        """See Backend. A page that was split keeps a copy of what moved away, until the file is laid anew.

        Takes the file's size once more in SQLite's temporary folder and in its log.
        """
        connection = self._connection()
        try:
            connection.execute("VACUUM")
        except sqlite3.OperationalError as error:
            raise StoreUnableError(
                f"{self.path} could not be laid anew: {error}. That takes its size once more in SQLite's temporary "
                "folder (SQLITE_TMPDIR) and beside it; make room and run the same command again"
            ) from None
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreBusyError(f"another process goes on reading {self.path}, which so far keeps copies of what was "
                                 "removed; end it and run the same command again")  # fmt: skip

    def fold(self, agreed: int, given_up: Collection[int]) -> None:
        """See Backend. A process that ends in the middle leaves a file that says the same."""
        connection = self._connection()

        def value(query: str) -> int:
            return int((connection.execute(query).fetchone() or (0,))[0] or 0)

        rows = value("SELECT max(rowid) FROM recent")
        told_apart = value("SELECT seq FROM older ORDER BY rowid DESC LIMIT 1") > agreed
        if not rows or told_apart or rows < self.share * value("SELECT count(*) FROM online"):
            return
        self._fold_older(given_up)
        self._clear()  # what a process left that ended below
        with self._transaction():
            connection.execute("ALTER TABLE older RENAME TO folded")
            connection.execute("ALTER TABLE recent RENAME TO older")
            connection.execute(LAID.format("recent"))
        self._clear()

    def _fold_older(self, given_up: Collection[int]) -> None:
        """Let each key have the newest of what `older` has of it, and nothing before that."""
        none = ",".join(map(str, given_up))
        end = "SELECT max(key) FROM (SELECT key FROM older WHERE key > ? ORDER BY key LIMIT ?)"
        some = f"key > ? AND key <= ? AND seq NOT IN ({none})"
        newest = f"SELECT key, value, max(seq) FROM older WHERE {some} GROUP BY key"  # noqa: S608
        start = b""
        while True:
            with self._transaction() as connection:
                (last,) = connection.execute(end, (start, FOLDED_AT_ONCE)).fetchone()
                if last is None:
                    return
                connection.execute(
                    f"INSERT INTO online SELECT key, value FROM ({newest}) WHERE true {UPDATE}",  # noqa: S608
                    (start, last),
                )
            start = last

    def _clear(self) -> None:
        """Remove what was folded, which nobody reads: in parts, since the pages that become free are overwritten."""
        connection = self._connection()
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'folded'").fetchone():
            return
        part = f"DELETE FROM folded WHERE rowid < (SELECT min(rowid) FROM folded) + {FOLDED_AT_ONCE}"  # noqa: S608
        left = True
        while left:
            with self._transaction():
                left = connection.execute(part).rowcount > 0
                if not left:
                    connection.execute("DROP TABLE folded")

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
        each = (f"SELECT key FROM {name} WHERE key >= ?1 AND key < ?2" for name in ("recent", "older", "online"))  # noqa: S608
        query = f"{' UNION '.join(each)} ORDER BY key LIMIT 5001"
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


@cache
def _newest(keys: int) -> str:
    """The SELECT of so many keys' values, of all but the first the newest up to a number.

    An expression a key, since a join or an IN over three tables costs several times as much.
    """
    laid = "(SELECT value FROM {} WHERE key = ?{} AND seq <= ?1 ORDER BY seq DESC LIMIT 1)"
    plain = "(SELECT value FROM online WHERE key = ?{})"
    each = (f"coalesce({laid.format('recent', n)}, {laid.format('older', n)}, {plain.format(n)})"
            for n in range(3, keys + 2))  # fmt: skip
    return "SELECT " + ", ".join((plain.format(2), *each))
