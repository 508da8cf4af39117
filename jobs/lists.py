"""Lists: each carousel's and each customer's top-N per market, staged under the night's date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from jobs.carousels import (
    CAROUSELS,
    CATEGORY,
    CO_PURCHASE,
    MARKET,
    MODEL,
    OTHER_CATEGORY,
    SOURCES,
    Carousel,
    Found,
    own_category_first,
)
from jobs.errors import UserError
from jobs.histories import matrix, read_product_vectors
from jobs.index import ProductIndex, read_index
from jobs.lake import Lake
from jobs.run import Counts, Run
from jobs.shelf import Shelf, read_shelf
from jobs.tables import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, EVENTS, RECOMMENDED_FOR_YOU
from models.contract import FloatMatrix
from models.fallback import Labels, fill, rank_by_group
from models.lists import top_n_by_market, top_n_excluding
from models.top_n import BoolMask, Rows

VARIANT = "default"


@dataclass(frozen=True)
class ListsConfig:
    """How long lists are and what fills the places a model leaves open."""

    top_n: int = 24
    """Products per list."""
    search_depth: int = 4
    """Neighbours searched over all products, as a multiple of top_n, before a market's own are searched exactly."""
    popular_days: int = 28
    """Days of events that make a product popular in a market."""
    event_weights: dict[str, float] = field(
        default_factory=lambda: {"click": 1.0, "save": 2.0, "bag": 3.0, "purchase": 5.0}
    )
    """What each event counts for popularity."""
    batch_customers: int = 50_000
    """Customers held in memory at once."""

    def __post_init__(self) -> None:
        if self.top_n < 1 or self.search_depth < 1:
            raise UserError(f"top_n = {self.top_n} and search_depth = {self.search_depth} must be at least 1")


def execute(lake: Lake, run: Run, config: ListsConfig) -> Counts:
    """Stage the night's lists; nothing is live until publish."""
    shelf = read_shelf(lake, run, config.popular_days, config.event_weights)
    written = {}
    for carousel in CAROUSELS:
        batches = _product_lists(carousel, read_index(lake, run, carousel.table), shelf, config, run)
        written[carousel.table.name] = lake.replace(carousel.table, batches, run)
    written[RECOMMENDED_FOR_YOU.name] = lake.replace(
        RECOMMENDED_FOR_YOU, _customer_lists(lake, run, shelf, config), run
    )
    note = ", ".join(f"{rows:,} {name}" for name, rows in written.items())
    return Counts(int(shelf.available.sum()), sum(written.values()), note=f"{note} in {len(shelf.markets)} markets")


def _product_lists(
    carousel: Carousel, index: ProductIndex, shelf: Shelf, config: ListsConfig, run: Run
) -> Iterator[pa.RecordBatch]:
    n = config.top_n
    to_shelf = shelf.products.encode(index.vocabulary.ids).astype(np.int64)
    category = shelf.category[to_shelf]
    found = carousel.find(index, n * config.search_depth)
    if carousel.own_category:
        found = own_category_first(found, category, category)

    def exact(sources: Rows, allowed: BoolMask) -> tuple[FloatMatrix, Rows]:
        scores, rows = carousel.exact(index, sources, allowed, n * config.search_depth)
        if carousel.own_category:
            rows, scores, _ = own_category_first(
                (rows, scores, np.zeros(rows.shape, np.int8)), category[sources], category
            )
        return scores[:, :n], rows[:, :n]

    lists = top_n_by_market(found[0], found[1], shelf.available[:, to_shelf], n, exact)
    labels_of = _labels_of(found, category if carousel.own_category else None)
    for market in lists:
        live = np.flatnonzero(shelf.available[market.market])
        rows = np.full((len(shelf.products), n), -1, dtype=np.int64)
        best = np.full((len(shelf.products), n), -np.inf, dtype=np.float32)
        labels = np.full((len(shelf.products), n), -1, dtype=np.int8)
        rows[to_shelf] = np.where(market.rows >= 0, to_shelf[market.rows], -1)
        best[to_shelf], labels[to_shelf] = market.scores, labels_of(market.rows)
        rows, best, labels = rows[live], best[live], labels[live]
        own = live[:, None]
        if carousel.own_category:
            _fill_from_category(shelf, market.market, rows, best, labels, shelf.category[live], own)
        _fill_from_market(shelf, market.market, rows, best, labels, own)
        run.progress(f"markets of {carousel.table.name}", market.market + 1, len(shelf.markets))
        keys = {"product_id": shelf.products.decode(live)}
        yield _batch(keys, shelf, market.market, rows, best, labels, str(index.manifest["model_id"]))


