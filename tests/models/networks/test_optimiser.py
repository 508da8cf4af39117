"""Checks updates of the touched rows of product tables, and which weights a training ends with."""

from __future__ import annotations

import pytest
import torch

from models.networks.optimiser import KeptWeights, TableAdamW, table


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


def one_weight(value: float = 0.0) -> torch.nn.Linear:
    layer = torch.nn.Linear(1, 1, bias=False)
    set_to(layer, value)
    return layer


def set_to(layer: torch.nn.Linear, value: float) -> None:
    with torch.no_grad():
        layer.weight.fill_(value)


def walked(layer: torch.nn.Linear, kept: KeptWeights, steps: int) -> None:
    """So many steps; the weight is always the number of its step."""
    for _ in range(steps):
        set_to(layer, kept.steps + 1)
        kept.add_step()


def test_weights_that_stay_are_their_own_average() -> None:
    layer = one_weight(3.5)
    kept = KeptWeights(layer, averaged=40, patience=1)
    for _ in range(100):
        kept.add_step()
    kept.restore()
    assert layer.weight.item() == 3.5


@pytest.mark.parametrize(
    ("averaged", "steps", "wanted"),
    [(16, 5, 5), (16, 8, 8), (16, 31, 24), (16, 32, 32), (16, 40, 38.4), (16, 48, 44.8), (16, 56, 51.2), (16, 64, 57.6),
     (16, 72, 64.8), (1_000, 72, 64.0), (4, 72, 72)],
)  # fmt: skip
def test_the_average_of_a_walk_by_hand(averaged: int, steps: int, wanted: float) -> None:
    """Every 8 steps; a quarter of the way so far, at most `averaged` steps, and the newest alone up to 32."""
    layer = one_weight()
    kept = KeptWeights(layer, averaged, patience=1)
    walked(layer, kept, steps)
    kept.restore()
    assert layer.weight.item() == pytest.approx(wanted)


def test_the_best_round_is_kept_and_training_goes_on_from_its_own_weights() -> None:
    layer, measured = one_weight(), list[float]()
    kept = KeptWeights(layer, averaged=8, patience=2)
    figures = iter([0.1, 0.3, 0.2, 0.3])

    def figure() -> float:
        measured.append(layer.weight.item())
        return next(figures)

    enough = []
    for steps in (8, 12, 12, 16):
        walked(layer, kept, steps)
        enough.append(kept.is_enough(figure))
        assert layer.weight.item() == kept.steps, "the running weights are back"
    assert measured == [8, 16, 32, 48], "what is measured is the average, not the newest weight"
    assert (kept.figures, kept.best_round) == ([0.1, 0.3, 0.2, 0.3], 2), "an equal figure later is not better"
    assert enough == [False, False, False, True]
    kept.restore()
    assert layer.weight.item() == 16


def test_before_the_first_average_the_newest_weights_are_measured_and_kept() -> None:
    layer = one_weight()
    kept = KeptWeights(layer, averaged=8, patience=1)
    walked(layer, kept, 3)
    kept.is_enough(lambda: layer.weight.item())
    assert kept.figures == [3.0]
    kept.restore()
    assert layer.weight.item() == 3
