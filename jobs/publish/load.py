"""Loading a night into the online store: what changed since the night that is live there, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.lake.changes import stamp, stamp_of
from jobs.lake.digests import TextDigests, digests
from jobs.lake.lake import REPLACED_NIGHT, Lake
from jobs.run import Run
from jobs.tables.shop import PRODUCT_LISTS
from jobs.tables.table import Table
from models.arrays import BoolMask, Digests, Rows

HARMLESS = (
    "OPTIMIZE",
    "VACUUM START",
    "VACUUM END",
    "DELETE",
    "ADD COLUMN",
    "SET TBLPROPERTIES",
    "UPDATE FIELD METADATA",
    "UPDATE TABLE METADATA",
)
"""Commits that change no row of a table; a deletion takes rows that a forgotten customer has lost online as well."""
ONE_NIGHT = re.compile(r"\(?as_of = '(\d{4}-\d\d-\d\d)'(::date)?\)?")
"""The predicate of a commit that replaced one night."""


@dataclass
class Loaded:
    """What a load did."""

    live: Any
    """What is live now (`feature_repo.online.versions.Publication`)."""
    read: dict[str, int] = field(default_factory=dict)
    """Table -> rows that were looked at."""
    written: dict[str, int] = field(default_factory=dict)
    """Table -> rows that were new or differed."""
    gone: dict[str, int] = field(default_factory=dict)
    """Table -> rows that the night before had and this one has not."""
    moved: bool = False
    """Whether the night's versions were there and it was only shown again."""


def load_night(
    lake: Lake, backend: Any, run: Run, tables: Sequence[Table], batch_rows: int, keep: int, may_return: bool = True
) -> Loaded:
    """Make the night `run.as_of` live online, whole; a load that was broken off is gone on with.

    Where its versions are still there and its tables are what they were, what is live is only pointed at them.
    Raises StoreBusyError while another process writes.
    """
    from feature_repo.online.store import writer
    from feature_repo.served import stored_view

    versions = {table.name: lake.version(table) for table in tables}
    stamps = {table.name: stamp(lake, table) for table in tables}
    with writer(backend, keep) as store:
        if may_return and (night := kept_night(lake, store.nights(), tables, run.as_of)) is not None:
            if night.seq == store.live.seq:
                return Loaded(store.live, moved=True)
            return Loaded(store.roll_back(night.seq, run.started_at), moved=True)
        views = store.views({table.name: stored_view(table) for table in tables})
        load = store.begin(run.as_of.isoformat(), f"{run.as_of} {json.dumps(stamps)}", run.started_at)
        done = Loaded(None)
        for table in tables:
            _Loading(lake, store, load, table, views[table.name], batch_rows, run, done).go()
        extra = {
            "run_id": run.run_id,
            "versions": versions,
            "stamps": stamps,
            "since": {table.name: lake.since(table, run.as_of).isoformat() for table in tables},
            "layouts": {name: len(view.layouts) for name, view in views.items()},
            "rows": done.written,
        }
        done.live = store.publish(load, extra)
        return done


def kept_night(lake: Lake, nights: Sequence[Any], tables: Sequence[Table], as_of: date) -> Any | None:
    """The newest publication of a night whose rows in the lake are still those that were published."""
    for night in reversed(nights):
        whole = night.as_of == as_of.isoformat() and "versions" in night.extra and not night.extra.get("amended")
        if whole and all(_published_rows_are_there(lake, table, night.extra, as_of) for table in tables):
            return night
    return None


def _published_rows_are_there(lake: Lake, table: Table, extra: Mapping[str, Any], as_of: date) -> bool:
    """Whether the lake has the rows of the night `as_of` that a publication read, by what it says of itself."""
    version, known = extra["versions"].get(table.name), extra.get("stamps", {}).get(table.name)
    return version is not None and unchanged(lake, table, version, as_of, known)


