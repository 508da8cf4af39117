"""The one training loop of the torch models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from models.batching import Batch, IntArray, buckets, next_basket_sizes, pad, windows
from models.contract import Progress
from models.device import mixed_precision, reproducible
from models.sampled_softmax import LossConfig, Sampler, softmax_loss
from models.sequences import Sequences


@dataclass(frozen=True)
class TrainingConfig(LossConfig):
    """How a model is optimised."""

    max_length: int = 50
    """Events of history that a model sees; longer histories are cut into windows for training, and to their most
    recent events for encoding."""
    epochs: int = 5
    """Passes over the training data; fixed, so that a refit on more data needs no validation window."""
    batch_events: int = 2048
    """Events per batch, padding included. On a CPU larger batches fall out of its caches: 4096 took 2.6 times as
    long per event as 2048."""
    learning_rate: float = 3e-3
    """Peak of the schedule: a linear rise over the first tenth of the steps, then a half cosine down to 0."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay, on matrices only."""
    gradient_norm: float = 1.0
    """Gradients are scaled down to this global L2 norm where they exceed it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_length", "epochs", "batch_events"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("learning_rate", "gradient_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} {getattr(self, name)} must be a finite number above 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay {self.weight_decay} must be a finite number, 0 or more")


class NextProductModule(nn.Module, ABC):
    """What the loop trains: a network that turns prefixes of histories into vectors, and a table of product vectors."""

    @abstractmethod
    def states(self, batch: Batch) -> torch.Tensor:
        """[B, L, D]: at each position, the customer vector after that event; it must not read later events."""

    @abstractmethod
    def table(self) -> torch.Tensor:
        """[V, D], product vectors."""

    def bias(self) -> torch.Tensor | None:
        """[V], product biases, or None where the model has none."""
        return None


def train(
    module: NextProductModule,
    sequences: Sequences,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, float]:
    """Fit `module` in place and leave it in eval mode; returns loss_first_epoch, loss (last epoch, nats), pairs, steps.

    AdamW (Loshchilov and Hutter 2019) over the (position, target) pairs of `next_basket_sizes`; `progress` is told of
    every batch. Raises ValueError where the histories hold no pair, FloatingPointError where the loss is not finite.
    """
    sizes = next_basket_sizes(sequences)
    pairs = int(sizes.sum())
    if pairs == 0:
        raise ValueError(f"{len(sequences)} histories hold no event that follows an earlier one: nothing to learn from")
    cut = windows(sequences, config.max_length)
    rng = np.random.default_rng(seed)
    epochs = [_batches_with_pairs(cut, sizes, config.batch_events, rng) for _ in range(config.epochs)]
    steps = sum(map(len, epochs))
    counts = np.bincount(sequences.products, minlength=len(module.table()))
    sampler = Sampler(counts, config, device)
    means, done = [], 0
    with reproducible(seed, device):
        optimiser = _optimiser(module, config)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
        module.train()
        for epoch in epochs:
            total = torch.zeros((), device=device)
            for rows in epoch:
                batch = pad(cut, rows, device, sizes)
                loss = _step(module, batch, sampler, optimiser, config, rng)
                schedule.step()
                total += loss * len(batch.targets)
                done += 1
                progress("batches", done, steps)
            means.append(_finite(total.item() / pairs, config))
        module.eval()
    return {"loss_first_epoch": means[0], "loss": means[-1], "pairs": float(pairs), "steps": float(steps)}


def _batches_with_pairs(cut: Sequences, sizes: IntArray, batch_events: int, rng: np.random.Generator) -> list[IntArray]:
    """One epoch's batches; windows without a single pair (one-basket histories) only cost time and are left out."""
    before = np.concatenate(([0], np.cumsum(sizes)))
    useful = np.diff(before[cut.offsets]) > 0
    return buckets(np.where(useful, cut.lengths, 0), batch_events, rng)


def _step(
    module: NextProductModule,
    batch: Batch,
    sampler: Sampler,
    optimiser: torch.optim.Optimizer,
    config: TrainingConfig,
    rng: np.random.Generator,
) -> torch.Tensor:
    negatives = sampler.draw(batch.targets, rng)
    targets = torch.from_numpy(batch.targets).to(batch.products.device)
    with mixed_precision(batch.products.device):
        states = module.states(batch).flatten(0, 1).index_select(0, batch.positions)
        loss = softmax_loss(states, module.table(), module.bias(), targets, negatives, config)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), config.gradient_norm)
    optimiser.step()
    return loss.detach()


def _optimiser(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


def _rate(step: int, steps: int) -> float:
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
