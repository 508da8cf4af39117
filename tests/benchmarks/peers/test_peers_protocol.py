"""The parts of the benchmark of peers that decide its figures: the split, the padding, the judge, the ratios."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.peers.data import Prepared, ndcg_at_10, prepare
from tests.benchmarks.peers.protocol import Data, Histories
from tests.benchmarks.peers.report import Point, Result, ratios

pytestmark = pytest.mark.soak


def histories(*lists: list[int]) -> Histories:
    offsets = np.concatenate(([0], np.cumsum([len(items) for items in lists])))
    return Histories(offsets.astype(np.int64), np.array([i for items in lists for i in items], dtype=np.int64))


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_padding_keeps_the_newest_events_on_the_side_that_a_library_wants() -> None:
    two = histories([4, 5, 6, 7], [8])
    assert two.padded(3, "left").tolist() == [[6, 7, 8], [0, 0, 9]]
    assert two.padded(3, "right").tolist() == [[6, 7, 8], [9, 0, 0]]


def test_products_are_numbered_by_frequency_and_later_sessions_are_asked_prefix_by_prefix(tmp_path: Path) -> None:
    past = [{"items": [10, 20]}] * 12 + [{"items": [30, 20]}]
    train = write(tmp_path / "train.gz", [*past, {"items": [30, 99, 10, 20]}])
    test = write(tmp_path / "test.gz", [{"items": [99], "target": 10}, {"items": [20, 30], "target": 10}])
    prepared = prepare(train, test, length=2, seed=1, encode=10)
    # 20 occurs most, then 10, then 30; 99 is in no training session.
    assert prepared.data.products == 3
    assert len(prepared.data.train) == 13
    asked = [h.tolist() for h in np.split(prepared.data.validation.items, prepared.data.validation.offsets[1:-1])]
    assert (asked, prepared.targets.tolist()) == ([[2], [2, 1]], [1, 0])
    assert prepared.data.test.items.tolist() == [0, 2]


def test_data_come_back_from_their_file(tmp_path: Path) -> None:
    data = Data(5, histories([0, 1]), histories([2]), histories([3, 4]))
    data.save(tmp_path / "data.npz")
    back = Data.load(tmp_path / "data.npz")
    assert back.products == 5
    assert [back.train.items.tolist(), back.test.items.tolist()] == [[0, 1], [3, 4]]


def test_the_judge_ranks_the_whole_catalogue_and_refuses_broken_vectors() -> None:
    data = Data(3, histories([0, 1]), histories([0], [1]), histories([0]))
    prepared = Prepared(data, np.array([0, 2]), "")
    products = np.eye(3, dtype=np.float32)
    customers = np.array([[3, 2, 1], [1, 3, 2]], dtype=np.float32)
    assert ndcg_at_10(customers, products, prepared) == pytest.approx((1 + 1 / np.log2(3)) / 2)
    customers[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ndcg_at_10(customers, products, prepared)


def test_ratios_compare_measured_times_to_the_same_quality() -> None:
    ours = Result("ours", 100, [Point(10, 1, 0.18), Point(25, 2, 0.21)])
    peer = Result("peer", 100, [Point(50, 1, 0.15), Point(100, 2, 0.20), Point(150, 3, 0.20)])
    whole = ratios(ours, peer)[0]
    assert (whole["ndcg"], whole["peer_seconds"], whole["our_seconds"], whole["times_faster"]) == (0.20, 100, 25, 4)
    assert ratios(peer, ours)[0]["times_faster"] is None
