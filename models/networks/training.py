"""Trains any network that turns histories into customer vectors; the loop of all torch models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import nn

from models.contract import Fitted, Progress
from models.networks.batching import (
    Batch,
    IntArray,
    Targets,
    buckets,
    future_window,
    next_basket,
    pad,
    predicting,
    windows,
)
from models.networks.device import full_float32, mixed_precision, reproducible, to_device
from models.networks.losses import LossConfig, Sampler, softmax_loss
from models.networks.optimiser import TableAdamW
from models.sequences import EVENT_TYPES, Sequences

FinitePositive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FiniteNonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class TrainingConfig(LossConfig):
    """How a model is optimised."""

    max_length: PositiveInt = 50
    """Events of history that a model sees; longer histories are cut into windows for training, and to their most
    recent events for encoding."""
    epochs: PositiveInt = 5
    """Passes over the training data; fixed, so that a refit on more data needs no validation window."""
    batch_events: PositiveInt = 2048
    """Events per batch, padding included."""
    learning_rate: FinitePositive = 3e-3
    """Peak of the schedule: a linear rise over the first tenth of the steps, then a half cosine down to 0."""
    table_learning_rate: FinitePositive = 0.01
    """The same for product tables, whose rows move only in the batches that touch them."""
    weight_decay: FiniteNonNegative = 0.01
    """AdamW's decoupled decay, on matrices only."""
    gradient_norm: FinitePositive = 1.0
    """Gradients are scaled down to this global L2 norm where they exceed it."""
    recency: FiniteNonNegative = 0.0
    """An epoch reads a window with probability exp(-recency * age), the age being 0 for the newest window and 1 for
    the oldest one: assortments and tastes drift, and windows that are left out cost no time. 0 reads everything."""
    target_weights: tuple[NonNegativeFloat, ...] = (1.0,) * len(EVENT_TYPES)
    """How much a target counts by its event type, in the order of EVENT_TYPES."""
    future_days: FiniteNonNegative = 0.0
    """0: each basket predicts the next one. Above 0: one event drawn from so many days after it, anew each epoch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_weights", tuple(self.target_weights))  # JSON gives a list
        super().__post_init__()
        if len(self.target_weights) != len(EVENT_TYPES) or not any(self.target_weights):
            raise ValueError(
                f"target_weights {self.target_weights} must be {len(EVENT_TYPES)} numbers, not all 0: "
                f"one for each of {', '.join(EVENT_TYPES)}"
            )


class NextProductModule(nn.Module, ABC):
    """A network that turns prefixes of histories into vectors, and has a vector for each product."""

    @abstractmethod
    def states(self, batch: Batch) -> torch.Tensor:
        """[B, L, D]: at each position, the customer vector after that event; it must not read later events."""

    @abstractmethod
    def vectors(self, products: torch.Tensor) -> torch.Tensor:
        """[.., D], the vectors of `products` [..] int64 as candidates."""

    def last_states(self, batch: Batch) -> torch.Tensor:
        """[B, D], the state at each history's last event: all that encoding needs, so it may cost less."""
        rows = torch.arange(len(batch.products), device=batch.products.device)
        return self.states(batch)[rows, batch.mask.sum(1) - 1]

    def bias(self) -> torch.Tensor | None:
        """[V], product biases, or None where the model has none."""
        return None


def train(
    module: NextProductModule,
    sequences: Sequences,
    products: int,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Fitted:
    """Fit `module`, of so many products, in place and leave it in eval mode.

    AdamW (Loshchilov and Hutter 2019); `progress` counts batches. Nothing within an epoch waits for a GPU: while it
    computes a batch, the next ones are prepared and copied. Raises ValueError where the histories hold nothing to
    predict, FloatingPointError where the loss is not finite.
    """
    rng = np.random.default_rng(seed)
    wanted = _targets(sequences, config, rng)
    cut = windows(sequences, config.max_length)
    epochs = [_batches(cut, wanted, config, rng) for _ in range(config.epochs)]
    steps = sum(map(len, epochs))
    counts = np.bincount(sequences.products, minlength=products)
    sampler = Sampler(counts, config, device)
    weights = torch.tensor(config.target_weights, device=device)
    means, done = [], 0
    with reproducible(seed, device), full_float32():
        optimiser = TableAdamW(
            module, config.learning_rate, config.table_learning_rate, config.weight_decay, config.gradient_norm
        )
        module.train()
        for number, epoch in enumerate(epochs):
            if number and config.future_days:
                wanted = _targets(sequences, config, rng)
            total, pairs = torch.zeros((), device=device), 0
            for rows in epoch:
                batch = pad(cut, rows, device, wanted)
                loss = _loss(module, batch, sampler, weights, config, rng)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step(_rate(done, steps))
                total += loss.detach() * len(batch.targets)
                pairs += len(batch.targets)
                done += 1
                progress("batches", done, steps)
            means.append(_finite(total.item() / pairs, config))
        module.eval()
    return Fitted(tuple(means), len(wanted.targets), steps)


def _targets(sequences: Sequences, config: TrainingConfig, rng: np.random.Generator) -> Targets:
    wanted = future_window(sequences, config.future_days, rng) if config.future_days else next_basket(sequences)
    if not len(wanted.targets):
        raise ValueError(f"{len(sequences)} histories hold no event that follows an earlier one: nothing to learn from")
    return wanted


def _batches(cut: Sequences, wanted: Targets, config: TrainingConfig, rng: np.random.Generator) -> list[IntArray]:
    """One epoch's batches, without windows that have no pair (one-basket histories): they would only cost time."""
    lengths = predicting(cut, wanted)
    if config.recency:
        newest = cut.times[cut.offsets[1:] - 1]
        age = (newest.max() - newest) / max(1, np.ptp(newest))
        kept = np.where(rng.random(len(cut)) < np.exp(-config.recency * age), lengths, 0)
        lengths = kept if kept.any() else lengths
    return buckets(lengths, config.batch_events, rng)


def _loss(
    module: NextProductModule,
    batch: Batch,
    sampler: Sampler,
    weights: torch.Tensor,
    config: TrainingConfig,
    rng: np.random.Generator,
) -> torch.Tensor:
    device = batch.products.device
    negatives = sampler.draw(batch.targets, rng)
    targets, kinds = to_device(device, batch.targets, batch.target_events)
    weight = weights[kinds]
    with mixed_precision(device):
        states = module.states(batch).flatten(0, 1).index_select(0, batch.positions)
        bias = module.bias()
        biases = None if bias is None else (bias[targets], bias[negatives.products])
        candidates = module.vectors(negatives.products)
        wanted = module.vectors(targets)
    share = weight / weight.sum().clamp(min=1e-9)
    return softmax_loss(states, wanted, candidates, biases, negatives, share, config)


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate in step 0, 1, .."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + float(np.cos(np.pi * (step - rise) / max(1, steps - rise))))


def _finite(loss: float, config: TrainingConfig) -> float:
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"the training loss became {loss}; lower learning_rate ({config.learning_rate}) "
            f"or gradient_norm ({config.gradient_norm})"
        )
    return loss
