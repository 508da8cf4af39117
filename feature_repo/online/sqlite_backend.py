"""Stores the online rows in one SQLite file: embedded, for one machine.

The table `online` holds one value per key. Records added to existing keys go to `recent` in the order of arrival:
changing every eighth row in place would rewrite nearly every page of the file, older versions included, every night.
A large `recent` becomes `older`; an `older` whose nights no reader distinguishes any more is folded into `online`.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from itertools import chain
from pathlib import Path

from feature_repo.online.backend import Merged, Renew, StoreBusyError, StoreMissingError, StoreUnableError

AT_ONCE = 500
"""Most keys of one SELECT."""
ROWS_AT_ONCE = 50
"""Rows of one INSERT: as many of one row each take half as long again."""
NEWEST_AT_ONCE = 50
"""Most keys of one SELECT that has an expression for each."""
WAIT_SECONDS = 30.0
"""Seconds to wait for another process's transaction."""
LOG_PAGES = 16_384
"""Pages that SQLite's log grows to before they move into the file; with its default, 1,000, a load waits for disks."""
FOLDED_AT_ONCE = 50_000
"""Rows folded in one transaction."""
NAMES = ("recent", "older")
"""Tables of added records; each is searched before the next, and both before `online`."""
ADDED = """CREATE TABLE IF NOT EXISTS {} (
    key BLOB NOT NULL, seq INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, seq))"""
UPDATE = "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
"""Keeps a row where it is, so that the file stays ordered by key."""


