"""Customers' sequences to their vectors, batch by batch: in the step's own process or on Spark's executors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import pyarrow as pa

from jobs.executors import own_columns
from jobs.histories import to_histories, vectors_column
from jobs.parcel import Parcel
from jobs.table import Column
from jobs.tables import CUSTOMER_EMBEDDINGS
from models import registry
from models.catalogue import Catalogue
from models.contract import Compute, Recommender
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class Encoder:
    """A trained model, and the products that it knows from the catalogue alone."""

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
        """The model that knows both."""
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
        model = self.trained
        header = {
            "kind": model.kind, "config": model.config(), "products": model.vocabulary.ids.to_pylist(),
            "new": self.new.ids.to_pylist(), "model_id": self.model_id, "device": self.device,
        }  # fmt: skip
        return Parcel(header, {**model.tensors(), NEW_FEATURES: self.catalogue.features})

    @classmethod
    def of(cls, parcel: Parcel) -> Self:
        """The encoder that the parcel came from."""
        header, tensors = parcel.header, dict(parcel.arrays)
        features = tensors.pop(NEW_FEATURES)
        trained = registry.restore(
            header["kind"], Vocabulary(header["products"]), header["config"], tensors, Compute(header["device"])
        )
        return cls(trained, Vocabulary(header["new"]), Catalogue(features), header["model_id"], header["device"])


NEW_FEATURES = "/features of new products"
"""No name of a parameter: those have no slash."""
