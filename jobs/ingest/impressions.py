"""Reconciles a night's impressions with those of other nights, and keeps those apart that no person can have seen."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ingest.events import equal_rows
from jobs.ingest.rules import KNOWN
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.run import Run
from jobs.tables.impressions import IMPRESSIONS


def counted(impressions: DataFrame, busy: DataFrame) -> DataFrame:
    """`counted`: false on the days of `busy` customers (`rules.busy_customers`)."""
    same = (F.col("customer_id") == F.col("busy_id")) & (F.col("shown_date") == F.col("busy_date"))
    found = F.broadcast(busy).join(impressions, same, "right")  # Sail holds the left side of a join in memory
    return found.withColumn("counted", F.col("busy_id").isNull()).drop("busy_id", "busy_date")


def without_known(lake: Lake, run: Run, impressions: DataFrame) -> DataFrame:
    """The impressions, with the reason KNOWN for good ones that another night has read."""
    if not lake.exists(IMPRESSIONS):
        return impressions
    days = [row["shown_date"] for row in impressions.where("reason IS NULL").select("shown_date").distinct().collect()]
    others = lake.frame(IMPRESSIONS).where(F.col("shown_date").isin(days) & (F.col("as_of") != F.lit(run.as_of)))
    if not days or not others.limit(1).count():
        return impressions
    known = others.select(F.col("impression_id").alias("known_id"))
    found = known.join(impressions, F.col("impression_id") == F.col("known_id"), "right")
    reason = F.coalesce("reason", F.when(F.col("known_id").isNotNull(), KNOWN))
    return found.withColumn("reason", reason).drop("known_id")


def write_impressions(lake: Lake, run: Run, impressions: DataFrame) -> None:
    """Replace the night's rows of impressions; equal ones are not written."""
    if lake.exists(IMPRESSIONS):
        there = lake.frame(IMPRESSIONS).where(night(run.as_of)).select("impression_id", "counted")
        if equal_rows(there, impressions.select("impression_id", "counted")):
            return
    lake.replace_frame(IMPRESSIONS, impressions, run)