def unchanged(lake: Lake, table: Table, version: int, as_of: date, known: str | None = None) -> bool:
    """Whether no commit after a Delta version touched a row of the night `as_of` or of one before it.

    `known` is the stamp of that version, where it was kept: in a restored lake the number may be another commit's.
    """
    handle = lake.delta(table)
    commits = handle.history(max(handle.version() - version, 0) + 1)
    own = next((commit for commit in commits if commit.get("version") == version), None)
    if known is not None and (own is None or stamp_of(handle, own) != known):
        return False
    for commit in commits:
        if commit.get("version", 0) <= version or commit["operation"] in HARMLESS:
            continue
        found = ONE_NIGHT.fullmatch(str((commit.get("operationParameters") or {}).get("predicate", "")))
        replaced = found[1] if found else commit.get(REPLACED_NIGHT)
        if replaced is None or date.fromisoformat(replaced) <= as_of:
            return False
    # Commits whose record was cleaned up cannot be judged.
    return handle.version() == version or {c.get("version") for c in commits} >= {version + 1}


@dataclass
class _Loading:
    """One table on its way into a load."""

    lake: Lake
    store: Any
    load: Any
    table: Table
    view: Any
    batch_rows: int
    run: Run
    loaded: Loaded
    keys: list[npt.NDArray[np.int64]] = field(default_factory=list)
    """A hash of every key of the night, where the whole night is read."""

    def go(self) -> None:
        """Read, write what differs, end what is gone; goes on after the batches that are done."""
        name, load = self.table.name, self.load
        if load.done.get(name) == -1:
            self.loaded.written[name] = load.written.get(name, 0)
            return
        fresh = not self.store.filled(self.view) and name not in load.done
        only_changes = self._only_changes()
        live = None if fresh or only_changes else self._live_rows()
        differ = live is not None or (only_changes and self.table in PRODUCT_LISTS)
        before, read, wrote = load.done.get(name, 0), 0, load.written.get(name, 0)
        total = 0 if only_changes else self.lake.count(self.table, self.run.as_of)
        for place, (batch, ended) in enumerate(self._batches(only_changes)):
            read += batch.num_rows
            rows = batch if live is None else live.differing(batch)
            keys = self._keys(rows) if rows.num_rows else []
            if not only_changes and not fresh and live is None:
                self.keys.append(np.fromiter(map(hash, keys), np.int64, len(keys)))
            if place >= before:
                if keys:
                    wrote += self.store.write(load, self.view, keys, self._rows(rows), fresh, differ)
                if ended is not None:
                    self._end(self._keys(ended))
                load.done[name], load.written[name] = place + 1, wrote
                self.store.save(load)
            self.run.progress(f"rows of {name} looked at", read, max(total, read))
        if not only_changes and not fresh:
            gone = self._gone() if live is None else (key for batch in live.gone() for key in self._keys(batch))
            self._end(gone)
        load.done[name] = -1
        self.store.save(load)
        self.loaded.read[name], self.loaded.written[name] = read, wrote

    def _end(self, keys: Iterable[bytes]) -> None:
        name = self.table.name
        self.loaded.gone[name] = self.loaded.gone.get(name, 0) + self.store.delete(self.load, keys)

    def _live_rows(self) -> LiveRows | None:
        """The live night's rows, where they are what the store shows and can be compared; else None."""
        known, name = self.load.parent.extra, self.table.name
        if self.table not in PRODUCT_LISTS or name not in known.get("versions", {}) or known.get("amended"):
            return None
        live = date.fromisoformat(self.load.parent.as_of)
        same_layout = known["layouts"].get(name) == len(self.view.layouts)
        if live == self.run.as_of or not same_layout or not self._untouched(live):
            return None
        from feature_repo.served import ONLINE

        return LiveRows(self.lake, self.table, list(ONLINE[self.table]), live)

    def _untouched(self, live: date) -> bool:
        """Whether the night that is live has the rows in the lake that were published."""
        return _published_rows_are_there(self.lake, self.table, self.load.parent.extra, live)

    def _only_changes(self) -> bool:
        """Whether the rows since the live night are all that can differ from what the store shows."""
        parent, name = self.load.parent, self.table.name
        known = parent.extra
        if not self.table.changes_of or name not in known.get("versions", {}) or known.get("amended"):
            return False
        live = date.fromisoformat(parent.as_of)
        since = self.lake.since(self.table, self.run.as_of).isoformat()
        return (
            live < self.run.as_of
            and known["since"].get(name) == since
            and known["layouts"].get(name) == len(self.view.layouts)
            and since <= parent.as_of
            and self._untouched(live)
        )

    def _batches(self, only_changes: bool) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | None]]:
        """Rows that the night has, and of changes those that it has no more."""
        from feature_repo.served import ONLINE

        names = [*dict.fromkeys((*self.table.key, *ONLINE[self.table]))]
        snapshot, night = self.lake.snapshot(self.table), self.run.as_of
        if not only_changes:
            for batch in snapshot.encoded(names, night, self.batch_rows):
                yield batch, None
            return
        live = date.fromisoformat(self.load.parent.as_of)
        for batch, deleted in snapshot.changes(names, live, night, self.batch_rows):
            yield batch.filter(pa.array(~deleted)), batch.filter(pa.array(deleted))

    def _keys(self, batch: pa.RecordBatch) -> list[bytes]:
        """The stored key of each row (`feature_repo.online.layout.row_key`); rows of one market share its head."""
        from feature_repo.online.layout import key_head

        names = self.view.key[: self.view.own]
        *first, last = reversed(names) if self.view.last_first else names
        ends = batch[last].cast(pa.binary()).to_pylist()
        prefix = self.store.backend.prefix
        heads: dict[tuple[bytes, ...], bytes] = {}
        columns = [batch[name].cast(pa.binary()).to_pylist() for name in first] or [()] * len(ends)
        keys = []
        for end, parts in zip(ends, zip(*columns, strict=True) if first else columns, strict=True):
            if (head := heads.get(parts)) is None:
                head = heads[parts] = key_head(prefix, self.view, parts)
            keys.append(head + end)
        return keys

    def _rows(self, batch: pa.RecordBatch) -> list[bytes]:
        from feature_repo.online.encode import encode

        columns = [batch[feature.name] for feature in self.view.features]
        rows: list[bytes] = encode(self.view.features, columns, self.store.words.code)
        return rows

    def _gone(self) -> Iterator[bytes]:
        """Keys of the view in the store that the night does not have.

        Told apart by 8 bytes a key, so that millions of keys fit: that two unequal keys have one hash, and a row of a
        key that is gone stays, happens once in 10^11 nights of 10 million keys.
        """
        there = np.unique(np.concatenate(self.keys)) if self.keys else np.zeros(0, np.int64)
        for some in self.store.backend.scan(self.store.backend.prefix + self.view.id.encode()):
            hashes = np.fromiter(map(hash, some), np.int64, len(some))
            at = np.minimum(np.searchsorted(there, hashes), max(len(there) - 1, 0))
            missing = there[at] != hashes if len(there) else np.ones(len(some), bool)
            yield from (key for key, gone in zip(some, missing.tolist(), strict=True) if gone)


