"""Reads one version of a Delta table: the rows of a night, of tables of changes the newest row of each key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from jobs.lake.digests import TextDigests, key_digests
from jobs.lake.rows import among, arrow_schema, decoded
from jobs.lake.storage import FEW_AHEAD
from jobs.tables.table import GONE, Table
from models.arrays import BoolMask, Rows
from models.digests import DigestSet

BATCH_ROWS = 65_536
KEY_ROWS = 131_072
PICKED_ROWS = 16_384
"""Rows whose lists are decoded at once where few of them are picked."""
CODE_BYTES, SMALL_BYTES = 8, 4 << 20
"""Most bytes of a code with its part of the dictionary, in columns that are not small."""
SHORT_BYTES = 64 << 10
"""Most bytes of a column of a row group that is looked through before the others: that of a few markets."""
Pick = Callable[[pa.RecordBatch], BoolMask]
"""Which rows are wanted [rows], given the columns of the table's key; texts are dictionary-encoded."""


class KeysAmong:
    """Picks the rows of which some columns hold one of given texts each; row groups without one are passed over."""

    def __init__(self, texts: Mapping[str, Iterable[str]], exactly: Pick | None = None) -> None:
        """`exactly` picks among these rows."""
        self.texts, self.exactly = texts, exactly

    def __call__(self, rows: pa.RecordBatch) -> BoolMask:
        """[rows], whether each is wanted."""
        if self.exactly:
            return self.exactly(rows)
        return np.asarray(np.logical_and.reduce([among(rows[name], of) for name, of in self.texts.items()]))


