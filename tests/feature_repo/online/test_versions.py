"""The law of the online store: after any history, a reader sees exactly one whole night, and the right one."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from feature_repo.online.encode import encode, encode_records
from feature_repo.online.layout import WORD, Feature, row_key
from feature_repo.online.reader import Reader
from feature_repo.online.sqlite_backend import SqliteBackend
from feature_repo.online.store import Load, Writer, writer
from feature_repo.online.versions import ROW, Record, records
from tests.support.backends import DictBackend, Killed, MortalRedis, MortalSqlite
from tests.support.redis_server import RedisServer

KEYS = [(f"K{n}",) for n in range(6)]
FEATURES = (Feature("value", WORD, "values"),)
WANTED = dict.fromkeys(("one", "two"), (("key",), 1, FEATURES))
Tables = dict[str, dict[tuple[str], str]]
tables = st.fixed_dictionaries(
    {name: st.dictionaries(st.sampled_from(KEYS), st.sampled_from("abc"), max_size=6) for name in WANTED}
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def load_tables(store: Writer, tonight: Tables, identity: str, at: datetime, live: Tables | None = None) -> Load:
    """Load a night of whole tables, one row a batch, as the loader does it; where it knows what is `live`, rows that
    differ."""
    views = store.views(WANTED)
    load = store.begin(at.date().isoformat(), identity, at)
    for name, view in views.items():
        rows = sorted(tonight[name].items() - (live[name].items() if live else ()))
        for place in range(load.done.get(name, 0), len(rows)):
            key, value = rows[place]
            head = store.record_head(load, view)
            record = encode_records(head, view.features, [pa.array([value])], store.words.code)
            store.write(load, [row_key(b"n", view, key)], record, False, live is not None)
            load.done[name] = place + 1
            store.save(load)
        gone = set(live[name] if live else KEYS) - tonight[name].keys()
        store.delete(load, sorted(row_key(b"n", view, key) for key in gone))
    store.publish(load)
    return load


class Histories(RuleBasedStateMachine):
    """Nights are loaded, broken off, tried again or given up, published, and taken back."""

    longest = 5
    """Three kept nights, one that is being loaded, one given up."""

    def __init__(self) -> None:
        super().__init__()
        self.backend: Any = self.empty()
        self.shown: Tables | None = None
        self.published: dict[int, Tables] = {}
        self.broken: tuple[Tables, str] | None = None
        self.nights = 0

    def empty(self) -> Any:
        """A place where nothing was written yet."""
        return DictBackend()

    def _at(self) -> datetime:
        self.nights += 1
        return START + timedelta(days=self.nights)

    def _load(self, tonight: Tables, identity: str, writes: int | None) -> None:
        self.backend.writes_left = writes
        try:
            with writer(self.backend, keep=3) as store:
                live = self.shown if identity.startswith("compared") else None
                load = load_tables(store, tonight, identity, self._at(), live)
        except Killed:
            self.broken = (tonight, identity)
            # The one write that shows the night may have been done; what is after it is not needed for that.
            if Reader(self.backend).live.seq not in self.published and Reader(self.backend).live.seq:
                self._note(tonight)
        else:
            self.broken = None
            assert Reader(self.backend).live.seq == load.live.seq
            self._note(tonight)
        finally:
            self.backend.writes_left = None

    def _note(self, tonight: Tables) -> None:
        self.shown = tonight
        self.published[Reader(self.backend).live.seq] = tonight

    @initialize(tonight=tables)
    def first_night(self, tonight: Tables) -> None:
        self._load(tonight, "first", None)

    @rule(tonight=tables, how=st.sampled_from(("whole", "compared")))
    def next_night(self, tonight: Tables, how: str) -> None:
        self._load(tonight, f"{how} {self.nights}", None)

    @rule(tonight=tables, how=st.sampled_from(("whole", "compared")), writes=st.integers(0, 40))
    def night_killed(self, tonight: Tables, how: str, writes: int) -> None:
        self._load(tonight, f"{how} {self.nights}", writes)

    @precondition(lambda self: self.broken is not None)
    @rule(writes=st.none() | st.integers(0, 30))
    def try_again(self, writes: int | None) -> None:
        assert self.broken is not None
        self._load(*self.broken, writes)

    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        with writer(self.backend, keep=3) as store:
            there = [night.seq for night in store.nights()]
            assert Reader(self.backend).live.seq in there
            seq = data.draw(st.sampled_from(there))
            store.roll_back(seq, self._at())
        self.shown = self.published[seq]

    @precondition(lambda self: self.shown is not None)
    @rule(key=st.sampled_from(KEYS), value=st.sampled_from("abc"))
    def feast_writes(self, key: tuple[str], value: str) -> None:
        with writer(self.backend, keep=3) as store:
            if store.live.seq < store.nights()[-1].seq:
                return  # later nights may go on from this one
            view = store.views(WANTED)["one"]
            payload = encode(view.features, [pa.array([value])], store.words.code)[0]
            store.amend(view, {row_key(b"n", view, key): Record(store.live.seq, ROW, len(view.layouts) - 1, payload)})
        assert self.shown is not None
        self._note(self.shown | {"one": self.shown["one"] | {key: value}})

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: tuple[str]) -> None:
        with writer(self.backend, keep=3) as store:
            store.forget(key[0], "key")
        for night in self.published.values():
            for rows in night.values():
                rows.pop(key, None)
        if self.broken is not None:
            self.broken = None  # the tables that it was made from have changed

    @invariant()
    def every_kept_night_is_whole(self) -> None:
        if self.shown is None:
            return
        assert seen(self.backend) == self.shown
        with writer(self.backend, keep=3) as store:
            back = store.live
            for night in store.nights():
                self.backend.put({b"n!live": night.packed()})
                assert seen(self.backend) == self.published[night.seq], f"night {night.seq} of {store.nights()}"
            self.backend.put({b"n!live": back.packed()})

    @invariant()
    def versions_do_not_pile_up(self) -> None:
        keys = [key for some in self.backend.scan(b"n") for key in some if not key.startswith(b"n!")]
        chains = [list(records(chain)) for chain in self.backend.get(keys) if chain]
        assert all(len(chain) <= self.longest for chain in chains)


class HistoriesInAFile(Histories):
    """The same in SQLite, where new versions lie beside the old ones for some nights."""

    longest = 12

    def empty(self) -> Any:
        self.folder = tempfile.TemporaryDirectory()
        return MortalSqlite(Path(self.folder.name) / "online.db", share=0.3)

    def teardown(self) -> None:
        self.backend.close()
        self.folder.cleanup()


def seen(backend: Any) -> dict[str, dict[Any, Any]]:
    """What a reader that knows nothing yet gets for every key of every view."""
    asked = [(name, key) for name in WANTED for key in KEYS]
    rows = Reader(backend).read(asked).rows
    found: dict[str, dict[Any, Any]] = {name: {} for name in WANTED}
    for (name, key), row in zip(asked, rows, strict=True):
        if row is not None:
            found[name][key] = row.features["value"]
    return found


def settled(examples: int) -> settings:
    """How long a machine runs."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    return settings(max_examples=examples, stateful_step_count=20, deadline=None, phases=phases)


