"""What every market can show on a night: live products, their categories and how much they are wanted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.change_tables import coded_batches
from jobs.lake.lake import Lake
from jobs.lake.storage import write_whole
from jobs.lists.config import PopularConfig
from jobs.model_inputs import key_column
from jobs.run import Run
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from models.arrays import BoolMask
from models.assembly.rulebook import Attributes
from models.popularity import Popularity
from models.vocabulary import Vocabulary

ROWS = 262_144
"""Pairs of product and market read at once."""


@dataclass(frozen=True)
class Assortment:
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


def read_shelf(lake: Lake, run: Run, of: PopularConfig, young_days: int) -> Assortment:
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
    return Assortment(
        products, markets, available, attributes, names["brand"], names["category"], names["department"], popular,
        filling, settled,
    )  # fmt: skip


def _words(texts: pa.Array) -> pa.Array:
    """The distinct texts of a column, coded or not."""
    there = pc.unique(texts)
    return there.dictionary_decode() if pa.types.is_dictionary(there.type) else there


# How much products are wanted of late: tonight, and as it was when what fills lists was last settled.

FILE = "filling.arrow"
COLUMNS = ("market", "product_id", "weight")


def popular_products(
    lake: Lake, run: Run, config: PopularConfig, products: Vocabulary, markets: Vocabulary
) -> Popularity:
    """Of the days before the night."""
    events = lake.frame(EVENTS)  # starts the engine, without which there are no expressions
    weight = F.lit(0.0)
    for kind, value in config.event_weights.items():
        weight = F.when(F.col("event_type") == kind, float(value)).otherwise(weight)
    since = F.lit(run.as_of - timedelta(days=config.days))
    recent = events.where((F.col("event_date") >= since) & (F.col("event_date") < F.lit(run.as_of)))
    return _over(recent.groupBy("market", "product_id").agg(F.sum(weight).alias("weight")).toArrow(), products, markets)


def filling_products(
    lake: Lake, run: Run, config: PopularConfig, products: Vocabulary, markets: Vocabulary, popular: Popularity
) -> tuple[Popularity, date]:
    """(popularity, the night that settled it): that of an earlier night that settled it less than `refill_days` ago;
    else tonight's, which is kept for the next nights.

    Products from after that night have the weight 0.
    """
    for days in range(1, config.refill_days):
        night = run.as_of - timedelta(days=days)
        if (settled := _settled(lake, night, config)) is not None:
            return _over(settled, products, markets), night
    market, product = np.nonzero(popular.wanted)
    kept = pa.table({
        "market": markets.coded(market), "product_id": products.coded(product),
        "weight": pa.array(popular.wanted[market, product]),
    })  # fmt: skip
    content = pa.BufferOutputStream()
    feather.write_feather(kept.replace_schema_metadata({"settings": _settings(config)}), content)
    write_whole(lake.directory(storage.LISTS, run.as_of) / FILE, content.getvalue().to_pybytes())
    return _over(kept, products, markets), run.as_of  # as the next nights will read it


def _settled(lake: Lake, night: date, config: PopularConfig) -> pa.Table | None:
    """What that night settled with these settings."""
    path = lake.directory(storage.LISTS, night) / FILE
    try:
        found = feather.read_table(pa.BufferReader(path.read_bytes()), memory_map=False)
        return (
            found.select(COLUMNS) if (found.schema.metadata or {})[b"settings"].decode() == _settings(config) else None
        )
    except (OSError, pa.ArrowException, KeyError, ValueError):  # not there, or damaged: tonight settles it
        return None


def _settings(config: PopularConfig) -> str:
    return json.dumps(asdict(config), sort_keys=True)


def _over(counted: pa.Table, products: Vocabulary, markets: Vocabulary) -> Popularity:
    """Rows of COLUMNS as arrays over the night's products and markets."""
    wanted = np.zeros((len(markets), len(products)), dtype=np.float32)
    row = products.encode(counted["product_id"].combine_chunks(), missing="negative")
    market = markets.encode(counted["market"].combine_chunks(), missing="negative")
    amount = np.asarray(counted["weight"]).astype(np.float32)
    everywhere = np.bincount(row[row >= 0], weights=amount[row >= 0], minlength=len(products))
    kept = (row >= 0) & (market >= 0)
    wanted[market[kept], row[kept]] = amount[kept]
    return Popularity(wanted, everywhere.astype(np.float32))