def _labels_of(found: Found, category: Rows | None) -> Callable[[Rows], Labels]:
    """From a market's lists [q, n] to their labels: co-purchases where the search said so, else the model's."""
    rows, _, labels = found
    width = len(rows) + 1
    query, place = np.nonzero(labels == CO_PURCHASE)
    together = np.unique(query * width + rows[query, place])

    def of(lists: Rows) -> Labels:
        result = np.where(lists >= 0, MODEL, -1).astype(np.int8)
        owner = np.arange(len(lists))[:, None]
        if len(together):
            key = owner * width + lists
            at = np.minimum(np.searchsorted(together, key), len(together) - 1)
            result[(together[at] == key) & (lists >= 0)] = CO_PURCHASE
        if category is not None:
            own = category[:, None]
            result[(lists >= 0) & (own >= 0) & (category[lists] != own)] = OTHER_CATEGORY
        return result

    return of


def _fill_from_category(
    shelf: Shelf, market: int, rows: Rows, scores: FloatMatrix, labels: Labels, category: Rows, forbidden: Rows
) -> None:
    depth = 2 * rows.shape[1] + forbidden.shape[1]
    ranked = rank_by_group(
        shelf.wanted[market], shelf.available[market], shelf.category, max(shelf.categories, 1), depth
    )
    fill(rows, scores, labels, category, *ranked, CATEGORY, forbidden)


def _fill_from_market(
    shelf: Shelf, market: int, rows: Rows, scores: FloatMatrix, labels: Labels, forbidden: Rows
) -> None:
    depth = 2 * rows.shape[1] + forbidden.shape[1]
    whole = np.zeros(len(shelf.products), dtype=np.int64)
    ranked = rank_by_group(shelf.wanted[market], shelf.available[market], whole, 1, depth)
    fill(rows, scores, labels, np.zeros(len(rows), dtype=np.int64), *ranked, MARKET, forbidden)


def _customer_lists(lake: Lake, run: Run, shelf: Shelf, config: ListsConfig) -> Iterator[pa.RecordBatch]:
    vocabulary, vectors, model_id = read_product_vectors(lake, run.as_of)
    to_shelf = shelf.products.encode(vocabulary.ids).astype(np.int64)
    homes = lake.arrow(CUSTOMER_SEQUENCES, ("customer_id", "market"), run.as_of)
    bought = _bought(lake, run)
    done = 0
    for batch in lake.batches(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), run.as_of, config.batch_customers):
        home = homes["market"].take(pc.index_in(batch["customer_id"], value_set=homes["customer_id"].combine_chunks()))
        markets = shelf.markets.encode(home, missing="negative")
        offsets, products = _bought_by(bought, batch["customer_id"], shelf)
        customers = matrix(batch["vector"])
        for market in np.unique(markets):
            chosen = np.flatnonzero(markets == market)
            keys = {"customer_id": batch["customer_id"].take(pa.array(chosen))}
            if market < 0:
                yield _nothing_for(keys, home.take(pa.array(chosen)), model_id)
                continue
            own = _csr_take(offsets, products, chosen)
            yield _batch(keys, shelf, int(market), *_best_for(customers[chosen], vectors, to_shelf, shelf, int(market),
                                                             own, config.top_n), model_id)  # fmt: skip
        done += batch.num_rows
        run.progress("customers ranked", done, len(homes))


def _best_for(
    customers: FloatMatrix, vectors: FloatMatrix, to_shelf: Rows, shelf: Shelf, market: int,
    bought: tuple[Rows, Rows], n: int,
) -> tuple[Rows, FloatMatrix, Labels]:  # fmt: skip
    """Lists of customers of one market: the model's for those it knows, the market's for the others."""
    to_index = np.full(len(shelf.products), -1, dtype=np.int64)
    to_index[to_shelf] = np.arange(len(to_shelf))
    offsets, products = bought
    known = np.flatnonzero((customers[:, :-1] != 0).any(axis=1))
    own_offsets, own = _csr_take(offsets, to_index[products], known)
    kept = np.concatenate(([0], np.cumsum(own >= 0)))
    scores = np.full((len(customers), n), -np.inf, dtype=np.float32)
    rows = np.full((len(customers), n), -1, dtype=np.int64)
    allowed = shelf.available[market, to_shelf]
    scores[known], found = top_n_excluding(customers[known], vectors, n, kept[own_offsets], own[own >= 0], allowed)
    rows[known] = np.where(found >= 0, to_shelf[found], -1)
    labels = np.where(rows >= 0, MODEL, -1).astype(np.int8)
    short = np.flatnonzero(rows[:, -1] < 0)
    if len(short):
        mine = rows[short], scores[short], labels[short]
        _fill_from_market(shelf, market, *mine, _padded(*_csr_take(offsets, products, short)))
        rows[short], scores[short], labels[short] = mine
    return rows, scores, labels


