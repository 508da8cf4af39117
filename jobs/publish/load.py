"""Loads a night into the online store, writing only the rows that differ from those of the live night."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.online.backend import Backend
from feature_repo.online.encode import encode_keys, encode_records
from feature_repo.online.layout import View
from feature_repo.online.store import Load, Writer, writer
from feature_repo.online.versions import Publication
from feature_repo.served import ONLINE, stored_view
from jobs.lake.changes import stamp, unchanged
from jobs.lake.digests import TextDigests, digests
from jobs.lake.lake import Lake
from jobs.lake.live import publications
from jobs.lake.prefetch import prefetched
from jobs.run import Run
from jobs.tables.shop import PRODUCT_LISTS, STANDING
from jobs.tables.table import Table
from models.arrays import BoolMask, Digests, Rows

DIGESTED = (*PRODUCT_LISTS, *STANDING)
"""Tables whose rows are compared with those of the live night in the lake."""
LIVE_ROWS = 131_072
"""Rows of the live night digested at once."""


@dataclass
class Loaded:
    """Counts of a load, by table."""

    live: Publication
    moved: bool = False
    """Whether the night's versions were still online, so that nothing was written."""
    read: dict[str, int] = field(default_factory=dict)
    """Table -> rows compared."""
    written: dict[str, int] = field(default_factory=dict)
    """Table -> rows that were new or differed."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Table -> rows of the live night that this one does not have."""


def load_night(lake: Lake, backend: Backend, run: Run, tables: Sequence[Table], batch_rows: int, keep: int) -> Loaded:
    """Make the night `run.as_of` live online as a whole; continues an interrupted load.

    The rows are those that `lake` reads: what is staged, or what a publication had (`Lake.at`). Where they are still
    online, only the pointer to the live publication moves.
    Raises StoreBusyError while another process writes.
    """
    versions = {table.name: lake.version(table) for table in tables}
    stamps = {table.name: stamp(lake, table) for table in tables}
    with writer(backend, keep) as store:
        if (night := kept_night(lake, store.nights(), tables, run.as_of)) is not None:
            live = store.live
            return Loaded(live if night.seq == live.seq else store.roll_back(night.seq, run.started_at), moved=True)
        views = store.views({table.name: stored_view(table) for table in tables})
        load = store.begin(run.as_of.isoformat(), f"{run.as_of} {json.dumps(stamps)}", run.started_at)
        loaded = Loaded(load.live)
        for table in tables:
            _TableLoad(lake, run, store, load, table, views[table.name], loaded).run_all(batch_rows)
        extra = {
            "run_id": run.run_id,
            "versions": versions,
            "stamps": stamps,
            "since": {table.name: lake.since(table, run.as_of).isoformat() for table in tables},
            "layouts": {name: len(view.layouts) for name, view in views.items()},
            "rows": loaded.written,
        }
        loaded.live = store.publish(load, extra)
        return loaded


def kept_night(lake: Lake, nights: Sequence[Publication], tables: Sequence[Table], as_of: date) -> Publication | None:
    """The newest publication of a night whose rows in the lake are still the published ones."""
    for night in reversed(nights):
        whole = night.as_of == as_of.isoformat() and not night.extra.get("amended")
        if whole and all(_as_published(lake, table, night) for table in tables):
            return night
    return None


def _as_published(lake: Lake, table: Table, night: Publication) -> bool:
    """Whether the lake still has the rows of a table that a publication was loaded from."""
    version, known = (night.extra.get(name, {}).get(table.name) for name in ("versions", "stamps"))
    as_of = date.fromisoformat(night.as_of)
    if version is None:  # older code did not publish this table
        return bool(night.extra.get("versions")) and as_of not in lake.nights(table)
    return unchanged(lake, table, version, as_of, known)


