"""Reads filtered rows and counts of the lake without Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.tables.table import Table

StoredRow = dict[str, Any]
"""A row of a table as Python values, by column."""


@dataclass(frozen=True)
class Wanted:
    """Selects rows of a table: those of one night or of all, that match a condition."""

    as_of: date | None = None
    where: pc.Expression | None = None

    def __and__(self, where: pc.Expression) -> Wanted:
        return Wanted(self.as_of, where if self.where is None else self.where & where)


def of_night(as_of: date) -> Wanted:
    """One night's rows."""
    return Wanted(as_of)


def scan(
    lake: Lake, table: Table, columns: Iterable[str], rows: Wanted, batch_rows: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """The rows as batches of at most `batch_rows`, in no particular order; none if the table was never written."""
    if lake.exists(table):
        found = lake.batches(table, columns, rows.as_of, batch_rows, rows.where)
        yield from (batch for batch in found if batch.num_rows)


def matching(lake: Lake, table: Table, columns: Sequence[str], rows: Wanted) -> list[StoredRow]:
    """The rows in key order; for a few rows of a table that may be large or absent."""
    wanted = [*columns, *(key for key in table.key if key not in columns)]
    found = [row for batch in scan(lake, table, wanted, rows) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: tuple(str(row[key]) for key in table.key))


def matching_old(lake: Lake, table: Table, columns: Sequence[str], rows: Wanted) -> list[StoredRow]:
    """The same as `matching` for a table of an older lake as well: a column that it lacks is null."""
    if not lake.exists(table):
        return []
    there = set(lake.dataset(table).schema.names)
    return [
        dict.fromkeys(columns) | row for row in matching(lake, table, [name for name in columns if name in there], rows)
    ]


def count_rows(lake: Lake, table: Table, as_of: date) -> int:
    """Rows of a night; 0 if the table was never written."""
    return lake.count(table, as_of) if lake.exists(table) else 0


class Tally:
    """Counts by key over streamed columns; memory grows with the distinct keys, not the rows."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = list(keys)
        self._counted: pa.Table | None = None

    def add(self, columns: Sequence[pa.Array]) -> None:
        """Count the rows of parallel columns, one column for each part of the key."""
        rows = pa.table(dict(zip(self.keys, columns, strict=True)))
        counted = rows.group_by(self.keys).aggregate([([], "count_all")])
        if self._counted is not None:
            both = pa.concat_tables([self._counted, counted], promote_options="permissive")
            counted = both.group_by(self.keys).aggregate([("count_all", "sum")])
            counted = counted.rename_columns([*self.keys, "count_all"])
        self._counted = counted

    def most_first(self) -> list[tuple[Any, ...]]:
        """(key, .., count), sorted by descending count, then by key."""
        if self._counted is None:
            return []
        columns = [self._counted[name].to_pylist() for name in [*self.keys, "count_all"]]
        return sorted(zip(*columns, strict=True), key=lambda row: (-row[-1], tuple(str(key) for key in row[:-1])))
