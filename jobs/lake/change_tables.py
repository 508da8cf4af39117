"""A night's rows with texts as codes into a dictionary, as they lie in Parquet: lists of ids are read and
written several times as fast as with every id spelled out. And digests of such rows, to tell which differ from another
night's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, CommitProperties, RemoveAction

from jobs.lake.digests import Words, digests
from jobs.lake.lake import Lake
from jobs.lake.prefetch import prefetched
from jobs.lake.rows import arrow_schema, identity_of
from jobs.run import Run
from jobs.tables.table import GONE, Table
from models.arrays import BoolMask, Rows
from models.digests import DigestSet

REPLACED_NIGHT = "replaced_night"
"""Key of such a commit in the table's history, where deltalake's own commits have a predicate."""
GROUP_ROWS = 250_000
"""Rows that share a copy of the dictionaries."""
FILE_ROWS = 2_000_000
"""Rows after which the next file begins."""
DICTIONARY_BYTES = 16 << 20
"""Of one column's words in a file; with more, Parquet spells them out."""


def coded_batches(
    lake: Lake, table: Table, columns: Sequence[str], as_of: date, rows: int
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """The columns of a night of a table that is partitioned by nights, streamed.

    Columns of texts and of lists of texts are dictionary-coded; one that old files lack is null.
    """
    for batch, (there,) in coded_nights(lake, table, columns, [as_of], rows):
        yield batch if there.all() else batch.filter(pa.array(there))


def coded_nights(
    lake: Lake, table: Table, columns: Sequence[str], nights: Sequence[date], rows: int
) -> Iterator[tuple[pa.RecordBatch, list[BoolMask]]]:
    """`coded_batches` of several nights in one pass: each row once, and whether each of `nights` has it."""
    read = [*dict.fromkeys([*columns, *((GONE,) if table.has_ends else ())])]
    for batch, newest in _newest(lake, table, read, [lake.nights_of(table, night) for night in nights], rows):
        there = ~_gone(batch) if table.has_ends else np.ones(batch.num_rows, dtype=bool)
        yield batch.select(columns), [mask & there for mask in newest]


def coded_changes(
    lake: Lake, table: Table, columns: Sequence[str], after: date, as_of: date, rows: int
) -> Iterator[tuple[pa.RecordBatch, BoolMask]]:
    """The night's rows of a table of changes that are newer than the night `after`, and which of them are gone."""
    nights = [night for night in lake.nights_of(table, as_of) if night > after]
    for batch, (newest,) in _newest(lake, table, [*dict.fromkeys([*columns, GONE])], [nights], rows):
        kept = batch.filter(pa.array(newest))
        yield kept.select(columns), _gone(kept)


def _gone(batch: pa.RecordBatch) -> BoolMask:
    return np.asarray(pc.fill_null(batch[GONE].cast(pa.bool_()), False))


def _newest(
    lake: Lake, table: Table, columns: Sequence[str], chains: Sequence[Sequence[date]], rows: int
) -> Iterator[tuple[pa.RecordBatch, list[BoolMask]]]:
    """The rows of all nights of `chains`, and for each chain which of them are their key's newest in it.

    Keys are told apart by 8 bytes: that two have the same, and a row is taken for an older one, happens once in some
    10^5 nights of 10 million.
    """
    seen, known = [DigestSet() for _ in chains], Words()
    for night in sorted({night for chain in chains for night in chain}, reverse=True):
        within = [night in chain for chain in chains]
        older = [night in chain and night != chain[-1] for chain in chains]
        keyed = any(older) or any(len(keys) > 0 and one for keys, one in zip(seen, within, strict=True))
        found = [np.empty(0, np.uint64)]
        read = [*dict.fromkeys([*columns, *(table.changes_of if keyed else ())])]
        for batch in _stored(lake, table, read, night, rows):
            key = digests(batch, table.changes_of, known) if keyed else found[0]
            found.append(key)
            yield (
                batch.select(columns),
                [
                    ~keys.has(key) if one and len(keys) else np.full(batch.num_rows, one)
                    for keys, one in zip(seen, within, strict=True)
                ],
            )
        for keys, more in zip(seen, older, strict=True):
            if more:
                keys.add(np.concatenate(found))


def _stored(lake: Lake, table: Table, names: Sequence[str], night: date, rows: int) -> Iterator[pa.RecordBatch]:
    """The columns of all rows that a night has stored."""
    _check_files(table)
    schema, data = arrow_schema(table), lake.dataset(table)
    for fragment in data.get_fragments(filter=pc.field("as_of") == pa.scalar(night)):
        with data.filesystem.open_input_file(fragment.path) as source:
            plain = pq.ParquetFile(source)
            texts = [leaf.path for leaf in plain.schema if leaf.physical_type == "BYTE_ARRAY"]
            coded = pq.ParquetFile(source, metadata=plain.metadata, read_dictionary=texts)
            stored = [name for name in names if name in plain.schema_arrow.names]
            for group in range(plain.num_row_groups):
                for batch in _row_group(coded, plain, group, stored).to_batches(rows):
                    absent = {n: pa.nulls(batch.num_rows, schema.field(n).type) for n in names if n not in stored}
                    absent["as_of"] = pa.repeat(pa.scalar(night), batch.num_rows)  # in the folder's name
                    whole = absent | dict(zip(stored, batch.columns, strict=True))
                    yield pa.RecordBatch.from_arrays([whole[name] for name in names], list(names))


def _row_group(coded: pq.ParquetFile, plain: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
    try:
        return coded.read_row_group(group, columns)
    except pa.ArrowNotImplementedError:  # lists whose words outgrew the dictionary of their row group
        return plain.read_row_group(group, columns)


def replace_coded(
    lake: Lake, table: Table, batches: Iterable[pa.RecordBatch], run: Run, since: date | None = None
) -> int:
    """`Lake.replace` for coded rows of such a table, in one commit; returns the rows written.

    All batches have equal dictionaries, which Parquet then takes as they are. deltalake would spell every id out; so
    the files are Arrow's, and deltalake commits them.
    """
    _check_files(table)
    lake.create(table)
    identity = identity_of(table, run, since)
    schema = pa.schema([field for field in arrow_schema(table) if field.name != "as_of"])
    night = run.as_of.isoformat()
    written = _Files(lake.dataset(table).filesystem, f"as_of={night}")
    with prefetched(iter(batches)) as computed:
        for batch in computed:
            written.add(_stamped(batch, schema, identity))
    delta = lake.delta(table)
    delta.create_write_transaction(
        written.closed({"as_of": night}), "overwrite", delta.schema(), ["as_of"], [("as_of", "=", night)],
        commit_properties=CommitProperties(custom_metadata={REPLACED_NIGHT: night}),
    )  # fmt: skip
    return written.rows


def _check_files(table: Table) -> None:
    assert table.partition == ("as_of",), f"{table.name} has no files of one night alone"


def _stamped(batch: pa.RecordBatch, schema: pa.Schema, identity: Mapping[str, Any]) -> pa.RecordBatch:
    """The batch with the columns of `schema` in its order; coded ones stay coded."""
    arrays = [
        pa.repeat(pa.scalar(identity[field.name], field.type), batch.num_rows) if field.name in identity
        else column if _is_coded((column := batch.column(field.name)).type) else column.cast(field.type)
        for field in schema
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(arrays, schema.names)


def _is_coded(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind.value_type if pa.types.is_list(kind) else kind))


class _Files:
    """The Parquet files of one night, of about FILE_ROWS rows each."""

    def __init__(self, filesystem: Any, folder: str) -> None:
        self.filesystem, self.folder = filesystem, folder
        self.rows = 0
        self._sizes: dict[str, int] = {}
        """Path -> rows."""
        self._open: tuple[pq.ParquetWriter, str] | None = None
        self._group: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        if self._open is None:
            path = f"{self.folder}/part-{len(self._sizes):05}-{uuid4()}.zstd.parquet"
            self.filesystem.create_dir(self.folder, recursive=True)
            writer = pq.ParquetWriter(
                path, batch.schema, filesystem=self.filesystem, compression="zstd", store_schema=False,
                dictionary_pagesize_limit=DICTIONARY_BYTES, write_statistics=False,
            )  # fmt: skip
            self._open, self._sizes[path] = (writer, path), 0
        self._group.append(batch)
        self._sizes[self._open[1]] += batch.num_rows
        self.rows += batch.num_rows
        if sum(each.num_rows for each in self._group) >= GROUP_ROWS:
            self._write_group()
        if self._sizes[self._open[1]] >= FILE_ROWS:
            self._close()

    def _write_group(self) -> None:
        if self._open is not None and self._group:
            self._open[0].write_table(pa.Table.from_batches(self._group), row_group_size=2 * GROUP_ROWS)
            self._group = []

    def _close(self) -> None:
        if self._open is not None:
            self._write_group()
            self._open[0].close()
            self._open = None

    def closed(self, partition: Mapping[str, str]) -> list[AddAction | RemoveAction]:
        """The files as Delta takes them in."""
        self._close()
        found = self.filesystem.get_file_info(list(self._sizes))
        return [
            AddAction(path, info.size, dict(partition), info.mtime_ns // 1_000_000 if info.mtime_ns else 0, True,
                      json.dumps({"numRecords": self._sizes[path]}))
            for path, info in zip(self._sizes, found, strict=True)
        ]  # fmt: skip


def spelled_out(batch: pa.RecordBatch, table: Table) -> pa.RecordBatch:
    """Coded rows as the table's types have them."""
    schema = arrow_schema(table)
    return batch.cast(pa.schema([schema.field(name) for name in batch.schema.names]))


def codes_of(texts: pa.Array) -> tuple[Rows, list[str | None]]:
    """(code [texts], the word of each code): coded texts as they are, others coded now; a null has the last code."""
    coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    words = coded.dictionary.to_pylist()
    return np.asarray(pc.fill_null(coded.indices, len(words)), np.int64), [*words, None]


# Some rows of a night, found by their keys: lists are decoded only where a wanted key stands near.

ROWS = 16_384
"""Rows whose lists are decoded at once."""
Pick = Callable[[pa.RecordBatch], BoolMask]
"""Which rows are wanted, given the columns of their key; texts are coded."""


def chosen_rows(
    lake: Lake, table: Table, columns: Iterable[str], as_of: date, wanted: Pick
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """The columns of the night's rows that are `wanted`, spelled out; none where the table is not there.

    Arrow's own filter decodes the lists of every row first. For tables that are partitioned by nights.
    """
    if not lake.exists(table):
        return
    names, changing = list(columns), [name for name in table.key if name in table.changes_of]
    nights, data, newer = lake.nights_of(table, as_of), lake.dataset(table), set[tuple[Any, ...]]()
    for night in nights:
        for fragment in data.get_fragments(filter=pc.field("as_of") == pa.scalar(night)):
            with data.filesystem.open_input_file(fragment.path) as source:
                file = _File(source)
                for group in range(file.plain.num_row_groups):
                    keys = file.keys(group, [*table.key, GONE])
                    at = np.flatnonzero(wanted(keys))
                    if len(nights) > 1:
                        at = at[_newest_chosen(keys.take(pa.array(at)), changing, newer)]
                    yield from (_whole(batch, table, names, night) for batch in file.rows(group, names, at))


def among(texts: pa.Array, wanted: Iterable[str]) -> BoolMask:
    """[texts], whether each is one of `wanted`."""
    codes, words = codes_of(texts)
    found = pc.is_in(pa.array(words, pa.string()), value_set=pa.array(list(wanted), pa.string()))
    return np.asarray(found)[codes]


class _File:
    """A Parquet file with its texts coded where that can be had."""

    def __init__(self, source: Any) -> None:
        self.plain = pq.ParquetFile(source)
        texts = [leaf.path for leaf in self.plain.schema if leaf.physical_type == "BYTE_ARRAY"]
        self.coded = pq.ParquetFile(source, metadata=self.plain.metadata, read_dictionary=texts)

    def keys(self, group: int, names: Sequence[str]) -> pa.RecordBatch:
        """The columns that are there, of a whole row group; none of them holds lists."""
        read = self.coded.read_row_group(group, self._stored(names)).combine_chunks()
        return pa.RecordBatch.from_arrays([column.chunk(0) for column in read.columns], read.column_names)

    def rows(self, group: int, names: Sequence[str], at: Rows) -> Iterator[pa.RecordBatch]:
        """The columns that are there, of the rows `at` of a row group; what comes after the last one is not read."""
        first, stored = 0, self._stored(names)
        try:
            for batch in self.coded.iter_batches(ROWS, [group], stored) if len(at) else ():
                here = at[(at >= first) & (at < first + batch.num_rows)] - first
                if len(here):
                    yield batch.take(pa.array(here))
                first += batch.num_rows
                if first > at[-1]:
                    return
        except pa.ArrowNotImplementedError:  # lists whose words outgrew the dictionary of their row group
            read = self.plain.read_row_group(group, stored).slice(first)
            yield from read.take(pa.array(at[at >= first] - first)).combine_chunks().to_batches()

    def _stored(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.plain.schema_arrow.names]


def _newest_chosen(keys: pa.RecordBatch, changing: Sequence[str], newer: set[tuple[Any, ...]]) -> BoolMask:
    """[rows], those without a newer row, which `newer` then has, and that are not gone."""
    there = np.ones(keys.num_rows, bool)
    if GONE in keys.schema.names:
        there = ~np.asarray(pc.fill_null(keys[GONE], False))
    own = list(zip(*(keys[name].to_pylist() for name in changing), strict=True))
    newest = np.array([key not in newer for key in own], bool)
    newer.update(own)
    return newest & there


def _whole(batch: pa.RecordBatch, table: Table, names: Sequence[str], night: date) -> pa.RecordBatch:
    schema, count = arrow_schema(table), batch.num_rows
    absent = {name: pa.nulls(count, schema.field(name).type) for name in names}
    absent |= {"as_of": pa.repeat(pa.scalar(night), count)}  # in the folder's name
    stored = dict(zip(batch.schema.names, batch.columns, strict=True))
    return spelled_out(pa.RecordBatch.from_pydict(absent | stored).select(names), table)
