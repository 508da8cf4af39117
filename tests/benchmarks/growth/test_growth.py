"""The law of growth and the plan for thirty million customers are what the measured nights say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.common.docs import assert_current
from tests.benchmarks.growth.__main__ import (
    MEASURED,
    Cost,
    Line,
    Shop,
    breaks_first,
    fitted,
    hours,
    parallel,
    plan,
    read,
    text,
)


def shop(customers: int, a_customer: float, start: float = 10.0) -> Shop:
    """One whose steps each take `start` processor seconds and 100 MB, and for a million customers so much more."""
    work = start + a_customer * customers / 1e6
    costs = {name: Cost(work / 2, work, 100 + customers / 1e3) for name in MEASURED}
    return Shop(customers, 20 * customers, customers // 4, costs, costs)


def test_the_documented_tables_are_what_the_figures_say() -> None:
    assert_current("growth", text(*read()))


def test_a_line_has_neither_a_negative_start_nor_a_negative_slope() -> None:
    assert fitted([1, 2, 3], [12, 14, 16]) == Line(pytest.approx(10), pytest.approx(2))
    assert fitted([1, 2], [5, 3]) == Line(4, 0)
    assert fitted([1, 2], [1, 3]) == Line(0, pytest.approx(7 / 5))


def test_what_two_cores_did_side_by_side_is_shared_by_more() -> None:
    assert parallel(Cost(50, 100, 0)) == 1 and parallel(Cost(100, 100, 0)) == 0
    assert parallel(Cost(75, 100, 0)) == pytest.approx(0.5)
    assert parallel(Cost(130, 100, 0)) == 0, "a busy machine takes longer than its work"


def test_the_plan_by_hand() -> None:
    shops = [shop(100_000, 20), shop(300_000, 20), shop(1_000_000, 20)]
    # Each step: 10 s and 20 s a million customers, all of it side by side: 610 s for 30 million.
    spread, alone = 4 * 600, len(MEASURED) * 10 + (len(MEASURED) - 4) * 600
    assert hours(shops, "first", 1) == pytest.approx((spread + alone) / 16 / 3600)
    assert hours(shops, "first", 4) == pytest.approx((spread / 4 + alone) / 16 / 3600)
    # 100 M events would be those of 400 M such customers: a later night makes all anew instead, as the first one.
    assert hours(shops, "second", 1) == hours(shops, "first", 1)
    few = [replace(one, new_events=100 * one.customers) for one in shops]  # 100 M events of 1 M customers
    assert hours(few, "second", 1) == pytest.approx((len(MEASURED) * (10 + 20)) / 16 / 3600)
    step, customers = breaks_first(shops)
    assert step == MEASURED[0] and customers == pytest.approx(23_900_000)
    assert f"| ingest (executors) | {610 / 3600:.1f} core hours, 30 GB |" in plan(shops)
