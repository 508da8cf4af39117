"""Checks updates of the touched rows of product tables."""

from __future__ import annotations

import pytest
import torch

from models.networks.optimiser import TableAdamW, table


def test_with_every_row_touched_it_is_torchs_adamw() -> None:
    torch.manual_seed(1)
    ours, wanted = table(6, 3, 1.0), torch.nn.Embedding(6, 3)
    with torch.no_grad():
        wanted.weight.copy_(ours.weight)
    mine = TableAdamW(ours, 0.5, 0.01, decay=0.1, norm=1e9)
    theirs = torch.optim.AdamW(wanted.parameters(), lr=0.01, weight_decay=0.1)
    products = torch.tensor([0, 1, 2, 3, 4, 5, 5])
    for step in range(5):
        for embedding, optimiser in ((ours, mine), (wanted, theirs)):
            optimiser.zero_grad()
            (embedding(products) ** 3).sum().mul(step + 1).backward()
        mine.step(1.0)
        theirs.step()
    torch.testing.assert_close(ours.weight, wanted.weight, rtol=1e-5, atol=1e-6)


def test_rows_that_nothing_reads_keep_their_bytes() -> None:
    torch.manual_seed(1)
    embedding = table(5, 3, 1.0)
    before = embedding.weight.detach().clone()
    optimiser = TableAdamW(embedding, 0.1, 0.1, decay=0.1, norm=1.0)
    optimiser.zero_grad()
    embedding(torch.tensor([1, 3])).sum().backward()
    optimiser.step(1.0)
    assert (embedding.weight != before).any(1).tolist() == [False, True, False, True, False]


def test_dense_gradients_are_clipped_and_follow_their_own_rate() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    optimiser = TableAdamW(layer, 0.1, 9.0, decay=0.0, norm=1.0)
    optimiser.zero_grad()
    (1e6 * layer(torch.ones(1, 2))).sum().backward()
    optimiser.step(0.5)
    assert float(layer.weight.grad.norm()) == pytest.approx(1.0)
    torch.testing.assert_close(layer.weight.detach(), before - 0.05)
