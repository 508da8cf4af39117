"""The benchmark beside the documented stack: what it compares, adds up and extrapolates, and how it ends a stage."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from jobs.steps import STEPS
from models.search.search import exact_top_n
from tests.benchmarks.documented_stack.__main__ import STAGES, spent_of
from tests.benchmarks.documented_stack.checks import equal_lists, equal_rows
from tests.benchmarks.documented_stack.faiss import Shop, flat, lists, search, without_own
from tests.benchmarks.documented_stack.process import Measured, measured
from tests.benchmarks.documented_stack.report import (
    BEYOND,
    GROUPS,
    Spent,
    extrapolated,
    grouped,
    linear,
    print_extrapolation,
    print_run,
    totals,
    whole_seconds,
)
from tests.benchmarks.documented_stack.task import Progress, StackTask

pytestmark = pytest.mark.soak

TASK = StackTask("raw", "folder", "2026-04-06", 8, 1, 1, 5, 10, 3, 28, {"click": 1.0}, 365, 1)


def test_every_stage_and_every_step_is_on_one_side_of_the_bill() -> None:
    assert sorted(name for group in GROUPS for name in group.peer) == sorted(set(STAGES) - {"train"})
    assert sorted([*(name for group in GROUPS for name in group.ours), *BEYOND]) == sorted(set(STEPS) - {"train"})


def test_a_line_through_two_sizes_by_hand() -> None:
    assert linear([5_000, 20_000], [15.0, 30.0], 1_000_000) == pytest.approx(10 + 1_000)
    assert linear([5_000, 20_000], [30.0, 15.0], 1_000_000) == pytest.approx(22.5), "less for more is noise"
    assert linear([1, 2], [1.0, 3.0], 10) == pytest.approx(7 / 5 * 10), "no stage begins with less than nothing"
    assert linear([5_000], [15.0], 10_000) == pytest.approx(30)
    with pytest.raises(ValueError, match="nothing was measured"):
        linear([], [], 1)


def test_a_stage_that_was_ended_goes_on_at_its_own_rate() -> None:
    assert whole_seconds([(10.0, 0, 100), (20.0, 10, 100), (30.0, 20, 100)]) == pytest.approx(110)
    assert whole_seconds([(5.0, 0, 100), (10.0, 0, 100), (20.0, 20, 100)]) == pytest.approx(60), "not the preparation"
    assert whole_seconds([(10.0, 5, 100)]) is None and whole_seconds([(1.0, 5, 9), (2.0, 5, 9)]) is None
    ended = spent_of(Measured(30.0, 20.0, 100.0, None, "", ((10.0, 0, 100), (30.0, 20, 100))))
    assert not ended.finished and (ended.done, ended.total) == (20, 100) and ended.estimate == pytest.approx(110)
    stopped = spent_of(Measured(30.0, 20.0, 100.0, 0, "", ((10.0, 0, 100), (30.0, 20, 100))))
    assert not stopped.finished and stopped.estimate == pytest.approx(110)
    fewer = spent_of(Measured(30.0, 20.0, 100.0, 0, "", ((10.0, 0, 20), (30.0, 20, 20))), missing=80)
    assert not fewer.finished and fewer.total == 100 and fewer.estimate == pytest.approx(110), "rows nobody made"
    silent = spent_of(Measured(30.0, 20.0, 100.0, 0, "", ()))
    assert silent.finished and silent.estimate == 30
    assert spent_of(Measured(30.0, 20.0, 100.0, None, "", ())).estimate == 30, "the limit: at least so long"


def test_the_two_sides_added_up_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    peer = {name: Spent(10.0, 5.0, 100.0) for name in STAGES if name != "train"}
    peer["alike"] = Spent(10.0, 5.0, 300.0, False, 1, 5, 50.0)
    ours = {name: Spent(2.0, 1.0, 50.0) for name in STEPS if name != "train"}
    found = totals(peer, ours)
    assert found["peer s"] == pytest.approx(6 * 10 + 50) and found["ours s"] == pytest.approx(6 * 2)
    assert found["ratio"] == pytest.approx(110 / 12) and found["ratio to our whole night"] == pytest.approx(110 / 18)
    assert found["ratio of cpu"] == pytest.approx((6 * 5 + 25) / 6)
    cut = {name: spent for name, spent in peer.items() if name != "materialize"}
    assert totals(cut, ours)["ours s"] == pytest.approx(5 * 2), "what the peer did not get to is on neither side"
    assert totals(peer, {})["peer s"] == pytest.approx(110) and "ratio" not in totals(peer, {})
    both = grouped(peer, ("bought", "alike"))
    assert both is not None and both.memory_mb == 300 and not both.finished and both.estimate == pytest.approx(60)
    assert grouped(peer, ("bought", "absent")) is None
    shop = {"name": "small", "customers": 10, "products": 5, "markets": 2, "days": 3, "daily_events": 4}
    result = {"shop": shop, "peer": peer, "ours": ours, "load": [0.5, 1, 2], "online": "sqlite", "totals": found}
    print_run(result)
    assert "alike not finished after 10 s, 1 of 5 done; at its rate 50 s" in capsys.readouterr().out
    larger = {**result, "shop": {**shop, "customers": 20}}
    at = extrapolated([result, larger], 1_000)
    assert at["ingest"] == pytest.approx(10)
    print_extrapolation(at, 1_000, {"ingest": 2.0})
    assert "EXTRAPOLATED" in (told := capsys.readouterr().out) and "5.0" in told


def test_equal_rows_in_any_order_and_what_differs() -> None:
    ours = pa.table({"id": ["b", "a"], "n": pa.array([2, 1], pa.int64()), "more": [0, 0]})
    peer = pa.table({"n": pa.array([1, 2], pa.int32()), "id": ["a", "b"]})
    assert equal_rows("rows", peer, ours, ("id",))[1]
    assert equal_rows("rows", peer.set_column(0, "n", pa.array([1, 3])), ours, ("id",)) == (
        "rows", False, "2 rows; n differ",
    )  # fmt: skip
    assert not equal_rows("rows", peer.slice(1), ours, ("id",))[1]
    nested = pa.table({"id": ["a", "b"], "ids": [["x", "y"], ["z"]]})
    assert equal_rows("lists", nested.take(pa.array([1, 0])), nested, ("id",))[1]
    assert not equal_rows("lists", nested.set_column(1, "ids", pa.array([["y", "x"], ["z"]])), nested, ("id",))[1]


@pytest.fixture
def shop() -> Shop:
    random = np.random.default_rng(3)
    ids = pa.array([f"P{i}" for i in range(40)])
    available = random.random((2, 40)) < 0.6
    return Shop(ids, random.normal(size=(40, 8)).astype(np.float32), ["DE", "FR"], available)


def test_a_selector_for_each_market_finds_what_exact_search_finds(shop: Shop) -> None:
    queries = np.random.default_rng(4).normal(size=(9, 8)).astype(np.float32)
    for market, available in enumerate(shop.available):
        found = search(flat(shop), shop, market, queries, 5)
        ours = exact_top_n(queries, shop.vectors, 5, available)
        assert equal_lists("search", found, ours)[1]
        assert available[found[1]].all()
        worse = found[0].copy(), found[1].copy()
        worse[0][0, -1] -= 0.1
        assert not equal_lists("search", worse, ours)[1]
    assert not equal_lists("search", (found[0][:, :4], found[1][:, :4]), ours)[1]


def test_lists_of_products_leave_the_product_out(shop: Shop) -> None:
    own = np.flatnonzero(shop.available[0])
    scores, rows = without_own(own, *search(flat(shop), shop, 0, shop.vectors[own], 4))
    assert rows.shape == (len(own), 3) and not (rows == own[:, None]).any()
    rows[0, 1:] = -1
    batch = lists(TASK, shop, 0, "product_id", shop.products.take(pa.array(own)), scores, rows)
    assert batch["market"].to_pylist() == ["DE"] * len(own)
    assert batch["product_ids"].to_pylist()[0] == [f"P{rows[0, 0]}"]
    assert batch["scores"].to_pylist()[1] == pytest.approx(scores[1].tolist())
    assert isinstance(flat(shop), faiss.IndexFlatIP)


def test_a_task_comes_back_as_it_was_written(tmp_path: Path) -> None:
    TASK.save(tmp_path / "task.json")
    assert StackTask.load(tmp_path / "task.json") == TASK
    assert TASK.day(28) == "2026-03-09" and TASK.published_at.isoformat() == "2026-04-06T03:00:00+00:00"


def test_a_process_is_measured_with_its_children_and_ended_at_its_limit(tmp_path: Path) -> None:
    child = "import time; held = bytearray(64 << 20); time.sleep(60)"
    parent = (
        "import subprocess, sys; from pathlib import Path; from tests.benchmarks.documented_stack.task import Progress;"
        f"Progress(Path({str(tmp_path / 'progress')!r}), 0.0).tell(1, 4);"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    took = measured([sys.executable, "-c", parent], Path.cwd(), tmp_path / "log", 1.5, {}, tmp_path / "progress")
    assert took.code is None and took.seconds < 20
    assert took.memory_mb > 64
    assert [(done, total) for _, done, total in took.progress] == [(1, 4)]
    failed = measured([sys.executable, "-c", "import sys; sys.exit('bad')"], Path.cwd(), tmp_path / "log", 60, {})
    assert failed.code == 1 and "bad" in failed.output and failed.progress == ()


def test_progress_says_when_time_is_up(tmp_path: Path) -> None:
    assert Progress(tmp_path / "a", 9e9).tell(1, 2)
    assert not Progress(tmp_path / "b", 0.0).tell(1, 2)