class LiveRows:
    """Digests of the live night's rows of a table, to compare a complete night with.

    It spares encoding, reading and comparing equal rows in the store. 16 bytes a row: that a differing row has the
    digest of the live one happens once in 10^12 rows.
    """

    def __init__(self, lake: Lake, table: Table, columns: Sequence[str], own: int, live: date) -> None:
        """Of `columns`; the first `own` columns of the key identify a row, the others are content."""
        self.lake, self.table, self.live, self.key = lake, table, live, table.key[:own]
        self.columns = [name for name in dict.fromkeys((*table.key, *columns)) if name not in self.key]
        self.words = TextDigests()
        keys, contents = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for batch in lake.snapshot(table).encoded([*self.key, *self.columns], live, LIVE_ROWS):
            keys.append(digests(batch, self.key, self.words))
            contents.append(digests(batch, self.columns, self.words))
        key, content = np.concatenate(keys), np.concatenate(contents)
        order = np.argsort(key)
        self.keys, self.contents = key[order], content[order]
        self.seen = np.zeros(len(self.keys), dtype=bool)

    def differing(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Tonight's rows of a batch that the live night does not have, or has with other values."""
        if not len(self.keys):
            return batch
        key, content = digests(batch, self.key, self.words), digests(batch, self.columns, self.words)
        at, there = self._places(key)
        self.seen[at[there]] = True
        return batch.filter(pa.array(~there | (self.contents[at] != content)))

    def deleted(self) -> Iterator[pa.RecordBatch]:
        """The keys of the live night that tonight does not have; call it after `differing` of all of tonight's rows."""
        if self.seen.all():
            return
        for batch in self.lake.snapshot(self.table).encoded(self.key, self.live, LIVE_ROWS):
            at, _ = self._places(digests(batch, self.key, self.words))
            yield batch.filter(pa.array(~self.seen[at]))

    def _places(self, key: Digests) -> tuple[Rows, BoolMask]:
        """(the place of each key, whether it is there)."""
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return at, self.keys[at] == key


@dataclass(frozen=True)
class _EncodedBatch:
    """Rows as the store has them."""

    read: int
    """Rows of the batch in the lake."""
    keys: list[bytes]
    """Of the rows that may differ from the live night's."""
    records: list[bytes]
    ended: list[bytes]
    """Keys of the rows that were deleted since the live night, where only changes are read."""


@dataclass
class _TableLoad:
    """The load of one table."""

    lake: Lake
    run: Run
    store: Writer
    load: Load
    table: Table
    view: View
    loaded: Loaded

    def run_all(self, batch_rows: int) -> None:
        """Write the rows that differ and delete those that the night does not have; skips batches that are done."""
        name, load, loaded = self.table.name, self.load, self.loaded
        loaded.written[name] = load.written.get(name, 0)
        if load.done.get(name) == -1:
            return
        if load.parent.as_of == self.run.as_of.isoformat() and self._known(self.lake):  # the live night, made again
            load.done[name], loaded.read[name] = -1, 0
            self.store.save(load)
            return
        fresh = not self.store.filled(self.view) and name not in load.done
        only_changes = self._changes_suffice()
        live = None if fresh or only_changes else self._live_rows()
        whole = not (fresh or only_changes or live)  # each row is compared in the store
        differing = live is not None or (only_changes and self.table in DIGESTED)
        before, read = load.done.get(name, 0), 0
        total = 0 if only_changes else self.lake.count(self.table, self.run.as_of)
        hashes = [np.zeros(0, np.int64)]
        with prefetched(self._encoded(only_changes, live, batch_rows, before)) as batches:
            for place, batch in enumerate(batches):
                read += batch.read
                if whole:
                    hashes.append(np.fromiter(map(hash, batch.keys), np.int64, len(batch.keys)))
                if place >= before:
                    written = self.store.write(load, batch.keys, batch.records, fresh, differing)
                    self._delete(batch.ended)
                    load.done[name], load.written[name] = place + 1, load.written.get(name, 0) + written
                    self.store.save(load)
                self.run.progress(f"rows of {name} compared", read, max(total, read))
        loaded.written[name] = load.written.get(name, 0)
        if live:
            self._delete((key for batch in live.deleted() for key in self._keys(batch)), there=True)
        elif whole:
            self._delete(self._keys_without(np.unique(np.concatenate(hashes))))
        load.done[name] = -1
        self.store.save(load)
        loaded.read[name] = read

    def _delete(self, keys: Iterable[bytes], there: bool = False) -> None:
        deleted = self.loaded.deleted
        deleted[self.table.name] = deleted.get(self.table.name, 0) + self.store.delete(self.load, keys, there)

    def _known(self, lake: Lake) -> Mapping[str, str] | None:
        """Table -> since of the live publication, if `lake` has its rows and the store their layout."""
        parent, name = self.load.parent, self.table.name
        same_layout = parent.extra.get("layouts", {}).get(name) == len(self.view.layouts)
        if parent.extra.get("amended") or not same_layout or not _as_published(lake, self.table, parent):
            return None
        since: Mapping[str, str] = parent.extra["since"]
        return since

    def _live_rows(self) -> LiveRows | None:
        """The live night's rows, where they can be compared in the lake: as it is loaded, or as it was published."""
        if self.table not in DIGESTED:
            return None
        parent = self.load.parent
        published = [one.versions for one in publications(self.lake) if one.at == parent.published_at]
        for lake in (self.lake, *map(self.lake.at, published)):
            if self._known(lake):
                return LiveRows(lake, self.table, ONLINE[self.table], self.view.own, date.fromisoformat(parent.as_of))
        return None

    def _changes_suffice(self) -> bool:
        """Whether only the rows since the live night can differ from those in the store."""
        if not self.table.changes_of:
            return False
        live, since = self.load.parent.as_of, self.lake.since(self.table, self.run.as_of).isoformat()
        if not since <= live < self.run.as_of.isoformat():
            return False
        known = self._known(self.lake)
        return known is not None and known.get(self.table.name) == since

    def _encoded(self, only_changes: bool, live: LiveRows | None, rows: int, before: int) -> Iterator[_EncodedBatch]:
        """The night's batches as the store has them; the first `before` of them, which are written, have only keys."""
        for place, (batch, ended) in enumerate(self._batches(only_changes, rows)):
            differing = live.differing(batch) if live else batch
            records = self._records(differing) if place >= before else []
            gone = [] if ended is None else self._keys(ended)
            yield _EncodedBatch(batch.num_rows, self._keys(differing), records, gone)

    def _batches(self, only_changes: bool, rows: int) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | None]]:
        """(rows of the night, rows deleted since the live night where only changes are read)."""
        names = [*dict.fromkeys((*self.table.key, *ONLINE[self.table]))]
        snapshot, night = self.lake.snapshot(self.table), self.run.as_of
        if not only_changes:
            yield from ((batch, None) for batch in snapshot.encoded(names, night, rows))
            return
        live = date.fromisoformat(self.load.parent.as_of)
        for batch, deleted in snapshot.changes(names, live, night, rows):
            yield batch.filter(pa.array(~deleted)), batch.filter(pa.array(deleted))

    def _keys(self, batch: pa.RecordBatch) -> list[bytes]:
        own = [batch[name] for name in self.view.key[: self.view.own]]
        return encode_keys(self.store.backend.prefix, self.view, own)

    def _records(self, batch: pa.RecordBatch) -> list[bytes]:
        features = self.view.features
        columns = [batch[feature.name] for feature in features]
        return encode_records(self.store.record_head(self.load, self.view), features, columns, self.store.words.code)

    def _keys_without(self, hashes: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Keys of the view in the store whose hash is not among the night's sorted `hashes`.

        8 bytes a key, so that millions of keys fit: two distinct keys share a hash, and a deleted row stays, once in
        10^11 nights of 10 million keys.
        """
        padded = np.append(hashes, 0)
        for some in self.store.backend.scan(self.store.backend.prefix + self.view.id.encode()):
            found = np.fromiter(map(hash, some), np.int64, len(some))
            at = np.searchsorted(hashes, found)
            missing = (at == len(hashes)) | (padded[at] != found)
            yield from (key for key, none in zip(some, missing.tolist(), strict=True) if none)
