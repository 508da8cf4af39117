"""Customer sequences: the most recent events of every customer before the night."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.lake import Lake, night
from jobs.run import Counts, Run
from jobs.tables import CUSTOMER_SEQUENCES, EVENTS


@dataclass(frozen=True)
class SequencesConfig:
    """How much history a customer keeps."""

    max_length: int = 100
    """Most recent events kept per customer."""

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise UserError(f"max_length = {self.max_length} keeps no event; use at least 1")


def build_sequences(events: DataFrame, before: datetime, max_length: int) -> DataFrame:
    """One row a customer with events strictly before `before`: parallel arrays, oldest event first.

    Events at equal times keep the order of their event_id, which no product id influences.
    """
    newest_first = Window.partitionBy("customer_id").orderBy(F.col("event_ts").desc(), F.col("event_id").desc())
    recent = (
        events.where(F.col("event_ts") < F.lit(before.isoformat()).cast("timestamp"))
        .withColumn("age", F.row_number().over(newest_first))
        .where(F.col("age") <= max_length)
    )
    event = F.struct((-F.col("age")).alias("place"), "product_id", "event_type", "event_ts", "market")
    grouped = recent.groupBy("customer_id").agg(F.array_sort(F.collect_list(event)).alias("history"))
    return grouped.select(
        "customer_id",
        F.transform("history", lambda e: e["product_id"]).alias("product_ids"),
        F.transform("history", lambda e: e["event_type"]).alias("event_types"),
        F.transform("history", lambda e: e["event_ts"]).alias("event_timestamps"),
        F.element_at("history", -1)["event_ts"].alias("last_event_at"),
        F.element_at("history", -1)["market"].alias("market"),
    )


def execute(lake: Lake, run: Run, config: SequencesConfig) -> Counts:
    """Write customer_sequences of the night."""
    events = lake.frame(EVENTS)
    lake.replace_frame(CUSTOMER_SEQUENCES, build_sequences(events, run.midnight, config.max_length), run)
    rows_in = events.where(F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp")).count()
    rows_out = lake.frame(CUSTOMER_SEQUENCES, night(run.as_of)).count()
    if not rows_out:
        raise UserError(f"no customer has an event before {run.as_of}; ingest earlier days first")
    return Counts(rows_in, rows_out, note=f"{rows_out:,} customers from {rows_in:,} events")
