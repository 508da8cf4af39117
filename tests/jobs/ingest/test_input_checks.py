"""What a night's figures are compared with, by hand: the table `inputs` in, checks out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from jobs.checks import Check
from jobs.ingest import figures as names
from jobs.ingest.figures import COLUMNS
from jobs.ingest.gates import GATES, InputGates, check_inputs
from jobs.lake.lake import Lake
from jobs.report import drift
from jobs.run import Run
from jobs.tables.records import INPUTS

TONIGHT = date(2026, 4, 6)
Figures = dict[tuple[str, str], float]
USUAL: Figures = {
    (names.EVENTS_READ, "all"): 1000,
    (names.EVENTS_READ, "market GB"): 700,
    (names.EVENTS_READ, "market IM"): 10,
    (names.EVENTS_READ, "type click"): 900,
    (names.EVENTS_READ, "type purchase"): 100,
    (names.PRODUCTS, "all"): 500,
    (names.PAIRS, "all"): 900,
    (names.PAIRS, "market GB"): 450,
    (names.PRODUCT_PRICE, "all"): 40,
    (names.EVENT_PRICE, "all"): 35,
    (names.NULLS, "column catalogue.brand"): 0.1,
    (names.AGE, "all"): 0.01,
    (COLUMNS, "column raw.sku"): 1,
}


def night(lake: Lake, days_ago: int, changes: Figures | None = None, without: str = "") -> None:
    """Record a night's input: the usual one but for `changes`, and without the figure or slice named."""
    as_of = TONIGHT - timedelta(days=days_ago)
    figures = {key: value for key, value in (USUAL | (changes or {})).items() if without not in key}
    rows = [{"figure": figure, "slice": part, "value": value} for (figure, part), value in figures.items()]
    lake.replace_rows(INPUTS, rows, run_of(as_of))


def run_of(as_of: date) -> Run:
    """A run of a night."""
    return Run(as_of, f"{as_of}-test", datetime(2026, 5, 1, tzinfo=UTC))


