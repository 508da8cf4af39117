"""The events that a night's changed sequences are built from: what their customers had, and what came."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.lake import Lake, arrow_schema
from jobs.sequences_base import Base
from jobs.sequences_changes import COLUMNS, SCHEMA, Changes
from jobs.tables import CUSTOMER_SEQUENCES

STORED = ("customer_id", "product_ids", "event_types", "event_timestamps", "market", "event_ids", "bought", "bought_at")
MOST_CHANGED = 0.5
"""Changes since the last complete night as a share of it; above, reading them costs more than a complete night."""


@dataclass(frozen=True)
class Update:
    """What to build the changed customers' rows from."""

    events: DataFrame
    """Their events, of which the newest make the sequence."""
    purchases: DataFrame
    """Their purchases; of a product that was bought earlier at least the last one."""
    came: int
    """Events that are new since the base."""


def gather(lake: Lake, base: Base, changes: Changes | None, before: DataFrame, aside: Path) -> Update | str:
    """What the rows of the changed customers follow from, or in words why the night must be complete.

    `before` are all events before the night; they are read only for customers one of whose events went or was
    corrected. `aside` is a folder for what is read once.
    """
    came, gone = _kept_aside(lake, changes, aside)
    (touched, events_came), (lost, _) = _customers(came), _customers(gone)
    changed = pa.chunked_array([touched, lost.filter(pc.invert(pc.is_in(lost, touched)))]).combine_chunks()
    if base.changed + len(changed) > MOST_CHANGED * base.customers:
        return f"{base.changed + len(changed):,} rows changed since {base.since}"
    if not len(changed):  # a night must have a row to be there
        changed = _any_customer(lake, base)
    stored = _stored_rows(lake, base, changed.filter(pc.invert(pc.is_in(changed, lost))), aside)
    events = _events_of(stored)
    purchases = _purchases_of(stored)
    if gone is not None and len(lost):
        owners = gone.select("customer_id").distinct()
        rebuilt = before.select(*COLUMNS).join(owners, "customer_id", "left_semi")
        if rebuilt.select("customer_id").distinct().count() < len(lost):
            return "a customer has no event any more"
        came = came.join(owners, "customer_id", "left_anti")
        events, purchases = events.unionByName(rebuilt), purchases.unionByName(rebuilt)
    return Update(events.unionByName(came), purchases.unionByName(came), events_came)


def _kept_aside(lake: Lake, changes: Changes | None, aside: Path) -> tuple[DataFrame, DataFrame | None]:
    """Both sides of the changes; written where they are a difference, which is then computed once."""
    if changes is None:
        return lake.spark.createDataFrame([], SCHEMA), None
    if changes.gone is None:
        return changes.came, None
    return _written(lake, changes.came, aside / "came"), _written(lake, changes.gone, aside / "gone")


def _written(lake: Lake, frame: DataFrame, path: Path) -> DataFrame:
    frame.write.mode("overwrite").parquet(str(path))
    if not any(path.glob("*.parquet")):  # Sail writes nothing for a frame without rows
        return lake.spark.createDataFrame([], SCHEMA)
    return lake.spark.read.parquet(str(path))


def _customers(events: DataFrame | None) -> tuple[pa.Array, int]:
    """The customers of events, in id order, and how many events there are."""
    if events is None:
        return pa.array([], pa.string()), 0
    counted = events.groupBy("customer_id").count().toArrow().sort_by("customer_id")
    customers = counted["customer_id"].combine_chunks().cast(pa.string())
    return customers, pc.sum(counted["count"]).as_py() or 0


def _any_customer(lake: Lake, base: Base) -> pa.Array:
    """The first customer of the base's own rows."""
    rows = lake.dataset(CUSTOMER_SEQUENCES).to_table(
        columns=["customer_id"], filter=pc.field("as_of") == pa.scalar(base.night.as_of)
    )
    return rows.sort_by("customer_id").slice(0, 1)["customer_id"].combine_chunks()


def _stored_rows(lake: Lake, base: Base, customers: pa.Array, aside: Path) -> DataFrame:
    """The base's rows of some customers."""
    schema = pa.schema([arrow_schema(CUSTOMER_SEQUENCES).field(name) for name in STORED])
    path = aside / "stored.parquet"
    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        wanted = pc.field("customer_id").isin(customers)
        for batch in lake.batches(CUSTOMER_SEQUENCES, STORED, base.night.as_of, where=wanted):
            writer.write_batch(batch.cast(schema))
    return lake.spark.read.parquet(str(path))


def _events_of(rows: DataFrame) -> DataFrame:
    """The events in sequences, one a row. Only the last one's market is known, and only that of a last one counts."""
    arrays = F.arrays_zip("event_ids", "product_ids", "event_types", "event_timestamps")
    events = rows.select("customer_id", "market", F.size("event_ids").alias("length"), F.posexplode(arrays))
    return events.select(
        F.col("col.event_ids").alias("event_id"),
        "customer_id",
        F.col("col.product_ids").alias("product_id"),
        F.col("col.event_types").alias("event_type"),
        F.col("col.event_timestamps").alias("event_ts"),
        F.when(F.col("pos") == F.col("length") - 1, F.col("market")).alias("market"),
    )


def _purchases_of(rows: DataFrame) -> DataFrame:
    """The last purchase of each product that was ever bought, as events without an identity."""
    pairs = rows.where(F.col("bought").isNotNull()).select(
        "customer_id", F.explode(F.arrays_zip("bought", "bought_at")).alias("pair")
    )
    nothing = F.lit(None).cast("string")
    return pairs.select(
        nothing.alias("event_id"), "customer_id", F.col("pair.bought").alias("product_id"),
        F.lit("purchase").alias("event_type"), F.col("pair.bought_at").alias("event_ts"), nothing.alias("market"),
    )  # fmt: skip
