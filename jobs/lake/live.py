"""Reads what is live: the rows of every table that were published, never those that were staged since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.lake.snapshot import Snapshot
from jobs.lake.storage import place
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import ALL
from jobs.tables.table import Table, newest_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Published:
    """The night that is live."""

    night: date
    versions: Mapping[str, int]
    """Delta version of each published table, by name, as it was when it was published."""


def publication(lake: Lake) -> Published | None:
    """What is live; None where nothing was published yet."""
    rows = lake.arrow(PUBLISHED, ("surface", "as_of", "table_version")).to_pylist()
    versions = {row["surface"]: row["table_version"] for row in rows if row["table_version"] is not None}
    return Published(rows[0]["as_of"], versions) if rows else None


def live_night(lake: Lake) -> date | None:
    """The night that is live, if any."""
    found = publication(lake)
    return found.night if found else None


def live_table(
    root: str | Path, name: str, columns: Iterable[str] | None = None, where: pc.Expression | None = None
) -> pa.Table:
    """The live rows of the table `name` of the lake at `root`, in key order.

    `columns` are all by default; `where` is an Arrow expression over any of the table's columns. Tables with a row or
    partition for each night have those of the night that is live: published ones at the Delta version that was
    published, others (catalogue, availability) as they are now. Tables that record history have all rows.

    Raises UserError where nothing was published yet, and for a table or column that is not there.
    """
    lake = Lake(place(root))
    snapshot, as_of = _live_snapshot(lake, table_named(lake, name))
    table, there = snapshot.table, set(snapshot.data.schema.names)
    names = [known for known in table.names if known in there] if columns is None else list(columns)
    if unknown := [one for one in names if one not in there]:
        raise UserError(f"{name} has no column {unknown[0]}; it has {', '.join(snapshot.data.schema.names)}")
    found = list(snapshot.batches([*dict.fromkeys([*names, *table.key])], as_of, where=where))
    schema = pa.schema([snapshot.schema.field(column) for column in dict.fromkeys([*names, *table.key])])
    read = pa.Table.from_batches([batch.cast(schema) for batch in found if batch.num_rows], schema)
    return read.sort_by([(key, "ascending") for key in table.key] or [(names[0], "ascending")]).select(names)


def live_frame(lake: Lake, table: Table) -> DataFrame:
    """The rows of `live_table` as a frame of the lake's engine; registers the stored rows as a view of the session."""
    snapshot, as_of = _live_snapshot(lake, table)
    reader = lake.spark.read.format("delta").option("versionAsOf", str(snapshot.delta.version()))
    frame = reader.load(str(lake.path(table)))
    if as_of is None:
        return frame
    since = snapshot.since(as_of)
    if since == as_of:
        return frame.where(night(as_of))
    frame.where(f"as_of BETWEEN '{since}' AND '{as_of}'").createOrReplaceTempView(f"stored_{table.name}")
    return lake.spark.sql(newest_rows(table, f"SELECT * FROM stored_{table.name}", frame.columns))  # noqa: S608


def tables_there(lake: Lake) -> list[str]:
    """Names of the tables that were written."""
    return [table.name for table in ALL if lake.exists(table)]


def table_named(lake: Lake, name: str) -> Table:
    """The table of that name; raises UserError where the lake has none."""
    found = next((table for table in ALL if table.name == name), None)
    if found is None or not lake.exists(found):
        there = ", ".join(tables_there(lake)) or "none; run `python -m jobs night` first"
        raise UserError(f"{lake.root} has no table {name!r}; its tables are: {there}")
    return found


def _live_snapshot(lake: Lake, table: Table) -> tuple[Snapshot, date | None]:
    """(the table at its live version, the night whose rows are live); no night for a table that records history."""
    if table.partition != ("as_of",):
        return lake.snapshot(table), None
    live = publication(lake) if lake.exists(PUBLISHED) else None
    if live is None:
        raise UserError(f"nothing is live in {lake.root} yet; publish a night first (`python -m jobs night`)")
    try:
        return lake.snapshot(table, live.versions.get(table.name)), live.night
    except LookupError as error:
        raise UserError(f"{error}, so what was published of it cannot be read; publish the night again") from None
