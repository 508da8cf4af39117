"""Recommends the same popular products to everybody: the model of a shop in which no other can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue
from models.contract import Choice, Compute, Config, Fitted, FloatMatrix, Progress, Tensors, Validate, silent
from models.evaluation.baselines import popularity_share
from models.sequences import Sequences
from models.settings import Settings, settings_of
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class MostPopularConfig(Settings):
    """`MostPopular` has no settings."""


class MostPopular:
    """A product's score is its share of all events, the bias of an otherwise empty vector.

    Vectors that tell nothing about a customer or product leave every list to the popularity in its market. Raises
    ValueError for an empty vocabulary.
    """

    kind: ClassVar[str] = "popularity"
    config_class: ClassVar[type[MostPopularConfig]] = MostPopularConfig

    def __init__(self, vocabulary: Vocabulary, compute: Compute) -> None:
        if not len(vocabulary):
            raise ValueError("the vocabulary is empty: a model needs at least one product")
        self.vocabulary = vocabulary
        self._compute = compute
        self._share: npt.NDArray[np.float32] = np.zeros(len(vocabulary), np.float32)

    def fit(
        self,
        sequences: Sequences,
        catalogue: Catalogue | None = None,
        progress: Progress = silent,
        validate: Validate | None = None,
    ) -> Fitted:
        """Count the events of each product; reads neither `catalogue` nor `validate`."""
        sequences.check_products(len(self.vocabulary))
        self._share = popularity_share(sequences.products, len(self.vocabulary)).astype(np.float32)
        return Fitted((), len(sequences.products), 0)

    def choose(
        self, sequences: Sequences, catalogue: Catalogue | None, validate: Validate, progress: Progress = silent
    ) -> Choice:
        """Fits the model, which has nothing to choose."""
        self.fit(sequences)
        return Choice({}, (), (validate(self),))

    def extended(self, ids: Sequence[str], catalogue: Catalogue) -> Self:
        """This model itself: it knows products by their events alone."""
        return self

    def encode(self, sequences: Sequences, progress: Progress = silent) -> FloatMatrix:
        """[n, 2] float32, [0, 1] for every history."""
        return np.tile(np.array([0, 1], np.float32), (len(sequences), 1))

    def product_vectors(self) -> FloatMatrix:
        """[V, 2] float32: 0 and the share of the events."""
        return np.stack([np.zeros_like(self._share), self._share], axis=1)

    def config(self) -> Config:
        """No settings."""
        return {}

    def tensors(self) -> Tensors:
        """The shares."""
        return {"share": self._share}

    @classmethod
    def create(cls, vocabulary: Vocabulary, compute: Compute, **config: Any) -> Self:
        """A model that has counted nothing; raises ValueError for any setting."""
        settings_of(cls.kind, cls.config_class, config)
        return cls(vocabulary, compute)

    @classmethod
    def restore(cls, vocabulary: Vocabulary, config: Config, tensors: Tensors, compute: Compute) -> Self:
        """The model that `tensors` came from; raises ValueError where they do not fit the vocabulary."""
        model = cls.create(vocabulary, compute, **config)
        share = tensors["share"]
        if share.shape != (len(vocabulary),):
            raise ValueError(f"shares {share.shape} are not those of {len(vocabulary)} products")
        model._share = np.array(share, np.float32)
        return model
