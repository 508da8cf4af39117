"""Turns rows of Delta tables into the arrays that models take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES, PRODUCT_EMBEDDINGS
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows
from models.catalogue import Catalogue
from models.contract import FloatMatrix, Recommender
from models.ragged import Ragged, offsets_of
from models.sequences import EVENT_TYPES, Sequences
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class ProductVectors:
    """The night's product vectors, in id order."""

    ids: Vocabulary
    vectors: FloatMatrix
    """[p, d + 1]."""
    cold: BoolMask
    """[p], whether the vector comes from the catalogue alone."""
    model_id: str

    @staticmethod
    def read(lake: Lake, as_of: date) -> ProductVectors:
        """The vectors of a night; no products where it has none."""
        rows = lake.arrow(PRODUCT_EMBEDDINGS, ("product_id", "vector", "model_id", "cold"), as_of)
        cold = np.asarray(pc.fill_null(rows["cold"], False), dtype=bool)
        model_id = rows["model_id"][0].as_py() if len(rows) else ""
        return ProductVectors(Vocabulary(rows["product_id"].combine_chunks()), matrix(rows["vector"]), cold, model_id)


KINDS = Vocabulary(EVENT_TYPES)
HISTORY_COLUMNS = ("customer_id", "product_ids", "event_types", "event_timestamps", "market")


@dataclass(frozen=True)
class Histories:
    """Sequences of some customers, with their ids and markets."""

    customers: pa.Array
    """[n] customer ids."""
    markets: pa.Array
    """[n] market of each customer's last event."""
    sequences: Sequences
    """n histories over the given vocabulary; products outside it are -1 or left out."""


def to_histories(rows: pa.RecordBatch | pa.Table, vocabulary: Vocabulary, keep_unknown: bool = False) -> Histories:
    """Rows of customer_sequences, dictionary-encoded or not, as arrays; events of unknown products are left out unless
    `keep_unknown`.
    """
    lists = {name: _flat(rows[name]) for name in HISTORY_COLUMNS[1:4]}
    sequences = Sequences(
        list_offsets(rows["product_ids"]),
        vocabulary.encode(lists["product_ids"], missing="negative"),
        KINDS.encode(lists["event_types"]).astype(np.int8),
        np.asarray(lists["event_timestamps"].cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.int64())),
    )
    if not keep_unknown:
        sequences = sequences.where(sequences.products >= 0)
    return Histories(_whole(rows["customer_id"]), _whole(rows["market"]), sequences)


def read_histories(lake: Lake, as_of: date, vocabulary: Vocabulary, keep_unknown: bool = False) -> Histories:
    """All customers of a night, in id order."""
    return to_histories(lake.arrow(CUSTOMER_SEQUENCES, HISTORY_COLUMNS, as_of), vocabulary, keep_unknown)


def customers_with(lake: Lake, as_of: date, products: pa.Array, where: pc.Expression) -> Iterator[pa.Array]:
    """Ids of the night's customers whose sequence holds one of `products`, among the rows that match `where`."""
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "product_ids"), as_of, where=where):
        has = pc.is_in(_flat(batch["product_ids"]), value_set=products)
        owner = pc.unique(pc.list_parent_indices(batch["product_ids"]).filter(has))
        yield batch["customer_id"].take(owner)


def product_ids_seen(lake: Lake, as_of: date, before: datetime | None = None) -> pa.Array:
    """Distinct product ids in the night's sequences; with `before`, only of events before that time."""
    rows = lake.arrow(CUSTOMER_SEQUENCES, ("product_ids", "event_timestamps"), as_of)
    products = _flat(rows["product_ids"])
    if before is not None:
        products = products.filter(
            pc.less(_flat(rows["event_timestamps"]), pa.scalar(before, pa.timestamp("us", "UTC")))
        )
    return pc.unique(products)


def list_offsets(lists: pa.Array | pa.ChunkedArray) -> Rows:
    """[rows + 1], where each list's values begin among those of all; a null list is empty."""
    return offsets_of(np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64))


def matrix(column: pa.ChunkedArray | pa.Array) -> FloatMatrix:
    """A column of equally long float lists as [rows, d]."""
    values = np.asarray(_flat(column), dtype=np.float32)
    return values.reshape(len(column), -1) if len(column) else np.empty((0, 0), np.float32)


def vectors_column(vectors: FloatMatrix) -> pa.Array:
    """[rows, d] as a column of float lists."""
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel(), pa.float32()))


def key_column(lake: Lake, table: Table, as_of: date, name: str) -> pa.Array:
    """One column of a night in key order."""
    return _whole(lake.arrow(table, (name,), as_of)[name])


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return _whole(pc.list_flatten(column))


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


# Purchases as arrays over the night's products: a customer's own list must not show them.

BOUGHT_COLUMNS = ("bought", "bought_at")
"""Columns of customer_sequences."""


