"""Checks the loop over batches: their order, and halving where memory is short."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.networks.device import IN_FLIGHT, Array, IntArray, Landing, run_batches, to_device, to_host


class Card:
    """A stand-in that notes what happens, and has memory for so many rows at once."""

    def __init__(self, room: int = 1_000) -> None:
        self.room, self.held = room, 0
        self.events: list[str] = []
        self.taken: list[int] = []

    def begin(self, rows: IntArray) -> Landing:
        if self.held + len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.held += len(rows)
        self.events.append(f"begin {rows[0]}")
        return lambda: self.land(rows)

    def land(self, rows: IntArray) -> Array:
        self.held -= len(rows)
        return rows * 10

    def take(self, rows: IntArray, results: Array) -> None:
        assert results.tolist() == (rows * 10).tolist()
        self.events.append(f"take {rows[0]}")
        self.taken += rows.tolist()


def batches(count: int, size: int) -> list[IntArray]:
    return list(np.arange(count * size).reshape(count, size))


def test_the_next_batch_is_begun_before_results_are_waited_for() -> None:
    card = Card()
    run_batches(batches(4, 1), card.begin, card.take)
    assert IN_FLIGHT == 2
    assert card.events == ["begin 0", "begin 1", "take 0", "begin 2", "take 1", "begin 3", "take 2", "take 3"]


def test_without_memory_for_two_batches_they_run_one_by_one() -> None:
    card = Card(room=4)
    run_batches(batches(3, 4), card.begin, card.take)
    assert card.taken == list(range(12))
    assert card.events == ["begin 0", "take 0", "begin 4", "take 4", "begin 8", "take 8"]


@pytest.mark.parametrize("room", [1, 2, 3, 5])
def test_batches_that_are_too_large_are_halved_and_all_rows_are_done_in_order(room: int) -> None:
    card = Card(room)
    run_batches(batches(3, 7), card.begin, card.take)
    assert card.taken == list(range(21)) and card.held == 0


def test_a_row_that_never_fits_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        run_batches(batches(2, 4), Card(room=0).begin, Card().take)


def test_other_errors_are_not_tried_again() -> None:
    calls = []

    def begin(rows: IntArray) -> Landing:
        calls.append(rows)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_batches(batches(2, 4), begin, Card().take)
    assert len(calls) == 1


def test_on_a_cpu_arrays_and_tensors_share_their_memory() -> None:
    array = np.arange(3.0)
    (tensor,) = to_device(torch.device("cpu"), array)
    assert tensor.data_ptr() == array.ctypes.data == to_host(tensor)().ctypes.data
