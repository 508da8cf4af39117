"""Fulfils the model contract (`models.contract.Recommender`) with any network that `models.networks.training` fits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from models.catalogue import Catalogue
from models.contract import Choice, Compute, Config, Fitted, FloatMatrix, Progress, Tensors, Validate, silent
from models.networks.batching import buckets, fixed_buckets, fixed_columns, pad
from models.networks.device import (
    IntArray,
    Landing,
    mixed_precision,
    pick,
    reproducible,
    run_batches,
    run_in_threads,
    to_device,
    to_host,
)
from models.networks.losses import unit
from models.networks.training import NextProductModule, TrainingConfig, train
from models.sequences import Sequences
from models.settings import settings_of
from models.vocabulary import Vocabulary

ENCODE_EVENTS = 4096
"""Events per batch while encoding: a small model's working set then about fits a CPU's cache."""
GPU_ENCODE_EVENTS = 65_535
"""The same on a GPU, which is busy enough with them; CUDA limits a grid to so many rows, and torch's attention starts
one with a row for each history."""
FEATURES = "products.features"
"""Name of the buffer that holds `Catalogue.features` in a network that reads it."""


class TorchRecommender(ABC):
    """A subclass names its `kind` and `config_class` and builds its network; the rest is the same for all.

    Raises ValueError for an empty vocabulary and for an unknown or absent device.
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[TrainingConfig]]
    trials: ClassVar[tuple[Config, ...]] = ({},)
    """Settings that `choose` tries, equally many for all kinds."""

    def __init__(self, vocabulary: Vocabulary, settings: TrainingConfig, compute: Compute) -> None:
        if not len(vocabulary):
            raise ValueError("the vocabulary is empty: a model needs at least one product")
        self.vocabulary = vocabulary
        self.settings = settings
        self._compute = compute
        self._device = pick(compute)
        self._module: NextProductModule | None = None

    @abstractmethod
    def build(self, catalogue: Catalogue) -> NextProductModule:
        """A fresh network over the vocabulary, initialised from torch's global generator."""

    @property
    def module(self) -> NextProductModule:
        """The network; raises ValueError before `fit` or `restore`."""
        if self._module is None:
            raise ValueError(f"this {self.kind} model has learned nothing yet; call fit, or load an artefact")
        return self._module

    def fit(
        self,
        sequences: Sequences,
        catalogue: Catalogue | None = None,
        progress: Progress = silent,
        validate: Validate | None = None,
    ) -> Fitted:
        """Learn from scratch; see `models.networks.training.train` for the errors raised."""
        products, seed = len(self.vocabulary), self._compute.seed
        sequences.check_products(products)
        if catalogue is not None and len(catalogue) != products:
            raise ValueError(f"a catalogue of {len(catalogue)} products does not describe a vocabulary of {products}")
        with reproducible(seed, self._device):
            self._module = self.build(catalogue or Catalogue.empty(products)).to(self._device)
        figure = None if validate is None else lambda: validate(self)
        return train(self._module, sequences, products, self.settings, self._compute, progress, figure)

    def choose(
        self, sequences: Sequences, catalogue: Catalogue | None, validate: Validate, progress: Progress = silent
    ) -> Choice:
        """The best of `trials`, each stopped where it was best; leaves the model fitted with it."""
        given, tried = self.settings, []
        for trial in self.trials:
            self.settings = replace(given, **trial)
            fitted = self.fit(sequences, catalogue, progress, validate)
            tried.append((fitted, replace(self.settings, epochs=fitted.epochs), self._module))
        fitted, self.settings, self._module = max(tried, key=lambda each: max(each[0].figures))
        return Choice(self.config(), fitted.losses, fitted.figures)

    def extended(self, ids: Sequence[str], catalogue: Catalogue) -> Self:
        """This model itself: it knows products by their id alone."""
        return self

    def encode(self, sequences: Sequences, progress: Progress = silent) -> FloatMatrix:
        """Customer vectors [n, d + 1] float32 from each history's last `max_length` events; last column 1.

        An empty history gets zeros and the 1. On a CPU a vector is the same to the last bit whatever other histories
        are encoded with it, and in how many threads. `progress` counts histories. On a GPU, batches are large, and
        halved where memory is short; numbers are within `models.networks.device.BF16_TOLERANCE` of a CPU's.
        """
        sequences.check_products(len(self.vocabulary))
        recent = sequences.last(self.settings.max_length)
        result = np.zeros((len(recent), self._vectors(np.zeros(1, np.int64)).shape[1] + 1), dtype=np.float32)
        result[:, -1] = 1
        seen = np.zeros(len(recent), dtype=bool)

        def begin(rows: IntArray) -> Landing:
            columns = int(fixed_columns(recent.lengths[rows], self.settings.max_length).max())
            with torch.inference_mode(), mixed_precision(self._device):
                states = self.module.last_states(pad(recent, rows, self._device, columns_at_least=columns))
            return to_host(unit(states.float(), self.settings))

        def take(rows: IntArray, vectors: FloatMatrix) -> None:
            result[rows, :-1], seen[rows] = vectors, True
            progress("histories", int(np.count_nonzero(seen)), len(recent))

        if self._device.type == "cuda":
            run_batches(buckets(recent.lengths, GPU_ENCODE_EVENTS), begin, take)
            return result
        batches = fixed_buckets(recent.lengths, ENCODE_EVENTS, self.settings.max_length)
        run = run_in_threads if self.module.reentrant else run_batches
        run(batches, begin, take)
        return result

    def product_vectors(self) -> FloatMatrix:
        """Product vectors [V, d + 1] float32; the last column is the product's bias, 0 where there is none."""
        vectors = self._vectors(np.arange(len(self.vocabulary)))
        bias = self.module.bias()
        column = np.zeros(len(vectors), np.float32) if bias is None else bias.detach().cpu().numpy()
        return np.concatenate([vectors, column[:, None]], axis=1)

    def _vectors(self, products: npt.NDArray[np.integer]) -> FloatMatrix:
        with torch.inference_mode():
            vectors = self.module.vectors(*to_device(self._device, products))
            found: FloatMatrix = unit(vectors, self.settings).cpu().numpy()
        return found

    def config(self) -> Config:
        """The settings as plain JSON values."""
        plain = asdict(self.settings)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    def tensors(self) -> Tensors:
        """Every parameter and stored buffer by its name in the network; a shared one once."""
        return {name: value.detach().cpu().numpy() for name, value in _named_tensors(self.module).items()}

    @classmethod
    def create(cls, vocabulary: Vocabulary, compute: Compute, **config: Any) -> Self:
        """An untrained model; raises ValueError for settings that this kind does not have."""
        return cls(vocabulary, settings_of(cls.kind, cls.config_class, config), compute)

    @classmethod
    def restore(cls, vocabulary: Vocabulary, config: Config, tensors: Tensors, compute: Compute) -> Self:
        """The model that `config` and `tensors` came from; raises ValueError where they do not fit each other."""
        model = cls.create(vocabulary, compute, **config)
        features = tensors.get(FEATURES)
        if features is None or len(features) != len(vocabulary):
            features = Catalogue.empty(len(vocabulary)).features
        with reproducible(compute.seed, model._device):
            module = model.build(Catalogue(features))
        there = _named_tensors(module)
        wanted = {name: tuple(value.shape) for name, value in there.items()}
        found = {name: value.shape for name, value in tensors.items()}
        if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            name = wrong[0]
            raise ValueError(
                f"these tensors are not this {cls.kind} model's: {len(wrong)} differ, the first is {name!r}, "
                f"{found.get(name, 'absent')} where {wanted.get(name, 'none')} is expected"
            )
        with torch.no_grad():
            for name, value in there.items():
                value.copy_(torch.from_numpy(np.array(tensors[name])))
        model._module = module.to(model._device).eval()
        return model


def _named_tensors(module: NextProductModule) -> dict[str, torch.Tensor]:
    """Parameters, and the one buffer that is part of the trained model (FEATURES); a library's own are rebuilt."""
    kept = {name: value for name, value in module.named_buffers() if name == FEATURES}
    return {**dict(module.named_parameters()), **kept}
