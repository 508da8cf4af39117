"""Reconciles a night's events with those of other nights: finds known, corrected, retracted and new ones.

Of several rows of one event_id, the one that the latest night read counts. The table `events` holds it, `corrected`
holds the rows that it replaced, each with the night that had read it. So a night that is run again first takes back
what it replaced, and a night that is run later for an earlier date changes nothing that a later night has read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.ingest.rules import EVENT_COLUMNS, KNOWN
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema, night
from jobs.run import Run
from jobs.tables.records import CORRECTED
from jobs.tables.shop import EVENTS

MANY_DAYS = 60
"""More days than these are looked up as one range: a superset of them in a shorter query."""


@dataclass(frozen=True)
class ReconciledEvents:
    """A night's validated rows, and the rows of other nights that they change."""

    rows: DataFrame
    """Validated rows; the reason is KNOWN where another night's row counts, `corrects` is true where it is replaced."""
    replaced: DataFrame
    """Rows of earlier nights that are corrected or retracted, with `first_as_of`; `there`: events still holds it."""
    restored: DataFrame
    """Rows that an earlier run of this night replaced, and this run does not."""
    kept: DataFrame
    """Rows of `corrected` that stay this night's, because a later night has read their events again."""

    @property
    def good(self) -> DataFrame:
        """The rows that the night adds to events, without its identity."""
        return self.rows.where(F.col("reason").isNull()).select(*EVENT_COLUMNS, "event_date")


def reconcile(lake: Lake, run: Run, validated: DataFrame, days: Iterable[date], scratch: Path) -> ReconciledEvents:
    """Compare validated events with the rows of other nights on those days; frames are staged below `scratch`."""
    of_days, mine = _of_days(days), lake.frame(CORRECTED).where(night(run.as_of))
    again = mine.limit(1).count() > 0
    if again:
        of_days |= _of_days(row["day"] for row in mine.select(F.to_date("event_ts").alias("day")).distinct().collect())
    known = _known(lake, run, of_days, mine if again else None)
    if not known.limit(1).count():  # a first night: its rows need no second copy
        nothing = lake.spark.createDataFrame([], validated.select(*EVENT_COLUMNS).schema).withColumns(
            {"first_as_of": F.lit(run.as_of), "there": F.lit(True)}
        )
        return ReconciledEvents(validated.withColumn("corrects", F.lit(False)), nothing, nothing, nothing.drop("there"))
    joined = validated.join(known, validated["event_id"] == known["old_id"], "left")
    same = F.lit(True)
    for name in EVENT_COLUMNS[1:]:
        same &= validated[name].eqNullSafe(F.col(f"old_{name}"))
    good, meets = F.col("reason").isNull(), F.col("old_id").isNotNull()
    rows = joined.select(
        *[validated[name] for name in validated.columns if name != "reason"],
        F.when(good & meets & (F.col("decided") | same), KNOWN).otherwise(F.col("reason")).alias("reason"),
        (good & meets & ~F.col("decided") & ~same).alias("corrects"),
    )
    staged = stage(lake, rows, scratch / EVENTS.name)
    kept_good = staged.where(F.col("reason").isNull() | (F.col("reason") == KNOWN)).select("event_id")
    retracting = staged.where("expected").select("event_id").join(kept_good, "event_id", "left_anti")
    changing = staged.where("corrects").select("event_id").union(retracting).distinct()
    open_rows = known.where(~F.col("decided")).select(
        F.col("old_id").alias("event_id"),
        *[F.col(f"old_{name}").alias(name) for name in EVENT_COLUMNS[1:]],
        "first_as_of",
        "there",
    )
    replaced = stage(lake, open_rows.join(changing, "event_id", "left_semi"), scratch / "replaced")
    restored = open_rows.where(~F.col("there")).join(changing, "event_id", "left_anti")
    decided = known.where("decided").select(F.col("old_id").alias("event_id"))
    kept = mine.select(*EVENT_COLUMNS, "first_as_of").join(decided, "event_id", "left_semi")
    return ReconciledEvents(
        staged, replaced, stage(lake, restored, scratch / "restored"), stage(lake, kept, scratch / "kept")
    )


def write_events(lake: Lake, run: Run, found: ReconciledEvents) -> None:
    """Replace the night's rows of events, and those of `corrected` that they replaced; equal rows are not written.

    A night that is cut short loses no row: one that leaves a table is in the other before.
    """
    columns = [*EVENT_COLUMNS, "first_as_of"]
    replaced = found.replaced.select(columns).unionByName(found.kept)
    restores = found.restored.limit(1).count() > 0
    there = lake.frame(CORRECTED).where(night(run.as_of)).select(columns)
    wanted = replaced.unionByName(found.restored.select(columns)) if restores else replaced
    if not equal_rows(there, wanted):
        lake.replace_frame(CORRECTED, wanted, run)
    _write_rows(lake, run, found)
    if restores:
        lake.replace_frame(CORRECTED, replaced, run)


