"""Finds the events from which a night builds the sequences of the customers that changed."""

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

STORED = (
    *("customer_id", "product_ids", "event_types", "event_timestamps", "market"),
    *("event_ids", "bought", "bought_at", "bought_sizes"),
)
MOST_CHANGED = 0.5
"""Greatest share of changed rows since the last complete night; above it, a complete night is cheaper."""


@dataclass(frozen=True)
class Update:
    """Events of the customers whose rows have to be built."""

    events: DataFrame
    """Their events, of which the newest make the sequence."""
    purchases: DataFrame
    """Their purchases, with at least the last one of each product."""
    added: int
    """Events added since the base night."""


def gather(lake: Lake, base: BaseNight, changes: EventChanges | None, before: DataFrame, staging: Path) -> Update | str:
    """The events of the changed customers, or the reason why the night must be complete.

    `before` are all events before the night; they are read only for customers of whom an event was deleted or
    corrected. `staging` is a folder for intermediate files.
    """
    added, deleted = _staged(lake, changes, staging)
    (touched, events_added), (lost, _) = _customers(added), _customers(deleted)
    changed = pa.chunked_array([touched, lost.filter(pc.invert(pc.is_in(lost, touched)))]).combine_chunks()
    if base.changed + len(changed) > MOST_CHANGED * base.customers:
        return f"{base.changed + len(changed):,} rows changed since {base.since}"
    if not len(changed):  # a night must have a row to be there
        changed = _any_customer(lake, base)
    stored = _stored_rows(lake, base, changed.filter(pc.invert(pc.is_in(changed, lost))), staging)
    events = _events_of(stored)
    purchases = _purchases_of(stored)
    if deleted is not None and len(lost):
        owners = deleted.select("customer_id").distinct()
        rebuilt = before.select(*COLUMNS).join(owners, "customer_id", "left_semi")
        if rebuilt.select("customer_id").distinct().count() < len(lost):
            return "a customer has no event any more"
        added = added.join(owners, "customer_id", "left_anti")
        events, purchases = events.unionByName(rebuilt), purchases.unionByName(rebuilt)
    return Update(events.unionByName(added), purchases.unionByName(added), events_added)


def _staged(lake: Lake, changes: EventChanges | None, staging: Path) -> tuple[DataFrame, DataFrame | None]:
    """(added, deleted) events; a difference is written to files, so that it is computed once."""
    if changes is None:
        return lake.spark.createDataFrame([], SCHEMA), None
    if changes.deleted is None:
        return changes.added, None
    return _written(lake, changes.added, staging / "added"), _written(lake, changes.deleted, staging / "deleted")


def _written(lake: Lake, frame: DataFrame, path: Path) -> DataFrame:
    frame.write.mode("overwrite").parquet(str(path))
    if not any(path.glob("*.parquet")):  # Sail writes no file for a frame without rows
        return lake.spark.createDataFrame([], SCHEMA)
    return lake.spark.read.parquet(str(path))


def _customers(events: DataFrame | None) -> tuple[pa.Array, int]:
    """The customers of events, in id order, and how many events there are."""
    if events is None:
        return pa.array([], pa.string()), 0
    counted = events.groupBy("customer_id").count().toArrow().sort_by("customer_id")
    customers = counted["customer_id"].combine_chunks().cast(pa.string())
    return customers, pc.sum(counted["count"]).as_py() or 0


def _any_customer(lake: Lake, base: BaseNight) -> pa.Array:
    """The first customer of the base night's own rows."""
    rows = lake.dataset(CUSTOMER_SEQUENCES).to_table(
        columns=["customer_id"], filter=pc.field("as_of") == pa.scalar(base.night.as_of)
    )
    return rows.sort_by("customer_id").slice(0, 1)["customer_id"].combine_chunks()


def _stored_rows(lake: Lake, base: BaseNight, customers: pa.Array, staging: Path) -> DataFrame:
    """The base's rows of some customers."""
    schema = pa.schema([arrow_schema(CUSTOMER_SEQUENCES).field(name) for name in STORED])
    path = staging / "stored.parquet"
    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        wanted = pc.field("customer_id").isin(customers)
        for batch in lake.batches(CUSTOMER_SEQUENCES, STORED, base.night.as_of, where=wanted):
            writer.write_batch(batch.cast(schema))
    return lake.spark.read.parquet(str(path))


def _events_of(rows: DataFrame) -> DataFrame:
    """The events in sequences, one a row. Only the last one has its market, the only one that a sequence needs."""
    arrays = F.arrays_zip("event_ids", "product_ids", "event_types", "event_timestamps")
    events = rows.select("customer_id", "market", F.size("event_ids").alias("length"), F.posexplode(arrays))
    return events.select(
        F.col("col.event_ids").alias("event_id"),
        "customer_id",
        F.col("col.product_ids").alias("product_id"),
        F.col("col.event_types").alias("event_type"),
        F.col("col.event_timestamps").alias("event_ts"),
        F.when(F.col("pos") == F.col("length") - 1, F.col("market")).alias("market"),
        F.lit(None).cast("string").alias("size"),
    )