class Snapshot:
    """One version of a table.

    A night of a table of changes has the newest row of each key among the nights from `since` to it, unless that row
    says that there is none any more. Batches are dictionary-encoded where their files are: ids are read several times
    as fast as spelled out.
    """

    def __init__(self, delta: DeltaTable, table: Table) -> None:
        self.delta, self.table = delta, table
        self.schema = arrow_schema(table)

    @property
    def version(self) -> int:
        """Its Delta version."""
        return self.delta.version()

    @cached_property
    def data(self) -> ds.Dataset:
        """All stored rows."""
        return self.delta.to_pyarrow_dataset()

    def nights(self) -> list[date]:
        """The nights that have rows, oldest first."""
        if self.delta.metadata().partition_columns == ["as_of"]:
            return sorted({date.fromisoformat(str(values["as_of"])) for values in self.delta.partitions()})
        return sorted(pc.unique(self.data.to_table(columns=["as_of"])["as_of"]).to_pylist())

    def since(self, as_of: date) -> date:
        """The first night whose rows belong to the night `as_of`: itself where every night is complete."""
        if not self.table.changes_of or "since" not in self.data.schema.names:
            return as_of
        first = self.data.head(1, columns=["since"], filter=_of(as_of))["since"].to_pylist()
        return (first[0] if first else None) or as_of

    def nights_of(self, as_of: date) -> list[date]:
        """The nights whose rows belong to the night `as_of`, newest first."""
        since = self.since(as_of)
        return [as_of] if since == as_of else [night for night in reversed(self.nights()) if since <= night <= as_of]

    def batches(
        self,
        columns: Iterable[str],
        as_of: date | None = None,
        rows: int = BATCH_ROWS,
        where: pc.Expression | None = None,
        wanted: Pick | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The columns of a night's rows, or of all stored rows, that match `where` and are `wanted`; not encoded.

        `wanted` finds few rows fast, where Arrow's own filter decodes the lists of every row first; it needs a night of
        a table that is partitioned by nights.
        """
        names = list(columns)
        if as_of is None:
            yield from self._scanned(names, where, rows)
            return
        for batch, (there,) in self._rows_of([as_of], names, rows, where, wanted):
            yield decoded(batch if there.all() else batch.filter(pa.array(there)), self.table)

    def of_days(self, columns: Sequence[str], days: Sequence[date], rows: int) -> Iterator[pa.RecordBatch]:
        """The columns of the stored rows of some days, by which the table is partitioned; dictionary-encoded.

        File by file, so that no more than a few batches are in memory, always in the same order.
        """
        (day,) = self.table.partition
        for fragment in self.data.get_fragments(filter=pc.field(day).isin(days)):
            with self.data.filesystem.open_input_file(fragment.path) as source:
                for batch in _File(source).batches(columns, rows, (), None):
                    yield self._filled(batch, columns, date.min)

    def encoded(self, columns: Sequence[str], as_of: date, rows: int) -> Iterator[pa.RecordBatch]:
        """The columns of a night's rows, dictionary-encoded."""
        for batch, (there,) in self.encoded_nights(columns, [as_of], rows):
            yield batch if there.all() else batch.filter(pa.array(there))

    def encoded_nights(
        self, columns: Sequence[str], nights: Sequence[date], rows: int
    ) -> Iterator[tuple[pa.RecordBatch, list[BoolMask]]]:
        """The columns of the rows of several nights, read once, and for each of `nights` which of the rows it has."""
        yield from self._rows_of(nights, columns, rows, None, None)

    def changes(
        self, columns: Sequence[str], after: date, as_of: date, rows: int
    ) -> Iterator[tuple[pa.RecordBatch, BoolMask]]:
        """The rows of the night `as_of` that are newer than the night `after`, and which of them say: deleted."""
        nights = [night for night in self.nights_of(as_of) if night > after]
        for batch, (newest,) in self._newest([nights], columns, rows, None, None):
            kept = batch.filter(pa.array(newest))
            yield kept.select(columns), self._deleted(kept)

    def count(self, as_of: date) -> int:
        """Rows of a night."""
        if self.since(as_of) == as_of:
            return int(self.data.count_rows(filter=_of(as_of)))
        found = self.encoded_nights(self.table.changes_of[:1], [as_of], KEY_ROWS)
        return sum(int(there.sum()) for _, (there,) in found)

    def _rows_of(
        self,
        nights: Sequence[date],
        columns: Sequence[str],
        rows: int,
        where: pc.Expression | None,
        wanted: Pick | None,
    ) -> Iterator[tuple[pa.RecordBatch, list[BoolMask]]]:
        chains = [self.nights_of(night) for night in nights]
        for batch, newest in self._newest(chains, columns, rows, where, wanted):
            there = ~self._deleted(batch)
            yield batch.select(columns), [mask & there for mask in newest]

    def _deleted(self, batch: pa.RecordBatch) -> BoolMask:
        if not self.table.has_ends:
            return np.zeros(batch.num_rows, bool)
        return np.asarray(pc.fill_null(batch[GONE].cast(pa.bool_()), False))

    def _newest(
        self,
        chains: Sequence[Sequence[date]],
        columns: Sequence[str],
        rows: int,
        where: pc.Expression | None,
        wanted: Pick | None,
    ) -> Iterator[tuple[pa.RecordBatch, list[BoolMask]]]:
        """The rows of all nights of `chains`, and for each chain which of them are the newest of their key in it.

        Each of `chains` is newest first. Keys are distinguished by 16 bytes: two of them are never equal by chance.
        """
        seen, texts = [DigestSet() for _ in chains], TextDigests()
        key, flags = self.table.changes_of, ([GONE] if self.table.has_ends else [])
        for night in sorted({night for chain in chains for night in chain}, reverse=True):
            within = [night in chain for chain in chains]
            hides = [night in chain and night != chain[-1] for chain in chains]
            compared = [len(keys) > 0 and one for keys, one in zip(seen, within, strict=True)]
            whole, pick = where is None and wanted is None, wanted
            if wanted is not None and all(compared):
                pick, compared = self._unseen(wanted, night, seen, texts), [False]
            keyed = any(compared) or (whole and any(hides))
            found, nothing = [], np.empty((0, 2), np.uint64)
            read = [*dict.fromkeys([*columns, *flags, *(key if keyed else ())])]
            for batch in self._stored(read, night, rows, where, pick):
                own = key_digests(batch, key, texts) if keyed else nothing
                found.append(own)
                yield (
                    batch,
                    [
                        ~keys.has(own) if one else np.full(batch.num_rows, there)
                        for keys, one, there in zip(seen, compared, within, strict=True)
                    ],
                )
            if any(hides) and not whole:  # a row hides older ones whether it is asked for or not
                found = [key_digests(batch, key, texts) for batch in self._stored(key, night, KEY_ROWS, None, None)]
            for keys, more in zip(seen, hides, strict=True):
                if more:
                    keys.add(np.concatenate([nothing, *found]))

    def _unseen(self, wanted: Pick, night: date, seen: Sequence[DigestSet], texts: TextDigests) -> Pick:
        """`wanted`, without the rows of a night that newer ones hide: their lists need not be decoded."""
        (known,), key = seen, self.table.changes_of

        def unseen(batch: pa.RecordBatch) -> BoolMask:
            found = np.array(wanted(batch), bool)
            at = np.flatnonzero(found)
            found[at] = ~known.has(key_digests(self._filled(batch.take(pa.array(at)), key, night), key, texts))
            return found

        return KeysAmong(wanted.texts, exactly=unseen) if isinstance(wanted, KeysAmong) else unseen

    def _stored(
        self, names: Sequence[str], night: date, rows: int, where: pc.Expression | None, wanted: Pick | None
    ) -> Iterator[pa.RecordBatch]:
        """The columns of the rows that a night has stored; those that old files lack are null."""
        if where is not None or self.table.partition != ("as_of",):
            assert wanted is None, f"rows of {self.table.name} cannot be picked by key"
            there = [name for name in names if name in self.data.schema.names]
            found = _of(night) if where is None else _of(night) & where
            for batch in self._scanned(there, found, rows):
                yield self._filled(batch, names, night)
            return
        for fragment in self.data.get_fragments(filter=_of(night)):
            with self.data.filesystem.open_input_file(fragment.path) as source:
                for batch in _File(source).batches(names, rows, self.table.key, wanted):
                    yield self._filled(batch, names, night)

    def _scanned(self, names: Sequence[str], where: pc.Expression | None, rows: int) -> Iterator[pa.RecordBatch]:
        found = self.data.scanner(columns=list(names), filter=where, batch_size=rows, **FEW_AHEAD)
        yield from found.to_batches()

    def _filled(self, batch: pa.RecordBatch, names: Sequence[str], night: date) -> pa.RecordBatch:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in names:
            if name == "as_of":  # in the folder's name
                columns[name] = pa.repeat(pa.scalar(night), batch.num_rows)
            elif name not in columns:
                columns[name] = pa.nulls(batch.num_rows, self.schema.field(name).type)
        return pa.RecordBatch.from_arrays([columns[name] for name in names], list(names))


class _File:
    """A Parquet file, its texts dictionary-encoded where that is possible."""

    def __init__(self, source: pa.NativeFile) -> None:
        self.plain = pq.ParquetFile(source)
        leaves = enumerate(self.plain.schema)
        texts = [leaf.path for at, leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and self._is_encoded(at)]
        self.encoded = pq.ParquetFile(source, metadata=self.plain.metadata, read_dictionary=texts)

    def _is_encoded(self, column: int) -> bool:
        """Whether a column seems dictionary-encoded by its size; reading others so fails late, and takes long."""
        groups = (self.plain.metadata.row_group(group) for group in range(self.plain.num_row_groups))
        chunks = [group.column(column) for group in groups]
        size = sum(chunk.total_uncompressed_size for chunk in chunks)
        return bool(size < SMALL_BYTES or size < CODE_BYTES * sum(chunk.num_values for chunk in chunks))

    def batches(
        self, names: Sequence[str], rows: int, key: Sequence[str], wanted: Pick | None
    ) -> Iterator[pa.RecordBatch]:
        """Those of the columns that the file has, of all rows or of those that are `wanted` by their key."""
        there, keys = ([name for name in some if name in self.plain.schema_arrow.names] for some in (names, key))
        for group in range(self.plain.num_row_groups):
            if wanted is None:
                yield from self._group(group, there, rows)
                continue
            if isinstance(wanted, KeysAmong) and not self._may_hold(group, keys, wanted):
                continue
            parts = [np.asarray(wanted(batch), bool) for batch in self._group(group, keys, KEY_ROWS)]
            at = np.flatnonzero(np.concatenate([np.empty(0, bool), *parts]))
            yield from self._picked(group, there, at)

    def _may_hold(self, group: int, keys: Sequence[str], wanted: KeysAmong) -> bool:
        """Whether each short column of the key has a wanted text; the product's is not short, the market's is."""
        chunks = (self.plain.metadata.row_group(group).column(at) for at in range(self.plain.metadata.num_columns))
        short = {chunk.path_in_schema for chunk in chunks if chunk.total_uncompressed_size < SHORT_BYTES}
        return all(
            any(among(batch[name], of).any() for batch in self._group(group, [name], KEY_ROWS))
            for name, of in wanted.texts.items()
            if name in short and name in keys
        )

    def _picked(self, group: int, names: Sequence[str], at: Rows) -> Iterator[pa.RecordBatch]:
        """The rows `at`, ascending, of a row group; what follows the last of them is not read."""
        first = 0
        for batch in self._group(group, names, PICKED_ROWS) if len(at) else ():
            here = at[(at >= first) & (at < first + batch.num_rows)] - first
            if len(here):
                yield batch.take(pa.array(here))
            first += batch.num_rows
            if first > at[-1]:
                return

    def _group(self, group: int, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        done = 0
        try:
            for batch in self.encoded.iter_batches(rows, [group], list(names)):
                yield batch
                done += batch.num_rows
        except pa.ArrowNotImplementedError:  # lists whose texts outgrew the dictionary of their row group
            first = 0
            for batch in self.plain.iter_batches(rows, [group], list(names)):
                if first + batch.num_rows > done:
                    yield batch.slice(max(done - first, 0))
                first += batch.num_rows


def _of(night: date) -> pc.Expression:
    return pc.field("as_of") == pa.scalar(night)
