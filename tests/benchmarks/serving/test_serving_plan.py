"""The plan to five billion requests a day is what its figures say, and the load test asks this machine alone."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.benchmarks.common.docs import assert_current
from tests.benchmarks.load.__main__ import measure
from tests.benchmarks.load.worker import only_loopback
from tests.benchmarks.serving.capacity import Figures, memory_gb, planned, read, record, table

ROUND = Figures("by hand", 100_000.0, 4_000.0, 200.0, 100.0, 0.25, 10.0, 40.0, 2.0, 1_000.0, 1_000.0, 500.0, 4_000.0,
                250.0)  # fmt: skip


def test_the_documented_table_is_what_the_figures_say() -> None:
    assert_current("capacity", table(read()))


def test_the_plan_by_hand() -> None:
    plan = planned(ROUND, 58_000)
    assert plan.store_reads == 14_500
    assert plan.client_cores == pytest.approx(58_000 * 100e-6 / 0.5) and plan.pods == 3
    assert plan.redis_cores == pytest.approx(1.16)
    assert plan.redis_cores_uncached == pytest.approx(4.64)
    # 30 GB of customers, 7 of lists, 0.0578 of products and rankings, half as much again, in shards of 25 GB
    assert memory_gb(ROUND) == pytest.approx(30 + 7 + 0.0578) and plan.shards == 3
    assert plan.network_gbit == pytest.approx(14_500 * 500 * 8 / 1e9)
    assert plan.feast_cores == pytest.approx(580)
    assert planned(replace(ROUND, redis_us_a_request=100.0), 579_000).shards == 116, "where CPU asks for more"
    assert "| requests a second | 58,000 | 174,000 | 579,000 |" in table(ROUND)


def test_a_benchmark_replaces_its_own_figures_alone(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    file.write_text(json.dumps({field.name: getattr(ROUND, field.name) for field in fields(Figures)}))
    record(file, rank_cpu_ms=3.14159)
    assert read(file) == replace(ROUND, rank_cpu_ms=3.142)
    with pytest.raises(AssertionError):
        record(file, something_else=1.0)


def test_the_load_test_is_bounded_and_asks_loopback_alone() -> None:
    assert only_loopback("redis://127.0.0.1:6379/0") and only_loopback("redis://[::1]:6379/0")
    for address in ("redis://10.0.0.1:6379/0", "redis://0.0.0.0:6379", "redis://192.168.1.2/0"):
        with pytest.raises(ValueError, match="this machine alone"):
            only_loopback(address)
    for requests, seconds in ((10**9, 60.0), (1_000, 10**6), (0, 60.0)):
        with pytest.raises(ValueError, match="at most"):
            measure(requests, seconds, None, 1)
