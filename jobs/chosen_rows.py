"""Some rows of a night, found by their keys: lists are decoded only where a wanted key stands near."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.coded import codes_of, spelled_out
from jobs.lake import Lake
from jobs.stored_rows import arrow_schema
from jobs.tables import GONE, Table
from models.top_n import BoolMask, Rows

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
                        at = at[_newest(keys.take(pa.array(at)), changing, newer)]
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


def _newest(keys: pa.RecordBatch, changing: Sequence[str], newer: set[tuple[Any, ...]]) -> BoolMask:
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
