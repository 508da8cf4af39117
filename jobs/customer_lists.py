"""Recommended for you: each customer's own list in their market."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.histories import matrix, read_product_vectors
from jobs.lake import Lake
from jobs.list_maker import ListMaker
from jobs.list_rows import no_lists
from jobs.run import Run
from jobs.shelf import Shelf
from jobs.tables import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, EVENTS
from jobs.touch_points import COLD, FOR_YOU, MODEL
from jobs.variants import Variant, variant_of
from models.assembly import Candidates, Owners
from models.contract import FloatMatrix
from models.lists import top_n_excluding
from models.top_n import BoolMask, Rows

if TYPE_CHECKING:
    from jobs.lists import ListsConfig


def customer_lists(
    lake: Lake, maker: ListMaker, cold: BoolMask, config: ListsConfig, run: Run
) -> Iterator[pa.RecordBatch]:
    """Rows of recommended_for_you, batch after batch of customers."""
    shelf, n = maker.shelf, FOR_YOU.places or config.top_n
    vocabulary, vectors, model_id = read_product_vectors(lake, run.as_of)
    search = _Search(vectors, shelf.products.encode(vocabulary.ids).astype(np.int64), shelf, cold)
    homes = lake.arrow(CUSTOMER_SEQUENCES, ("customer_id", "market"), run.as_of)
    bought = _bought(lake, run)
    variants = {variant.name: variant for variant in config.variants}
    done = 0
    for batch in lake.batches(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), run.as_of, config.batch_customers):
        home = homes["market"].take(pc.index_in(batch["customer_id"], value_set=homes["customer_id"].combine_chunks()))
        home = home.combine_chunks()
        markets = shelf.markets.encode(home, missing="negative")
        sees = np.array([variant_of(c, config.experiment, config.variants) for c in batch["customer_id"].to_pylist()])
        owned = _bought_by(bought, batch["customer_id"], shelf)
        customers = matrix(batch["vector"])
        for name, variant in variants.items():
            for market in np.unique(markets[sees == name]):
                chosen = np.flatnonzero((markets == market) & (sees == name))
                at = pa.array(chosen)
                keys = {"customer_id": batch["customer_id"].take(at)}
                if market < 0:
                    yield no_lists(keys | {"market": home.take(at)}, pa.repeat(name, len(chosen)), model_id)
                    continue
                mine = _without_repeatable(_taken(owned, chosen), maker, int(market), variant)
                found = search.best(customers[chosen], int(market), 2 * n, mine)
                owners = Owners.of_customers(*mine[:2])
                yield maker.batch(FOR_YOU, int(market), variant, n, keys, found, owners, model_id)[0]
        done += batch.num_rows
        run.progress("customers ranked", done, len(homes))


class _Search:
    """Candidates of customers; rows are the shelf's products."""

    def __init__(self, vectors: FloatMatrix, to_shelf: Rows, shelf: Shelf, cold: BoolMask) -> None:
        self.vectors, self.to_shelf, self.shelf = vectors, to_shelf, shelf
        self.label = np.where(cold, COLD, MODEL).astype(np.int8)
        self.to_index: Rows = np.full(len(shelf.products), -1)
        self.to_index[to_shelf] = np.arange(len(to_shelf))

    def best(self, customers: FloatMatrix, market: int, depth: int, bought: Bought) -> Candidates:
        """The model's best `depth` for customers it knows anything of; nothing for the others."""
        rows = np.full((len(customers), depth), -1, dtype=np.int64)
        scores = np.full((len(customers), depth), -np.inf, dtype=np.float32)
        known = np.flatnonzero((customers[:, :-1] != 0).any(axis=1))
        offsets, products = _taken(bought, known)[:2]
        excluded = self.to_index[products]
        kept = np.concatenate(([0], np.cumsum(excluded >= 0)))
        allowed = self.shelf.available[market, self.to_shelf]
        scores[known], found = top_n_excluding(
            customers[known], self.vectors, depth, kept[offsets], excluded[excluded >= 0], allowed
        )
        rows[known] = np.where(found >= 0, self.to_shelf[found], -1)
        return Candidates(rows, scores, np.where(rows >= 0, self.label[rows], -1).astype(np.int8))


Bought = tuple[Rows, Rows, npt.NDArray[np.float32]]
"""(offsets [customers + 1], products of the shelf, days since they were bought)."""


def _bought(lake: Lake, run: Run) -> pa.Table:
    """(customer_id, product_id, days since it was last bought) of purchases before the night."""
    night = F.lit(run.midnight.isoformat()).cast("timestamp")
    events = lake.frame(EVENTS).where((F.col("event_type") == "purchase") & (F.col("event_ts") < night))
    last = events.groupBy("customer_id", "product_id").agg(F.max("event_ts").alias("last"))
    seconds = F.unix_timestamp(night) - F.unix_timestamp("last")
    return last.select("customer_id", "product_id", (seconds / 86_400.0).alias("days")).toArrow()


def _bought_by(bought: pa.Table, customers: pa.Array, shelf: Shelf) -> Bought:
    """What each customer bought, products of the catalogue only."""
    owner = np.asarray(pc.fill_null(pc.index_in(bought["customer_id"], value_set=customers), -1)).astype(np.int64)
    product = shelf.products.encode(bought["product_id"], missing="negative").astype(np.int64)
    kept = (owner >= 0) & (product >= 0)
    owner, product, days = owner[kept], product[kept], np.asarray(bought["days"], np.float32)[kept]
    order = np.lexsort((product, owner))
    counts = np.bincount(owner, minlength=len(customers))
    return np.concatenate(([0], np.cumsum(counts))), product[order], days[order]


def _taken(bought: Bought, chosen: Rows) -> Bought:
    offsets, products, days = bought
    lengths = np.diff(offsets)[chosen]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    at = np.repeat(offsets[chosen], lengths) + np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    return starts, products[at], days[at]


def _without_repeatable(bought: Bought, maker: ListMaker, market: int, variant: Variant) -> Bought:
    """What a policy says is bought again after some days may be recommended again."""
    again = maker.rulebooks.repeat_purchase_days(maker.shelf.markets.ids[market].as_py(), variant)
    if np.isinf(again).all():
        return bought
    offsets, products, days = bought
    category = maker.shelf.attributes.category[products]
    kept = (category < 0) | (days <= again[category])
    return np.concatenate(([0], np.cumsum(kept)))[offsets], products[kept], days[kept]
