"""Defines our own transformer over a customer's events: settings, layers from inputs to answer, and the model.

Legend: B histories, L events, Q queries, D width, H heads, V products, F features of a product.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from models.catalogue import BUCKETS, Catalogue
from models.contract import Choice, Compute, Config, Fitted, FloatMatrix, Progress, Tensors, Validate, silent
from models.networks.batching import Batch, pad
from models.networks.closed_form import ClosedForm, ClosedFormConfig
from models.networks.optimiser import ByteDropout, table
from models.networks.recommender import TorchRecommender
from models.networks.training import FiniteNonNegative, FinitePositive, NextProductModule, TrainingConfig
from models.sequences import EVENT_TYPES, Sequences
from models.settings import Dropout, settings_of
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class BlockConfig(TrainingConfig):
    """Settings of every transformer, also of another library's."""

    width: PositiveInt = 64
    """d, the length of a product vector and of the hidden state."""
    layers: PositiveInt = 2
    """Transformer blocks."""
    heads: PositiveInt = 2
    """Attention heads; must divide width."""
    dropout: Dropout = 0.2
    """Share zeroed while training, of the input vectors and of each block's two outputs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}; try 1, 2 or 4")


GAPS = 32
"""Time gaps are read by their power of two in seconds, up to 34 years; the last code is a history's first event."""


@dataclass(frozen=True)
class TransformerConfig(BlockConfig):
    """Settings of `Transformer`."""

    dropout: Dropout = 0.4
    id_dropout: Dropout = 0.05
    """Share of look-ups that see a product by its features alone while training, as products without a vector of their
    own are seen later. Without a catalogue none is dropped."""
    temperature: PositiveFloat | None = 0.08
    negatives: PositiveInt = 1024
    epochs: PositiveInt = 8
    future_days: FiniteNonNegative = 1.0
    recency: FiniteNonNegative = 1.0
    table_learning_rate: FinitePositive = 0.02
    visits_weight: FiniteNonNegative = 0.1
    """Weight of the closed form's score (`models.networks.closed_form`) beside the network's; 0: the network alone."""
    visits: ClosedFormConfig = field(default_factory=ClosedFormConfig)
    """Of that closed form."""

    def __post_init__(self) -> None:
        if isinstance(self.visits, dict):  # JSON
            object.__setattr__(self, "visits", settings_of("visits", ClosedFormConfig, self.visits))
        super().__post_init__()


FEW_PRODUCTS = 8_192
"""A batch looks up some thousand products: of fewer than that, the features of all are summed, once a batch."""


class ProductTable(nn.Module):
    """A product's vector: its own plus the mean of its features' vectors."""

    features: torch.Tensor

    def __init__(self, catalogue: Catalogue, config: TransformerConfig) -> None:
        super().__init__()
        self.own = table(len(catalogue), config.width, config.width**-0.5)
        self.id_dropout = config.id_dropout
        self.feature: nn.Embedding | None = None
        self.register_buffer("features", torch.from_numpy(np.array(catalogue.features)))
        self.every: torch.Tensor | None = None
        """[V, D], what features say of each of FEW_PRODUCTS, once for all look-ups of a batch that is learned from."""
        if catalogue.features.shape[1]:
            self.feature = nn.Embedding(BUCKETS, config.width)  # each batch reads most of it: no sparse gradient
            # Small at first, so that words of new products alone change their vectors little.
            nn.init.normal_(self.feature.weight, std=0.1 * config.width**-0.5)

    def append(self, catalogue: Catalogue) -> None:
        """Add products that have no vector of their own."""
        joined = Catalogue(self.features.cpu().numpy()).followed_by(catalogue)
        device, width = self.own.weight.device, self.own.embedding_dim
        self.features = torch.from_numpy(joined.features).to(device)
        own = torch.cat([self.own.weight.detach(), torch.zeros(len(catalogue), width, device=device)])
        self.own = nn.Embedding.from_pretrained(own, sparse=True)  # type: ignore[no-untyped-call]

    def forward(self, products: torch.Tensor) -> torch.Tensor:
        """[.., D] of products [..]."""
        own: torch.Tensor = self.own(products)
        if self.feature is None:
            return own
        if self.training and len(self.features) <= FEW_PRODUCTS:
            if self.every is None:
                self.every = self.described(self.features)
            described = F.embedding(products, self.every)
        else:
            described = self.described(self.features[products.flatten()]).view(own.shape)
        if self.training and self.id_dropout:
            own = own * (torch.rand(products.shape, device=own.device) >= self.id_dropout)[..., None]
        return own + described

    def described(self, features: torch.Tensor) -> torch.Tensor:
        """[n, D], the mean of the vectors of the features [n, F] of each product, of which 0 is none."""
        assert self.feature is not None
        share = (features > 0) / (features > 0).sum(1, keepdim=True).clamp(min=1)
        return F.embedding_bag(features.long(), self.feature.weight, mode="sum", per_sample_weights=share)


