"""Finds the customers for a brand, a category or a product: the search of the lists, the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lists.config import PopularConfig
from jobs.model_inputs import HISTORY_COLUMNS, ProductVectors, matrix, read_availability, to_histories
from jobs.tables.audiences import AFFINITIES, AFFINITY_COLUMNS
from jobs.tables.shop import CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from models.arrays import Rows
from models.contract import FloatMatrix
from models.search.search import exact_top_n
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY
from models.vocabulary import Vocabulary

BATCH = 131_072
FADES_DAYS = 14
"""Days in which an event's weight halves."""
LEAST_ACTIVE = 0.01
"""Activity of who was long away, so that it has a logarithm."""
WEIGHT = np.float32(2)
"""What the vectors count beside the events (docs/benchmarks.md)."""


@dataclass(frozen=True)
class AudienceQuestion:
    """Whom an audience is asked for."""

    attribute: str
    """brand, category or product_id."""
    value: str
    size: int
    """Most customers."""
    market: str | None = None
    """Only customers of this market, and products in stock there."""
    active_days: int | None = None
    """Only customers with an event in so many days before the night."""


def audience(lake: Lake, as_of: date, question: AudienceQuestion) -> pa.Table:
    """The customers who most likely turn to the products asked for in the next days, the likeliest first.

    Columns: customer_id, market, score, lift (of the brand or category; null where it is not among the customer's, and
    for a product) and last_event_at. The score sums up how much more the model expects of these products than of any
    (the product of the customer's vector and the mean of theirs less the mean of all), how active the customer was
    lately, and what of that was about these products. Customers whose events the model does not know are left out.

    Raises UserError where no such product is in stock, or it has no vector.
    """
    products = ProductVectors.read(lake, as_of)
    mine, in_stock = _products(lake, as_of, question)
    wanted = products.ids.encode(in_stock, missing="negative")
    if not (wanted >= 0).any():
        raise UserError(f"no product of {question.attribute} {question.value!r} has a vector on {as_of}")
    towards = products.vectors[wanted[wanted >= 0]].mean(axis=0) - products.vectors.mean(axis=0)
    query = np.append(WEIGHT * towards, np.float32(1))[None]
    homes = _customers(lake, as_of, question, Vocabulary(mine))
    known = np.asarray(homes["known"])
    scores, found = np.empty(0, np.float32), np.empty(0, np.int64)
    for at, vectors in _vectors(lake, as_of, homes["customer_id"]):
        own = np.column_stack([vectors, known[at].astype(np.float32)])  # one number more, which the query adds as it is
        best, rows = exact_top_n(query, own, question.size)
        kept = rows[0] >= 0
        scores, found = np.append(scores, best[0][kept]), np.append(found, at[rows[0][kept]])
        first = _best(scores, homes["customer_id"].take(pa.array(found)), question.size)
        scores, found = scores[first], found[first]
    chosen = homes.take(pa.array(found))
    lifts = _lifts(lake, as_of, question, chosen["customer_id"].combine_chunks())
    names = ("customer_id", "market", "score", "lift", "last_event_at")
    return chosen.append_column("score", pa.array(scores)).append_column("lift", lifts).select(names)


def _best(scores: FloatMatrix, ids: pa.Array, size: int) -> Rows:
    """The highest scores, equal ones in order of the ids."""
    order = np.asarray(pc.sort_indices(pa.table({"s": scores, "id": ids}), [("s", "descending"), ("id", "ascending")]))
    return order[:size].astype(np.int64)


