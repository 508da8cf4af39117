"""Encodes every customer and every product as a vector of the night's champion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.changes import changed_customers, known_since, night_before, replace_changed
from jobs.lake.executors import Parcel, computed, only, own_columns, spread
from jobs.lake.lake import Lake
from jobs.model_inputs import (
    HISTORY_COLUMNS,
    customers_with,
    key_column,
    matrix,
    products_without_history,
    read_features,
    to_histories,
    vectors_column,
)
from jobs.networks import stage_network
from jobs.run import Counts, Run
from jobs.tables.records import MODELS
from jobs.tables.shop import CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, PRODUCT_EMBEDDINGS
from jobs.tables.table import Column
from jobs.train.step import load_champion
from models.catalogue import Catalogue
from models.contract import Compute, Recommender
from models.networks import artefacts
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class EmbedConfig:
    """Settings of the step embed."""

    device: str = "auto"
    """Where vectors are computed: auto (CUDA if available, else CPU), cpu or cuda."""
    batch_customers: int = 50_000
    """Customers held in memory at once."""


def execute(lake: Lake, run: Run, config: EmbedConfig) -> Counts:
    """Write the night's product_embeddings, and customer_embeddings of the customers whose vector may have changed."""
    model_id, trained = load_champion(lake, run, Compute(config.device))
    new = products_without_history(lake, run.as_of, trained.vocabulary)
    encoder = Encoder(trained, new, read_features(lake, run.as_of, new), model_id, config.device)
    products = _products(lake, run, encoder)
    lake.replace(PRODUCT_EMBEDDINGS, products, run)
    stage_network(lake, run, encoder.model, model_id)
    before = _base_night(lake, run, model_id)
    if before is None:
        customers, filters = None, [None]
        encoded = lake.count(CUSTOMER_SEQUENCES, run.as_of)
    else:
        touched = changed_customers(lake, CUSTOMER_SEQUENCES, before, run.as_of)
        others, where = _affected_by_products(lake, run, before, products, model_id)
        filters = [pc.field("as_of") > pa.scalar(before)] + [where] * bool(len(others))
        customers = pa.concat_arrays([touched, others])
        encoded = len(customers)
    with _encoded(lake, run, config, encoder, filters, customers, encoded) as rows:
        if before is None:
            written = lake.replace(CUSTOMER_EMBEDDINGS, rows, run)
        else:
            written = replace_changed(lake, CUSTOMER_EMBEDDINGS, rows, customers, before, run)
    note = f"{encoded:,} customers and {len(products):,} products by {model_id}"
    if before is not None:
        note += f", all other customers as on {before}"
    if added := len(encoder.model.vocabulary) - len(trained.vocabulary):
        note += f"; {added:,} of the products were not in its training: their vectors come from the catalogue"
    return Counts(encoded, written + len(products), note=note)


def _products(lake: Lake, run: Run, encoder: Encoder) -> pa.Table:
    """Rows of product_embeddings: the catalogue's products that the model knows."""
    model, trained = encoder.model, len(encoder.trained.vocabulary)
    vectors = model.product_vectors()
    known = np.asarray(pc.is_in(model.vocabulary.ids, value_set=key_column(lake, CATALOGUE, run.as_of, "product_id")))
    return pa.table(
        {
            "product_id": model.vocabulary.ids.filter(pa.array(known)),
            "vector": vectors_column(vectors[known]),
            "model_id": pa.repeat(encoder.model_id, int(known.sum())),
            "cold": pa.array((np.arange(len(known)) >= trained)[known]),
        }
    )


def _base_night(lake: Lake, run: Run, model_id: str) -> date | None:
    """The night whose vectors stay valid except for known changes; None where all customers are encoded."""
    before = night_before(lake, CUSTOMER_EMBEDDINGS, run.as_of)
    if before is None or not known_since(lake, CUSTOMER_SEQUENCES, before, run.as_of):
        return None
    one = lake.dataset(CUSTOMER_EMBEDDINGS).head(1, columns=["model_id"], filter=pc.field("as_of") == pa.scalar(before))
    return before if one["model_id"].to_pylist() == [model_id] else None


def _affected_by_products(
    lake: Lake, run: Run, before: date, products: pa.Table, model_id: str
) -> tuple[pa.Array, pc.Expression]:
    """(ids, filter of customer_sequences) of customers whose sequence did not change, but holds a product whose vector
    did: one outside the model's training, which the model knows from the catalogue alone.
    """
    # A sequence that was last changed before the training holds only products of the training.
    trained = [row["as_of"] for row in lake.arrow(MODELS).to_pylist() if row["model_id"] == model_id]
    since = max(trained, default=date.min)
    where = (pc.field("as_of") > pa.scalar(since)) & (pc.field("as_of") <= pa.scalar(before))
    changed = _changed_products(lake, before, products)
    found = list(customers_with(lake, run.as_of, changed, where)) if len(changed) else []
    ids = pa.concat_arrays([pa.array([], pa.string()), *found])
    return ids, where & pc.field("customer_id").isin(ids)