class Attention(nn.Module):
    """Causal self-attention with a learned bias for each distance back."""

    def __init__(self, config: TransformerConfig, heads: int, value_from_input: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False) if value_from_input else nn.Identity()
        self.distance = nn.Parameter(torch.zeros(heads, config.max_length))

    def forward(
        self, query: torch.Tensor, read: torch.Tensor, values: torch.Tensor, ages: torch.Tensor
    ) -> torch.Tensor:
        """[B, Q, D] from query [B, Q, D], read and values [B, L, D]; ages [.., Q, L] events back, below 0 unseen."""
        if query.shape[1] == 1:
            return self.of_one(query, read, values, ages)
        found = self.weights(query, read, ages) @ self.split(self.value(values))
        return found.transpose(1, 2).flatten(2)

    def of_one(self, query: torch.Tensor, read: torch.Tensor, values: torch.Tensor, ages: torch.Tensor) -> torch.Tensor:
        """`forward` for one query [B, 1, D]: the key matrix is applied to the query and the value matrix to the sum,
        once a history, instead of both to every event. The same numbers up to rounding, for a fraction of the work.
        """
        q = self.split(self.query(query))  # [B, H, 1, D / H]
        asked = torch.einsum("bhqe,hed->bhd", q, self.by_head(self.key))
        scores = (asked @ read.transpose(1, 2))[:, :, None] * q.shape[-1] ** -0.5 + self.bias(ages)
        found: torch.Tensor = scores.softmax(-1)[:, :, 0] @ values  # [B, H, D]
        if isinstance(self.value, nn.Linear):
            found = torch.einsum("bhd,hed->bhe", found, self.by_head(self.value))
        return found.flatten(1)[:, None]

    def by_head(self, linear: nn.Linear) -> torch.Tensor:
        """[H, D / H, D], the matrix of each head."""
        return linear.weight.view(self.heads, -1, linear.in_features)

    def weights(self, query: torch.Tensor, read: torch.Tensor, ages: torch.Tensor) -> torch.Tensor:
        """[B, H, Q, L], the weights that `forward` gives to the values."""
        q, k = self.split(self.query(query)), self.split(self.key(read))
        scale = q.shape[-1] ** -0.25
        # Not torch's own attention, which on a CPU looks for rows that may read nothing, whenever a bias is learned.
        weights: torch.Tensor = ((q * scale) @ (k.transpose(2, 3) * scale) + self.bias(ages)).softmax(-1)
        return weights

    def split(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, L, D] as [B, H, L, D / H]."""
        return vectors.view(*vectors.shape[:2], self.heads, -1).transpose(1, 2)

    def bias(self, ages: torch.Tensor) -> torch.Tensor:
        """[.., H, Q, L], added to the scores; minus infinity for events that may not be read."""
        bias = self.distance[:, ages.clamp(min=0)].movedim(0, -3)
        return bias.masked_fill(ages.unsqueeze(-3) < 0, -torch.inf)


class TransformerBlock(nn.Module):
    """Attention, then a network per event, each added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.read = nn.LayerNorm(config.width)
        self.attention = Attention(config, config.heads)
        self.join = nn.Linear(config.width, config.width, bias=False)
        self.network = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, 2 * config.width),
            nn.GELU(),
            nn.Linear(2 * config.width, config.width),
        )
        self.dropout = ByteDropout(config.dropout)

    def forward(self, states: torch.Tensor, ages: torch.Tensor, last: torch.Tensor | None = None) -> torch.Tensor:
        """[B, L, D] as it came; with `last` [B], only that position's [B, 1, D]."""
        read = self.read(states)
        query = read if last is None else pick(read, last)
        states = states if last is None else pick(states, last)
        states = states + self.dropout(self.join(self.attention(query, read, read, ages)))
        result: torch.Tensor = states + self.dropout(self.network(states))
        return result