def _purchases_of(rows: DataFrame) -> DataFrame:
    """The last purchase of each product that a customer ever bought, as events without an event_id."""
    nothing = F.lit(None).cast("string")
    sizes = F.coalesce("bought_sizes", F.transform("bought", lambda _: nothing)).alias("bought_sizes")
    whole = rows.where(F.col("bought").isNotNull()).select("customer_id", "bought", "bought_at", sizes)
    zipped = F.explode(F.arrays_zip("bought", "bought_at", "bought_sizes"))
    pairs = whole.select("customer_id", zipped.alias("pair"))
    return pairs.select(
        nothing.alias("event_id"),
        "customer_id",
        F.col("pair.bought").alias("product_id"),
        F.lit("purchase").alias("event_type"),
        F.col("pair.bought_at").alias("event_ts"),
        nothing.alias("market"),
        F.col("pair.bought_sizes").alias("size"),
    )


# The earlier night of customer_sequences to build on.

FACTS = ["as_of", "since", "events_version", "max_length"]
"""Columns that are the same in every row of a night."""


@dataclass(frozen=True)
class SequencesNight:
    """One night of customer_sequences."""

    as_of: date
    since: date | None
    events_version: int | None
    """Delta version of events that its rows reflect; null in nights of code that did not record it."""
    max_length: int | None
    rows: int

    @property
    def complete(self) -> bool:
        """Whether it holds every customer."""
        return self.since in (None, self.as_of)


@dataclass(frozen=True)
class BaseNight:
    """A night to build on, and the rows written since the last complete one."""

    night: SequencesNight
    since: date
    customers: int
    """Rows of the complete night."""
    changed: int
    """Rows of the nights after it, up to this one."""


def read_night(lake: Lake, as_of: date) -> SequencesNight | None:
    """The facts of a night; None where it has no rows."""
    found = _read_base(lake, as_of, as_of)
    return found[0] if found else None


def find_base(lake: Lake, as_of: date, max_length: int, version: int) -> BaseNight | str:
    """The newest night before `as_of`, or the reason why a night of changes cannot be built on it.

    `version` is the Delta version of events now. No night that the newest one takes rows from may reflect a later
    version than itself: only then do all rows belong to one state of events, to which changes can be added.
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
        return f"the night {newest} does not record its version of events"
    if any((night.events_version or 0) > last.events_version for night in chain):
        return f"a night before {newest} was run again after it"
    return BaseNight(last, chain[0].as_of, chain[0].rows, sum(night.rows for night in chain[1:]))


def _read_base(lake: Lake, first: date, last: date) -> list[SequencesNight]:
    nights = (pc.field("as_of") >= pc.scalar(first)) & (pc.field("as_of") <= pc.scalar(last))
    rows = lake.dataset(CUSTOMER_SEQUENCES).to_table(columns=FACTS, filter=nights)
    counted = rows.group_by(FACTS).aggregate([([], "count_all")])
    found = [
        SequencesNight(row["as_of"], row["since"], row["events_version"], row["max_length"], row["count_all"])
        for row in counted.to_pylist()
    ]
    return sorted(found, key=lambda night: night.as_of)


# Events added or deleted between two states of the table events, read from the files that changed.

COLUMNS = ("event_id", "customer_id", "product_id", "event_type", "event_ts", "market", "size")
"""Columns of an event that a sequence uses; a change of any other is ignored."""
SCHEMA = ", ".join(f"{name} {'TIMESTAMP' if name == 'event_ts' else 'STRING'}" for name in COLUMNS)


@dataclass(frozen=True)
class EventsState:
    """The events before a night's midnight, in one Delta version of the table."""

    version: int
    as_of: date


@dataclass(frozen=True)
class EventChanges:
    """Events that only one of two states has; a corrected event is in both frames."""

    added: DataFrame
    deleted: DataFrame | None
    """None where no file was removed, so that no event can have been."""


def changes_between(lake: Lake, old: EventsState, new: EventsState) -> EventChanges | None:
    """The changes from `old` to `new`; None where there are none. The cost follows the files that changed.

    Raises LookupError where files of the old state were vacuumed.
    """
    before, after = lake.files(EVENTS, old.version), lake.files(EVENTS, new.version)
    between = {path for path, values in after.items() if old.as_of <= values["event_date"] < new.as_of}
    new_files = (after.keys() - before.keys()) | between
    removed = before.keys() - after.keys()
    folder = lake.path(EVENTS)
    if any(not (folder / path).exists() for path in removed):
        raise LookupError("files of events that the earlier night was built from were vacuumed")
    if not new_files and not removed:
        return None
    added = _read_changes(lake, folder, new_files, new.as_of)
    if not removed:
        return EventChanges(added, None)
    deleted = _read_changes(lake, folder, removed, old.as_of)
    return EventChanges(added.subtract(deleted), deleted.subtract(added))


def _read_changes(lake: Lake, folder: Path, paths: Iterable[str], before: date) -> DataFrame:
    files = [str(folder / path) for path in sorted(paths)]
    if not files:
        return lake.spark.createDataFrame([], SCHEMA)
    rows = lake.spark.read.schema(SCHEMA).parquet(*files)  # older code wrote files without some columns
    return rows.where(F.col("event_ts") < F.lit(before).cast("timestamp"))
