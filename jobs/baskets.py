"""Purchases of one order together: the input of People Also Bought."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Baskets:
    """b baskets; `products[offsets[k]:offsets[k + 1]]` are those of basket k."""

    offsets: npt.NDArray[np.int64]
    products: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]
    """[b], seconds since 1970 UTC of each basket's first purchase."""

    def __len__(self) -> int:
        return len(self.times)


def basket_rows(events: DataFrame, before: datetime, days: int) -> DataFrame:
    """Purchases strictly before `before` and at most `days` old, by basket: product_ids and the first second.

    Purchases without a basket id belong together where customer and time are equal.
    """
    night = F.lit(before.isoformat()).cast("timestamp")
    oldest = F.lit((before - timedelta(days=days)).isoformat()).cast("timestamp")
    bought = events.where(
        (F.col("event_type") == "purchase") & (F.col("event_ts") < night) & (F.col("event_ts") >= oldest)
    )
    basket = F.coalesce("basket_id", F.col("event_ts").cast("string"))
    grouped = bought.groupBy("customer_id", basket.alias("basket")).agg(
        F.sort_array(F.collect_set("product_id")).alias("product_ids"),
        F.unix_timestamp(F.min("event_ts")).alias("second"),
    )
    return grouped.orderBy("second", "customer_id", "basket").select("product_ids", "second")


def to_baskets(rows: DataFrame, vocabulary: Vocabulary) -> Baskets:
    """`basket_rows` as arrays; products outside the vocabulary are left out."""
    table = rows.toArrow()
    lists = table["product_ids"].combine_chunks() if table.num_rows else None
    if lists is None:
        return Baskets(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.int64))
    lengths = np.asarray(lists.value_lengths()).astype(np.int64)
    products = vocabulary.encode(lists.flatten(), missing="negative")
    known_before = np.concatenate(([0], np.cumsum(products >= 0)))
    offsets = known_before[np.concatenate(([0], np.cumsum(lengths)))]
    return Baskets(offsets, products[products >= 0], np.asarray(table["second"]).astype(np.int64))
