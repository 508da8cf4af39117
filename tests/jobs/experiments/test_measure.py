"""Experiments are measured from what was shown, and the true effect of a variant is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from rich.console import Console

from jobs.ask.experiments import print_experiments
from jobs.config import standard, with_settings
from jobs.errors import UserError
from jobs.experiments.measure import ExperimentsConfig, measure, verdict
from jobs.experiments.results import read_results
from jobs.experiments.sides import read_experiments, record_variants
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow
from jobs.policy.variants import Variant
from jobs.report.experiments import written_of
from jobs.tables.experiments import CUSTOMER_DAYS, EXPERIMENTS, VARIANTS
from models.experiments.comparison import Uplift
from tests.support.page import Page
from tests.support.shown import SIDES, START, days_from, run_of, write_day

DAYS = 4
AS_OF = START + timedelta(days=DAYS)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two days before an experiment and four of it, measured by one night."""
    lake = Lake(tmp_path_factory.mktemp("shown"))
    for day in days_from(START - timedelta(days=2), DAYS + 2):
        write_day(lake, run_of(day + timedelta(days=1)), day)
    for night in days_from(START - timedelta(days=1), DAYS + 2):
        record_variants(lake, run_of(night), "order", SIDES, (None, None))
    measure(lake, run_of(AS_OF), ExperimentsConfig())
    return lake


def rows(lake: Lake, **wanted: str) -> list[StoredRow]:
    found = lake.arrow(EXPERIMENTS, None, AS_OF).to_pylist()
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def test_a_shop_that_logs_nothing_gets_no_table(tmp_path: Path) -> None:
    empty = Lake(tmp_path)
    record_variants(empty, run_of(START), "lists", SIDES[:1], (None, None))
    assert measure(empty, run_of(START), ExperimentsConfig()) == []
    assert not any(empty.exists(table) for table in (VARIANTS, CUSTOMER_DAYS, EXPERIMENTS))


def test_the_true_effect_is_found_in_all_markets_and_in_each(lake: Lake) -> None:
    (found,) = rows(lake, metric="clicks", variant="b", market="*")
    assert found["low"] < 0.4 < found["high"] and 0 < found["always_low"] < found["low"]
    assert found["verdict"].startswith("b is ahead by ") and found["verdict"].endswith("in clicks, after 4 days")
    assert (found["customers"], found["days"], found["mixed"]) == (400, DAYS, 0)
    assert found["sample_ratio_p"] == pytest.approx(1)
    parts = rows(lake, metric="clicks", variant="b")
    assert [(row["market"], row["verdict"] is None) for row in parts] == [("*", False), ("DE", True), ("GB", True)]
    (control,) = rows(lake, metric="clicks", variant="default", market="*")
    assert (control["uplift"], control["verdict"], control["customers"]) == (None, None, 400)
    assert found["value"] / control["value"] == pytest.approx(1.4, abs=0.2)


def test_what_is_rare_is_not_decided(lake: Lake) -> None:
    (saves,) = rows(lake, metric="saves", variant="b", market="*")
    assert (saves["uplift"], saves["verdict"]) == (None, "too few saves to tell after 4 days")
    (revenue,) = rows(lake, metric="revenue", variant="b", market="*")
    assert revenue["always_low"] < revenue["low"] < revenue["uplift"] < revenue["high"]


def test_a_second_night_sums_up_new_days_alone(lake: Lake) -> None:
    before = {day: night for day, night in _nights_of_days(lake).items() if day < START + timedelta(days=DAYS)}
    write_day(lake, run_of(AS_OF + timedelta(days=1)), AS_OF)
    record_variants(lake, run_of(AS_OF + timedelta(days=1)), "order", SIDES, (None, None))
    measure(lake, run_of(AS_OF + timedelta(days=1)), ExperimentsConfig())
    after = _nights_of_days(lake)
    assert {day: after[day] for day in before} == before
    assert after[AS_OF] == AS_OF + timedelta(days=1)


def _nights_of_days(lake: Lake) -> dict[date, date]:
    days = lake.arrow(CUSTOMER_DAYS, ("shown_date", "as_of"))
    assert pc.sum(lake.arrow(CUSTOMER_DAYS, ("impressions",))["impressions"]).as_py() == 4000 * len(
        pc.unique(days["shown_date"])
    )
    return {row["shown_date"]: row["as_of"] for row in days.to_pylist()}


