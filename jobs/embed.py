"""Embeddings: every customer and every product as a vector of the night's champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.features import with_new_products
from jobs.histories import batches_of_histories, key_column, vectors_column
from jobs.lake import Lake
from jobs.run import Counts, Run
from jobs.tables import CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, PRODUCT_EMBEDDINGS
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
    """Write customer_embeddings and product_embeddings of the night."""
    model_id, model = load_champion(lake, run, Compute(config.device))
    trained = len(model.vocabulary)
    model = with_new_products(lake, run.as_of, model)
    vectors = model.product_vectors()
    known = np.asarray(pc.is_in(model.vocabulary.ids, value_set=key_column(lake, CATALOGUE, run.as_of, "product_id")))
    products = pa.table(
        {
            "product_id": model.vocabulary.ids.filter(pa.array(known)),
            "vector": vectors_column(vectors[known]),
            "model_id": pa.repeat(model_id, int(known.sum())),
            "cold": pa.array((np.arange(len(known)) >= trained)[known]),
        }
    )
    lake.replace(PRODUCT_EMBEDDINGS, products, run)
    total = lake.count(CUSTOMER_SEQUENCES, run.as_of)
    customers = lake.replace(CUSTOMER_EMBEDDINGS, _encoded(lake, run, config, model, model_id, total), run)
    note = f"{customers:,} customers and {len(products):,} products by {model_id}"
    if added := len(model.vocabulary) - trained:
        note += f"; {added:,} of the products were not in its training: their vectors come from the catalogue"
    return Counts(total, customers + len(products), note=note)


def _encoded(
    lake: Lake, run: Run, config: EmbedConfig, model: Recommender, model_id: str, total: int
) -> Iterator[pa.RecordBatch]:
    done = 0
    for histories in batches_of_histories(lake, run.as_of, model.vocabulary, config.batch_customers):
        vectors = vectors_column(model.encode(histories.sequences))
        done += len(histories.customers)
        run.progress("customers encoded", done, total)
        columns = [histories.customers, vectors, pa.repeat(model_id, len(vectors))]
        yield pa.RecordBatch.from_arrays(columns, ["customer_id", "vector", "model_id"])
