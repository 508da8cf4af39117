"""Customer sequences: the most recent events of every customer before the night."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.lake import Lake
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
    event = F.struct((-F.col("age")).alias("place"), "product_id", "event_type", "event_ts", "market", "event_id")
    grouped = recent.groupBy("customer_id").agg(F.array_sort(F.collect_list(event)).alias("history"))
    arrays = {"product_ids": "product_id", "event_types": "event_type", "event_timestamps": "event_ts",
              "event_ids": "event_id"}  # fmt: skip
    return grouped.select(
        "customer_id",
        *[F.transform("history", _field(name)).alias(array) for array, name in arrays.items()],
        F.element_at("history", -1)["event_ts"].alias("last_event_at"),
        F.element_at("history", -1)["market"].alias("market"),
    )


def _field(name: str) -> Callable[[Column], Column]:
    return lambda struct: struct[name]


def build_bought(events: DataFrame, before: datetime) -> DataFrame:
    """(customer_id, bought, bought_at) of each customer who bought before `before`: parallel, in order of product."""
    known = (F.col("event_type") == "purchase") & (F.col("event_ts") < F.lit(before.isoformat()).cast("timestamp"))
    last = events.where(known).groupBy("customer_id", "product_id").agg(F.max("event_ts").alias("at"))
    pairs = last.groupBy("customer_id").agg(F.array_sort(F.collect_list(F.struct("product_id", "at"))).alias("pairs"))
    return pairs.select(
        "customer_id",
        F.transform("pairs", lambda pair: pair["product_id"]).alias("bought"),
        F.transform("pairs", lambda pair: pair["at"]).alias("bought_at"),
    )


def execute(lake: Lake, run: Run, config: SequencesConfig) -> Counts:
    """Write customer_sequences of the night."""
    events = lake.frame(EVENTS)
    sequences = build_sequences(events, run.midnight, config.max_length)
    whole = sequences.join(build_bought(events, run.midnight), "customer_id", "left")
    lake.replace_frame(CUSTOMER_SEQUENCES, whole, run)
    rows_in = events.where(F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp")).count()
    rows_out = lake.count(CUSTOMER_SEQUENCES, run.as_of)
    if not rows_out:
        raise UserError(f"no customer has an event before {run.as_of}; ingest earlier days first")
    return Counts(rows_in, rows_out, note=f"{rows_out:,} customers from {rows_in:,} events")
