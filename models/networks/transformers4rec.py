"""Builds a model from NVIDIA Transformers4Rec's modules, trained and scored by our code."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import nn

from models.catalogue import Catalogue
from models.networks.batching import Batch
from models.networks.recommender import TorchRecommender
from models.networks.training import NextProductModule
from models.networks.transformer import BlockConfig
from models.sequences import EVENT_TYPES


@dataclass(frozen=True)
class Transformers4RecConfig(BlockConfig):
    """Settings of `Transformers4Rec`."""

    temperature: PositiveFloat | None = (
        None  # the library's own dot product; with few epochs the cosine learned far less
    )


class Transformers4Rec(TorchRecommender):
    """A causal transformer from the library's modules, with the library's weight-tied next-item head
    (de Souza Pereira Moreira et al. 2021, "Transformers4Rec").

    Taken from the library: the input features (product plus event type, summed), the masking module, the GPT-2
    block and the tied head. Not taken: its evaluator, its trainer, and the head's loss and targets, which know no
    baskets and draw negatives by log-uniform rank over ids that must be sorted by frequency.

    GPT-2 and not XLNet, the library's usual choice: XLNet's default attention is bidirectional, and together with
    the library's causal masking it reads later events (its issues #746, #761). GPT-2's triangular mask is built in, so
    position t depends on events 0..t only, whatever the masking module does. For the same reason the masking module
    always runs in its inference mode, also in training: its training mode drops the last event of every history
    from the input, so that training and inference would see different inputs (compare its issue #719).
    """

    kind: ClassVar[str] = "transformers4rec"
    config_class = Transformers4RecConfig
    settings: Transformers4RecConfig

    def build(self, catalogue: Catalogue) -> NextProductModule:
        """A fresh network, initialised from torch's global generator; it reads ids alone.

        The first call imports the library (11 s).
        """
        return Transformers4RecModule(build_head(len(self.vocabulary), self.settings))


class Transformers4RecModule(NextProductModule):
    """Wraps the library's head; ids are shifted by one, because the library reserves id 0 for padding."""

    reentrant: ClassVar[bool] = False  # it keeps each batch's mask

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The library's input columns, each [B, L] int64, 0 at padding."""
        return {"product": (batch.products + 1) * batch.mask, "event": (batch.events + 1) * batch.mask}

    def states(self, batch: Batch) -> torch.Tensor:
        """[B, L, D], the hidden state after each event."""
        body: Any = self.head.body
        states: torch.Tensor = body(self.inputs(batch), training=False, testing=False)
        return states

    def vectors(self, products: torch.Tensor) -> torch.Tensor:
        """[.., D], the tied input and output vectors, past the padding row."""
        body: Any = self.head.body
        return nn.functional.embedding(products + 1, body.inputs.item_embedding_table.weight)


def build_head(products: int, config: Transformers4RecConfig) -> nn.Module:
    """The library's Head over features, transformer and next-item task, for `products` products."""
    with _quiet():
        import transformers4rec.torch
        from merlin.schema import ColumnSchema, Schema, Tags

        tr: Any = transformers4rec.torch

        def column(name: str, codes: int, tags: list[Tags]) -> ColumnSchema:
            properties = {"domain": {"min": 0, "max": codes}, "value_count": {"min": 0, "max": config.max_length}}
            return ColumnSchema(
                name, dtype=np.int64, is_list=True, tags=[*tags, Tags.CATEGORICAL], properties=properties
            )

        names = ("product", "event")
        inputs = tr.TabularSequenceFeatures.from_schema(
            Schema([column("product", products, [Tags.ITEM_ID]), column("event", len(EVENT_TYPES), [])]),
            max_sequence_length=config.max_length,
            embedding_dims=dict.fromkeys(names, config.width),
            embeddings_initializers=dict.fromkeys(names, _initialise),
            aggregation="element-wise-sum",
            masking="clm",
        )
        shape = tr.GPT2Config.build(
            config.width, config.heads, config.layers, config.max_length, initializer_range=0.02, dropout=config.dropout
        )
        shape.attn_pdrop = 0.0  # its random numbers, one per pair of events, cost more than the attention
        shape.use_cache = False
        block = tr.TransformerBlock(shape, masking=inputs.masking)
        block.prepare_module = None  # a second triangular mask over the one that GPT-2 applies anyway
        task = tr.NextItemPredictionTask(weight_tying=True, metrics=[])
        head: nn.Module = tr.Head(tr.SequentialBlock(inputs, block), task, inputs=inputs)
    return head


def _initialise(weight: torch.Tensor) -> None:
    nn.init.normal_(weight, std=0.02)
    with torch.no_grad():
        weight[0].zero_()  # the padding row


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the import of the library, which warns of TensorFlow, Triton and pynvml: none of them is used here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
