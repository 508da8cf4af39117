"""Trains any network that turns histories into customer vectors; the loop of all torch models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import nn

from models.contract import Compute, Fitted, NothingToLearnError, Progress
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
from models.networks.optimiser import KeptWeights, TableAdamW
from models.sequences import EVENT_TYPES, Sequences

FinitePositive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FiniteNonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class TrainingConfig(LossConfig):
    """How a model is optimised."""

    max_length: PositiveInt = 50
    """Events of history that a model sees; longer histories are cut into windows for training, and to their most
    recent events for encoding."""
    epochs: PositiveInt = 6
    """Passes over the training data where no held-out days say when to stop."""
    epoch_steps: PositiveInt = 2_000
    """Most steps of a pass: of a large shop's windows each pass reads some, drawn anew, as a night can afford."""
    most_steps: PositiveInt = 2_000
    """Steps after which training stops at the latest where held-out days say when, if that is more than `epochs`."""
    round_steps: PositiveInt = 80
    """Fewest steps between two measurements on held-out days; a round is that many whole passes, at least one."""
    patience: PositiveInt = 2
    """Rounds without a better figure after which training stops."""
    batch_events: PositiveInt = 2048
    """Events per batch, padding included."""
    learning_rate: FinitePositive = 3e-3
    """After a linear rise over half of the first pass."""
    table_learning_rate: FinitePositive = 0.01
    """The same for product tables, whose rows move only in the batches that touch them."""
    weight_decay: FiniteNonNegative = 0.01
    """AdamW's decoupled decay, on matrices only."""
    gradient_norm: FinitePositive = 1.0
    """Gradients are scaled down to this global L2 norm where they exceed it."""
    recency: FiniteNonNegative = 0.0
    """An epoch reads a window with probability exp(-recency * age), the age being 0 for the newest window and 1 for
    the oldest one: assortments and tastes drift, and windows that are left out cost no time. 0 reads everything."""
    target_weights: tuple[NonNegativeFloat, ...] = (1.0, 0.3, 0.3, 0.3)
    """How much a target counts by its event type, in the order of EVENT_TYPES: what is saved, put in the bag or bought
    was mostly looked at before, and would count several times."""
    future_days: FiniteNonNegative = 0.0
    """0: each basket predicts the next one. From 1 on: one event drawn from the next so many days on which the customer
    has events, anew each epoch."""

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

    reentrant: ClassVar[bool] = True
    """Whether several threads may compute states at once."""

    def begin_batch(self) -> None:
        """Called before each batch of a training."""

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
    compute: Compute,
    progress: Progress,
    validate: Callable[[], float] | None = None,
) -> Fitted:
    """Fit `module`, of so many products, in place and leave it in eval mode.

    AdamW (Loshchilov and Hutter 2019); `progress` counts batches. `validate` is asked after each round for a figure of
    the module, the higher the better: the module ends with the weights of the best round. Nothing within an epoch waits
    for a GPU: while it computes a batch, the next ones are prepared and copied. Raises ValueError where the histories
    hold nothing to predict, FloatingPointError where the loss is not finite.
    """
    device = next(module.parameters()).device
    rng = np.random.default_rng(compute.seed)
    wanted = _targets(sequences, config, rng)
    cut = windows(sequences, config.max_length)
    epoch = _batches(cut, wanted, config, rng)
    in_round, rise = -(-config.round_steps // len(epoch)), max(1, len(epoch) // 2)
    passes = config.epochs if validate is None else max(config.epochs, config.most_steps // len(epoch), in_round)
    sampler = Sampler(np.bincount(sequences.products, minlength=products), config, device)
    weights = torch.tensor(config.target_weights, device=device)
    means: list[float] = []
    with reproducible(compute.seed, device), full_float32():
        optimiser = TableAdamW(
            module, config.learning_rate, config.table_learning_rate, config.weight_decay, config.gradient_norm
        )
        kept = KeptWeights(module, in_round * len(epoch), config.patience)
        while len(means) < passes:
            module.train()
            total, pairs = torch.zeros((), device=device), 0
            expected = kept.steps + (passes - len(means)) * len(epoch)
            for rows in epoch:
                batch = pad(cut, rows, device, wanted)
                module.begin_batch()
                loss = _loss(module, batch, sampler, weights, config, rng)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step(min(1.0, (kept.steps + 1) / rise))
                kept.add_step()
                total += loss.detach() * len(batch.targets)
                pairs += len(batch.targets)
                progress("batches", kept.steps, expected)
            means.append(_finite(total.item() / pairs, config))
            module.eval()
            if validate is not None and len(means) % in_round == 0 and kept.is_enough(validate):
                break
            wanted = _targets(sequences, config, rng) if config.future_days else wanted
            epoch = _batches(cut, wanted, config, rng)
        kept.restore()
        module.eval()
    best = in_round * kept.best_round if kept.figures else len(means)
    return Fitted(tuple(means), len(wanted.targets), kept.steps, best, tuple(kept.figures))


def _targets(sequences: Sequences, config: TrainingConfig, rng: np.random.Generator) -> Targets:
    wanted = future_window(sequences, config.future_days, rng) if config.future_days else next_basket(sequences)
    if not len(wanted.targets):
        raise NothingToLearnError(
            f"{len(sequences)} histories hold no event that follows an earlier one: nothing to learn from"
        )
    return wanted


def _batches(cut: Sequences, wanted: Targets, config: TrainingConfig, rng: np.random.Generator) -> list[IntArray]:
    """One epoch's batches, without windows that have no pair (one-basket histories): they would only cost time."""
    lengths = predicting(cut, wanted)
    if config.recency:
        newest = cut.times[cut.offsets[1:] - 1]
        age = (newest.max() - newest) / max(1, np.ptp(newest))
        kept = np.where(rng.random(len(cut)) < np.exp(-config.recency * age), lengths, 0)
        lengths = kept if kept.any() else lengths
    return buckets(lengths, config.batch_events, rng)[: config.epoch_steps]


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


def _finite(loss: float, config: TrainingConfig) -> float:
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"the training loss became {loss}; lower learning_rate ({config.learning_rate}) "
            f"or gradient_norm ({config.gradient_norm})"
        )
    return loss
