"""How much products are wanted of late: tonight, and as it was when what fills lists was last settled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from pyarrow import feather
from pyspark.sql import functions as F

from jobs import folders
from jobs.errors import UserError
from jobs.lake import Lake
from jobs.run import Run
from jobs.storage import write_whole
from jobs.tables import EVENTS
from models.popularity import Popularity
from models.vocabulary import Vocabulary

FILE = "filling.arrow"
COLUMNS = ("market", "product_id", "weight")


@dataclass(frozen=True)
class PopularConfig:
    """What makes a product popular."""

    days: int = 28
    """Days of events that count."""
    event_weights: dict[str, float] = field(
        default_factory=lambda: {"click": 1.0, "save": 2.0, "bag": 3.0, "purchase": 5.0}
    )
    """What each event counts."""
    refill_days: int = 7
    """What fills lists serves so many nights before it follows the events again; category pages do every night."""

    def __post_init__(self) -> None:
        for name in ("days", "refill_days"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)} must be at least 1")


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
    write_whole(lake.directory(folders.LISTS, run.as_of) / FILE, content.getvalue().to_pybytes())
    return _over(kept, products, markets), run.as_of  # as the next nights will read it


def _settled(lake: Lake, night: date, config: PopularConfig) -> pa.Table | None:
    """What that night settled with these settings."""
    path = lake.directory(folders.LISTS, night) / FILE
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
