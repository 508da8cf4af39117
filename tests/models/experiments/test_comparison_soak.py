"""Experiments are simulated: how often they are called without an effect, and how often intervals hold one."""

from __future__ import annotations

import pytest

from tests.benchmarks.experiments.__main__ import simulated

pytestmark = pytest.mark.soak


def test_daily_looks_call_few_experiments_without_an_effect() -> None:
    called = [any(one and one.decided for one in found.mornings) for found in simulated(1, 0.0, 200, 4_000, 21)]
    assert sum(called) / len(called) <= 0.06


def test_intervals_hold_the_true_effect() -> None:
    found = [*simulated(2, 0.1, 200, 4_000, 21)]
    last = [one.mornings[-1] for one in found]
    fixed = [one.low <= 0.1 <= one.high for one in last if one]
    assert 0.91 <= sum(fixed) / len(found) <= 0.99
    always = [all(not m or m.always_low <= 0.1 <= m.always_high for m in one.mornings) for one in found]
    assert sum(always) / len(always) >= 0.95