TestHistories = Histories.TestCase
TestHistories.settings = settled(60)
TestHistoriesInAFile = HistoriesInAFile.TestCase
TestHistoriesInAFile.settings = settled(30)


def test_histories_in_redis(redis_server: RedisServer) -> None:
    class HistoriesInRedis(Histories):
        def empty(self) -> Any:
            redis_server.client().flushall()
            return MortalRedis(redis_server.client())

    run_state_machine_as_test(HistoriesInRedis, settings=settled(10))  # type: ignore[no-untyped-call]


def test_a_file_from_before_versions_lay_beside_goes_on(tmp_path: Path) -> None:
    before = DictBackend()
    nights: list[Tables] = [
        {"one": {K: "abc"[(n + K[0].count("1")) % 3] for K in KEYS[n:]}, "two": {}} for n in range(6)
    ]
    with closing(sqlite3.connect(tmp_path / "online.db")) as file, file:
        for n in range(3):
            with writer(before, keep=4) as store:
                load_tables(store, nights[n], str(n), START + timedelta(days=n))
        file.execute("CREATE TABLE online (key BLOB PRIMARY KEY, value BLOB NOT NULL)")
        file.executemany("INSERT INTO online VALUES (?, ?)", before.items.items())
    backend = SqliteBackend(tmp_path / "online.db", share=0.1)
    assert seen(backend) == nights[2]
    for n in range(3, 6):
        with writer(backend, keep=4) as store:
            load_tables(store, nights[n], str(n), START + timedelta(days=n), nights[n - 1])
        assert seen(backend) == nights[n]
    with writer(backend, keep=4) as store:
        for n, night in zip(range(2, 6), store.nights(), strict=True):
            store.roll_back(night.seq, START + timedelta(days=10 + n))
            assert seen(backend) == nights[n]
        store.forget(KEYS[5][0], "key")
    assert seen(backend)["one"] == {}
    backend.close()
