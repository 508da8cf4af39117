"""What SQLite's file holds after somebody was forgotten."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from feature_repo.online.backend import StoreBusyError
from feature_repo.online.layout import row_key
from feature_repo.online.sqlite_backend import SqliteBackend
from feature_repo.online.store import writer
from feature_repo.online.versions import ROW, Record
from tests.feature_repo.online.test_versions import START, WANTED


def test_nothing_of_a_forgotten_key_is_left_in_a_file_that_was_folded(tmp_path: Path) -> None:
    backend, random = SqliteBackend(tmp_path / "online.db"), Random(0)
    names = sorted(f"customer-{random.randrange(10**9):09d}" for _ in range(3_000))
    for night in range(12):
        with writer(backend, keep=2) as store:
            view = store.views(WANTED)["one"]
            load = store.begin(str(START.date()), str(night), START + timedelta(days=night))
            fresh = not store.filled(view)
            some = [name for name in names if fresh or random.random() < 0.3]
            keys = [row_key(b"n", view, (name,)) for name in some]
            records = [Record(load.live.seq, ROW, 0, 200 * b"." + name.encode()).packed() for name in some]
            store.write(load, keys, records, fresh, differing=True)
            store.publish(load)
    assert [night for night, *_ in backend._connection().execute("SELECT DISTINCT seq FROM recent")] != [*range(2, 13)]
    gone = random.sample(names, 300)
    with writer(backend, keep=2) as store:
        assert sum(store.forget(name, "key") for name in gone) == len(gone)
        backend.scrub()
    backend.close()
    data = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert [name for name in gone if name.encode() in data] == []
    assert all(name.encode() in data for name in set(names) - set(gone))


def test_a_reader_that_holds_on_to_the_old_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.online.sqlite_backend.WAIT_SECONDS", 0.1)
    backend = SqliteBackend(tmp_path / "online.db")
    backend.put({b"n1": b"one", b"n2": b"two"})
    with closing(sqlite3.connect(tmp_path / "online.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM online").fetchone()
        backend.drop([b"n1"])
        with pytest.raises(StoreBusyError, match="another process is reading"):
            backend.scrub()
    backend.scrub()
    backend.close()
