"""Softmax cross-entropy against many candidates without ever holding all their scores.

Legend: P pairs (a state and its target), K candidates, D width.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_CELLS = 1 << 21
"""Scores held at once: 8 MB of float32, which stays inside a server CPU's shared cache."""


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
        hits: tuple[torch.Tensor, torch.Tensor],
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """`states` [P, D]; `candidates` [K, D]; `shift` [K], added to their scores; `wanted` [P], the targets' own
        scores; `hits`, pairs [H] in rising order and columns [H] where a candidate is that pair's own target, which
        counts once only; `weights` [P], summing to 1. Returns a float32 scalar.
        """
        pairs, half = len(states), torch.is_autocast_enabled(states.device.type)
        left, right = (states.bfloat16(), candidates.bfloat16()) if half else (states, candidates)
        d_states = torch.empty_like(states, dtype=torch.float32)
        d_candidates = torch.zeros_like(candidates, dtype=torch.float32)
        d_shift = torch.zeros_like(shift)
        d_wanted, losses = torch.empty_like(wanted), torch.empty_like(wanted)
        rows = max(1, CHUNK_CELLS // max(1, len(candidates)))
        edges = torch.searchsorted(hits[0], torch.arange(0, pairs + rows, rows, device=states.device)).tolist()
        buffer = torch.empty(min(rows, pairs), len(candidates), dtype=left.dtype, device=left.device)
        for number, start in enumerate(range(0, pairs, rows)):
            part, hit = slice(start, start + rows), slice(edges[number], edges[number + 1])
            target, weight = wanted[part], weights[part]
            scores = torch.mm(left[part], right.T, out=buffer[: len(target)]).float()
            scores += shift
            scores[hits[0][hit] - start, hits[1][hit]] = -torch.inf
            top = torch.maximum(scores.amax(1), target)
            chances = scores.sub_(top[:, None]).exp_()
            own = (target - top).exp_()
            total = chances.sum(1) + own
            losses[part] = total.log() + top - target
            d_wanted[part] = (own / total - 1) * weight
            chances *= (weight / total)[:, None]
            d_shift += chances.sum(0)
            chances = chances.to(left.dtype)
            d_states[part] = chances @ right
            d_candidates += chances.T @ left[part]
        ctx.save_for_backward(d_states, d_candidates, d_shift, d_wanted)
        return losses @ weights

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The saved gradients, scaled by that of the loss."""
        d_states, d_candidates, d_shift, d_wanted = (part * grads[0] for part in ctx.saved_tensors)
        return d_states, d_candidates, d_shift, d_wanted, None, None
