"""What every market can show on a night: live products, their categories and how much they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.histories import key_column
from jobs.lake import Lake
from jobs.run import Run
from jobs.tables import AVAILABILITY, CATALOGUE, EVENTS
from models.top_n import BoolMask, Rows
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Shelf:
    """The catalogue of a night as arrays; products and markets in id order."""

    products: Vocabulary
    markets: Vocabulary
    available: BoolMask
    """[markets, products], launched and for sale there."""
    category: Rows
    """[products], number of the product's category; -1 where it has none."""
    categories: int
    wanted: npt.NDArray[np.float32]
    """[markets, products], weighted events of late, with a trace of the other markets' to order the rest."""


def read_shelf(lake: Lake, run: Run, popular_days: int, weights: Mapping[str, float]) -> Shelf:
    """The night's shelf; raises UserError where nothing can be sold anywhere."""
    catalogue = lake.arrow(CATALOGUE, ("product_id", "category", "launched_at"), run.as_of)
    products = Vocabulary(key_column(lake, CATALOGUE, run.as_of, "product_id"))
    rows = lake.arrow(AVAILABILITY, ("product_id", "market", "available"), run.as_of)
    rows = rows.filter(rows["available"])
    markets = Vocabulary.build(rows["market"])
    available = np.zeros((len(markets), len(products)), dtype=bool)
    found = products.encode(rows["product_id"], missing="negative")
    available[markets.encode(rows["market"])[found >= 0], found[found >= 0]] = True
    launched = np.asarray(pc.fill_null(pc.less(catalogue["launched_at"], run.as_of), True))
    available &= launched
    if not available.any():
        raise UserError(
            f"no product is available in any market on {run.as_of}; check the raw availability and catalogue"
        )
    names = Vocabulary.build(catalogue["category"])
    category = names.encode(catalogue["category"], missing="negative").astype(np.int64)
    wanted = _wanted(lake, run, popular_days, weights, products, markets)
    return Shelf(products, markets, available, category, len(names), wanted)


def _wanted(
    lake: Lake, run: Run, days: int, weights: Mapping[str, float], products: Vocabulary, markets: Vocabulary
) -> npt.NDArray[np.float32]:
    events = lake.frame(EVENTS)
    weight = F.lit(0.0)
    for kind, value in weights.items():
        weight = F.when(F.col("event_type") == kind, float(value)).otherwise(weight)
    since = F.lit(run.as_of - timedelta(days=days))
    recent = events.where((F.col("event_date") >= since) & (F.col("event_date") < F.lit(run.as_of)))
    counted = recent.groupBy("market", "product_id").agg(F.sum(weight).alias("weight")).toArrow()
    wanted = np.zeros((len(markets), len(products)), dtype=np.float32)
    row = products.encode(counted["product_id"], missing="negative")
    market = markets.encode(counted["market"], missing="negative")
    amount = np.asarray(counted["weight"]).astype(np.float32)
    everywhere = np.bincount(row[row >= 0], weights=amount[row >= 0], minlength=len(products))
    kept = (row >= 0) & (market >= 0)
    wanted[market[kept], row[kept]] = amount[kept]
    trace = 0.5 * everywhere / max(float(everywhere.max(initial=0)), 1.0)
    return wanted + trace.astype(np.float32)