class TransformerModule(NextProductModule):
    """The network of `Transformer`."""

    def __init__(self, catalogue: Catalogue, config: TransformerConfig) -> None:
        super().__init__()
        self.products = ProductTable(catalogue, config)
        self.event = nn.Linear(len(EVENT_TYPES), config.width, bias=False)
        self.gap = nn.Linear(GAPS, config.width, bias=False)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.layers))
        self.read, self.norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.readout = Attention(config, 1, value_from_input=False)
        self.state = nn.Linear(config.width, config.width, bias=False)
        self.dropout = ByteDropout(config.dropout)
        self.unit = config.temperature is not None
        self.final: torch.Tensor | None = None
        for linear in (self.event, self.gap):
            nn.init.normal_(linear.weight, std=0.02)
        with torch.no_grad():  # at first the state itself, at a product vector's length
            self.state.weight.copy_(torch.eye(config.width) * config.width**-0.5)

    def begin_batch(self) -> None:
        """Forget what was summed with the weights before."""
        self.products.every = None

    def vectors(self, products: torch.Tensor) -> torch.Tensor:
        """[.., D], the same vectors that histories are read with; looked up where nothing is learned any more."""
        if not self.training:
            if self.final is None:
                self.final = self.computed(torch.arange(len(self.products.features), device=products.device))
            return F.embedding(products, self.final)
        return self.computed(products)

    def computed(self, products: torch.Tensor) -> torch.Tensor:
        """`vectors`, from what is learned."""
        vectors: torch.Tensor = self.products(products)
        return F.normalize(vectors, dim=-1) if self.unit else vectors

    def train(self, mode: bool = True) -> Self:
        """As of every module; forgets the final vectors, since weights have changed or are about to."""
        self.final = self.products.every = None
        return super().train(mode)

    def states(self, batch: Batch) -> torch.Tensor:
        """[B, L, D], the customer vector after each event."""
        products, before, ages = self.inputs(batch)
        for block in self.blocks[:-1]:
            before = block(before, ages)
        return self.answer(self.blocks[-1](before, ages), before, products, ages)

    def last_states(self, batch: Batch) -> torch.Tensor:
        """[B, D]: the last block and the answer are computed for the last event alone."""
        products, before, ages = self.inputs(batch)
        last = batch.mask.sum(1) - 1
        for block in self.blocks[:-1]:
            before = block(before, ages)
        ages = ages[last][:, None]
        return self.answer(self.blocks[-1](before, ages, last), before, products, ages)[:, 0]

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Product vectors and input states [B, L, D] each, and how many events back each event is, [L, L]."""
        products = self.dropout(self.vectors(batch.products))
        events = look_up(self.event, batch.events)
        gaps = batch.times.diff(dim=1, prepend=batch.times[:, :1]).clamp(min=0)
        codes = (gaps + 1).log2().long().clamp(max=GAPS - 2)
        codes[:, 0] = GAPS - 1
        states = products + events + look_up(self.gap, codes)
        place = torch.arange(products.shape[1], device=products.device)
        return products, states, place[:, None] - place

    def answer(
        self, states: torch.Tensor, before: torch.Tensor, products: torch.Tensor, ages: torch.Tensor
    ) -> torch.Tensor:
        """[B, Q, D]: the products of the history, weighted by the states [B, Q, D], plus the states' own part.

        The products are found by their states `before` the last block, which is computed for the last event alone
        where only that one is asked for.
        """
        states = self.norm(states)
        found: torch.Tensor = self.readout(states, self.read(before), products, ages) + self.state(states)
        return found

    def attention(self, batch: Batch) -> torch.Tensor:
        """[layers + 1, H, L, L] of a batch of one history."""
        _, states, ages = self.inputs(batch)
        found, before = [], states
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            read, before = block.read(states), states
            found.append(block.attention.weights(read, read, ages)[0])
            states = block(states, ages)
        found.append(self.readout.weights(self.norm(states), self.read(before), ages)[0].expand_as(found[0]))
        return torch.stack(found)


def look_up(table: nn.Linear, codes: torch.Tensor) -> torch.Tensor:
    """[.., D], the columns of a small table [D, codes]. While training as a product with one-hot rows: the gradient of
    a look-up would add every event into a few cells, one after the other.
    """
    if not torch.is_grad_enabled():
        return F.embedding(codes, table.weight.T)
    found: torch.Tensor = table(F.one_hot(codes, table.in_features).to(table.weight.dtype))
    return found


def pick(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """[B, 1, D], each history's state at its own position rows [B]."""
    return states.gather(1, rows[:, None, None].expand(-1, 1, states.shape[2]))