# Which of a night's rows the online store shows already, told from the tables alone.
#
# Where the live night's rows are in the lake as they were when they were published, what the store shows is what they
# say; a row that the live night has as well need not be encoded, looked up and compared there.

ROWS = 131_072


class LiveRows:
    """The rows of the live night of a table, against a night that is complete.

    16 bytes a row: that a row which differs has the digest of the one before happens once in 10^12 rows.
    """

    def __init__(self, lake: Lake, table: Table, columns: list[str], live: date) -> None:
        self.lake, self.table, self.live = lake, table, live
        self.columns = [name for name in columns if name not in table.key]
        names = [*table.key, *self.columns]
        self.words = TextDigests()
        keys, contents = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for batch in lake.snapshot(table).encoded(names, live, ROWS):
            keys.append(digests(batch, table.key, self.words))
            contents.append(digests(batch, self.columns, self.words))
        key, content = np.concatenate(keys), np.concatenate(contents)
        order = np.argsort(key)
        self.keys, self.contents = key[order], content[order]
        self.seen = np.zeros(len(self.keys), dtype=bool)

    def differing(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of tonight that the live night has not, or has otherwise; the others count as seen."""
        key, content = digests(batch, self.table.key, self.words), digests(batch, self.columns, self.words)
        at, there = self._places(key)
        self.seen[at[there]] = True
        return batch.filter(pa.array(~there | (self.contents[at] != content)))

    def gone(self) -> Iterator[pa.RecordBatch]:
        """The keys of the live night's rows that tonight has not; call it when all of tonight's rows were seen."""
        if self.seen.all():
            return
        for batch in self.lake.snapshot(self.table).encoded(self.table.key, self.live, ROWS):
            at, _ = self._places(digests(batch, self.table.key, self.words))
            yield batch.filter(pa.array(~self.seen[at]))

    def _places(self, key: Digests) -> tuple[Rows, BoolMask]:
        """(where each key is, whether it is)."""
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return at, self.keys[at] == key
