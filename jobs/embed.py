"""Embeddings: every customer and every product as a vector of the night's champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.changes import changed_customers, known_since, night_before, replace_changed
from jobs.features import with_new_products
from jobs.histories import batches_of_histories, customers_with, key_column, matrix, vectors_column
from jobs.lake import Lake
from jobs.run import Counts, Run
from jobs.tables import CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, MODELS, PRODUCT_EMBEDDINGS
from jobs.train import load_champion
from models.contract import Compute, Recommender


@dataclass(frozen=True)
class EmbedConfig:
    """How vectors are computed."""

    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu or cuda."""
    batch_customers: int = 50_000
    """Customers held in memory at once."""


def execute(lake: Lake, run: Run, config: EmbedConfig) -> Counts:
    """Write product_embeddings of the night, and customer_embeddings of the customers whose vector may be another."""
    model_id, model = load_champion(lake, run, Compute(config.device))
    trained = len(model.vocabulary)
    model = with_new_products(lake, run.as_of, model)
    products = _products(lake, run, model, model_id, trained)
    lake.replace(PRODUCT_EMBEDDINGS, products, run)
    before = _goes_on_from(lake, run, model_id)
    if before is None:
        total = lake.count(CUSTOMER_SEQUENCES, run.as_of)
        rows = _encoded(lake, run, config, model, model_id, total, [None])
        encoded = written = lake.replace(CUSTOMER_EMBEDDINGS, rows, run)
    else:
        touched = changed_customers(lake, CUSTOMER_SEQUENCES, before, run.as_of)
        others, where = _reading_otherwise(lake, run, before, products, model_id)
        encoded, wanted = len(touched) + len(others), [pc.field("as_of") > pa.scalar(before)]
        rows = _encoded(lake, run, config, model, model_id, encoded, wanted + [where] * bool(len(others)))
        written = replace_changed(lake, CUSTOMER_EMBEDDINGS, rows, pa.concat_arrays([touched, others]), before, run)
    note = f"{encoded:,} customers and {len(products):,} products by {model_id}"
    if before is not None:
        note += f", all other customers as on {before}"
    if added := len(model.vocabulary) - trained:
        note += f"; {added:,} of the products were not in its training: their vectors come from the catalogue"
    return Counts(encoded, written + len(products), note=note)


def _products(lake: Lake, run: Run, model: Recommender, model_id: str, trained: int) -> pa.Table:
    """Rows of product_embeddings: the catalogue's products that the model knows."""
    vectors = model.product_vectors()
    known = np.asarray(pc.is_in(model.vocabulary.ids, value_set=key_column(lake, CATALOGUE, run.as_of, "product_id")))
    return pa.table(
        {
            "product_id": model.vocabulary.ids.filter(pa.array(known)),
            "vector": vectors_column(vectors[known]),
            "model_id": pa.repeat(model_id, int(known.sum())),
            "cold": pa.array((np.arange(len(known)) >= trained)[known]),
        }
    )


def _goes_on_from(lake: Lake, run: Run, model_id: str) -> date | None:
    """The night whose vectors are still right but for what is known to have changed; None where all are made anew."""
    before = night_before(lake, CUSTOMER_EMBEDDINGS, run.as_of)
    if before is None or not known_since(lake, CUSTOMER_SEQUENCES, before, run.as_of):
        return None
    one = lake.dataset(CUSTOMER_EMBEDDINGS).head(1, columns=["model_id"], filter=pc.field("as_of") == pa.scalar(before))
    return before if one["model_id"].to_pylist() == [model_id] else None


def _reading_otherwise(
    lake: Lake, run: Run, before: date, products: pa.Table, model_id: str
) -> tuple[pa.Array, pc.Expression]:
    """(ids, which rows of customer_sequences): customers with the same sequence as the night before, but a product in
    it that the model reads otherwise now: one that was not in its training, which it knows from the catalogue alone.
    """
    # A sequence that was last changed before the training holds nothing that was not in it.
    trained = [row["as_of"] for row in lake.arrow(MODELS).to_pylist() if row["model_id"] == model_id]
    since = max(trained, default=date.min)
    where = (pc.field("as_of") > pa.scalar(since)) & (pc.field("as_of") <= pa.scalar(before))
    other = _read_otherwise(lake, before, products)
    found = list(customers_with(lake, run.as_of, other, where)) if len(other) else []
    ids = pa.concat_arrays([pa.array([], pa.string()), *found])
    return ids, where & pc.field("customer_id").isin(ids)


def _read_otherwise(lake: Lake, before: date, products: pa.Table) -> pa.Array:
    """Products outside the training that have come, gone, or changed their vector since the night before."""
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


def _encoded(
    lake: Lake, run: Run, config: EmbedConfig, model: Recommender, model_id: str, total: int,
    wanted: list[pc.Expression | None],
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """Rows of customer_embeddings of the customers whose sequences match one of `wanted`; None matches all."""
    done = 0
    for where in wanted:
        for histories in batches_of_histories(lake, run.as_of, model.vocabulary, config.batch_customers, where):
            vectors = vectors_column(model.encode(histories.sequences))
            done += len(histories.customers)
            run.progress("customers encoded", done, total)
            columns = [histories.customers, vectors, pa.repeat(model_id, len(vectors))]
            yield pa.RecordBatch.from_arrays(columns, ["customer_id", "vector", "model_id"])