def _bought(lake: Lake, run: Run) -> pa.Table:
    """Distinct (customer_id, product_id) of purchases before the night."""
    events = lake.frame(EVENTS)
    night = F.lit(run.midnight.isoformat()).cast("timestamp")
    purchases = events.where((F.col("event_type") == "purchase") & (F.col("event_ts") < night))
    return purchases.select("customer_id", "product_id").distinct().toArrow()


def _bought_by(bought: pa.Table, customers: pa.Array, shelf: Shelf) -> tuple[Rows, Rows]:
    """(offsets [n + 1], shelf rows) of what each of n customers bought, products of the catalogue only."""
    owner = np.asarray(pc.fill_null(pc.index_in(bought["customer_id"], value_set=customers), -1)).astype(np.int64)
    product = shelf.products.encode(bought["product_id"], missing="negative").astype(np.int64)
    kept = (owner >= 0) & (product >= 0)
    owner, product = owner[kept], product[kept]
    order = np.lexsort((product, owner))
    counts = np.bincount(owner, minlength=len(customers))
    return np.concatenate(([0], np.cumsum(counts))), product[order]


def _csr_take(offsets: Rows, values: Rows, chosen: Rows) -> tuple[Rows, Rows]:
    lengths = np.diff(offsets)[chosen]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    inside = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    return starts, values[np.repeat(offsets[chosen], lengths) + inside]


def _padded(offsets: Rows, values: Rows) -> Rows:
    lengths = np.diff(offsets)
    padded = np.full((len(lengths), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    padded[owner, np.arange(len(values)) - np.repeat(offsets[:-1], lengths)] = values
    return padded


def _batch(
    keys: dict[str, pa.Array], shelf: Shelf, market: int, rows: Rows, scores: FloatMatrix, labels: Labels, model_id: str
) -> pa.RecordBatch:
    held = (rows >= 0).sum(axis=1)
    n, total = rows.shape[1], int(shelf.available[market].sum())
    text = f"only {total} products are available in the market, some of them excluded"
    reason = np.where(held < n, np.array(text, dtype=object), np.array(None, dtype=object))
    return _record(keys, pa.repeat(shelf.markets.ids[market], len(rows)), held, shelf.products.decode(rows[rows >= 0]),
                   scores[rows >= 0], labels[rows >= 0], reason, model_id)  # fmt: skip


def _nothing_for(keys: dict[str, pa.Array], markets: pa.Array, model_id: str) -> pa.RecordBatch:
    count = len(markets)
    reason = np.full(count, "no product is available in the customer's market", dtype=object)
    return _record(keys, markets, np.zeros(count, np.int64), pa.array([], pa.string()), np.empty(0, np.float32),
                   np.empty(0, np.int8), reason, model_id)  # fmt: skip


def _record(
    keys: dict[str, pa.Array], markets: pa.Array, lengths: Rows, product_ids: pa.Array, scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8], reason: npt.NDArray[np.object_], model_id: str,
) -> pa.RecordBatch:  # fmt: skip
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
    names = pa.array(SOURCES).take(pa.array(labels.astype(np.int64)))
    columns = keys | {
        "market": markets.combine_chunks() if isinstance(markets, pa.ChunkedArray) else markets,
        "product_ids": pa.ListArray.from_arrays(offsets, product_ids),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(scores, pa.float32())),
        "sources": pa.ListArray.from_arrays(offsets, names),
        "rules": pa.nulls(len(lengths), pa.list_(pa.string())),
        "variant": pa.repeat(VARIANT, len(lengths)),
        "short_reason": pa.array(reason.tolist(), pa.string()),
        "model_id": pa.repeat(model_id, len(lengths)),
    }
    return pa.RecordBatch.from_pydict(columns)