VISITS_WEIGHTS = (0.05, 0.1, 0.2, 0.4)
"""What held-out days choose among, beside 0."""
VISITS = "visits."
"""Begins the names of the closed form's tensors."""


class Transformer(TorchRecommender):
    """A causal transformer whose answer is a mix of the products it has read, with the closed form beside it.

    Input: product vector, event type and time since the event before. Blocks: causal self-attention with a learned
    bias per distance (Shaw et al. 2018), then a two-layer network, both pre-normalised. Output: the products of the
    history, weighted by one last attention, plus the hidden state; products are scored by the same vectors that are
    read, so that history and answer live in one space (Hou et al. 2022, "CORE").

    The network knows order, kinds of events and features; the closed form knows exactly which products meet in visits.
    Their vectors stand side by side, which adds their scores in one inner product.
    """

    kind: ClassVar[str] = "transformer"
    config_class = TransformerConfig
    settings: TransformerConfig

    def __init__(self, vocabulary: Vocabulary, settings: TrainingConfig, compute: Compute) -> None:
        super().__init__(vocabulary, settings, compute)
        self._visits: ClosedForm | None = None

    def build(self, catalogue: Catalogue) -> NextProductModule:
        """A fresh network, initialised from torch's global generator."""
        return TransformerModule(catalogue, self.settings)

    def fit(
        self,
        sequences: Sequences,
        catalogue: Catalogue | None = None,
        progress: Progress = silent,
        validate: Validate | None = None,
    ) -> Fitted:
        """Learn from scratch, network and closed form; `validate` is asked about the network alone."""
        self._visits = None
        fitted = super().fit(sequences, catalogue, progress, validate)
        if self.settings.visits_weight:
            self._visits = ClosedForm(self.vocabulary, self.settings.visits, self._compute)
            self._visits.fit(sequences)
        return fitted

    def choose(
        self, sequences: Sequences, catalogue: Catalogue | None, validate: Validate, progress: Progress = silent
    ) -> Choice:
        """The best settings on held-out days: the network's, then the weight of the closed form beside it."""
        self.settings = replace(self.settings, visits_weight=0.0)
        network = super().choose(sequences, catalogue, validate, progress)
        visits = ClosedForm(self.vocabulary, self.settings.visits, self._compute)
        visits.fit(sequences)
        found = {0.0: max(network.figures)}
        for weight in VISITS_WEIGHTS:
            self._visits, self.settings = visits, replace(self.settings, visits_weight=weight)
            found[weight] = validate(self)
        self.settings = replace(self.settings, visits_weight=max(found, key=lambda weight: found[weight]))
        self._visits = visits if self.settings.visits_weight else None
        return Choice(self.config(), network.losses, network.figures)

    def encode(self, sequences: Sequences, progress: Progress = silent) -> FloatMatrix:
        """As of every network; the closed form's numbers stand before the last column."""
        found = super().encode(sequences, progress)
        if self._visits is None:
            return found
        beside = self._visits.encode(sequences)
        beside[:, :-1] *= self.settings.visits_weight
        return np.concatenate([found[:, :-1], beside], axis=1)

    def product_vectors(self) -> FloatMatrix:
        """As of every network; the closed form's numbers stand before the last column, the weighted trend."""
        found = super().product_vectors()
        if self._visits is None:
            return found
        beside = self._visits.product_vectors()
        beside[:, -1] *= self.settings.visits_weight
        return np.concatenate([found[:, :-1], beside], axis=1)

    def tensors(self) -> Tensors:
        """As of every network, with the closed form's."""
        beside = {} if self._visits is None else self._visits.tensors()
        return {**super().tensors(), **{VISITS + name: value for name, value in beside.items()}}

    @classmethod
    def restore(cls, vocabulary: Vocabulary, config: Config, tensors: Tensors, compute: Compute) -> Self:
        """The model that `config` and `tensors` came from; raises ValueError where they do not fit each other."""
        beside = {name.removeprefix(VISITS): value for name, value in tensors.items() if name.startswith(VISITS)}
        own = {name: value for name, value in tensors.items() if not name.startswith(VISITS)}
        config = {"visits_weight": 0.0} | config  # written before there was one
        model = super().restore(vocabulary, config, own, compute)
        if model.settings.visits_weight:
            model._visits = ClosedForm.restore(vocabulary, asdict(model.settings.visits), beside, compute)
        return model

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
        if self._visits is not None:
            larger._visits = self._visits.grown(larger.vocabulary)
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
