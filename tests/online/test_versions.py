"""The law of the online store: after any history, a reader sees exactly one whole night, and the right one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from feature_repo.online.encode import encode
from feature_repo.online.layout import WORD, Feature, row_key
from feature_repo.online.reader import Reader
from feature_repo.online.store import Load, Writer, writer
from tests.online.backends import DictBackend, Killed

KEYS = [(f"K{n}",) for n in range(6)]
FEATURES = (Feature("value", WORD, "values"),)
WANTED = dict.fromkeys(("one", "two"), (("key",), 1, FEATURES))
Tables = dict[str, dict[tuple[str], str]]
tables = st.fixed_dictionaries(
    {name: st.dictionaries(st.sampled_from(KEYS), st.sampled_from("abc"), max_size=6) for name in WANTED}
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def load_tables(store: Writer, tonight: Tables, identity: str, at: datetime, publish: bool = True) -> Load:
    """Load a night of whole tables, one row a batch, as the loader does it."""
    views = store.views(WANTED)
    load = store.begin(at.date().isoformat(), identity, at)
    for name, view in views.items():
        rows = sorted(tonight[name].items())
        for place in range(load.done.get(name, 0), len(rows)):
            key, value = rows[place]
            payload = encode(view.features, [pa.array([value])], store.words.code)
            store.write(load, view, [row_key(b"n", view, key)], payload, fresh=False)
            load.done[name] = place + 1
            store.save(load)
        gone = {row_key(b"n", view, key) for key in KEYS} - {row_key(b"n", view, key) for key in tonight[name]}
        store.end(load, sorted(gone))
    if publish:
        store.publish(load)
    return load


class Histories(RuleBasedStateMachine):
    """Nights are loaded, broken off, tried again or given up, published, and taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = DictBackend()
        self.shown: Tables | None = None
        self.published: dict[int, Tables] = {}
        self.broken: tuple[Tables, str] | None = None
        self.nights = 0

    def _at(self) -> datetime:
        self.nights += 1
        return START + timedelta(days=self.nights)

    def _load(self, tonight: Tables, identity: str, writes: int | None) -> None:
        self.backend.writes_left = writes
        try:
            with writer(self.backend, keep=3) as store:
                load = load_tables(store, tonight, identity, self._at())
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

    @rule(tonight=tables)
    def next_night(self, tonight: Tables) -> None:
        self._load(tonight, f"night {self.nights}", None)

    @rule(tonight=tables, writes=st.integers(0, 40))
    def night_killed(self, tonight: Tables, writes: int) -> None:
        self._load(tonight, f"night {self.nights}", writes)

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

    @rule()
    def sweep(self) -> None:
        with writer(self.backend, keep=3) as store:
            store.sweep()

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
                self.backend.items[b"n!live"] = night.packed()
                assert seen(self.backend) == self.published[night.seq], f"night {night.seq} of {store.nights()}"
            self.backend.items[b"n!live"] = back.packed()

    @invariant()
    def versions_do_not_pile_up(self) -> None:
        from feature_repo.online.versions import records

        chains = [list(records(v)) for k, v in self.backend.items.items() if not k.startswith(b"n!")]
        assert all(len(chain) <= 5 for chain in chains), "three kept nights, one that is being loaded, one given up"


def seen(backend: DictBackend) -> dict[str, dict[Any, Any]]:
    """What a reader that knows nothing yet gets for every key of every view."""
    asked = [(name, key) for name in WANTED for key in KEYS]
    rows = Reader(backend).read(asked).rows
    found: dict[str, dict[Any, Any]] = {name: {} for name in WANTED}
    for (name, key), row in zip(asked, rows, strict=True):
        if row is not None:
            found[name][key] = row.features["value"]
    return found


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
