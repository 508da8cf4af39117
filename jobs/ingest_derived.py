"""Catalogue and availability of a source that has no SELECT for them: they follow from the events."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.tables import CATALOGUE


def sold_products(events: DataFrame) -> DataFrame:
    """The catalogue of a source without one: every product with an event, under its id."""
    known = {"product_id": F.col("product_id"), "name": F.col("product_id"), "price": F.col("last_price"),
             "launched_at": F.col("first_day")}  # fmt: skip
    grouped = events.groupBy("product_id").agg(
        F.max_by("price", F.struct("event_ts", "event_id")).alias("last_price"), F.min("event_date").alias("first_day")
    )
    names = [name for name in CATALOGUE.names if name not in ("as_of", "run_id")]
    return grouped.select(*[known.get(name, F.lit(None)).alias(name) for name in names])


def live_everywhere(events: DataFrame, as_of: date, live_days: int) -> DataFrame:
    """The availability of a source without one: what had an event of late, in every market."""
    recent = events.where(F.col("event_date") >= F.lit(as_of - timedelta(days=live_days)))
    products = recent.select("product_id").distinct()
    markets = events.select("market").distinct()
    return products.crossJoin(markets).select("product_id", "market", F.lit(True).alias("available"))
