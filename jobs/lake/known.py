"""Joins rows to what was live at the time of each, of the publications that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.live import Published, publications, readable
from jobs.lake.rows import arrow_schema
from jobs.lake.snapshot import Pick
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows

NIGHT, LIVE_SINCE = "night", "published_at"
"""Columns beside a table's own: the night as ISO date, and when its rows went live."""
AT = pa.timestamp("us", "UTC")


def known_at(
    lake: Lake, table: Table, keys: pa.Table, times: npt.NDArray[np.datetime64], columns: Sequence[str]
) -> pa.Table:
    """[n] `columns`, NIGHT and LIVE_SINCE of the row that was live for each of `keys` at its time.

    `keys` [n] has the table's key as texts, `times` [n] are UTC. A row is null where the key was not in the night that
    was live, and where nothing that is kept was live.
    """
    kept = [one for one in publications(lake) if one.at]
    at = _live_at(kept, times)
    found = [nothing(table, columns)]
    places, first = np.full(len(times), -1), 0
    for number in np.unique(at[at >= 0]):
        here = np.flatnonzero(at == number)
        wanted = keys.select(table.key).take(pa.array(here))
        rows = published_rows(lake, kept[number], table, [*columns, *table.key], wanted)
        place = _places(wanted, rows.select(table.key))
        places[here] = np.where(place < 0, -1, place + first)
        first += rows.num_rows
        found.append(rows.select([*columns, NIGHT, LIVE_SINCE]))
    return pa.concat_tables(found).take(pa.array(places, mask=places < 0))


def published_rows(
    lake: Lake, one: Published, table: Table, columns: Sequence[str], wanted: pa.Table | None = None
) -> pa.Table:
    """`columns`, the key, NIGHT and LIVE_SINCE of a publication's rows, in no particular order; none where they are not
    kept any more. With `wanted` of those keys, and of some that share their parts.
    """
    names = [*dict.fromkeys([*columns, *table.key])]
    if not readable(lake, one, (table,)):
        return nothing(table, names)
    snapshot = lake.at(one.versions).snapshot(table)
    picked = None if wanted is None else _pick(wanted)
    schema = pa.schema([snapshot.schema.field(name) for name in names])
    found = snapshot.batches(names, one.night, wanted=picked)
    rows = pa.Table.from_batches((batch.cast(schema) for batch in found if batch.num_rows), schema)
    rows = rows.append_column(NIGHT, pa.repeat(one.night.isoformat(), rows.num_rows))
    return rows.append_column(LIVE_SINCE, pa.repeat(pa.scalar(one.at, AT), rows.num_rows))


def live_between(lake: Lake, start: datetime | None, end: datetime | None) -> list[Published]:
    """The kept publications that went live from `start` to `end`, oldest first."""
    since, until = start or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC)
    return [one for one in publications(lake) if one.at and since <= one.at <= until]


def nothing(table: Table, columns: Sequence[str]) -> pa.Table:
    """No row of a table, with NIGHT and LIVE_SINCE."""
    own = [arrow_schema(table).field(name) for name in columns]
    return pa.schema([*own, (NIGHT, pa.string()), (LIVE_SINCE, AT)]).empty_table()


def _live_at(kept: Sequence[Published], times: npt.NDArray[np.datetime64]) -> Rows:
    """[n] the place of the publication that was live at each time; -1 where none that is kept was."""
    if not kept:
        return np.full(len(times), -1)
    since, until = (_instants([getattr(one, name) for one in kept]) for name in ("at", "until"))
    at = np.searchsorted(since, times, side="right") - 1
    replaced = ~np.isnat(until[at]) & (times >= until[at])
    return np.where(np.isnat(times) | replaced, -1, at)


def _instants(times: Sequence[datetime | None]) -> npt.NDArray[np.datetime64]:
    return np.array([np.datetime64("NaT") if t is None else t.replace(tzinfo=None) for t in times], "datetime64[us]")


def _pick(wanted: pa.Table) -> Pick:
    """Picks rows of which each part of the key is one of those that are wanted."""
    parts = {name: pc.unique(wanted[name]) for name in wanted.column_names}

    def picked(batch: pa.RecordBatch) -> BoolMask:
        there = np.ones(batch.num_rows, bool)
        for name, values in parts.items():
            texts = batch[name]
            if pa.types.is_dictionary(texts.type):
                found = pc.is_in(texts.dictionary, value_set=values).take(texts.indices)
            else:
                found = pc.is_in(texts, value_set=values)
            there &= np.asarray(pc.fill_null(found, False))
        return there

    return picked


def _places(wanted: pa.Table, keys: pa.Table) -> Rows:
    """[n] the place among `keys` of each wanted one, -1 where it is not there."""
    asked = wanted.append_column("asked", pa.array(np.arange(wanted.num_rows)))
    there = keys.append_column("there", pa.array(np.arange(keys.num_rows)))
    both = asked.join(there, keys=wanted.column_names, join_type="inner")
    places = np.full(wanted.num_rows, -1)
    places[np.asarray(both["asked"])] = np.asarray(both["there"])
    return places
