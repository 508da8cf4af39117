"""The night's lists are estimated from what was shown the day before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from jobs.experiments.touch_points import count_days
from jobs.experiments.unseen import estimate
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching
from jobs.report.experiments import written_of
from jobs.tables.experiments import OFF_POLICY
from jobs.tables.impressions import OUTCOMES
from jobs.tables.shop import YOU_MIGHT_ALSO_LIKE
from tests.support.shown import START, product_at, run_of, write_day

AS_OF = START + timedelta(days=1)


def test_lists_are_worth_what_the_customers_had_who_saw_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_day(lake, run_of(AS_OF), START, customers=3000)
    sides = {"default": 0, "b": 1, "new": 30}
    rows = [
        {
            "product_id": f"P{owner:03}",
            "market": market,
            "variant": variant,
            "product_ids": [f"P{at:03}" for at in product_at(owner, np.arange(1, 6), side)],
        }
        for owner in range(40)
        for market in ("DE", "GB")
        for variant, side in sides.items()
    ]
    lake.replace_rows(YOU_MIGHT_ALSO_LIKE, rows, run_of(AS_OF))
    estimate(lake, run_of(AS_OF))
    found = {row["variant"]: row for row in matching(lake, OFF_POLICY, OFF_POLICY.names, Wanted(AS_OF))}
    assert {(row["touch_point"], row["impressions"]) for row in found.values()} == {("you_might_also_like", 10_000)}
    shown = [
        row
        for row in matching(lake, OUTCOMES, ("variant", "touch_point", "clicked"), Wanted())
        if "like" in row["touch_point"]
    ]
    for variant in ("default", "b"):
        clicks = [row["clicked"] == "visit" for row in shown if row["variant"] == variant]
        assert found[variant]["weighted"] == pytest.approx(np.mean(clicks), rel=0.05)
        assert found[variant]["robust"] == pytest.approx(np.mean(clicks), rel=0.05)
        assert found[variant]["support"] == 1
    assert found["b"]["gained_low"] > 0 > found["default"]["gained_high"]
    assert (found["new"]["support"], found["new"]["weighted"]) == (0, None), "a model alone"
    count_days(lake, run_of(AS_OF))
    assert "This night’s lists, estimated" in written_of(lake, run_of(AS_OF))


def test_a_day_with_few_clicks_has_no_estimate(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_day(lake, run_of(AS_OF), START, customers=20)
    estimate(lake, run_of(AS_OF))
    assert not lake.exists(OFF_POLICY)