class SqliteBackend:
    """A Backend in one file; readers see the last commit while a batch is written.

    The first write creates the file. Reading opens it read-only and raises StoreMissingError where there is none.
    """

    away: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
    beside = True

    def __init__(self, path: Path, prefix: bytes = b"n", share: float = 0.5) -> None:
        """`share`: the most that `recent` may hold, as a share of the number of keys."""
        self.path, self.prefix, self.share = path.absolute(), prefix, share
        self._of_thread = threading.local()
        self._all: list[sqlite3.Connection] = []

    def _reading(self) -> sqlite3.Connection:
        """This thread's connection for reading, which is that for writing where it has one."""
        of_thread = vars(self._of_thread)
        opened: sqlite3.Connection | None = of_thread.get("connection") or of_thread.get("reading")
        if opened is None:
            opened = self._opened_for_reading()
            if opened is None:  # a store from before there were tables of added records gets them
                return self._connection()
            self._of_thread.reading = opened
            self._all.insert(0, opened)  # closed before a writing one, which moves the log into the file
        return opened

    def _opened_for_reading(self) -> sqlite3.Connection | None:
        """A new read-only connection; None where the store lacks tables. Raises StoreMissingError, StoreUnableError."""
        if not self.path.is_file():
            raise StoreMissingError(_missing(self.path))
        address = f"{self.path.as_uri()}?mode=ro"
        opened = sqlite3.connect(address, WAIT_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
        try:
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
        except sqlite3.Error:
            opened.close()
            raise
        if tables.issuperset((*NAMES, "online")):
            return opened
        opened.close()
        if "online" in tables:
            return None
        raise StoreUnableError(f"{self.path} is no online store; correct the address, or publish a night there")

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection for writing."""
        opened: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if opened is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            opened.execute("PRAGMA journal_mode=WAL")
            opened.execute("PRAGMA synchronous=NORMAL")
            opened.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}").fetchall()
            opened.execute("PRAGMA secure_delete=ON").fetchall()  # overwrites what `forget` deletes
            opened.execute("CREATE TABLE IF NOT EXISTS online (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
            for name in NAMES:
                opened.execute(ADDED.format(name))
            self._of_thread.connection = opened
            self._all.append(opened)
        return opened

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        """See Backend. One statement, or one transaction, reads one instant."""
        try:
            return self._get(self._reading(), keys, upto)
        except sqlite3.Error as error:
            raise StoreUnableError(
                f"{self.path} cannot be read: {error}. Where the file is damaged or no online store, remove it and "
                "publish the live night again"
            ) from error

    def _get(self, connection: sqlite3.Connection, keys: Sequence[bytes], upto: int | None) -> list[bytes | None]:
        if upto is not None and len(keys) <= NEWEST_AT_ONCE:
            return list(connection.execute(_newest(len(keys)), (upto, *keys)).fetchone()) if keys else []
        connection.execute("BEGIN")
        try:
            found: dict[bytes, bytes] = {}
            once = list(dict.fromkeys(keys))
            for start in range(0, len(once), AT_ONCE):
                for key, value in self._parts(connection, once[start : start + AT_ONCE]):
                    found[key] = found.get(key, b"") + value
        finally:
            connection.execute("COMMIT")
        return [found.get(key) for key in keys]

    def _parts(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(key, part of its value) from each table, newest first."""
        there = f"WHERE key IN ({','.join('?' * len(keys))})"
        for name in NAMES:
            if connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone():  # noqa: S608
                yield from connection.execute(f"SELECT key, value FROM {name} {there} ORDER BY key, seq DESC", keys)  # noqa: S608
        yield from connection.execute(f"SELECT key, value FROM online {there}", keys)  # noqa: S608

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """See Backend. One transaction."""
        if not items:
            return
        first, last = min(items), max(items)
        with self._transaction() as connection:
            for name in NAMES:
                among = f"SELECT 1 FROM {name} WHERE key BETWEEN ? AND ? LIMIT 1"  # noqa: S608
                if connection.execute(among, (first, last)).fetchone():
                    connection.executemany(f"DELETE FROM {name} WHERE key = ?", [(key,) for key in items])  # noqa: S608
            _insert(connection, "INSERT INTO online VALUES", list(items.items()), UPDATE)

    def add(
        self, seq: int, items: Mapping[bytes, bytes], merged: Merged, chains: Mapping[bytes, bytes | None] | None = None
    ) -> None:
        """See Backend. One transaction, which reads nothing."""
        with self._transaction() as connection:
            rows = [(key, seq, value) for key, value in items.items()]
            _insert(connection, "INSERT OR REPLACE INTO recent VALUES", rows)

    def drop(self, keys: Sequence[bytes]) -> None:
        """See Backend. One transaction."""
        self._drop_folded()
        with self._transaction() as connection:
            for name in (*NAMES, "online"):
                connection.executemany(f"DELETE FROM {name} WHERE key = ?", [(key,) for key in keys])  # noqa: S608

    def scrub(self) -> None:
        """See Backend. A page that was split keeps a copy of the rows that moved away, until a VACUUM.

        It takes the file's size again in SQLite's temporary folder and in its log.
        """
        connection = self._connection()
        try:
            connection.execute("VACUUM")
        except sqlite3.OperationalError as error:
            raise StoreUnableError(
                f"{self.path} could not be vacuumed: {error}. That takes its size again in SQLite's temporary folder "
                "(SQLITE_TMPDIR) and beside it; make room and run the same command again"
            ) from None
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreBusyError(
                f"another process is reading {self.path}, which still has copies of removed rows; end that process "
                "and run the same command again"
            )

    def fold(self, agreed: int, abandoned: Collection[int]) -> None:
        """See Backend. A process that is killed midway leaves a file of the same content."""
        connection = self._connection()

        def value(query: str) -> int:
            return int((connection.execute(query).fetchone() or (0,))[0] or 0)

        rows = value("SELECT max(rowid) FROM recent")
        distinguished = value("SELECT seq FROM older ORDER BY rowid DESC LIMIT 1") > agreed
        # To count the rows of `online` would read all its keys; few are ever dropped.
        if not rows or distinguished or rows < self.share * value("SELECT max(rowid) FROM online"):
            return
        self._fold_older(abandoned)
        self._drop_folded()  # left by a process that was killed below
        with self._transaction():
            connection.execute("ALTER TABLE older RENAME TO folded")
            connection.execute("ALTER TABLE recent RENAME TO older")
            connection.execute(ADDED.format("recent"))
        self._drop_folded()

    def _fold_older(self, abandoned: Collection[int]) -> None:
        """Replace the value of each key in `older` by its newest record there."""
        none = ",".join(map(str, abandoned))
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

    def _drop_folded(self) -> None:
        """Drop the table `folded`, which is never read: in parts, since secure_delete overwrites the freed pages."""
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
        each = (f"SELECT key FROM {name} WHERE key >= ?1 AND key < ?2" for name in (*NAMES, "online"))  # noqa: S608
        query = f"{' UNION '.join(each)} ORDER BY key LIMIT 5001"
        while True:
            found = [row[0] for row in self._reading().execute(query, (last, end))]
            if found[:5000]:
                yield found[:5000]
            if len(found) <= 5000:
                return
            last = found[-1]

    @contextmanager
    def writing(self) -> Iterator[Renew]:
        """See Backend. The lock is on a file beside the store and ends with its process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self.path.with_name(self.path.name + ".lock").open("a")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreBusyError(f"another process is writing to {self.path}; retry when it has ended") from None
            self._connection()  # what a writer reads first is there
            yield lambda: None

    def close(self) -> None:
        """See Backend. Closes every thread's connection, which moves SQLite's log into the file."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._of_thread = threading.local()


def _insert(connection: sqlite3.Connection, into: str, rows: Sequence[tuple[bytes | int, ...]], end: str = "") -> None:
    """Insert the rows, of which there is at least one, by the statement that begins and ends so."""
    row, whole = f"({','.join('?' * len(rows[0]))})", len(rows) // ROWS_AT_ONCE * ROWS_AT_ONCE
    some = (tuple(chain(*rows[at : at + ROWS_AT_ONCE])) for at in range(0, whole, ROWS_AT_ONCE))
    connection.executemany(f"{into} {','.join([row] * ROWS_AT_ONCE)} {end}", some)
    connection.executemany(f"{into} {row} {end}", rows[whole:])


def _missing(path: Path) -> str:
    """What to say where there is no store."""
    beside = Path(*path.parts[1:])
    remedy = "publish a night there, or correct the address, which is sqlite:// and then the path"
    if beside.is_file():
        remedy = f"did you mean sqlite://{beside}, from the working folder?"
    return f"there is no online store at {path}; {remedy}"


@cache
def _newest(keys: int) -> str:
    """The SELECT of that many keys' values: the first key's whole value, the others' newest up to a number.

    It has one expression per key: a join or an IN over three tables costs several times as much.
    """
    added = "(SELECT value FROM {} WHERE key = ?{} AND seq <= ?1 ORDER BY seq DESC LIMIT 1)"
    plain = "(SELECT value FROM online WHERE key = ?{})"
    each = (", ".join((*(added.format(name, n) for name in NAMES), plain.format(n))) for n in range(3, keys + 2))
    return "SELECT " + ", ".join((plain.format(2), *(f"coalesce({one})" for one in each)))
