"""Builds the sequence of the most recent events of every customer before the night."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import PositiveInt
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.storage import emptied
from jobs.run import Counts, Run
from jobs.sequences.update import (
    BaseNight,
    EventsState,
    SequencesNight,
    Update,
    changes_between,
    find_base,
    gather,
    read_night,
)
from jobs.settings import StepSettings
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS

DIGITS = 20
"""Digits of microseconds since 1970."""
LONGEST_SIZE = 200
"""Characters of a size, as ingest reads it."""


@dataclass(frozen=True)
class SequencesConfig(StepSettings):
    """Length of customer sequences."""

    max_length: PositiveInt = 100
    """Most recent events kept per customer."""


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
    arrays = {
        "product_ids": "product_id",
        "event_types": "event_type",
        "event_timestamps": "event_ts",
        "event_ids": "event_id",
    }
    return grouped.select(
        "customer_id",
        *[F.transform("history", _field(name)).alias(array) for array, name in arrays.items()],
        F.element_at("history", -1)["event_ts"].alias("last_event_at"),
        F.element_at("history", -1)["market"].alias("market"),
    )


def _field(name: str) -> Callable[[Column], Column]:
    return lambda struct: struct[name]


def build_bought(events: DataFrame, before: datetime) -> DataFrame:
    """(customer_id, bought, bought_at, bought_sizes) of each customer who bought before `before`: parallel, in order of
    product. Of several sizes bought at one time the last in text order counts.
    """
    known = (F.col("event_type") == "purchase") & (F.col("event_ts") < F.lit(before.isoformat()).cast("timestamp"))
    # Texts alone are aggregated, and for sized purchases alone: a struct would hold much more memory.
    instant = F.lpad(F.unix_micros("event_ts").cast("string"), DIGITS, "0")
    sized = F.max(F.when(F.col("size").isNotNull(), F.concat(instant, F.col("size"))))
    last = (
        events.where(known)
        .groupBy("customer_id", "product_id")
        .agg(F.max("event_ts").alias("at"), sized.alias("sized"))
        .withColumn("last_sized", F.substring("sized", 1, DIGITS).cast("bigint") == F.unix_micros("at"))
        .withColumn("size", F.when(F.col("last_sized"), F.substring("sized", DIGITS + 1, LONGEST_SIZE)))
    )
    pair = F.struct("product_id", "at", "size")
    pairs = last.groupBy("customer_id").agg(
        F.array_sort(F.collect_list(pair)).alias("pairs"), F.count("size").alias("n")
    )
    return pairs.select(
        "customer_id",
        F.transform("pairs", _field("product_id")).alias("bought"),
        F.transform("pairs", _field("at")).alias("bought_at"),
        F.when(F.col("n") > 0, F.transform("pairs", _field("size"))).alias("bought_sizes"),
    )


def execute(lake: Lake, run: Run, config: SequencesConfig) -> Counts:
    """Write customer_sequences of the night: the customers that changed since an earlier night, or all of them."""
    lake.create(EVENTS)
    version = lake.version(EVENTS)
    before = lake.frame(EVENTS).where(F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp"))
    there = read_night(lake, run.as_of) if lake.exists(CUSTOMER_SEQUENCES) else None
    with emptied(lake.root / ".sequences") as staging:
        base, update = _plan(lake, run, config, there, version, before, staging)
        known = _known_version(lake, run, there, base, version)
        events, purchases = (update.events, update.purchases) if isinstance(update, Update) else (before, before)
        sequences = build_sequences(events, run.midnight, config.max_length)
        rows = sequences.join(build_bought(purchases, run.midnight), "customer_id", "left").withColumns(
            {"events_version": F.lit(known), "max_length": F.lit(config.max_length)}
        )
        lake.replace_frame(CUSTOMER_SEQUENCES, rows, run, base.since if base else None)
    written = read_night(lake, run.as_of)
    if written is None:
        raise UserError(f"no customer has an event before {run.as_of}; ingest earlier days first")
    if base and isinstance(update, Update):
        note = f"{written.rows:,} customers changed by {update.added:,} events since {base.night.as_of}"
        return Counts(update.added, written.rows, note=note)
    rows_in = before.count()
    return Counts(rows_in, written.rows, note=f"{written.rows:,} customers from {rows_in:,} events, all: {update}")


def _plan(
    lake: Lake,
    run: Run,
    config: SequencesConfig,
    there: SequencesNight | None,
    version: int,
    before: DataFrame,
    staging: Path,
) -> tuple[BaseNight | None, Update | str]:
    """(base night, what to add to it), or (None, the reason why the rows of all customers are built)."""
    if there and there.complete:  # later nights may refer to it
        return None, "the night is complete"
    base = find_base(lake, run.as_of, config.max_length, version)
    if isinstance(base, str):
        return None, base
    assert base.night.events_version is not None
    try:
        changes = changes_between(
            lake, EventsState(base.night.events_version, base.night.as_of), EventsState(version, run.as_of)
        )
    except LookupError as error:
        return None, str(error)
    update = gather(lake, base, changes, before, staging)
    return (base, update) if isinstance(update, Update) else (None, update)


def _known_version(lake: Lake, run: Run, there: SequencesNight | None, base: BaseNight | None, version: int) -> int:
    """Version of events that the rows reflect: the recorded one, if no event before the night changed since.

    So a night that is run again gives an equal table, even after later nights have added events.
    """
    recorded = there.events_version if there else None
    if recorded is None or recorded > version or (base and (base.night.events_version or 0) > recorded):
        return version
    try:
        changes = changes_between(lake, EventsState(recorded, run.as_of), EventsState(version, run.as_of))
    except LookupError:
        return version
    same = changes is None or not (
        changes.added.limit(1).count() or (changes.deleted and changes.deleted.limit(1).count())
    )
    return recorded if same else version
