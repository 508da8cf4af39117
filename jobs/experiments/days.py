"""Sums what each customer was shown on a day, and what came of it, once a day whose outcomes are new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.experiments import CUSTOMER_DAYS
from jobs.tables.impressions import OUTCOMES
from jobs.tables.table import Table
from models.arrays import Rows
from models.digests import of_texts

SUMS = ("impressions", "clicks", "saves", "bags", "purchases", "revenue")
"""Columns of CUSTOMER_DAYS that are sums."""
OF = ("last_clicked", "last_saved", "last_bagged", "last_bought")
"""Columns of OUTCOMES that clicks, saves, bags and purchases count."""
BATCH_ROWS = 1 << 18
HELD_ROWS = 2 << 20
"""Rows of partial sums, at least, that are held before they are summed up."""


def update_days(lake: Lake, run: Run) -> None:
    """Sum up the days before the night whose outcomes are newer than their sums."""
    there = newest_nights(lake, CUSTOMER_DAYS)
    for day, night in sorted(newest_nights(lake, OUTCOMES).items()):
        known = there.get(day)
        if day < run.as_of and (known is None or known < night or night >= run.as_of):
            lake.replace(CUSTOMER_DAYS, _sums_of(lake, day), run, where=f"shown_date = '{day.isoformat()}'")


def newest_nights(lake: Lake, table: Table) -> dict[date, date]:
    """Day -> the night that wrote it, of a table whose days are written whole; none where it was never written."""
    if not lake.exists(table):
        return {}
    files = lake.files(table, lake.version(table)).values()
    data, found = lake.dataset(table), {}
    for day in {values["shown_date"] for values in files}:
        first = data.head(1, columns=["as_of"], filter=pc.field("shown_date") == pa.scalar(day))
        if len(first):
            found[day] = first["as_of"][0].as_py()
    return found


def summed(batches: Iterable[pa.RecordBatch], keys: Sequence[str]) -> pa.Table:
    """The columns SUMS of the batches, summed by the keys, in the order of these."""
    held: list[pa.Table] = []
    for batch in batches:
        held.append(_grouped(pa.Table.from_batches([batch]), keys))
        new = sum(len(part) for part in held[1:])
        if new > max(HELD_ROWS, len(held[0])):  # seldom, also where there are more keys than that
            held = [_grouped(pa.concat_tables(held), keys)]
    kinds = [pa.field(name, pa.int64() if name == "customer" else pa.string()) for name in keys]
    kinds += [pa.field(name, pa.float64()) for name in SUMS]
    rows = _grouped(pa.concat_tables(held), keys) if held else pa.schema(kinds).empty_table()
    return rows.sort_by([(key, "ascending") for key in keys])


def _grouped(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    # In one thread, since the sums of floats depend on their order.
    found = rows.group_by(list(keys), use_threads=False).aggregate([(name, "sum") for name in SUMS])
    return found.select([*keys, *(f"{name}_sum" for name in SUMS)]).rename_columns([*keys, *SUMS])


def _sums_of(lake: Lake, day: date) -> pa.Table:
    keys = ("customer_id", "market", "variant")
    columns, where = [*keys, *OF, "last_revenue"], pc.field("shown_date") == pa.scalar(day)
    rows = summed(map(_counted, lake.batches(OUTCOMES, columns, rows=BATCH_ROWS, where=where)), keys)
    return rows.append_column("shown_date", pa.repeat(pa.scalar(day, pa.date32()), len(rows)))


def _counted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Outcomes as numbers: 1 for each impression, and for each that is the last touch of a click, a save, .."""
    numbers: list[pa.Array] = [pa.repeat(pa.scalar(1, pa.int64()), batch.num_rows)]
    numbers += [batch[name].cast(pa.int64()) for name in OF]
    numbers.append(pc.fill_null(batch["last_revenue"], 0.0))
    keys = [batch[name] for name in ("customer_id", "market", "variant")]
    return pa.RecordBatch.from_arrays([*keys, *numbers], ["customer_id", "market", "variant", *SUMS])


def batches_between(lake: Lake, first: date, last: date, variants: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The rows of CUSTOMER_DAYS of some days, of all variants or of some, with `customer_numbers` for the ids."""
    day = pc.field("shown_date")
    where = (day >= pa.scalar(first)) & (day <= pa.scalar(last))
    if variants is not None:
        where &= pc.field("variant").isin(pa.array(variants, pa.string()))
    columns = ("customer_id", "market", "variant", *SUMS)
    for batch in lake.batches(CUSTOMER_DAYS, columns, rows=BATCH_ROWS, where=where):
        numbers = pa.array(customer_numbers(batch["customer_id"]))
        yield pa.RecordBatch.from_arrays([numbers, *batch.columns[1:]], ["customer", *columns[1:]])


def customer_numbers(ids: pa.Array) -> Rows:
    """[ids] a digest of each customer, faster to group by and smaller than an id; customers with equal ones are one."""
    return of_texts(ids)[:, 0].view(np.int64) if len(ids) else np.zeros(0, np.int64)
