"""The loss that all models share: next-product softmax, exact or with shared, popularity-drawn negatives.

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
    """What one batch's targets are scored against, each distinct product once."""

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
    """`hit_pairs`, on the CPU, where the pairs are cut into chunks."""


class Sampler:
    """Draws K products with replacement; `counts` [V] are how often each product occurs in the training data."""

    def __init__(self, counts: npt.NDArray[np.integer], config: LossConfig, device: torch.device) -> None:
        weights = (counts + 1.0) ** config.popularity_power  # + 1: a product nobody has touched is a negative too
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
        states, unit(candidates, config).float(), shift, own, negatives.hit_pairs, negatives.hit_columns,
        negatives.pairs, weights,
    )  # fmt: skip
    return loss


# Softmax cross-entropy against many candidates without ever holding all their scores.
#
# Legend: P pairs (a state and its target), K candidates, D width.

CHUNK_CELLS = 1 << 21
"""Scores held at once: 8 MB of float32, which stays inside a server CPU's shared cache."""
CARD_CHUNK_CELLS = 1 << 26
"""The same on a card, 256 MB: there each chunk costs a dozen launches, and its cache holds less than one anyway."""


class LinearSoftmax(torch.autograd.Function):
    """Weighted mean over P pairs of logsumexp(scores of the target and the candidates) - score of the target.

    The gradient is taken together with the loss, a chunk of pairs at a time, while the chunk's scores are still in
    the cache: three matrix products as in plain autograd, but one [chunk, K] buffer instead of several [P, K]
    (the idea of Liger Kernel's fused linear cross-entropy, Hsu et al. 2024).
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        candidates: torch.Tensor,
        shift: torch.Tensor,
        wanted: torch.Tensor,
        hit_pairs: torch.Tensor,
        hit_columns: torch.Tensor,
        pairs_hit: npt.NDArray[np.int64],
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """`states` [P, D] and `candidates` [K, D], float32; `shift` [K], added to their scores; `wanted` [P], the
        targets' own scores; `hit_pairs` [H], rising, and `hit_columns` [H] where a candidate is that pair's own
        target, which counts once only, and `pairs_hit`, the former on the CPU: to ask a card for it would wait for
        all that is begun there; `weights` [P], summing to 1. Returns a float32 scalar.
        """
        pairs = len(states)
        d_states, d_candidates = torch.empty_like(states), torch.zeros_like(candidates)
        d_shift = torch.zeros_like(shift)
        d_wanted, losses = torch.empty_like(wanted), torch.empty_like(wanted)
        cells = CHUNK_CELLS if states.device.type == "cpu" else CARD_CHUNK_CELLS
        rows = max(1, cells // max(1, len(candidates)))
        edges = np.searchsorted(pairs_hit, np.arange(0, pairs + rows, rows))
        buffer = torch.empty(min(rows, pairs), len(candidates), device=states.device)
        for number, start in enumerate(range(0, pairs, rows)):
            part, hit = slice(start, start + rows), slice(int(edges[number]), int(edges[number + 1]))
            target, weight = wanted[part], weights[part]
            scores = torch.mm(states[part], candidates.T, out=buffer[: len(target)])
            scores += shift
            scores[hit_pairs[hit] - start, hit_columns[hit]] = -torch.inf
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
        return d_states, d_candidates, d_shift, d_wanted, None, None, None, None
