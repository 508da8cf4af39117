"""Softmax cross-entropy against many candidates without ever holding all their scores.

Legend: P pairs (a state and its target), K candidates, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

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
