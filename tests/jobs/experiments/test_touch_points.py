"""Touch points are counted in parts, each beside what its places lead to expect."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from jobs.checks import gates_of, outcomes
from jobs.errors import GateError
from jobs.experiments.measure import ExperimentsConfig, measure
from jobs.experiments.summary import costly_rules, read_touch_points
from jobs.experiments.touch_points import DIMENSIONS, count_days
from jobs.gate.passed import require_passed
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, of_night
from jobs.report.experiments import written_of
from jobs.tables.experiments import TOUCH_POINT_DAYS
from jobs.tables.impressions import OUTCOMES
from jobs.tables.shop import CATALOGUE
from tests.support.page import Page
from tests.support.shown import START, days_from, run_of, write_day

AS_OF = START + timedelta(days=1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRow]:
    """One day of 3,000 customers."""
    lake = Lake(tmp_path_factory.mktemp("counted"))
    products = [
        {
            "product_id": f"P{at:03}",
            "brand": f"b{at // 25}",
            "launched_at": date(2026, 2, 25) if at < 10 else date(2025, 12, 1),
        }
        for at in range(49)
    ]
    lake.replace_rows(CATALOGUE, products, run_of(AS_OF))
    write_day(lake, run_of(AS_OF), START, customers=3000)
    count_days(lake, run_of(AS_OF))
    return lake.arrow(TOUCH_POINT_DAYS).to_pylist()


def parts(rows: list[StoredRow], dimension: str) -> dict[str, StoredRow]:
    found = [row for row in rows if row["dimension"] == dimension and row["touch_point"] == "you_might_also_like"]
    return {row["slice"]: row for row in found}


def test_every_dimension_has_all_impressions(rows: list[StoredRow]) -> None:
    for dimension in DIMENSIONS:
        counted = parts(rows, dimension).values()
        assert sum(row["impressions"] for row in counted) == 10_000
        assert sum(row["expected"] for row in counted) == pytest.approx(parts(rows, "all")["all"]["clicks"])


def test_places_have_the_position_bias_and_each_exactly_what_it_expects(rows: list[StoredRow]) -> None:
    places = parts(rows, "place")
    assert places["1"]["rate"] > places["2"]["rate"] > places["5"]["rate"]
    assert all(row["clicks"] == pytest.approx(row["expected"]) for row in places.values())
    assert all(row["low"] < row["rate"] < row["high"] for row in places.values())


def test_a_rule_that_costs_clicks_is_below_what_its_places_have(rows: list[StoredRow]) -> None:
    rules = parts(rows, "rule")
    assert rules["sale"]["high"] * rules["sale"]["impressions"] < rules["sale"]["expected"]
    assert rules["none"]["clicks"] > rules["none"]["expected"]


def test_ages_are_those_of_the_day(rows: list[StoredRow]) -> None:
    assert set(parts(rows, "product age")) == {"under 14 days", "14 to 90 days", "unknown"}
    assert set(parts(rows, "brand age")) == {"90 days to a year", "unknown"}


def test_customers_are_the_unit_of_an_interval(rows: list[StoredRow]) -> None:
    whole = parts(rows, "all")["all"]
    independent = 3.92 * (whole["rate"] * (1 - whole["rate"]) / whole["impressions"]) ** 0.5
    assert whole["high"] - whole["low"] > 1.05 * independent, "who likes to click clicks often"


def test_a_day_is_counted_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_day(lake, run_of(AS_OF), START, customers=20)
    count_days(lake, run_of(AS_OF))
    lake.replace(OUTCOMES, lake.arrow(OUTCOMES).slice(0, 0), run_of(AS_OF), where=f"shown_date = '{START}'")
    write_day(lake, run_of(AS_OF + timedelta(days=1)), START, customers=40)
    count_days(lake, run_of(AS_OF + timedelta(days=1)))
    assert {row["as_of"] for row in lake.arrow(TOUCH_POINT_DAYS).to_pylist()} == {AS_OF}


def test_a_day_that_did_far_worse_is_warned_of_and_stops_nothing(tmp_path: Path) -> None:
    lake, days = Lake(tmp_path), days_from(START, 5)
    for day in days:
        write_day(lake, run_of(day + timedelta(days=1)), day, customers=600, effect=-0.7 if day == days[-1] else 0.4)
    assert measure(lake, run_of(days[-1]), ExperimentsConfig()) == []
    night = days[-1] + timedelta(days=1)
    (first, second) = measure(lake, run_of(night), ExperimentsConfig())
    assert first.startswith("you_might_also_like_clicks is 0.") and f"was shown on {days[-1]} was clicked" in first
    assert second.startswith("recommended_for_you_clicks")
    assert str(outcomes(gates_of(lake, of_night(night)))).endswith(
        "warned: recommended_for_you_clicks, you_might_also_like_clicks"
    )
    with pytest.raises(GateError, match="never went through its gates"):  # and not: failed them
        require_passed(lake, night)
    page = Page(written_of(lake, run_of(night))).text
    assert "No experiment is running" in page and "you_might_also_like_clicks warns" in page
    assert "The rule sale cost about" in page


def test_parts_of_a_week_are_summed_up(tmp_path: Path) -> None:
    lake, days = Lake(tmp_path), days_from(START, 3)
    for day in days:
        write_day(lake, run_of(day + timedelta(days=1)), day, customers=1200)
    night = days[-1] + timedelta(days=1)
    count_days(lake, run_of(night))
    summary = read_touch_points(lake, night)[0]
    assert (summary.title, list(summary.days)) == ("You Might Also Like", days)
    assert summary.whole and summary.whole.impressions == 3 * 4000
    assert [part.name for part in summary.parts["place"]] == ["1", "2", "3", "4", "5"]
    (rule,) = costly_rules(summary)
    assert rule.name == "sale" and rule.beyond and -1 <= rule.beyond[1] < rule.beyond[0] < rule.beyond[2] < 0
    alone = read_touch_points(lake, days[1])[0].whole
    assert alone and summary.whole.half == pytest.approx(alone.half * 3**0.5, rel=0.25)