def test_customers_of_several_variants_are_left_out_and_counted(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write_day(lake, run_of(START + timedelta(days=1)), START, customers=200)
    other = lake.arrow(CUSTOMER_DAYS)
    assert not len(other)
    record_variants(lake, run_of(START - timedelta(days=1)), "order", SIDES, (None, None))
    record_variants(lake, run_of(START), "order", SIDES, (None, None))
    measure(lake, run_of(START + timedelta(days=1)), ExperimentsConfig())
    day = START + timedelta(days=1)
    sums = lake.arrow(CUSTOMER_DAYS, [name for name in CUSTOMER_DAYS.names if name not in ("as_of", "run_id")])
    other = pc.if_else(pc.equal(sums["customer_id"], "C00001"), "default", sums["variant"])
    moved = sums.set_column(sums.schema.get_field_index("variant"), "variant", other)
    moved = moved.set_column(moved.schema.get_field_index("shown_date"), "shown_date", [[day] * len(sums)])
    lake.replace(CUSTOMER_DAYS, moved, run_of(day), where=f"shown_date = '{day}'")
    record_variants(lake, run_of(day), "order", SIDES, (None, None))
    measure(lake, run_of(day + timedelta(days=1)), ExperimentsConfig())
    found = lake.arrow(EXPERIMENTS, ("mixed", "customers", "market", "variant", "metric"), day + timedelta(days=1))
    (row,) = [r for r in found.to_pylist() if (r["market"], r["variant"], r["metric"]) == ("*", "b", "clicks")]
    assert (row["mixed"], row["customers"]) == (1, 99)


def test_an_experiment_begins_and_ends_by_its_settings_or_its_nights(tmp_path: Path) -> None:
    lake, day = Lake(tmp_path), timedelta(days=1)
    for night in days_from(START, 3):
        record_variants(lake, run_of(night), "first", SIDES, (None, None))
    for night in days_from(START + 3 * day, 4):
        record_variants(lake, run_of(night), "second", SIDES, (START + 4 * day, START + 5 * day))
    (first,) = read_experiments(lake, START + 4 * day)
    assert (first.first_day, first.last_day, first.running) == (START + day, START + 2 * day, False)
    running, second = (read_experiments(lake, START + n * day)[1] for n in (5, 6))
    assert (running.first_day, running.last_day, running.running) == (START + 4 * day, START + 4 * day, True)
    assert (second.last_day, second.running) == (START + 5 * day, False)
    record_variants(lake, run_of(START + 6 * day), "lists", (Variant(),), (None, None))
    assert lake.arrow(VARIANTS, None, START + 6 * day).num_rows == 0


def test_days_are_settings_of_the_lists() -> None:
    shop = standard(Path("source.sql"), Path("raw"))
    config = with_settings(shop, ["lists.starts_on=2026-04-06", "lists.ends_on=2026-04-20"])
    assert (config.lists.starts_on, config.lists.ends_on) == (date(2026, 4, 6), date(2026, 4, 20))
    with pytest.raises(UserError, match="starts_on = 2026-04-21 must not be after ends_on = 2026-04-20"):
        with_settings(config, ["lists.starts_on=2026-04-21"])


def test_verdicts_say_which_way_how_far_and_when_they_may_not_be_trusted() -> None:
    behind = Uplift(-0.1, -0.12, -0.08, -0.15, -0.05)
    assert verdict("b", "clicks", behind, 1, 0.5) == "b is behind by 10.0 % [5.0, 15.0] in clicks, after 1 day"
    open_end = Uplift(0.01, -0.01, 0.03, -0.02, 0.04)
    assert verdict("b", "bag-adds", open_end, 9, 0.5) == (
        "not decided in bag-adds: between -2.0% and +4.0% after 9 days"
    )
    assert verdict("b", "clicks", behind, 9, 1e-4).startswith("not to be trusted: customers")


def test_the_page_and_the_terminal_begin_with_the_verdict(lake: Lake) -> None:
    (found,) = read_results(lake, AS_OF)
    assert found.running and found.headline.startswith("b is ahead by ")
    assert found.headline.endswith("in clicks, after 4 days; not decided in saves, bag-adds, purchases and revenue")
    page = written_of(lake, run_of(AS_OF))
    assert Page(page).text.index("ahead by") < Page(page).text.index("Uplift over the control")
    assert "Uplift in clicks by market" in page
    console = Console(record=True, width=200)
    print_experiments(lake, AS_OF, console)
    assert console.export_text().startswith(f"order, running, by the night of {AS_OF}: b is ahead by ")


def test_a_customer_split_that_is_no_chance_is_said_once_and_first(lake: Lake) -> None:
    (found,) = read_results(lake, AS_OF)
    told = "not to be trusted: customers are split otherwise"
    rows = [row | ({"verdict": told, "sample_ratio_p": 1e-5} if row["verdict"] else {}) for row in found.rows]
    assert replace(found, rows=rows).headline == told