@dataclass(frozen=True)
class Bought(Ragged):
    """Customer i bought `products[offsets[i] : offsets[i + 1]]`."""

    products: Rows
    """Numbers of products; those outside the vocabulary are left out."""
    days: npt.NDArray[np.float32]
    """Days from each product's last purchase to the night."""

    @staticmethod
    def of(rows: pa.Table | pa.RecordBatch, products: Vocabulary, midnight: datetime) -> Bought:
        """From rows of customer_sequences, customer by customer; null means no purchases."""
        number = products.encode(pc.list_flatten(rows["bought"]), missing="negative").astype(np.int64)
        seconds = pc.list_flatten(rows["bought_at"]).cast(pa.int64())
        days = (midnight.timestamp() - np.asarray(seconds) / 1e6) / 86_400.0
        whole = Bought(list_offsets(rows["bought"]), number, days.astype(np.float32))
        return whole.where(number >= 0)

    def joined(self, more: BoolMask, products: Rows) -> Bought:
        """With `products[more[i]]` beside customer i's purchases, as if bought today."""
        owner, at = np.nonzero(more)
        owners, number = np.append(self.owners, owner), np.append(self.products, products[at])
        order = np.argsort(owners, kind="stable")
        days = np.append(self.days, np.zeros(len(at), np.float32))
        return Bought(offsets_of(self.lengths + more.sum(axis=1)), number[order], days[order])

    def lasting(self, category: Rows, again: npt.NDArray[np.float32]) -> BoolMask:
        """[purchases], whether one still keeps its product out of a list: bought at most `again` [categories] days ago.

        `category` is [products], -1 for none.
        """
        within = np.append(again, np.float32(np.inf))  # the last one stands for no category
        return np.asarray(self.days <= within[category[self.products]])


# Features of products from the catalogue.

ATTRIBUTES = ("brand", "category", "department", "colour")


def read_features(lake: Lake, as_of: date, products: Vocabulary) -> Catalogue:
    """The features of `products`, row by row, from the night's catalogue; none for a product outside it."""
    rows = lake.arrow(CATALOGUE, ("product_id", "name", "price", *ATTRIBUTES), as_of)
    at = pc.index_in(products.ids, value_set=rows["product_id"].combine_chunks())
    found = rows.take(at)
    attributes = {name: found[name].to_pylist() for name in ATTRIBUTES}
    return Catalogue.of(attributes, found["name"].to_pylist(), found["price"].cast(pa.float64()).to_pylist())


def categories(lake: Lake, as_of: date, products: Vocabulary) -> list[str]:
    """The category of each of `products`, empty where the catalogue names none."""
    rows = lake.arrow(CATALOGUE, ("product_id", "category"), as_of)
    at = pc.index_in(products.ids, value_set=rows["product_id"].combine_chunks())
    return [name or "" for name in rows["category"].take(at).to_pylist()]


def with_new_products(lake: Lake, as_of: date, model: Recommender) -> Recommender:
    """The model with the night's products that were not in its training, after those that were."""
    new = products_without_history(lake, as_of, model.vocabulary)
    return model.extended(new.ids.to_pylist(), read_features(lake, as_of, new))


def products_without_history(lake: Lake, as_of: date, known: Vocabulary) -> Vocabulary:
    """The catalogue's products outside `known`, in id order: those that a model has not seen."""
    ids = lake.arrow(CATALOGUE, ("product_id",), as_of)["product_id"]
    return Vocabulary.build(ids.filter(pc.invert(pc.is_in(ids, value_set=known.ids))))


# Which market sells which product.

PAIRS_AT_ONCE = 262_144
"""Pairs of product and market read at once."""


def read_availability(lake: Lake, as_of: date, catalogue: pa.Table) -> tuple[Vocabulary, Vocabulary, BoolMask]:
    """(products, markets, [markets, products] which market sells which product tonight); `catalogue` has product_id and
    launched_at.

    Raises UserError where no market sells a product.
    """
    products = Vocabulary(catalogue["product_id"].combine_chunks())
    lake.create(AVAILABILITY)
    columns = ("product_id", "market", "available")
    sold = [
        batch.filter(batch["available"]) for batch in lake.snapshot(AVAILABILITY).encoded(columns, as_of, PAIRS_AT_ONCE)
    ]
    markets = Vocabulary.build(pa.chunked_array([_words(batch["market"]) for batch in sold], pa.string()))
    available = np.zeros((len(markets), len(products)), dtype=bool)
    for batch in sold:
        product = products.encode(batch["product_id"], missing="negative")
        available[markets.encode(batch["market"])[product >= 0], product[product >= 0]] = True
    available &= np.asarray(pc.fill_null(pc.less(catalogue["launched_at"], as_of), True))
    if not available.any():
        raise UserError(f"no product is available in any market on {as_of}; check the raw availability and catalogue")
    return products, markets, available


def _words(texts: pa.Array) -> pa.Array:
    """The distinct texts of a column, dictionary-encoded or not."""
    words = pc.unique(texts)
    return words.dictionary_decode() if pa.types.is_dictionary(words.type) else words
