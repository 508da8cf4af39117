"""What the tests of the jobs share: raw files in one line, tables compared side by side."""

from __future__ import annotations

import gzip
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.lake.lake import Lake
from jobs.tables.records import CORRECTED, INPUTS, RAW_FILES, REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from jobs.tables.table import Table

INGESTED = (EVENTS, CORRECTED, REJECTED, RAW_FILES, CATALOGUE, AVAILABILITY, INPUTS)
"""Every table that ingest writes."""


def strings(spark: SparkSession, rows: list[dict[str, str | None]]) -> DataFrame:
    """A frame of string columns, as a SELECT over csv files gives; a key that a row lacks is null."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    schema = ", ".join(f"`{name}` STRING" for name in columns)
    return spark.createDataFrame([tuple(row.get(name) for name in columns) for row in rows], schema)


def rows_of(frame: DataFrame, *columns: str) -> list[dict[str, Any]]:
    """The columns of a frame as dicts, sorted by their text."""
    rows: list[dict[str, Any]] = frame.select(*columns).toArrow().to_pylist()
    return sorted(rows, key=str)


def write_text(path: Path, text: str) -> Path:
    """Write a file, gzipped where its name says so, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


def assert_same_rows(left: pa.Table, right: pa.Table, names: tuple[str, str] = ("left", "right")) -> None:
    """Fail with the differing rows side by side unless both tables have equal columns and equal rows, in any order."""
    assert left.schema == right.schema, f"{names[0]} has\n{left.schema}\n{names[1]} has\n{right.schema}"
    mine, theirs = (sorted(repr(row) for row in table.to_pylist()) for table in (left, right))
    if mine == theirs:
        return
    only_mine, only_theirs = _without(mine, theirs), _without(theirs, mine)
    pairs = list(zip_longest(only_mine, only_theirs, fillvalue="(no row)"))
    lines = [f"{names[0]}: {a}\n{names[1]}: {b}\n" for a, b in pairs[:5]]
    raise AssertionError(
        f"{len(mine)} rows in {names[0]}, {len(theirs)} in {names[1]}; {len(only_mine)} and {len(only_theirs)} of "
        f"them are not in the other:\n" + "\n".join(lines)
    )


def _without(rows: list[str], others: list[str]) -> list[str]:
    left = list(others)
    kept = []
    for row in rows:
        if row in left:
            left.remove(row)
        else:
            kept.append(row)
    return kept


def snapshot(lake: Lake, tables: tuple[Table, ...] = INGESTED) -> dict[str, pa.Table]:
    """The content of some tables, by name."""
    return {table.name: lake.arrow(table) for table in tables}


def versions(lake: Lake) -> dict[str, int | None]:
    """The Delta version of every table that ingest writes; None where it is not there."""
    return {table.name: lake.version(table) if lake.exists(table) else None for table in INGESTED}
