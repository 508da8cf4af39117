"""Knows what was published and what is live: every reader of published rows asks here.

A step of the live night that runs again replaces rows of tables; the rows that were published stay in the Delta
version that `published` names until another publication.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import UserError
from jobs.lake.changes import unchanged
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, matching
from jobs.lake.rows import arrow_schema
from jobs.lake.storage import place
from jobs.tables.records import GATES, PUBLISHED
from jobs.tables.shop import ALL, MARKET_RANKING, RULE_EFFECTS
from jobs.tables.table import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


OF_A_NIGHT = (RULE_EFFECTS, GATES)
"""Tables that keep the history of all nights, and are published with each."""


@dataclass(frozen=True)
class Published:
    """One publication of a night."""

    night: date
    run_id: str
    """The run that made its lists."""
    at: datetime | None
    """UTC; None where older code did not say."""
    until: datetime | None
    """When another publication took its place, UTC; None while it is live."""
    live: bool
    versions: Mapping[str, int]
    """Delta version of each table that has the published rows, by name; tables that are not named are as published."""


def publications(lake: Lake) -> list[Published]:
    """The publications that are kept, oldest first; the live one is among them, and need not be the last."""
    found: dict[datetime | None, list[StoredRow]] = {}
    for row in publication_rows(lake):
        found.setdefault(row["published_at"], []).append(row)
    following = [*found, None][1:]  # older code did not say when another one took its place
    return [
        Published(
            rows[0]["as_of"],
            next((row for row in rows if row["surface"] == MARKET_RANKING.name), rows[0])["run_id"],
            at,
            None if rows[0]["live"] else rows[0]["replaced_at"] or after,
            rows[0]["live"],
            {row["surface"]: row["table_version"] for row in rows if row["table_version"] is not None},
        )
        for (at, rows), after in zip(found.items(), following, strict=True)
    ]


def publication_rows(lake: Lake) -> list[StoredRow]:
    """The rows of `published`, oldest first; of older code all are live."""
    if not lake.exists(PUBLISHED):
        return []
    there = lake.dataset(PUBLISHED).schema.names
    rows = matching(lake, PUBLISHED, [name for name in PUBLISHED.names if name in there], Wanted())
    return [{**dict.fromkeys(PUBLISHED.names), **row, "live": row.get("live") is not False} for row in rows]


def publication(lake: Lake) -> Published | None:
    """What is live; None where nothing was published yet."""
    return next((one for one in publications(lake) if one.live), None)


def live_night(lake: Lake) -> date | None:
    """The night that is live, if any."""
    found = publication(lake)
    return found.night if found else None


def staged_since(lake: Lake, one: Published) -> list[str]:
    """Names of the tables whose rows of the published night were replaced after the publication."""
    tables = [table for table in ALL if table.name in one.versions and lake.exists(table)]
    return [table.name for table in tables if not unchanged(lake, table, one.versions[table.name], one.night)]


def keep_up(lake: Lake, nights: Collection[date] | None = None, newest: bool = False) -> None:
    """Let `published` name the newest version of each table that still has the published rows, so that older ones can
    be deleted, and drop publications that are neither live nor of one of `nights`, if these are given.

    With `newest`, that version is not named but said to be the newest, whatever is written next: call it again then.
    """
    rows = publication_rows(lake)
    by_name = {table.name: table for table in ALL if lake.exists(table)}
    kept = []
    for row in rows:
        table, version = by_name.get(row["surface"]), row["table_version"]
        if nights is not None and not row["live"] and row["as_of"] not in nights:
            continue
        if table and (version is None or unchanged(lake, table, version, row["as_of"])):
            version = None if newest else lake.version(table)
        kept.append(row | {"table_version": version})
    if kept != rows:
        lake.overwrite(PUBLISHED, pa.Table.from_pylist(kept, schema=arrow_schema(PUBLISHED)))


def live_lake(lake: Lake) -> Lake:
    """The lake as it was published: its tables have the live night's rows as services see them.

    Raises UserError where nothing is live; so does reading a table whose published rows are not there any more.
    """
    one = publication(lake)
    if one is None:
        raise UserError(f"nothing is live in {lake.root} yet; publish a night first (`python -m jobs night`)")
    return lake.at(one.versions)


def readable(lake: Lake, one: Published, tables: Collection[Table] = ALL) -> bool:
    """Whether the published rows of every one of `tables` are still there."""
    try:
        return all(lake.delta(table, one.versions[table.name]) for table in tables if table.name in one.versions)
    except LookupError:
        return False


def compared_with(lake: Lake) -> Published | None:
    """What is live, for gates to compare with: where its rows cannot be read any more, the night as tables have it."""
    one = publication(lake)
    return one if one is None or readable(lake, one) else replace(one, versions={})


def live_table(
    root: str | Path, name: str, columns: Iterable[str] | None = None, where: pc.Expression | None = None
) -> pa.Table:
    """The live rows of the table `name` of the lake at `root`, in key order.

    `columns` are all by default; `where` is an Arrow expression over any of the table's columns. Tables of a night's
    rows have those of the night that is live, at the Delta version that was published. Tables that record history
    (`keeps_history`) have all rows; of `gates` and `rule_effects`, which are both, the live night's.

    Raises UserError where nothing was published yet, and for a table or column that is not there.
    """
    lake = Lake(place(root))
    table = table_named(lake, name)
    lake, as_of = _live_rows(lake, table)
    snapshot = lake.snapshot(table)
    there = set(snapshot.data.schema.names)
    names = [known for known in table.names if known in there] if columns is None else list(columns)
    if unknown := [one for one in names if one not in there]:
        raise UserError(f"{name} has no column {unknown[0]}; it has {', '.join(snapshot.data.schema.names)}")
    read = [*dict.fromkeys([*names, *table.key])]
    found = list(snapshot.batches(read, as_of, where=where))
    schema = pa.schema([snapshot.schema.field(column) for column in read])
    rows = pa.Table.from_batches([batch.cast(schema) for batch in found if batch.num_rows], schema)
    return rows.sort_by([(key, "ascending") for key in table.key] or [(names[0], "ascending")]).select(names)


def live_frame(lake: Lake, table: Table) -> DataFrame:
    """The rows of `live_table` as a frame of the lake's engine; registers the stored rows as a view of the session."""
    lake, as_of = _live_rows(lake, table)
    return lake.at({table.name: lake.version(table)}).frame(table, as_of)


def history_frame(lake: Lake, table: Table) -> DataFrame:
    """All rows of a table that `keeps_history`, likewise."""
    return lake.at({table.name: lake.version(table)}).frame(table)


def keeps_history(table: Table) -> bool:
    """Whether rows of a table are read without asking what was published: events, ledgers and figures of all nights."""
    return table.partition != ("as_of",)


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


def _live_rows(lake: Lake, table: Table) -> tuple[Lake, date | None]:
    """(the lake that has the table's live rows, the night they are of); no night for a table that records history."""
    if keeps_history(table) and table not in OF_A_NIGHT:
        return lake, None
    return live_lake(lake), live_night(lake)
