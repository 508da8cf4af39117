"""Computes product vectors in closed form, from which products are seen in one visit; no gradient, seconds to fit."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from models.catalogue import Catalogue
from models.contract import (
    Choice,
    Compute,
    Config,
    Fitted,
    FloatMatrix,
    NothingToLearnError,
    Progress,
    Tensors,
    Validate,
    silent,
)
from models.networks.device import pick, reproducible
from models.sequences import SECONDS_PER_DAY, Sequences
from models.settings import Settings, Share, settings_of
from models.vocabulary import Vocabulary

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
FinitePositive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

ITERATIONS, OVERSAMPLED = 8, 32
"""Of the randomised decomposition: the lists of width 128 then agree with the exact ones."""
BATCH = 65_536
"""Histories summed at once."""
EXPONENTS, MEMORIES, RANKS, TRENDS = (0.0, 0.25, 0.5), (5.0, 14.0, 45.0), (32, 64, 128), (0.02, 0.06)
"""What held-out days choose among."""


@dataclass(frozen=True)
class ClosedFormConfig(Settings):
    """Settings of `ClosedForm`."""

    rank: PositiveInt = 128
    """r, the length of a product vector; at most the number of products."""
    exponent: Share = 0.25
    """a: counts of pairs are divided by (visits of the one product * visits of the other)^a; 0 keeps popularity, 0.5 is
    the cosine."""
    memory_days: FinitePositive = 14.0
    """An event so many days before the history's last one counts 1 / e of it."""
    trend: NonNegativeFloat = 0.0
    """Weight of the standardised logarithm of a product's recent events, beside the similarity."""
    trend_days: PositiveInt = 14
    """Days before the last event of all in which they are counted."""
    pause_minutes: NonNegativeInt = 30
    """A visit ends where the next event is later than that; 0: visits are the events of one time."""
    max_length: PositiveInt = 100
    """Most recent events of a history that are read."""


class ClosedForm:
    """Product vectors are the main directions of what is seen together; a customer is the sum of a history's products.

    G = X'X counts the visits that two products share, D those of each product alone. The vectors are E = V S of the
    first r singular vectors V and values S of X D^-a, so that E E' is the best approximation of D^-a G D^-a with r
    directions (Eckart and Young 1936), found by a randomised decomposition (Halko, Martinsson and Tropp 2011). A
    history's products are summed with weights that fall with their age. Baskets are visits where nothing else is known.

    Raises ValueError for an empty vocabulary and for an unknown or absent device.
    """

    kind: ClassVar[str] = "closed_form"
    config_class: ClassVar[type[ClosedFormConfig]] = ClosedFormConfig

    def __init__(self, vocabulary: Vocabulary, settings: ClosedFormConfig, compute: Compute) -> None:
        if not len(vocabulary):
            raise ValueError("the vocabulary is empty: a model needs at least one product")
        self.vocabulary = vocabulary
        self.settings = settings
        self._compute = compute
        self._device = pick(compute)
        self._vectors: FloatMatrix = np.zeros((0, 0), np.float32)
        self._bias: Vector = np.zeros(0, np.float32)

    @property
    def vectors(self) -> FloatMatrix:
        """[V, r], without the trend; raises ValueError before `fit` or `restore`."""
        if not len(self._vectors):
            raise ValueError(f"this {self.kind} model has learned nothing yet; call fit, or load an artefact")
        return self._vectors

    def fit(
        self,
        sequences: Sequences,
        catalogue: Catalogue | None = None,
        progress: Progress = silent,
        validate: Validate | None = None,
    ) -> Fitted:
        """Decompose the visits of `sequences`; reads neither `catalogue` nor `validate`."""
        sequences.check_products(len(self.vocabulary))
        vectors, visits = _decomposed(sequences, len(self.vocabulary), self.settings, self._compute.seed)
        self._vectors = _scaled(vectors)
        self._bias = _trend(sequences, len(self.vocabulary), self.settings)
        progress("decompositions", 1, 1)
        return Fitted((), visits, 0)

    def choose(
        self, sequences: Sequences, catalogue: Catalogue | None, validate: Validate, progress: Progress = silent
    ) -> Choice:
        """The best settings on held-out days: exponent and memory together, then rank, then trend; fits the model."""
        sequences.check_products(len(self.vocabulary))
        tried: list[tuple[float, ClosedFormConfig]] = []

        def attempt(settings: ClosedFormConfig, vectors: FloatMatrix) -> None:
            self.settings, self._vectors = settings, _scaled(vectors[:, : settings.rank])
            self._bias = _trend(sequences, len(self.vocabulary), settings)
            tried.append((validate(self), settings))
            progress("settings tried", len(tried), len(EXPONENTS) * len(MEMORIES) + len(RANKS) + len(TRENDS) + 1)

        widest, found = replace(self.settings, rank=max(RANKS)), {}
        for exponent in EXPONENTS:
            settings = replace(widest, exponent=exponent)
            found[exponent], _ = _decomposed(sequences, len(self.vocabulary), settings, self._compute.seed)
            for days in MEMORIES:
                attempt(replace(settings, memory_days=days), found[exponent])

        def best() -> ClosedFormConfig:
            return max(tried, key=lambda each: each[0])[1]

        for settings in [replace(best(), rank=rank) for rank in RANKS]:
            attempt(settings, found[settings.exponent])
        for settings in [replace(best(), trend=trend) for trend in TRENDS]:
            attempt(settings, found[settings.exponent])
        attempt(best(), found[best().exponent])
        return Choice(self.config(), (), tuple(figure for figure, _ in tried))

    def extended(self, ids: Sequence[str], catalogue: Catalogue) -> Self:
        """This model itself: it knows products by their visits alone."""
        return self

    def grown(self, vocabulary: Vocabulary) -> Self:
        """A copy with further products at the end of `vocabulary`, with zero vectors: no visit has them."""
        larger = copy.copy(self)
        larger.vocabulary = vocabulary
        more = len(vocabulary) - len(self._vectors)
        larger._vectors, larger._bias = np.pad(self._vectors, ((0, more), (0, 0))), np.pad(self._bias, (0, more))
        return larger

    def encode(self, sequences: Sequences, progress: Progress = silent) -> FloatMatrix:
        """Customer vectors [n, r + 1] float32, of length 1 beside the last column 1; zeros for an empty history.

        A vector is the same to the last bit whatever other histories are encoded with it.
        """
        sequences.check_products(len(self.vocabulary))
        recent = sequences.last(self.settings.max_length)
        result = np.zeros((len(recent), self.vectors.shape[1] + 1), dtype=np.float32)
        result[:, -1] = 1
        vectors = torch.from_numpy(self.vectors).to(self._device)
        for start in range(0, len(recent), BATCH):
            part = recent.take(np.arange(start, min(start + BATCH, len(recent))))
            summed = F.embedding_bag(
                torch.from_numpy(part.products.astype(np.int64)).to(self._device),
                vectors,
                torch.from_numpy(part.offsets[:-1]).to(self._device),
                mode="sum",
                per_sample_weights=torch.from_numpy(_weights(part, self.settings.memory_days)).to(self._device),
            )
            result[start : start + len(part), :-1] = F.normalize(summed, dim=-1).cpu().numpy()
            progress("histories", start + len(part), len(recent))
        return result

    def product_vectors(self) -> FloatMatrix:
        """Product vectors [V, r + 1] float32, of mean length 1; the last column is the weighted trend."""
        return np.concatenate([self.vectors, self._bias[:, None]], axis=1)

    def config(self) -> Config:
        """The settings as plain JSON values."""
        return asdict(self.settings)

    def tensors(self) -> Tensors:
        """The product vectors and the trend."""
        return {"vectors": self.vectors, "bias": self._bias}

    @classmethod
    def create(cls, vocabulary: Vocabulary, compute: Compute, **config: Any) -> Self:
        """A model without vectors; raises ValueError for settings that this kind does not have."""
        return cls(vocabulary, settings_of(cls.kind, cls.config_class, config), compute)

    @classmethod
    def restore(cls, vocabulary: Vocabulary, config: Config, tensors: Tensors, compute: Compute) -> Self:
        """The model that `config` and `tensors` came from; raises ValueError where they do not fit each other."""
        model = cls.create(vocabulary, compute, **config)
        vectors, bias = tensors["vectors"], tensors["bias"]
        if vectors.ndim != 2 or len(vectors) != len(vocabulary) or bias.shape != (len(vocabulary),):
            raise ValueError(
                f"vectors {vectors.shape} and trend {bias.shape} are not those of {len(vocabulary)} products"
            )
        model._vectors, model._bias = np.array(vectors, np.float32), np.array(bias, np.float32)
        return model