def _changed_products(lake: Lake, before: date, products: pa.Table) -> pa.Array:
    """Products outside the training that were added, removed, or got another vector since the night before."""
    names = ("product_id", "vector", "cold")
    then, now = (rows.filter(rows["cold"]) for rows in (lake.arrow(PRODUCT_EMBEDDINGS, names, before), products))
    at = pc.index_in(now["product_id"].combine_chunks(), value_set=then["product_id"].combine_chunks())
    there = np.asarray(at.is_valid())
    old, new = matrix(then["vector"].take(at.drop_null())), matrix(now["vector"].filter(pa.array(there)))
    same = np.zeros(len(now), dtype=bool)
    same[there] = (old == new).all(axis=1) if old.shape == new.shape else False
    kept = now["product_id"].filter(pa.array(same))
    both = pc.unique(pa.chunked_array([*then["product_id"].chunks, *now["product_id"].chunks], pa.string()))
    return both.filter(pc.invert(pc.is_in(both, value_set=kept.combine_chunks())))


@contextmanager
def _encoded(
    lake: Lake,
    run: Run,
    config: EmbedConfig,
    encoder: Encoder,
    filters: list[pc.Expression | None],
    customers: pa.Array | None,
    total: int,
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Rows of customer_embeddings of `total` customers: those whose sequences match one of `filters` (None matches
    all), which are `customers` (None: all).
    """
    if lake.on_executors:
        frame = only(lake, lake.frame(CUSTOMER_SEQUENCES, run.as_of), "customer_id", customers).select(*HISTORY_COLUMNS)
        parts = spread(lake, frame, "customer_id", total, config.batch_customers)
        with computed(lake, parts, encoder, CUSTOMER_EMBEDDINGS, run, "tasks of customers encoded") as rows:
            yield rows
        return
    stored = (
        batch
        for where in filters
        for batch in lake.batches(CUSTOMER_SEQUENCES, HISTORY_COLUMNS, run.as_of, config.batch_customers, where)
    )
    yield _counted(encoder(stored), run, total)


def _counted(rows: Iterator[pa.RecordBatch], run: Run, total: int) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in rows:
        done += batch.num_rows
        run.progress("customers encoded", done, total)
        yield batch


NEW_FEATURES = "/features of new products"
"""Name in a parcel that no parameter of a model has: those have no slash."""


@dataclass(frozen=True)
class Encoder:
    """Turns customers' sequences into vectors, in this process or on Spark's executors."""

    columns: ClassVar[tuple[Column, ...]] = own_columns(CUSTOMER_EMBEDDINGS)

    trained: Recommender
    new: Vocabulary
    """Products that were not in its training."""
    catalogue: Catalogue
    """Of `new`."""
    model_id: str
    device: str = "cpu"

    @cached_property
    def model(self) -> Recommender:
        """The model with the new products."""
        return self.trained.extended(self.new.ids.to_pylist(), self.catalogue)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows of customer_embeddings from rows of customer_sequences."""
        for batch in batches:
            if batch.num_rows:
                histories = to_histories(batch, self.model.vocabulary)
                vectors = vectors_column(self.model.encode(histories.sequences))
                columns = [histories.customers, vectors, pa.repeat(self.model_id, len(vectors))]
                yield pa.RecordBatch.from_arrays(columns, [column.name for column in self.columns])

    def parcel(self) -> Parcel:
        """Weights, vocabulary and features."""
        header = {
            "kind": self.trained.kind,
            "config": self.trained.config(),
            "products": self.trained.vocabulary.ids.to_pylist(),
            "new": self.new.ids.to_pylist(),
            "model_id": self.model_id,
            "device": self.device,
        }
        return Parcel(header, {**self.trained.tensors(), NEW_FEATURES: self.catalogue.features})

    @classmethod
    def of(cls, parcel: Parcel) -> Self:
        """The encoder that `parcel` packed."""
        header, tensors = parcel.header, dict(parcel.arrays)
        features = tensors.pop(NEW_FEATURES)
        trained = artefacts.model_class(header["kind"]).restore(
            Vocabulary(header["products"]), header["config"], tensors, Compute(header["device"])
        )
        return cls(trained, Vocabulary(header["new"]), Catalogue(features), header["model_id"], header["device"])
