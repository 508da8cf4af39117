"""Checks laws of event histories, and of the windows, pairs and batches cut from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.networks.batching import buckets, next_basket, pad, windows
from models.sequences import Sequences
from tests.support.strategies import histories, sequences

CPU = torch.device("cpu")


def rows_of(data: Sequences) -> list[list[int]]:
    return [row.tolist() for row in data]


def pairs_by_hand(data: Sequences) -> list[tuple[int, int]]:
    """(predicting event, target product) straight from the definition: O(n^2), for comparison."""
    found = []
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        for event in range(start, end):
            earlier = [other for other in range(start, end) if data.times[other] < data.times[event]]
            if earlier:
                found.append((earlier[-1], int(data.products[event])))
    return sorted(found)


@given(sequences(), st.integers(0, 9))
def test_last_keeps_the_end_of_every_history(data: Sequences, length: int) -> None:
    assert rows_of(data.last(length)) == [row[len(row) - min(length, len(row)) :] for row in rows_of(data)]


@given(sequences(), st.data())
def test_take_picks_whole_histories_in_the_order_asked(data: Sequences, draw: st.DataObject) -> None:
    rows = draw.draw(st.lists(st.integers(0, len(data) - 1), max_size=8)) if len(data) else []
    assert rows_of(data.take(np.array(rows, dtype=np.int64))) == [rows_of(data)[row] for row in rows]


@given(sequences(), st.data())
def test_where_drops_events_and_keeps_histories(data: Sequences, draw: st.DataObject) -> None:
    total = len(data.products)
    keep = np.array(draw.draw(st.lists(st.booleans(), min_size=total, max_size=total)), dtype=bool)
    kept = data.where(keep)
    assert len(kept) == len(data)
    assert kept.times.tolist() == data.times[keep].tolist()


def test_broken_offsets_are_refused() -> None:
    with pytest.raises(ValueError, match="offsets must rise"):
        Sequences(np.array([0, 3]), np.zeros(2, np.int32), np.zeros(2, np.int8), np.zeros(2, np.int64))


@given(sequences(), st.integers(1, 9))
def test_windows_hold_every_event_once_and_the_newest_is_full(data: Sequences, length: int) -> None:
    cut = windows(data, length)
    assert [p for row in rows_of(cut) for p in row] == data.products.tolist()
    assert all(0 < size <= length for size in cut.lengths)
    ends = {int(end): int(size) for end, size in zip(cut.offsets[1:], cut.lengths, strict=True)}
    assert all(ends[int(e)] == min(n, length) for e, n in zip(data.offsets[1:], data.lengths, strict=True) if n)


@given(sequences(), st.integers(1, 9), st.integers(1, 40))
def test_batches_hold_the_pairs_of_strictly_earlier_to_next_basket(data: Sequences, length: int, cells: int) -> None:
    cut, wanted, found = windows(data, length), next_basket(data), []
    for rows in buckets(cut.lengths, cells, np.random.default_rng(0)):
        batch = pad(cut, rows, CPU, wanted)
        assert batch.mask.numel() <= max(cells, int(cut.lengths[rows].max()))
        row, column = np.divmod(batch.positions.numpy(), batch.mask.shape[1])
        found += zip((cut.offsets[rows][row] + column).tolist(), batch.targets.tolist(), strict=True)
    assert sorted(found) == pairs_by_hand(data)


def test_a_basket_is_predicted_as_a_whole_from_the_last_event_before_it() -> None:
    data = histories([(1, 10), (2, 10), (3, 20), (4, 20), (5, 30)])
    assert next_basket(data).lengths.tolist() == [0, 2, 0, 1, 0]
    assert next_basket(data).targets.tolist() == [2, 3, 4]


def test_padding_is_on_the_right_and_holds_zeros() -> None:
    batch = pad(histories([(7, 1)], [(5, 1), (6, 2)]), np.array([1, 0]), CPU)
    assert batch.products.tolist() == [[5, 6], [7, 0]]
    assert batch.times.tolist() == [[1, 2], [1, 0]]
    assert batch.mask.tolist() == [[True, True], [True, False]]
