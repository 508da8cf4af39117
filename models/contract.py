"""Defines the contract of every model with the steps and with the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue
from models.sequences import Sequences
from models.vocabulary import Vocabulary

FloatMatrix = npt.NDArray[np.float32]
Tensors = Mapping[str, npt.NDArray[Any]]
"""Learned arrays by name."""
Config = dict[str, Any]
"""A model's settings as plain JSON values."""
Progress = Callable[[str, int, int], None]
"""Called with (what is counted, done so far, total)."""


def silent(_what: str, _done: int, _total: int) -> None:
    """A Progress that says nothing."""


Validate = Callable[["Recommender"], float]
"""A figure of a model on held-out days, the higher the better."""


@dataclass(frozen=True)
class Compute:
    """Where and how reproducibly to compute."""

    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu or cuda."""
    seed: int = 17
    """Every random draw of a fit comes from it: same input, same seed, same machine, same vectors."""


@dataclass(frozen=True)
class Fitted:
    """Figures of a fit."""

    losses: tuple[float, ...]
    """Mean training loss of each epoch, nats."""
    pairs: int
    """(history, target) pairs that the first epoch could learn from."""
    steps: int
    """Updates of the weights."""
    epochs: int = 0
    """Passes after which the weights that were kept were reached."""
    figures: tuple[float, ...] = ()
    """Of the model on held-out days, as training went on."""


@dataclass(frozen=True)
class Choice:
    """Settings that were chosen on held-out days."""

    settings: Config
    """All settings of the model, as plain JSON values."""
    losses: tuple[float, ...]
    """Mean training loss of each epoch, nats."""
    figures: tuple[float, ...]
    """Of the model on those days, as training went on or for each setting that was tried."""


class NothingToLearnError(ValueError):
    """The histories hold nothing that a model could learn from."""


class Recommender(Protocol):
    """A next-product model. The score of product p for history h is the dot product of
    their vectors, higher is closer; the last column of both matrices carries the product's bias
    (0 where a model has none) against a constant 1, so that a plain inner-product search ranks.
    """

    kind: ClassVar[str]
    vocabulary: Vocabulary

    def fit(
        self,
        sequences: Sequences,
        catalogue: Catalogue | None = None,
        progress: Progress = silent,
        validate: Validate | None = None,
    ) -> Fitted:
        """Learn from histories, until `validate` gives no better figure where there is one; raises
        NothingToLearnError where they hold nothing to learn from.

        `catalogue` describes the vocabulary's products, for the models that read more than ids. Events at the same
        time within one history are one basket and never predict each other.
        """
        ...

    def choose(
        self, sequences: Sequences, catalogue: Catalogue | None, validate: Validate, progress: Progress = silent
    ) -> Choice:
        """The settings with the best figure on held-out days after `sequences`; leaves the model fitted to these."""
        ...

    def extended(self, ids: Sequence[str], catalogue: Catalogue) -> Self:
        """A model that also knows the products `ids`, which were not in training, from their `catalogue` entries
        alone; this model itself where it reads only ids.
        """
        ...

    def encode(self, sequences: Sequences, progress: Progress = silent) -> FloatMatrix:
        """Customer vectors [n, d + 1] of n histories; an empty history gets [0, .., 0, 1]."""
        ...

    def product_vectors(self) -> FloatMatrix:
        """Product vectors [len(vocabulary), d + 1], row i is product i of the vocabulary."""
        ...

    def config(self) -> Config:
        """Its settings, as plain JSON values."""
        ...

    def tensors(self) -> Tensors:
        """Every learned array by name, enough for `restore`."""
        ...

    @classmethod
    def restore(cls, vocabulary: Vocabulary, config: Config, tensors: Tensors, compute: Compute) -> Self:
        """The model that `config` and `tensors` came from."""
        ...
