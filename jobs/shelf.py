"""What every market can show on a night: live products, their categories and how much they are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coded import coded_batches
from jobs.errors import UserError
from jobs.histories import key_column
from jobs.lake import Lake
from jobs.popular import PopularConfig, filling_products, popular_products
from jobs.run import Run
from jobs.tables import AVAILABILITY, CATALOGUE
from models.popularity import Popularity
from models.rulebook import Attributes
from models.top_n import BoolMask
from models.vocabulary import Vocabulary

ROWS = 262_144
"""Pairs of product and market read at once."""


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
    popular: Popularity
    """Of late, to the night."""
    filling: Popularity
    """What fills lists: as it was some nights ago, so that not every list moves every night."""
    settled: date
    """The night that `filling` is of."""


def read_availability(lake: Lake, run: Run) -> tuple[Vocabulary, Vocabulary, BoolMask]:
    """(products, markets, [markets, products] what can be bought where tonight); raises UserError where nothing can."""
    launched_at = lake.arrow(CATALOGUE, ("launched_at",), run.as_of)["launched_at"]
    products = Vocabulary(key_column(lake, CATALOGUE, run.as_of, "product_id"))
    lake.create(AVAILABILITY)
    columns = ("product_id", "market", "available")
    sold = [batch.filter(batch["available"]) for batch in coded_batches(lake, AVAILABILITY, columns, run.as_of, ROWS)]
    markets = Vocabulary.build(pa.chunked_array([_words(batch["market"]) for batch in sold], pa.string()))
    available = np.zeros((len(markets), len(products)), dtype=bool)
    for batch in sold:
        product = products.encode(batch["product_id"], missing="negative")
        available[markets.encode(batch["market"])[product >= 0], product[product >= 0]] = True
    available &= np.asarray(pc.fill_null(pc.less(launched_at, run.as_of), True))
    if not available.any():
        raise UserError(
            f"no product is available in any market on {run.as_of}; check the raw availability and catalogue"
        )
    return products, markets, available


def read_shelf(lake: Lake, run: Run, of: PopularConfig, young_days: int) -> Shelf:
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
    popular = popular_products(lake, run, of, products, markets)
    filling, settled = filling_products(lake, run, of, products, markets, popular)
    return Shelf(
        products, markets, available, attributes, names["brand"], names["category"], names["department"], popular,
        filling, settled,
    )  # fmt: skip


def _words(texts: pa.Array) -> pa.Array:
    """The distinct texts of a column, coded or not."""
    there = pc.unique(texts)
    return there.dictionary_decode() if pa.types.is_dictionary(there.type) else there
