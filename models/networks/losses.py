"""Computes the loss of all models: next-product softmax, exact or with shared, popularity-drawn negatives.

Legend: P (position, target) pairs, K negatives drawn per batch, U distinct among them, V products, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt

from models.networks.device import to_device
from models.settings import Settings, Share

IntArray = npt.NDArray[np.int64]

CHUNK_CELLS = 1 << 21
"""Scores held at once: 8 MB of float32, which stays inside a server CPU's shared cache."""
GPU_CHUNK_CELLS = 1 << 26
"""The same on a GPU, 256 MB: there each chunk costs a dozen launches, and its cache holds less than one anyway."""


@dataclass(frozen=True)
class LossConfig(Settings):
    """How a model scores and how the softmax over products is approximated."""

    temperature: PositiveFloat | None = 0.0625
    """A number: customer and product vectors are L2-normalised and their cosine is divided by it while training,
    and there is no product bias. None: plain dot product (plus the product's bias where a model has one)."""
    negatives: PositiveInt = 512
    """Products drawn per batch and shared by its pairs; a vocabulary of at most this many is scored whole, which is
    the exact softmax."""
    popularity_power: Share = 0.75
    """Negatives are drawn with probability proportional to (count + 1) to this power: 0 uniform, 1 by popularity."""


@dataclass(frozen=True)
class Negatives:
    """The products that one batch's targets are compared with, each distinct one once."""

    products: torch.Tensor
    """[U] int64."""
    log_weight: torch.Tensor
    """[U] float32: log(times drawn / expected times drawn), added to the scores (the logQ correction); 0 where every
    product is there."""
    hit_pairs: torch.Tensor
    """[H] int64, rising: pairs of which one of the negatives is the target."""
    hit_columns: torch.Tensor
    """[H] int64: which one."""
    pairs: IntArray
    """`hit_pairs` on the CPU, where the pairs are cut into chunks: to ask a GPU for it would wait for all its work."""


class Sampler:
    """Draws K products with replacement; `counts` [V] are how often each product occurs in the training data."""

    def __init__(self, counts: npt.NDArray[np.integer], config: LossConfig, device: torch.device) -> None:
        weights = (counts + 1.0) ** config.popularity_power  # + 1: a product without events is a negative too
        self._probability = weights / weights.sum()
        self._cumulative = np.cumsum(self._probability)[:-1]
        self._draws = config.negatives
        self._device = device

    def draw(self, targets: IntArray, rng: np.random.Generator) -> Negatives:
        """Negatives for a batch with these targets [P]: a draw, or every product."""
        if len(self._probability) <= self._draws:
            products, pairs, columns = np.arange(len(self._probability)), np.arange(len(targets)), targets
            log_weight = np.zeros(len(products), np.float32)
        else:
            drawn = np.searchsorted(self._cumulative, rng.random(self._draws), side="right")
            products, times = np.unique(drawn, return_counts=True)
            log_weight = np.log(times / (self._draws * self._probability[products])).astype(np.float32)
            places = np.minimum(np.searchsorted(products, targets), len(products) - 1)
            pairs = np.flatnonzero(products[places] == targets)
            columns = places[pairs]
        drawn_products, weights, hit_pairs, hit_columns = to_device(self._device, products, log_weight, pairs, columns)
        return Negatives(drawn_products, weights, hit_pairs, hit_columns, pairs)


def unit(vectors: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """`vectors` [.., D] as they are scored: of length 1 where the config has a temperature."""
    return vectors if config.temperature is None else F.normalize(vectors, dim=-1)


def softmax_loss(
    states: torch.Tensor,
    wanted: torch.Tensor,
    candidates: torch.Tensor,
    bias: tuple[torch.Tensor, torch.Tensor] | None,
    negatives: Negatives,
    weights: torch.Tensor,
    config: LossConfig,
) -> torch.Tensor:
    """Weighted mean over P pairs of -log softmax(score)[target], in nats; a scalar, float32.

    `states` [P, D] are the customer vectors, `wanted` [P, D] the targets' vectors, `candidates` [U, D] those of
    `negatives`, `bias` the targets' [P] and the candidates' [U] product biases, `weights` [P] sums to 1. The sum over
    all other products is estimated by importance sampling: a negative's exp(score) is divided by its expected number
    of draws, and a draw of the target itself is left out, so the estimate of the full sum is unbiased (Bengio and
    Senecal 2008, "Adaptive importance sampling"; Jean et al. 2015, section 3). A product drawn m times is scored once
    with weight m, which is the same sum for less work.
    """
    scale = 1.0 if config.temperature is None else 1.0 / config.temperature
    states = unit(states, config).float() * scale
    own = (states * unit(wanted, config).float()).sum(-1)
    shift = negatives.log_weight
    if bias is not None:
        own, shift = own + bias[0], shift + bias[1]
    loss: torch.Tensor = LinearSoftmax.apply(  # type: ignore[no-untyped-call]
        states, unit(candidates, config).float(), shift, own, negatives, weights
    )
    return loss


class LinearSoftmax(torch.autograd.Function):
    """Weighted mean over P pairs of logsumexp(scores of the target and the candidates) - score of the target.

    The gradient is taken together with the loss, a chunk of pairs at a time, while the chunk's scores are still in
    the cache: three matrix products as in plain autograd, but one [chunk, U] buffer instead of several [P, U]
    (the idea of Liger Kernel's fused linear cross-entropy, Hsu et al. 2024).
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        candidates: torch.Tensor,
        shift: torch.Tensor,
        wanted: torch.Tensor,
        negatives: Negatives,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """`states` [P, D] and `candidates` [U, D], float32; `shift` [U], added to their scores; `wanted` [P], the
        targets' own scores; `negatives` say where a candidate is a pair's own target, which counts once only;
        `weights` [P], summing to 1. Returns a float32 scalar.
        """
        pairs = len(states)
        d_states, d_candidates = torch.empty_like(states), torch.zeros_like(candidates)
        d_shift = torch.zeros_like(shift)
        d_wanted, losses = torch.empty_like(wanted), torch.empty_like(wanted)
        cells = CHUNK_CELLS if states.device.type == "cpu" else GPU_CHUNK_CELLS
        rows = max(1, cells // max(1, len(candidates)))
        edges = np.searchsorted(negatives.pairs, np.arange(0, pairs + rows, rows))
        buffer = torch.empty(min(rows, pairs), len(candidates), device=states.device)
        for number, start in enumerate(range(0, pairs, rows)):
            part, hit = slice(start, start + rows), slice(int(edges[number]), int(edges[number + 1]))
            target, weight = wanted[part], weights[part]
            scores = torch.mm(states[part], candidates.T, out=buffer[: len(target)])
            scores += shift
            scores[negatives.hit_pairs[hit] - start, negatives.hit_columns[hit]] = -torch.inf
            top = torch.maximum(scores.amax(1), target)
            chances = scores.sub_(top[:, None]).exp_()
            own = (target - top).exp_()
            total = chances.sum(1) + own
            losses[part] = total.log() + top - target
            d_wanted[part] = (own / total - 1) * weight
            chances *= (weight / total)[:, None]
            d_shift += chances.sum(0)
            d_states[part] = chances @ candidates
            d_candidates += chances.T @ states[part]
        ctx.save_for_backward(d_states, d_candidates, d_shift, d_wanted)
        return losses @ weights

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The saved gradients, scaled by that of the loss."""
        d_states, d_candidates, d_shift, d_wanted = (part * grads[0] for part in ctx.saved_tensors)
        return d_states, d_candidates, d_shift, d_wanted, None, None
