"""Reads what every market can show on a night: available products, their attributes and their popularity."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.storage import write_whole
from jobs.lists.config import PopularConfig
from jobs.lists.sizes import CategoryOf, Sizes, read_sizes
from jobs.model_inputs import KINDS, read_availability
from jobs.run import Run
from jobs.tables.shop import CATALOGUE, EVENTS
from models.arrays import BoolMask
from models.assembly.rulebook import Attributes
from models.popularity import ProductPopularity
from models.sequences import EVENT_TYPES
from models.vocabulary import Vocabulary

ASKED_FOR = 5.0
"""Weight of a market's events with a product from which on it has alternatives where it is sold out."""
EVENTS_AT_ONCE = 262_144
SNAPSHOT = "filling.arrow"
"""File of a popularity snapshot, beside the lists of the night that took it."""
SNAPSHOT_COLUMNS = ("market", "product_id", "weight")


@dataclass(frozen=True)
class Assortment:
    """The catalogue of a night as arrays, products and markets in id order."""

    products: Vocabulary
    markets: Vocabulary
    available: BoolMask
    """[markets, products], launched and for sale in the market."""
    attributes: Attributes
    brands: Vocabulary
    categories: Vocabulary
    departments: Vocabulary
    popular: ProductPopularity
    """Of the days before the night."""
    filling: ProductPopularity
    """The snapshot that pads short lists: some nights old, so that not every list changes every night."""
    settled: date
    """The night that took the snapshot `filling`."""
    sizes: Sizes | None = None
    """None for a shop that gives no sizes."""

    @cached_property
    def sold_out(self) -> BoolMask:
        """[markets, products], what a market does not sell though its customers asked for it."""
        return np.asarray(~self.available & (self.filling.wanted >= ASKED_FOR))


def read_assortment(lake: Lake, run: Run, of: PopularConfig, young_days: int) -> Assortment:
    """The night's assortment; raises UserError where no market sells a product."""
    names = ("brand", "category", "department")
    catalogue = lake.arrow(CATALOGUE, ("product_id", *names, "price", "launched_at"), run.as_of)
    products, markets, available = read_availability(lake, run.as_of, catalogue)
    words = {name: Vocabulary.build(catalogue[name]) for name in names}
    codes = {name: words[name].encode(catalogue[name], missing="negative").astype(np.int64) for name in names}
    since = pa.scalar(run.as_of - timedelta(days=young_days), pa.date32())
    young = np.asarray(pc.fill_null(pc.greater_equal(catalogue["launched_at"], since), False))
    attributes = Attributes(**codes, price=np.asarray(catalogue["price"].cast(pa.float32()).to_numpy()), young=young)
    popular = popular_products(lake, run, of, products, markets)
    filling, settled = popularity_snapshot(lake, run, of, products, markets, popular)
    return Assortment(
        products=products,
        markets=markets,
        available=available,
        attributes=attributes,
        brands=words["brand"],
        categories=words["category"],
        departments=words["department"],
        popular=popular,
        filling=filling,
        settled=settled,
        sizes=read_sizes(lake, run.as_of, products, markets, CategoryOf.named(codes["category"], words["category"])),
    )


def popular_products(
    lake: Lake, run: Run, config: PopularConfig, products: Vocabulary, markets: Vocabulary
) -> ProductPopularity:
    """Popularity in the `config.days` before the night."""
    weights = np.array([*(config.event_weights.get(kind, 0.0) for kind in EVENT_TYPES), 0.0])
    days = [run.as_of - timedelta(days=n) for n in range(1, config.days + 1)]
    wanted = np.zeros((len(markets) + 1, len(products) + 1))  # the last ones stand for what the night does not have
    lake.create(EVENTS)
    for rows in lake.snapshot(EVENTS).of_days(("event_type", "market", "product_id"), days, EVENTS_AT_ONCE):
        market, product = (
            of.encode(rows[name], missing="negative") for of, name in ((markets, "market"), (products, "product_id"))
        )
        cell = np.ravel_multi_index((market, product), wanted.shape, mode="wrap")
        np.add.at(wanted.reshape(-1), cell, weights[KINDS.encode(rows["event_type"], missing="negative")])
    counted = wanted[:, :-1].astype(np.float32)
    return ProductPopularity(counted[:-1], counted.sum(axis=0, dtype=np.float64).astype(np.float32))


def popularity_snapshot(
    lake: Lake, run: Run, config: PopularConfig, products: Vocabulary, markets: Vocabulary, popular: ProductPopularity
) -> tuple[ProductPopularity, date]:
    """(popularity, the night it is of): the snapshot of less than `refill_days` ago, or else tonight's, which is kept
    for the next nights.

    Products that joined the catalogue after that night have the weight 0.
    """
    for days in range(1, config.refill_days):
        night = run.as_of - timedelta(days=days)
        if (stored := _read_snapshot(lake, night, config)) is not None:
            return _over(stored, products, markets), night
    market, product = np.nonzero(popular.wanted)
    columns = (markets.coded(market), products.coded(product), pa.array(popular.wanted[market, product]))
    kept = pa.table(dict(zip(SNAPSHOT_COLUMNS, columns, strict=True)))
    content = pa.BufferOutputStream()
    feather.write_feather(kept.replace_schema_metadata({"settings": _settings(config)}), content)
    write_whole(lake.directory(storage.LISTS, run.as_of) / SNAPSHOT, content.getvalue().to_pybytes())
    return _over(kept, products, markets), run.as_of  # as the next nights will read it


def _read_snapshot(lake: Lake, night: date, config: PopularConfig) -> pa.Table | None:
    """The snapshot that a night took with these settings; None where there is none that can be read."""
    path = lake.directory(storage.LISTS, night) / SNAPSHOT
    try:
        found = feather.read_table(pa.BufferReader(path.read_bytes()), memory_map=False)
        same = found.schema.metadata[b"settings"].decode() == _settings(config)
        return found.select(SNAPSHOT_COLUMNS) if same else None
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def _settings(config: PopularConfig) -> str:
    return json.dumps(asdict(config), sort_keys=True)


def _over(counted: pa.Table, products: Vocabulary, markets: Vocabulary) -> ProductPopularity:
    """Rows of SNAPSHOT_COLUMNS as arrays over the night's products and markets."""
    wanted = np.zeros((len(markets), len(products)), dtype=np.float32)
    row = products.encode(counted["product_id"].combine_chunks(), missing="negative")
    market = markets.encode(counted["market"].combine_chunks(), missing="negative")
    amount = np.asarray(counted["weight"]).astype(np.float32)
    everywhere = np.bincount(row[row >= 0], weights=amount[row >= 0], minlength=len(products))
    kept = (row >= 0) & (market >= 0)
    wanted[market[kept], row[kept]] = amount[kept]
    return ProductPopularity(wanted, everywhere.astype(np.float32))