def _weights(sequences: Sequences, memory_days: float) -> Vector:
    """[events], 1 for events at the time of a history's last one."""
    last = np.repeat(sequences.times[sequences.offsets[1:] - 1], sequences.lengths)
    return np.exp((sequences.times - last) / (SECONDS_PER_DAY * memory_days)).astype(np.float32)


def _decomposed(sequences: Sequences, products: int, settings: ClosedFormConfig, seed: int) -> tuple[FloatMatrix, int]:
    """(E [products, r], number of visits); raises ValueError without an event."""
    if not len(sequences.products):
        raise NothingToLearnError(f"{len(sequences)} histories hold no event: nothing to learn from")
    edges = sequences.basket_offsets(60 * settings.pause_minutes)
    visit = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    cells = np.unique(visit * products + sequences.products)  # once a visit, however often it was looked at
    visit, product = cells // products, cells % products
    alone = np.bincount(product, minlength=products)
    values = alone[product] ** -settings.exponent
    shape = len(edges) - 1, products
    with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
        counts = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([visit, product])), torch.from_numpy(values.astype(np.float32)), shape
        ).coalesce()
    rank = min(settings.rank, products)
    with reproducible(seed, torch.device("cpu")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        by_visit, by_product = counts.to_sparse_csr(), counts.t().to_sparse_csr()
        found = torch.randn(products, min(rank + OVERSAMPLED, products, len(edges) - 1))
        for _ in range(ITERATIONS):
            found = torch.linalg.qr(by_product @ (by_visit @ found))[0]
        seen = by_visit @ found
        strengths, turned = torch.linalg.eigh((seen.T @ seen).double())
    directions = found @ turned.flip(1).float()
    return (directions * strengths.flip(0).clamp(min=0).sqrt().float())[:, :rank].numpy(), len(edges) - 1


def _scaled(vectors: FloatMatrix) -> FloatMatrix:
    """[products, r] with mean length 1, so that a trend weighs the same beside vectors of any rank."""
    length = np.linalg.norm(vectors, axis=1).mean()
    return np.ascontiguousarray(vectors / max(float(length), 1e-12), dtype=np.float32)


def _trend(sequences: Sequences, products: int, settings: ClosedFormConfig) -> Vector:
    """[products], the weighted, standardised logarithm of how many of the latest events are of each."""
    if not settings.trend:
        return np.zeros(products, np.float32)
    latest = sequences.times > sequences.times.max() - settings.trend_days * SECONDS_PER_DAY
    logs = np.log1p(np.bincount(sequences.products[latest], minlength=products))
    return np.asarray(settings.trend * (logs - logs.mean()) / max(float(logs.std()), 1e-9), dtype=np.float32)
