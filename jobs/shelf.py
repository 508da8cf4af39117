"""What every market can show on a night: live products, their categories and how much they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.histories import key_column
from jobs.lake import Lake
from jobs.run import Run
from jobs.tables import AVAILABILITY, CATALOGUE, EVENTS
from models.popularity import smoothed
from models.rulebook import Attributes
from models.top_n import BoolMask
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Shelf:
    """The catalogue of a night as arrays; products and markets in id order."""

    products: Vocabulary
    markets: Vocabulary
    available: BoolMask
    """[markets, products], launched and for sale there."""
    attributes: Attributes
    brands: Vocabulary
    categories: Vocabulary
    departments: Vocabulary
    wanted: npt.NDArray[np.float32]
    """[markets, products], weighted events of late."""
    everywhere: npt.NDArray[np.float32]
    """[products], the same over all markets."""

    def in_market(self, market: int) -> npt.NDArray[np.float32]:
        """[products], how much each is wanted in a market, as far as that is known."""
        return smoothed(self.wanted[market], self.everywhere, len(self.markets))


def read_availability(lake: Lake, run: Run) -> tuple[Vocabulary, Vocabulary, BoolMask]:
    """(products, markets, [markets, products] what can be bought where tonight); raises UserError where nothing can."""
    launched_at = lake.arrow(CATALOGUE, ("launched_at",), run.as_of)["launched_at"]
    products = Vocabulary(key_column(lake, CATALOGUE, run.as_of, "product_id"))
    rows = lake.arrow(AVAILABILITY, ("product_id", "market", "available"), run.as_of)
    rows = rows.filter(rows["available"])
    markets = Vocabulary.build(rows["market"])
    available = np.zeros((len(markets), len(products)), dtype=bool)
    found = products.encode(rows["product_id"], missing="negative")
    available[markets.encode(rows["market"])[found >= 0], found[found >= 0]] = True
    available &= np.asarray(pc.fill_null(pc.less(launched_at, run.as_of), True))
    if not available.any():
        raise UserError(
            f"no product is available in any market on {run.as_of}; check the raw availability and catalogue"
        )
    return products, markets, available


def read_shelf(lake: Lake, run: Run, popular_days: int, weights: Mapping[str, float], young_days: int) -> Shelf:
    """The night's shelf; raises UserError where nothing can be sold anywhere."""
    products, markets, available = read_availability(lake, run)
    columns = ("brand", "category", "department", "price", "launched_at")
    catalogue = lake.arrow(CATALOGUE, columns, run.as_of)
    names = {name: Vocabulary.build(catalogue[name]) for name in columns[:3]}
    codes = {name: names[name].encode(catalogue[name], missing="negative").astype(np.int64) for name in names}
    price = np.asarray(catalogue["price"].cast(pa.float32()).to_numpy())
    since = pa.scalar(run.as_of - timedelta(days=young_days), pa.date32())
    young = np.asarray(pc.fill_null(pc.greater_equal(catalogue["launched_at"], since), False))
    attributes = Attributes(codes["brand"], codes["category"], codes["department"], price, young)
    wanted, everywhere = _wanted(lake, run, popular_days, weights, products, markets)
    return Shelf(
        products, markets, available, attributes, names["brand"], names["category"], names["department"], wanted,
        everywhere,
    )  # fmt: skip


def _wanted(
    lake: Lake, run: Run, days: int, weights: Mapping[str, float], products: Vocabulary, markets: Vocabulary
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
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
    return wanted, everywhere.astype(np.float32)
