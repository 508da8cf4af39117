"""Checks the dropout that draws bytes."""

from __future__ import annotations

import pytest
import torch

from models.networks.optimiser import ByteDropout


def test_dropout_drops_its_share_keeps_the_mean_and_repeats_with_the_seed() -> None:
    dropout, values = ByteDropout(0.25), torch.ones(100, 333)
    torch.manual_seed(2)
    first = dropout(values)
    torch.manual_seed(2)
    assert torch.equal(first, dropout(values))
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(dropout.eval()(values), values)
