"""Our own transformer over a customer's events: what it promises, around the network that does it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
import torch

from models.batching import pad
from models.catalogue import Catalogue
from models.contract import FloatMatrix
from models.sequences import Sequences
from models.torch_recommender import TorchRecommender
from models.training import NextProductModule
from models.transformer_network import TransformerConfig, TransformerModule
from models.vocabulary import Vocabulary


class Transformer(TorchRecommender):
    """A causal transformer whose answer is a mix of the products it has read.

    Input: product vector, event type and time since the event before. Blocks: causal self-attention with a learned
    bias per distance (Shaw et al. 2018), then a two-layer network, both pre-normalised. Output: the products of the
    history, weighted by one last attention, plus the hidden state; products are scored by the same vectors that are
    read, so that history and answer live in one space (Hou et al. 2022, "CORE").
    """

    kind: ClassVar[str] = "transformer"
    config_class = TransformerConfig
    settings: TransformerConfig

    def build(self, catalogue: Catalogue) -> NextProductModule:
        """A fresh network, initialised from torch's global generator."""
        return TransformerModule(catalogue, self.settings)

    def extended(self, ids: Sequence[str], catalogue: Catalogue) -> Self:
        """A copy that also knows `ids` from their features; their own vectors are zero, as under id dropout."""
        if not len(ids):
            return self
        module = copy.deepcopy(self.module)
        assert isinstance(module, TransformerModule)
        module.products.append(catalogue)
        larger = copy.copy(self)
        larger.vocabulary = Vocabulary([*self.vocabulary.ids.to_pylist(), *ids])
        larger._module = module.eval()
        return larger

    def attention(self, sequences: Sequences) -> Iterator[FloatMatrix]:
        """For each history its attention [layers + 1, heads, L, L]: row i is what event i reads, over the events
        up to it, and sums to 1; L is at most `max_length`. The last layer is the readout, the same in every head.
        """
        recent = sequences.last(self.settings.max_length)
        assert isinstance(self.module, TransformerModule)
        for row in range(len(recent)):
            if not recent.lengths[row]:
                yield np.zeros((self.settings.layers + 1, self.settings.heads, 0, 0), dtype=np.float32)
                continue
            with torch.inference_mode():
                yield self.module.attention(pad(recent, np.array([row]), self._device)).cpu().numpy()