def _products(lake: Lake, as_of: date, question: AudienceQuestion) -> tuple[pa.Array, pa.Array]:
    """(ids of the products asked for, those of them in stock in the market, or in any)."""
    catalogue = lake.arrow(CATALOGUE, ("product_id", "brand", "category", "launched_at"), as_of)
    ids, markets, available = read_availability(lake, as_of, catalogue)
    sold = available.any(axis=0)
    if question.market is not None:
        (row,) = markets.encode([question.market], missing="negative")
        if row < 0:
            raise UserError(f"--market {question.market!r} sells nothing on {as_of}; markets are {_some(markets.ids)}")
        sold = available[row]
    mine = np.asarray(pc.fill_null(pc.equal(catalogue[question.attribute], question.value), False))
    if not (mine & sold).any():
        known = pc.unique(catalogue[question.attribute].drop_null().filter(pa.array(sold)))
        raise UserError(
            f"no product of {question.attribute.removesuffix('_id')} {question.value!r} is in stock on {as_of}; there "
            f"are {_some(known.take(pc.array_sort_indices(known)))}"
        )
    return ids.ids.filter(pa.array(mine)), ids.ids.filter(pa.array(mine & sold))


def _some(names: pa.Array) -> str:
    return ", ".join(names[:8].to_pylist()) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")


def _customers(lake: Lake, as_of: date, question: AudienceQuestion, wanted: Vocabulary) -> pa.Table:
    """customer_id, market, last_event_at and `known`, of who may be in the audience: the part of their score that
    follows from how active they were, and how much of that was about the `wanted` products.
    """
    where = None if question.market is None else pc.field("market") == question.market
    night = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    if question.active_days is not None:
        since = pa.scalar(night - timedelta(days=question.active_days), pa.timestamp("us", "UTC"))
        awake = pc.field("last_event_at") >= since
        where = awake if where is None else where & awake
    of_type = np.array([PopularConfig().event_weights[name] for name in EVENT_TYPES])
    names, found = ("customer_id", "market", "last_event_at"), list[pa.RecordBatch]()
    for batch in lake.batches(CUSTOMER_SEQUENCES, (*HISTORY_COLUMNS, "last_event_at"), as_of, where=where):
        events = to_histories(batch, wanted, keep_unknown=True).sequences
        fades = 0.5 ** ((int(night.timestamp()) - events.times) / (FADES_DAYS * SECONDS_PER_DAY))
        of_these = np.where(events.products >= 0, of_type[events.events] * fades, 0.0)
        active, about = (np.bincount(events.owners, weights, batch.num_rows) for weights in (fades, of_these))
        known = (np.log(active + LEAST_ACTIVE) + np.log1p(about)) / 2
        found.append(batch.select(names).append_column("known", pa.array(known)))
    if not sum(batch.num_rows for batch in found):
        raise UserError(f"no customer of the night {as_of} has that market and an event in these days")
    return pa.Table.from_batches([batch for batch in found if batch.num_rows]).combine_chunks()


def _vectors(lake: Lake, as_of: date, customers: pa.ChunkedArray) -> Iterator[tuple[Rows, FloatMatrix]]:
    """(place among `customers`, vector) of those of whom the model knows something."""
    wanted = customers.combine_chunks()
    for batch in lake.batches(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), as_of, BATCH):
        at = np.asarray(pc.fill_null(pc.index_in(batch["customer_id"], value_set=wanted), -1), np.int64)
        if batch.num_rows:
            vectors = matrix(batch["vector"])
            known = (at >= 0) & vectors[:, :-1].any(axis=1)
            yield at[known], vectors[known]


def _lifts(lake: Lake, as_of: date, question: AudienceQuestion, customers: pa.Array) -> pa.Array:
    """[customers], the lift of the brand or category; null where it is not among theirs."""
    lifts = np.full(len(customers), np.nan)
    if question.attribute in AFFINITY_COLUMNS and lake.exists(AFFINITIES):
        names, of_names = AFFINITY_COLUMNS[question.attribute]
        for batch in lake.batches(AFFINITIES, ("customer_id", names, of_names), as_of):
            owner = pc.index_in(batch["customer_id"], value_set=customers).take(pc.list_parent_indices(batch[names]))
            told = pc.list_flatten(batch[of_names])
            mine = pc.and_(pc.equal(pc.list_flatten(batch[names]), question.value), owner.is_valid())
            lifts[np.asarray(owner.filter(mine))] = np.asarray(told.filter(mine))
    return pa.array(lifts, pa.float32(), from_pandas=True)
