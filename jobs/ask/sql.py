"""Answers an analyst's SELECT over the tables as they are live, and over those that keep history."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import sqlglot
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from jobs.errors import UserError
from jobs.lake.engine import told_if_lost
from jobs.lake.lake import Lake
from jobs.lake.live import history_frame, keeps_history, live_frame, table_named, tables_there
from jobs.lake.storage import write_whole
from jobs.tables.table import Table
from jobs.text import clean

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LIVE = "live"
"""The schema that queries name: `live.you_might_also_like`."""
DIALECT = "spark"
Frame = Callable[[Lake, Table], "DataFrame"]
CELL = 60
"""Characters of a value that are shown."""


def answer(lake: Lake, query: str, most: int | None = None) -> pa.Table:
    """The rows of a SELECT over tables named `live.NAME`, the first `most` of them if given.

    A table that keeps history has all of it under its plain NAME.

    Raises UserError where it is no single SELECT, names another table, or the engine refuses it.
    """
    from pyspark.errors import PySparkException

    tables = _tables_of(lake, query)
    with told_if_lost():
        try:
            for name, frame in tables.items():
                frame(lake, table_named(lake, name)).createOrReplaceTempView(name)
            found = lake.spark.sql(_without_schema(query))
            return (found if most is None else found.limit(most)).toArrow()
        except PySparkException as error:
            raise UserError(f"the query failed: {_first_line(error)}") from error


def write_answer(rows: pa.Table, out: Path) -> None:
    """Write rows to a .csv or .parquet file, whole or not at all; in CSV arrays are JSON."""
    content = pa.BufferOutputStream()
    if out.suffix == ".parquet":
        pq.write_table(rows, content)
    else:
        pa.csv.write_csv(pa.table({name: _plain(rows[name]) for name in rows.column_names}), content)
    try:
        write_whole(out, content.getvalue().to_pybytes())
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}; give --out another place") from None


def check_out(out: Path) -> None:
    """Raise UserError unless `out` ends in .csv or .parquet."""
    if out.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out {out}: give a file that ends in .csv or .parquet")


def print_answer(rows: pa.Table, most: int, console: Console) -> None:
    """Print at most `most` rows as a table, and say so where there are more."""
    grid = Grid()
    for name in rows.column_names:
        grid.add_column(Text(clean(name)), overflow="fold")
    for row in rows.slice(0, most).to_pylist():
        grid.add_row(*(Text(_shown(value)) for value in row.values()))
    console.print(grid)
    if rows.num_rows > most:
        console.print(f"the first {most:,} rows; give --limit N for more, or --out FILE.csv for all")
    else:
        console.print(f"{rows.num_rows:,} rows")


def _tables_of(lake: Lake, query: str) -> dict[str, Frame]:
    """Name -> rows of each table that a query reads."""
    try:
        parsed = [tree for tree in sqlglot.parse(query, dialect=DIALECT) if tree is not None]
    except SqlglotError as error:
        raise UserError(f"this is no SQL: {_first_line(error)}") from None
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise UserError("give one SELECT; tables are only read here, never changed")
    own = {cte.alias_or_name for cte in parsed[0].find_all(exp.CTE)}
    found: dict[str, Frame] = {}
    for table in parsed[0].find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or (not table.db and table.name in own):
            continue  # a function such as range(10), or a WITH of the query
        frame = live_frame if table.db.lower() == LIVE else history_frame
        plain = {one for one in tables_there(lake) if keeps_history(table_named(lake, one))}
        if table.catalog or (frame is history_frame and (table.db or table.name not in plain)):
            there = ", ".join([*(f"{LIVE}.{one}" for one in tables_there(lake)), *sorted(plain)])
            raise UserError(f"the query reads {table.sql(DIALECT)}; tables to read are: {there}")
        name = table_named(lake, table.name).name
        if found.setdefault(name, frame) is not frame:
            raise UserError(f"the query reads {name} and {LIVE}.{name}; read one of them, and choose nights by as_of")
    return found


def _without_schema(query: str) -> str:
    """The query with the names of the session's views: `live.` is left out."""
    tokens, kept, at = sqlglot.tokenize(query, dialect=DIALECT), [], 0
    for one, following in pairwise(tokens):
        if one.text.lower() == LIVE and following.token_type == TokenType.DOT and one.token_type != TokenType.STRING:
            kept.append(query[at : one.start])
            at = following.end + 1
    return "".join([*kept, query[at:]])


def _first_line(error: Exception) -> str:
    lines = clean_lines(str(error))
    return lines[0][:300] if lines else type(error).__name__


def clean_lines(text: str) -> list[str]:
    """The lines of a text that are not empty, without control characters."""
    return [line for line in map(clean, text.splitlines()) if line]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if not pa.types.is_nested(column.type):
        return column
    texts = [
        None if value is None else json.dumps(value, default=str, ensure_ascii=False) for value in column.to_pylist()
    ]
    return pa.array(texts, pa.string())


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        value = ", ".join(_shown(each) for each in value)
    text = "" if value is None else clean(str(value))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
