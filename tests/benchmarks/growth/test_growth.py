"""The law of growth and the plan for thirty million customers are what the measured nights say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.common.docs import assert_current
from tests.benchmarks.growth.__main__ import (
    PAIRS,
    Cost,
    Law,
    Shop,
    breaks_first,
    fitted,
    hours,
    measured_steps,
    parallel,
    plan,
    read,
    text,
)

STEPS = ("ingest", "sequences", "embed", "index", "lists", "gate", "publish", "report", "clean")


def shop(customers: int, a_customer: float, density: int = 20, start: float = 10.0) -> Shop:
    """One whose steps each take `start` processor seconds and 100 MB, and for a million customers so much more."""
    work = start + a_customer * customers / 1e6
    costs = {name: Cost(work / 2, work, 100 + customers / 1e3) for name in STEPS}
    return Shop(PAIRS, customers, density * customers, customers // 4, customers // 20, costs, costs)


def test_the_documented_tables_are_what_the_figures_say() -> None:
    assert_current("growth", text(*read()))


def test_a_law_has_no_share_below_nothing_and_finds_the_true_ones() -> None:
    sizes = np.array([[p, c, d * c] for p in (1e5, 9e6) for c in (2e4, 1e5, 1e6) for d in (10, 20)])
    true = Law(10, 1e-6, 2e-5, 3e-6)
    found = fitted(sizes, np.array([sum(true.at(*size)) for size in sizes]))
    assert found.at(1e7, 3e7, 9e8) == pytest.approx(true.at(1e7, 3e7, 9e8))
    falling = fitted(sizes, 1e7 / sizes[:, 0])
    assert min(falling.itself, falling.a_pair, falling.a_customer, falling.an_event) >= 0


def test_what_two_cores_did_side_by_side_is_shared_by_more() -> None:
    assert parallel(Cost(50, 100, 0)) == 1 and parallel(Cost(100, 100, 0)) == 0
    assert parallel(Cost(75, 100, 0)) == pytest.approx(0.5)
    assert parallel(Cost(130, 100, 0)) == 0, "a busy machine takes longer than its work"


def test_the_plan_by_hand() -> None:
    shops = [shop(100_000, 20), shop(300_000, 20), shop(1_000_000, 20), shop(1_000_000, 20, density=40)]
    # Each step: 10 s and 20 s a million customers, all of it side by side: 610 s for 30 million.
    spread, alone = 4 * 600, len(STEPS) * 10 + (len(STEPS) - 4) * 600
    assert hours(shops, "first", 1) == pytest.approx((spread + alone) / 16 / 3600)
    assert hours(shops, "first", 4) == pytest.approx((spread / 4 + alone) / 16 / 3600)
    # A later night of steps that cost by customers costs no more than a first one.
    assert hours(shops, "second", 1) == pytest.approx(hours(shops, "first", 1))
    step, customers = breaks_first(shops)
    assert step == STEPS[0] and customers == pytest.approx(23_900_000)
    assert f"| ingest (executors) | {610 / 3600:.1f} core hours, 30 GB |" in plan(shops)


def test_a_later_night_is_planned_by_the_days_events_where_that_is_cheaper_than_all_customers() -> None:
    def second(new_events: int) -> dict[str, Cost]:
        return {name: Cost(0.0, 1 + new_events / 1e6, 100.0) for name in STEPS}

    shops = [
        replace(shop(c, 20, density), new_events=c * density // 50, changed=c // 20, second=second(c * density // 50))
        for c in (20_000, 100_000, 1_000_000)
        for density in (10, 20)
    ]
    assert hours(shops, "second", 1) == pytest.approx(len(STEPS) * (1 + 100) / 16 / 3600)
    assert hours(shops, "second", 1) < hours(shops, "first", 1)


def test_a_step_that_older_figures_lack_is_left_out() -> None:
    old = shop(100_000, 20)
    without = replace(old, first={name: cost for name, cost in old.first.items() if name != "clean"})
    assert measured_steps([old, without]) == STEPS[:-1]
