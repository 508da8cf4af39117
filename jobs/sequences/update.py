"""The events that a night's changed sequences are built from: what their customers had, and what came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS

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


# Which earlier night of customer_sequences a night can be built on.

FACTS = ["as_of", "since", "events_version", "max_length"]
"""Columns that are the same in every row of a night."""


@dataclass(frozen=True)
class Night:
    """What a night of customer_sequences says about itself."""

    as_of: date
    since: date | None
    events_version: int | None
    """Delta version of events that its rows know; null in nights from before it was recorded."""
    max_length: int | None
    rows: int

    @property
    def complete(self) -> bool:
        """Whether it holds every customer."""
        return self.since in (None, self.as_of)


@dataclass(frozen=True)
class Base:
    """A night to build on, and how much was written since the last complete one."""

    night: Night
    since: date
    customers: int
    """Rows of the complete night."""
    changed: int
    """Rows of the nights after it, up to this one."""


def read_night(lake: Lake, as_of: date) -> Night | None:
    """What the night says about itself; None where it has no rows."""
    found = _read_base(lake, as_of, as_of)
    return found[0] if found else None


def find_base(lake: Lake, as_of: date, max_length: int, version: int) -> Base | str:
    """The newest night before `as_of`, or in words why a night of changes cannot be built on it.

    `version` is the Delta version of events now. The nights that a night's rows come from must not know more than
    the night itself: then its rows are those of one state of events, and what changed since can be told.
    """
    lake.create(CUSTOMER_SEQUENCES)
    earlier = [night for night in lake.nights(CUSTOMER_SEQUENCES) if night < as_of]
    if not earlier:
        return "there is no earlier night"
    newest = earlier[-1]
    chain = _read_base(lake, lake.since(CUSTOMER_SEQUENCES, newest), newest)
    if not chain or not chain[0].complete:
        return f"the complete night that {newest} refers to is not there"
    last = chain[-1]
    if any(night.max_length != max_length for night in chain):
        return f"max_length is {max_length} now"
    if last.events_version is None or last.events_version > version:
        return f"the night {newest} does not say which events it knows"
    if any((night.events_version or 0) > last.events_version for night in chain):
        return f"a night before {newest} was made again after it"
    return Base(last, chain[0].as_of, chain[0].rows, sum(night.rows for night in chain[1:]))


def _read_base(lake: Lake, first: date, last: date) -> list[Night]:
    nights = (pc.field("as_of") >= pc.scalar(first)) & (pc.field("as_of") <= pc.scalar(last))
    rows = lake.dataset(CUSTOMER_SEQUENCES).to_table(columns=FACTS, filter=nights)
    counted = rows.group_by(FACTS).aggregate([([], "count_all")])
    found = [
        Night(row["as_of"], row["since"], row["events_version"], row["max_length"], row["count_all"])
        for row in counted.to_pylist()
    ]
    return sorted(found, key=lambda night: night.as_of)


# Which events came or went between two states of the table events, read from the files that changed.

COLUMNS = ("event_id", "customer_id", "product_id", "event_type", "event_ts", "market")
"""What a sequence takes from an event; another price is no change."""
SCHEMA = "event_id STRING, customer_id STRING, product_id STRING, event_type STRING, event_ts TIMESTAMP, market STRING"


@dataclass(frozen=True)
class State:
    """What a night knows: the events before its midnight, in a Delta version of the table."""

    version: int
    as_of: date


@dataclass(frozen=True)
class Changes:
    """Events that one state has and the other has not; an event that was corrected is in both frames."""

    came: DataFrame
    gone: DataFrame | None
    """None where no file went, so that nothing can have."""


def changes_between(lake: Lake, old: State, new: State) -> Changes | None:
    """What changed from `old` to `new`; None where nothing did. Its cost follows the files that changed.

    Raises LookupError where the old state's files were cleaned up.
    """
    before, after = lake.files(EVENTS, old.version), lake.files(EVENTS, new.version)
    between = {path for path, values in after.items() if old.as_of <= values["event_date"] < new.as_of}
    added = (after.keys() - before.keys()) | between
    removed = before.keys() - after.keys()
    folder = lake.path(EVENTS)
    if any(not (folder / path).exists() for path in removed):
        raise LookupError("files of the events that the earlier night knew were cleaned up")
    if not added and not removed:
        return None
    came = _read_changes(lake, folder, added, new.as_of)
    if not removed:
        return Changes(came, None)
    gone = _read_changes(lake, folder, removed, old.as_of)
    return Changes(came.subtract(gone), gone.subtract(came))


def _read_changes(lake: Lake, folder: Path, paths: Iterable[str], before: date) -> DataFrame:
    files = [str(folder / path) for path in sorted(paths)]
    if not files:
        return lake.spark.createDataFrame([], SCHEMA)
    rows = lake.spark.read.parquet(*files).select(*COLUMNS)
    return rows.where(F.col("event_ts") < F.lit(before).cast("timestamp"))
