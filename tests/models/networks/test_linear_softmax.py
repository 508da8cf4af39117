"""Compares the chunked softmax with torch's own, and checks the memory it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.networks import losses
from models.networks.losses import LossConfig, Sampler, softmax_loss

PAIRS, PRODUCTS, WIDTH = 70, 300, 8


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    states = torch.randn(PAIRS, WIDTH, generator=random, requires_grad=True)
    table = torch.randn(PRODUCTS, WIDTH, generator=random, requires_grad=True)
    bias = torch.randn(PRODUCTS, generator=random, requires_grad=True)
    return states, table, bias, torch.randint(0, PRODUCTS, (PAIRS,), generator=random)


def exact(
    states: torch.Tensor, table: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, config: LossConfig
) -> torch.Tensor:
    sampler = Sampler(np.ones(PRODUCTS, dtype=np.int64), config, torch.device("cpu"))
    negatives = sampler.draw(targets.numpy(), np.random.default_rng(0))
    weights = torch.full((len(targets),), 1 / len(targets))
    return softmax_loss(states, table[targets], table, (bias[targets], bias), negatives, weights, config)


@pytest.mark.parametrize("temperature", [None, 0.1])
@pytest.mark.parametrize("cells", [PRODUCTS, 7 * PRODUCTS, 1 << 21])
def test_loss_and_gradients_are_those_of_torchs_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, temperature: float | None, cells: int
) -> None:
    monkeypatch.setattr(losses, "CHUNK_CELLS", cells)
    ours, theirs = inputs(), inputs()
    exact(*ours, LossConfig(temperature=temperature, negatives=PRODUCTS)).backward()
    states, table = theirs[:2]
    if temperature is not None:
        states, table = (torch.nn.functional.normalize(part, dim=-1) for part in (states, table))
    scores = states @ table.T / (temperature or 1.0) + theirs[2]
    torch.nn.functional.cross_entropy(scores, theirs[3]).backward()
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_pair_of_weight_0_does_not_count() -> None:
    states, table, bias, targets = inputs()
    config = LossConfig(negatives=PRODUCTS)
    negatives = Sampler(np.ones(PRODUCTS, np.int64), config, torch.device("cpu")).draw(
        targets.numpy(), np.random.default_rng(0)
    )
    weights = torch.arange(PAIRS) < 10
    part = softmax_loss(
        states, table[targets], table, (bias[targets], bias), negatives, weights / weights.sum(), config
    )
    torch.testing.assert_close(part, exact(states[:10], table, bias, targets[:10], config))


def test_sampled_losses_are_the_exact_one_on_average() -> None:
    states, table, bias, targets = (part.detach() for part in inputs())
    config = LossConfig(temperature=1.0, negatives=150)
    sampler, rng = Sampler(np.arange(PRODUCTS), config, torch.device("cpu")), np.random.default_rng(1)
    weights = torch.full((PAIRS,), 1 / PAIRS)
    losses = []
    for _ in range(400):
        drawn = sampler.draw(targets.numpy(), rng)
        biases = bias[targets], bias[drawn.products]
        losses.append(softmax_loss(states, table[targets], table[drawn.products], biases, drawn, weights, config))
    whole = exact(states, table, bias, targets, LossConfig(temperature=1.0, negatives=PRODUCTS))
    # The estimate of the sum is unbiased, its logarithm is not quite.
    assert float(torch.stack(losses).mean()) == pytest.approx(float(whole), abs=0.02)


def test_no_buffer_is_larger_than_the_chunk_or_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_CELLS", 10 * PRODUCTS)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                largest = max(largest, found.numel())
            return found

    data = inputs()
    with Watch():
        exact(*data, LossConfig(negatives=PRODUCTS)).backward()
    assert largest == 10 * PRODUCTS < PAIRS * PRODUCTS
