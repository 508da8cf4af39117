"""Defines asymmetric matrix factorisation, the baseline that a sequence model has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from models.catalogue import Catalogue
from models.networks.batching import Batch
from models.networks.optimiser import ByteDropout, table
from models.networks.recommender import TorchRecommender
from models.networks.training import FinitePositive, NextProductModule, TrainingConfig
from models.sequences import EVENT_TYPES
from models.settings import Dropout, Share


@dataclass(frozen=True)
class AMFConfig(TrainingConfig):
    """Settings of `AMF`."""

    width: PositiveInt = 64
    """d, the length of a product vector."""
    exponent: Share = 0.5
    """a in |N|^-a: 0 sums the history, 1 averages it. Without a temperature it decides how much a long history
    outweighs the bias; with one it cancels out, and only the direction of the sum counts."""
    dropout: Dropout = 0.2
    """Share of the input vectors' numbers that is zeroed while training."""
    temperature: PositiveFloat | None = 0.14
    epochs: PositiveInt = 6
    learning_rate: FinitePositive = 0.01


class AMF(TorchRecommender):
    """u = |N|^-a * sum over the history N of w(event) y(product); score of product i = b_i + q_i . u.

    Two product tables (y reads a history, q is recommended), so that "a then b" and "b then a" differ, and no
    customer table, so that a customer met today is scored like any other (Paterek 2007, "Improving regularized SVD",
    section 3.6 NSVD; Koren 2008). Trained on the same pairs, windows, loss and negatives as the transformers: the
    target is never in its own history. The order of the history does not matter to it.
    """

    kind: ClassVar[str] = "amf"
    config_class = AMFConfig
    settings: AMFConfig

    def build(self, catalogue: Catalogue) -> NextProductModule:
        """A fresh network, initialised from torch's global generator; it reads ids alone."""
        return AMFModule(len(self.vocabulary), self.settings)


class AMFModule(NextProductModule):
    """The tables of `AMF`. Legend: B histories, L events, D width, V products."""

    def __init__(self, products: int, config: AMFConfig) -> None:
        super().__init__()
        self.read = table(products, config.width, 0.1)
        self.recommend = table(products, config.width, 0.1)
        self.event_weight = nn.Parameter(torch.ones(len(EVENT_TYPES)))
        self.product_bias = nn.Parameter(torch.zeros(products)) if config.temperature is None else None
        self.dropout = ByteDropout(config.dropout)
        self.exponent = config.exponent

    def states(self, batch: Batch) -> torch.Tensor:
        """[B, L, D], the customer vector of every prefix."""
        # A product with one-hot rows: indexing a 4-vector has a slow gradient, every event adds into 4 cells.
        kinds = nn.functional.one_hot(batch.events, len(EVENT_TYPES)).to(self.event_weight.dtype)
        weight = (kinds @ self.event_weight) * batch.mask
        read_BLD = self.dropout(self.read(batch.products)) * weight[:, :, None]
        length = read_BLD.shape[1]
        # A triangular product is a running sum whose gradient is deterministic on CUDA too, unlike cumsum's.
        until_LL = torch.ones(length, length, device=read_BLD.device).tril()
        count = torch.arange(1, length + 1, device=read_BLD.device)[:, None]
        states: torch.Tensor = (until_LL @ read_BLD) * count**-self.exponent
        return states

    def vectors(self, products: torch.Tensor) -> torch.Tensor:
        """[.., D], the vectors q."""
        found: torch.Tensor = self.recommend(products)
        return found

    def bias(self) -> torch.Tensor | None:
        """[V], or None where vectors are normalised."""
        return self.product_bias