def checks(lake: Lake, closed: bool = False) -> dict[str, Check]:
    """Tonight's checks by name."""
    found = {check.gate: check for check in check_inputs(lake, run_of(TONIGHT), InputGates(), closed)}
    assert set(found) <= set(GATES)
    return found


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with a fortnight of usual nights."""
    lake = Lake(tmp_path)
    for days_ago in range(1, 15):
        night(lake, days_ago)
    return lake


BAD: dict[str, tuple[str, Figures, str]] = {
    "half of the events": ("input_events", {(names.EVENTS_READ, "all"): 500}, ""),
    "events twenty times": ("input_events", {(names.EVENTS_READ, "all"): 20_000}, ""),
    "no event": ("input_events", {(names.EVENTS_READ, "all"): 0}, ""),
    "a market without events": ("input_markets", {}, "market GB"),
    "a market nearly without": ("input_markets", {(names.EVENTS_READ, "market GB"): 100}, ""),
    "no purchase": ("input_types", {}, "type purchase"),
    "half of the catalogue": ("input_products", {(names.PRODUCTS, "all"): 250}, ""),
    "half of the availability": ("input_pairs", {(names.PAIRS, "all"): 450}, ""),
    "a market's availability": ("input_market_pairs", {(names.PAIRS, "market GB"): 200}, ""),
    "prices in pence": ("input_prices", {(names.PRODUCT_PRICE, "all"): 4000}, ""),
    "prices of nothing": ("input_prices", {(names.PRODUCT_PRICE, "all"): 0}, ""),
    "prices that were paid": ("input_prices", {(names.EVENT_PRICE, "all"): 3.5}, ""),
    "brands without value": ("input_nulls", {(names.NULLS, "column catalogue.brand"): 0.9}, ""),
    "a column gone": ("input_columns", {(COLUMNS, "column raw.price"): 1}, "column raw.sku"),
    "nothing new for ten days": ("input_age", {(names.AGE, "all"): 10}, ""),
}


@pytest.mark.parametrize("case", BAD)
def test_a_figure_that_moved_too_far_fails_its_gate(case: str, lake: Lake) -> None:
    gate, changes, without = BAD[case]
    night(lake, 0, changes, without)
    failed = {name for name, check in checks(lake).items() if not check.passed}
    assert gate in failed
    assert failed <= {gate, "input_market_pairs"}, "a market that is gone is gone from the shelves as well"


def test_the_usual_night_passes_every_gate(lake: Lake) -> None:
    night(lake, 0)
    assert set(checks(lake)) == set(GATES)
    assert all(check.passed for check in checks(lake).values())


def test_every_gate_has_a_bad_night() -> None:
    assert {gate for gate, _, _ in BAD.values()} == set(GATES)


def test_a_slice_that_never_had_much_may_have_nothing(lake: Lake) -> None:
    night(lake, 0, without="market IM")
    assert all(check.passed for check in checks(lake).values())


def test_a_quiet_weekday_is_compared_with_its_like(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for days_ago in range(1, 15):
        night(lake, days_ago, {(names.EVENTS_READ, "all"): 300 if days_ago % 7 == 0 else 1000})
    night(lake, 0, {(names.EVENTS_READ, "all"): 290})
    assert checks(lake)["input_events"].value == pytest.approx(290 / 300)
    night(lake, 0, {(names.EVENTS_READ, "all"): 150})
    assert not checks(lake)["input_events"].passed


def test_the_load_of_a_whole_history_is_no_measure(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for days_ago in range(1, 14):
        night(lake, days_ago)
    night(lake, 14, {(names.EVENTS_READ, "all"): 90_000})
    night(lake, 0)
    assert checks(lake)["input_events"].value == pytest.approx(1.0)


def test_before_a_weekday_is_known_the_quietest_day_is_the_measure(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for days_ago, events in ((1, 1000), (2, 800), (3, 400)):
        night(lake, days_ago, {(names.EVENTS_READ, "all"): events})
    night(lake, 0, {(names.EVENTS_READ, "all"): 300})
    assert checks(lake)["input_events"].value == pytest.approx(300 / 400)


def test_first_nights_skip_what_they_cannot_compare(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    night(lake, 0)
    assert set(checks(lake)) == {"input_age"}
    night(lake, 1)
    stock = {"input_products", "input_pairs", "input_market_pairs", "input_prices", "input_nulls", "input_columns"}
    assert set(checks(lake)) == {"input_age"} | stock
    night(lake, 2)
    assert "input_events" not in checks(lake)
    night(lake, 3)
    assert set(checks(lake)) == set(GATES)


def test_a_later_night_is_no_measure_for_an_earlier_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for days_ago in (-1, -2, -3, -4):
        night(lake, days_ago)
    night(lake, 0, {(names.EVENTS_READ, "all"): 1})
    assert set(checks(lake)) == {"input_age"}


def test_a_closed_day_without_events_is_not_held_against_the_night_nor_the_next_ones(lake: Lake) -> None:
    closed: Figures = {(names.EVENTS_READ, part): 0 for (figure, part) in USUAL if figure == names.EVENTS_READ}
    night(lake, 0, closed)
    assert not checks(lake)["input_events"].passed
    assert not {"input_events", "input_markets", "input_types"} & set(checks(lake, closed=True))
    night(lake, 7, closed)
    night(lake, 14, closed)
    night(lake, 0, {(names.EVENTS_READ, "all"): 500})
    assert checks(lake)["input_events"].value == pytest.approx(0.5)


def test_prices_of_few_events_are_left_to_chance(lake: Lake) -> None:
    night(lake, 0, {(names.EVENT_PRICE, "all"): 350, (names.EVENTS_READ, "all"): 99})
    assert checks(lake)["input_prices"].value == pytest.approx(1.0)


def test_the_worst_slice_is_named_and_the_others_after_it(lake: Lake) -> None:
    night(lake, 0, {(names.EVENTS_READ, "type click"): 20, (names.EVENTS_READ, "type purchase"): 1})
    check = checks(lake)["input_types"]
    assert check.value == pytest.approx(0.01)
    assert check.detail == "type purchase: 1 events, usually 100; also type click"


def test_the_page_of_drift_knows_the_figures_by_their_names() -> None:
    known = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    named = {figure for figure, _ in drift.WATCHED.values()} | {*drift.OF_THE_LOAD, *drift.NOT_DRAWN}
    assert named <= known
    assert set(drift.WATCHED) == set(GATES)
