"""Delta rows as the arrays that models take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.tables import CUSTOMER_SEQUENCES, PRODUCT_EMBEDDINGS, Table
from models.contract import FloatMatrix
from models.sequences import EVENT_TYPES, Sequences
from models.vocabulary import Vocabulary

COLUMNS = ("customer_id", "product_ids", "event_types", "event_timestamps", "market")


@dataclass(frozen=True)
class Histories:
    """Some customers' sequences with what identifies them."""

    customers: pa.Array
    """[n] customer ids."""
    markets: pa.Array
    """[n] market of each customer's last event."""
    sequences: Sequences
    """n histories over the vocabulary that was given; products it does not know are -1 or left out."""


def to_histories(rows: pa.RecordBatch | pa.Table, vocabulary: Vocabulary, keep_unknown: bool = False) -> Histories:
    """Rows of customer_sequences as arrays; events of unknown products are left out unless `keep_unknown`."""
    lists = {name: _flat(rows[name]) for name in COLUMNS[1:4]}
    types = pc.index_in(lists["event_types"], value_set=pa.array(EVENT_TYPES))
    sequences = Sequences(
        np.concatenate(([0], np.cumsum(pc.list_value_length(rows["product_ids"]).to_numpy()))).astype(np.int64),
        vocabulary.encode(lists["product_ids"], missing="negative"),
        np.asarray(types).astype(np.int8),
        np.asarray(lists["event_timestamps"].cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.int64())),
    )
    if not keep_unknown:
        sequences = sequences.where(sequences.products >= 0)
    return Histories(_whole(rows["customer_id"]), _whole(rows["market"]), sequences)


def read_histories(lake: Lake, as_of: date, vocabulary: Vocabulary, keep_unknown: bool = False) -> Histories:
    """All customers of a night, in id order."""
    return to_histories(lake.arrow(CUSTOMER_SEQUENCES, COLUMNS, as_of), vocabulary, keep_unknown)


def customers_with(lake: Lake, as_of: date, products: pa.Array, where: pc.Expression) -> Iterator[pa.Array]:
    """Ids of the night's customers with one of `products` in their sequence, of the rows that match `where`."""
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "product_ids"), as_of, where=where):
        has = pc.is_in(_flat(batch["product_ids"]), value_set=products)
        owner = pc.unique(pc.list_parent_indices(batch["product_ids"]).filter(has))
        yield batch["customer_id"].take(owner)


def product_ids_seen(lake: Lake, as_of: date, before: Any = None) -> pa.Array:
    """Distinct product ids in the night's sequences; with `before`, only of events before that time."""
    rows = lake.arrow(CUSTOMER_SEQUENCES, ("product_ids", "event_timestamps"), as_of)
    products = _flat(rows["product_ids"])
    if before is not None:
        products = products.filter(
            pc.less(_flat(rows["event_timestamps"]), pa.scalar(before, pa.timestamp("us", "UTC")))
        )
    return pc.unique(products)


def read_product_vectors(lake: Lake, as_of: date) -> tuple[Vocabulary, FloatMatrix, str]:
    """(products, vectors [p, d + 1], model_id) of the night, in id order."""
    rows = lake.arrow(PRODUCT_EMBEDDINGS, ("product_id", "vector", "model_id"), as_of)
    return (
        Vocabulary(_whole(rows["product_id"])),
        matrix(rows["vector"]),
        rows["model_id"][0].as_py() if len(rows) else "",
    )


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