def _write_rows(lake: Lake, run: Run, found: ReconciledEvents) -> None:
    events = lake.frame(EVENTS)
    own = _stamped(found.good, F.lit(run.as_of), run)
    gone = found.replaced.where("there")
    back = found.restored.withColumn("event_date", F.to_date("event_ts"))
    moved = gone.select(F.to_date("event_ts").alias("day")).union(back.select(F.col("event_date").alias("day")))
    days = sorted(row["day"] for row in moved.distinct().collect())
    if not days:
        if not equal_rows(events.where(night(run.as_of)), own):
            lake.replace_frame(EVENTS, found.good, run)
        return
    # Whole days are written anew, in one commit: a list of event_ids would be too long a predicate.
    stay = events.where(F.col("event_date").isin(days) & (F.col("as_of") != F.lit(run.as_of)))
    others = stay.join(gone.select("event_id"), "event_id", "left_anti").select(*EVENTS.names)
    rows = own.unionByName(others).unionByName(_stamped(back, F.col("first_as_of"), run))
    predicate = " OR ".join([night(run.as_of), *(f"event_date = '{day.isoformat()}'" for day in days)])
    lake.engine.replace(rows, lake.path(EVENTS), predicate, arrow_schema(EVENTS))


def _stamped(rows: DataFrame, as_of: Column, run: Run) -> DataFrame:
    identity = {"as_of": as_of, "run_id": F.lit(run.run_id)}
    return rows.withColumns(identity).select(
        *[F.col(column.name).cast(column.type.lower()).alias(column.name) for column in EVENTS.columns]
    )


def _known(lake: Lake, run: Run, of_days: Column, mine: DataFrame | None) -> DataFrame:
    """Rows of other nights, one an event_id: old_id, the other columns as old_NAME, `first_as_of`, `there` (in events)
    and `decided` (a later night has read it)."""
    others = lake.frame(EVENTS).where(of_days & (F.col("as_of") != F.lit(run.as_of)))
    known = others.select(
        F.col("event_id").alias("old_id"),
        *[F.col(name).alias(f"old_{name}") for name in EVENT_COLUMNS[1:]],
        F.col("as_of").alias("first_as_of"),
        F.lit(True).alias("there"),
        (F.col("as_of") > F.lit(run.as_of)).alias("decided"),
    )
    later = lake.frame(CORRECTED).where(F.col("as_of") > F.lit(run.as_of)).select(F.col("event_id").alias("later_id"))
    if mine is not None:
        back = mine.join(known.select("old_id"), mine["event_id"] == F.col("old_id"), "left_anti")
        known = known.unionByName(
            back.select(
                F.col("event_id").alias("old_id"),
                *[F.col(name).alias(f"old_{name}") for name in EVENT_COLUMNS[1:]],
                "first_as_of",
                F.lit(False).alias("there"),
                F.lit(False).alias("decided"),
            )
        )
    if not later.limit(1).count():
        return known
    both = known.join(later.distinct(), F.col("old_id") == F.col("later_id"), "full")
    decided = F.coalesce(F.col("decided"), F.lit(False)) | F.col("later_id").isNotNull()
    names = [name for name in known.columns if name not in ("old_id", "decided")]
    return both.select(F.coalesce("old_id", "later_id").alias("old_id"), *names, decided.alias("decided"))


def _of_days(days: Iterable[date]) -> Column:
    wanted = sorted(set(days))
    if not wanted:
        return F.lit(False)
    if len(wanted) > MANY_DAYS:
        return F.col("event_date").between(F.lit(wanted[0]), F.lit(wanted[-1]))
    return F.col("event_date").isin(wanted)


def equal_rows(left: DataFrame, right: DataFrame) -> bool:
    """Whether two frames without repeated rows hold the same rows."""
    names = left.columns
    if not left.limit(1).count():
        return not right.limit(1).count()
    return not left.subtract(right.select(names)).limit(1).count() and not (
        right.select(names).subtract(left).limit(1).count()
    )


def stage(lake: Lake, frame: DataFrame, folder: Path) -> DataFrame:
    """Write a frame as Parquet, and read it from there."""
    frame.write.mode("overwrite").parquet(str(folder))
    return read_staged(lake, folder, frame.schema)


def read_staged(lake: Lake, folder: Path, schema: StructType) -> DataFrame:
    """The staged rows of a folder."""
    if not any(folder.glob("*.parquet")):  # Sail writes nothing for a frame without rows
        return lake.spark.createDataFrame([], schema)
    return lake.spark.read.parquet(str(folder))
