"""Measures a night's input: the rows of the table `inputs`, named as gates and reports look them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypedDict

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.ingest.files import RawFile
from jobs.ingest.rules import OPTIONAL
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.run import Run
from jobs.tables.records import INPUTS
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS

ALL = "all"
EVENTS_READ = "events"
"""Events that the night added, with corrections; also by `market CODE` and `type TYPE`."""
LATE = "late events"
"""New events from before the oldest day of the files read."""
CORRECTED = "corrected events"
"""New events that replaced another night's row."""
RETRACTED = "retracted events"
"""Events of earlier nights that the source excludes now."""
KNOWN = "known events"
"""Rows that another night had read: files that were delivered again or that grow."""
REJECTED = "rejected rows"
"""Faulty rows, without those that the source excludes; also by `select NAME`."""
EXCLUDED = "excluded rows"
"""Rows that the source's own SELECT excludes."""
FILES = "raw files"
"""Files that the night read."""
CUSTOMERS = "customers"
"""Distinct customers of the night's events."""
PRODUCTS = "catalogue products"
PAIRS = "available pairs"
"""Products that can be bought in a market; also by `market CODE`."""
PRODUCT_PRICE = "mean product price"
EVENT_PRICE = "mean event price"
NULLS = "share of nulls"
"""By `column TABLE.NAME`: of events as they were delivered, of products as they are in the catalogue."""
AGE = "days since newest event"
"""Days from the newest event before the night to its midnight."""
VERSION = "events version"
"""Delta version of events after the load; of a night that was run again without a change, the first load's."""
COLUMNS = "columns"
"""1 for each `column VIEW.NAME` of the raw files."""
EVENT_NULLS = tuple(name for name in OPTIONAL[EVENTS.name] if name != "excluded")
PRODUCT_NULLS = tuple(name for name in OPTIONAL[CATALOGUE.name] if name in CATALOGUE.names and name != "name")


class FigureRow(TypedDict):
    """A row of the table `inputs`."""

    figure: str
    slice: str
    value: float


Figures = list[FigureRow]


def figure(name: str, value: float | None, part: str = ALL) -> Figures:
    """One figure as rows of `inputs`; none where there is no value, or no finite one.

    Rounded to six places: a mean depends on the order of rows, which no engine promises.
    """
    if value is None or not math.isfinite(value):  # a sum of absurd prices overflows
        return []
    return [{"figure": name, "slice": part, "value": round(float(value), 6)}]


def figures_of_events(rows: DataFrame) -> Figures:
    """Figures of the night's reconciled events."""
    good = rows.where(F.col("reason").isNull())
    counts = {
        EVENTS_READ: F.count("*"),
        LATE: F.count(F.when(F.col("late"), 1)),
        CORRECTED: F.count(F.when(F.col("corrects"), 1)),
        CUSTOMERS: F.count_distinct("customer_id"),
        EVENT_PRICE: F.avg("price"),
    }
    shares = {name: F.avg(F.array_contains("absent", name).cast("double")) for name in EVENT_NULLS}
    values = [value.alias(name) for name, value in (counts | shares).items()]
    totals = good.agg(*values).toArrow().to_pylist()[0]
    found = [row for name in counts for row in figure(name, totals[name])]
    for column, word in (("market", "market"), ("event_type", "type")):
        counted = good.groupBy(column).count().toArrow().to_pylist()
        found += [row for one in counted for row in figure(EVENTS_READ, one["count"], f"{word} {one[column]}")]
    if totals["size"] == 1:  # a shop without sizes has no such column
        del shares["size"]
    return found + [row for name in shares for row in figure(NULLS, totals[name], f"column events.{name}")]


def figures_of_tables(lake: Lake, run: Run) -> Figures:
    """Figures of the night's catalogue and availability, and the age of its newest event."""
    products = lake.frame(CATALOGUE).where(night(run.as_of))
    shares = [F.avg(F.col(name).isNull().cast("double")).alias(name) for name in PRODUCT_NULLS]
    totals = products.agg(F.count("*").alias(PRODUCTS), F.avg("price").alias(PRODUCT_PRICE), *shares)
    of_products = totals.toArrow().to_pylist()[0]
    found = figure(PRODUCTS, of_products[PRODUCTS]) + figure(PRODUCT_PRICE, of_products[PRODUCT_PRICE])
    for name in PRODUCT_NULLS:
        found += figure(NULLS, of_products[name], f"column catalogue.{name}")
    pairs = lake.frame(AVAILABILITY).where(night(run.as_of)).where("available").groupBy("market").count()
    counted = pairs.toArrow().to_pylist()
    found += figure(PAIRS, sum(row["count"] for row in counted))
    for row in counted:
        found += figure(PAIRS, row["count"], f"market {row['market']}")
    return found + figure(AGE, _age(lake, run))


def _age(lake: Lake, run: Run) -> float | None:
    days = [values["event_date"] for values in lake.files(EVENTS, lake.version(EVENTS)).values()]
    known = [day for day in days if day < run.as_of]
    if not known:
        return None
    newest = lake.frame(EVENTS).where(F.col("event_date") == F.lit(max(known))).agg(F.max("event_ts").alias("at"))
    at: datetime = newest.toArrow()["at"][0].as_py()
    return (run.midnight - at) / timedelta(days=1)


def record_columns(
    lake: Lake, run: Run, files: Sequence[RawFile], columns_of: Callable[[RawFile], tuple[str, ...]]
) -> None:
    """Add the columns of each view's newest file to the night's figures, so that a gate sees one that is gone.

    JSON objects leave out what they have no value for, so their keys are not compared.
    """
    newest = {file.view: file for file in files if file.kind != "jsonl"}
    rows = [
        row
        for view, file in newest.items()
        for name in columns_of(file)
        for row in figure(COLUMNS, 1.0, f"column {view}.{name}")
    ]
    lake.replace_rows(INPUTS, rows, run, where=f"{night(run.as_of)} AND figure = '{COLUMNS}'")
