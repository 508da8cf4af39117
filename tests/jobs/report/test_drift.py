"""The page of drift: what moved is drawn, what failed is marked, and nothing from data is markup."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.gate.counts import counts_of, write_counts
from jobs.lake.lake import Lake
from jobs.report.charts import HEIGHT, WIDTH, Point, Series, line_chart
from jobs.report.drift import (
    DriftConfig,
    gate_panels,
    input_panels,
    list_panels,
    nights_of,
    stability,
    step_panels,
    written_of,
)
from jobs.tables.records import GATES, INPUTS, RUNS
from jobs.tables.shop import YOU_MIGHT_ALSO_LIKE
from tests.support.nights_lake import nth, row, run_of
from tests.support.page import Page
from tests.support.toy_shop import HOSTILE

NIGHTS = 12
LAST = NIGHTS - 1
WHOLE = 400
"""Days of the first load."""
WITHOUT_REPORT = 6


def history(root: Path) -> Lake:
    """Twelve nights of figures, the first of all history; on the last Germany is missing, which was accepted."""
    lake = Lake(root)
    for place in range(NIGHTS):
        run, last = run_of(place), place == LAST
        load = 1 if place else WHOLE
        british, german = load * (600 + 37 * place % 101), 0 if last else load * (400 + 53 * place % 89)
        figures = {("events", "all"): british + german, ("events", "market GB"): british,
                   ("events", "market DE"): german, ("null share", "column events.price"): 0.25,
                   ("catalogue products", "all"): 900 + place, (HOSTILE, "market <b>"): place}  # fmt: skip
        rows = [{"figure": figure, "slice": part, "value": float(v)} for (figure, part), v in figures.items()]
        lake.replace_rows(INPUTS, rows, run)
        gates = [
            {"gate": "input_markets", "value": 0.0 if last else 0.97, "rule": "at least 0.2", "passed": True,
             "accepted": last, "detail": "market DE: 0 events, usually 430" if last else "market GB: 640", "step": "x"},
            {"gate": "you_might_also_like_churn", "value": 0.1 + place / 50, "rule": "at most 0.3",
             "passed": place != 3, "accepted": False, "detail": "", "step": "gate"},
            {"gate": "one_model", "value": 1.0, "rule": "at most 1", "passed": True, "accepted": False, "detail": ""},
        ]  # fmt: skip
        lake.replace_rows(GATES, gates, run)
        ledger = [
            {"step": step, "status": "failed" if (step, place) == ("gate", 3) else "done", "started_at": run.started_at,
             "ended_at": run.started_at + timedelta(seconds=load * (20 + n * 7 + place)),
             "rejected": 5 * (load + place)}
            for n, step in enumerate(("ingest", "lists", "gate"))
        ]  # fmt: skip
        lake.replace_rows(RUNS, ledger, run)
        sources = ["co-view"] * (5 - place % 3) + ["model"] * (1 + place % 3)
        own = ("product_id", "market", "variant", "product_ids", "sources")
        lists = [{k: v for k, v in row(YOU_MIGHT_ALSO_LIKE, f"p{n}", sources=sources).items() if k in own}
                 for n in range(3)]  # fmt: skip
        lake.replace_rows(YOU_MIGHT_ALSO_LIKE, lists, run)
        if place != WITHOUT_REPORT:
            write_counts(lake, run.as_of, counts_of(lake, run.as_of, [YOU_MIGHT_ALSO_LIKE], {}))
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The history, to be read only."""
    return history(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def nights(lake: Lake) -> list[date]:
    """Its nights."""
    return nights_of(lake, nth(LAST), 28)


def test_the_nights_end_with_the_one_asked_for(lake: Lake) -> None:
    assert nights_of(lake, nth(LAST), 3) == [nth(LAST - 2), nth(LAST - 1), nth(LAST)]
    assert nights_of(lake, nth(4), 28) == [nth(place) for place in range(5)]


def test_a_missing_market_comes_first_marked_as_let_through(lake: Lake, nights: list[date]) -> None:
    events = next(panel for panel in input_panels(lake, nights, 12) if panel.title == "events")
    assert [series.name for series in events.series] == ["all", "market DE", "market GB"]
    assert [point.mark for point in events.series[1].points] == [""] * (LAST - 1) + ["accepted"]
    assert not any(point.mark for point in events.series[2].points)
    assert events.series[1].change == "-100.0%"
    assert float(events.note.split("stability index ")[1].split()[0]) > 0.25


def test_the_first_load_is_compared_with_nothing_and_the_page_says_so(lake: Lake) -> None:
    second = nights_of(lake, nth(1), 28)
    panels = [*input_panels(lake, second, 12), *step_panels(lake, second)]
    drawn = {(panel.title, series.name): series for panel in panels for series in panel.series}
    assert [point.at for point in drawn["events", "all"].points] == [nth(1)]
    assert drawn["events", "all"].change == drawn["Seconds of each step", "lists"].change == "first figure"
    assert [point.at for point in drawn["catalogue products", "all"].points] == second, "which no load makes smaller"
    assert [name for name, series in drawn.items() if abs(series.moved) > 0.5 and name[0] != HOSTILE] == []
    said = Page(written_of(lake, run_of(1), DriftConfig())).text
    assert said.count(f"The night of {nth(0)} read the whole history, 400,000 events") == 2
    assert "whole history" not in written_of(lake, run_of(0), DriftConfig()), "alone it is drawn"
    assert "whole history" not in written_of(lake, run_of(LAST), DriftConfig(nights=5)), "nor where it is long ago"
    alone = {panel.title: panel for panel in input_panels(lake, [nth(0)], 12)}
    assert alone["events"].series[0].points[0].value == 400_000


def test_what_never_changes_is_named_and_not_drawn(lake: Lake, nights: list[date]) -> None:
    nulls = next(panel for panel in input_panels(lake, nights, 12) if panel.title == "null share")
    assert nulls.series == () and nulls.note == "unchanged: column events.price (0.25)"
    model = next(panel for panel in gate_panels(lake, nights) if panel.title == "Model and vectors")
    assert model.note == "unchanged: one_model (1)"


def test_slices_that_moved_less_are_counted(lake: Lake, nights: list[date]) -> None:
    events = next(panel for panel in input_panels(lake, nights, 1) if panel.title == "events")
    assert [series.name for series in events.series] == ["all", "market DE"]
    assert "1 more moved less and are not drawn" in events.note


def test_gates_have_their_limit_and_the_night_they_failed(lake: Lake, nights: list[date]) -> None:
    panels = {panel.title: panel for panel in gate_panels(lake, nights)}
    assert list(panels) == ["Input", "Model and vectors", "You Might Also Like"]
    churn = panels["You Might Also Like"].series[0]
    assert [point.at for point in churn.points if point.mark == "failed"] == [nth(3)]
    drawn = line_chart(churn, nights)
    assert drawn.limit is not None and 0 < drawn.limit < HEIGHT


def test_steps_show_their_seconds_and_the_one_that_failed(lake: Lake, nights: list[date]) -> None:
    seconds, rejected = step_panels(lake, nights)
    assert [series.name for series in seconds.series] == ["ingest", "lists", "gate"]
    assert [point.value for point in seconds.series[1].points] == [27.0 + place for place in range(1, NIGHTS)]
    assert [point.at for point in seconds.series[2].points if point.mark] == [nth(3)]
    assert rejected.series[0].points[-1].value == 5 * (1 + LAST)


def test_lists_show_their_length_and_sources(lake: Lake, nights: list[date]) -> None:
    (panel,) = list_panels(lake, nights)
    assert panel.title == "You Might Also Like"
    assert panel.note == "unchanged: products in a list (6)"
    shares = {series.name: series.points[2].value for series in panel.series}
    assert shares == {"share of co-view": 0.5, "share of model": 0.5}
    counted = {point.at for series in panel.series for point in series.points}
    assert counted == set(nights) - {nth(WITHOUT_REPORT)}


def test_the_page_is_text_from_data_and_asks_for_nothing(lake: Lake) -> None:
    text = written_of(lake, run_of(LAST), DriftConfig())
    page = Page(text)
    assert "script" not in page.tags
    assert HOSTILE in page.text and "market <b>" in page.text and "market &lt;b&gt;" in text
    assert not page.values("src") and "https:" not in text and "http:" not in text and "url(" not in text
    assert "default-src 'none'" in " ".join(page.values("content"))
    assert "Marked this night" in page.text
    assert {"index.html"} == {value for value in page.values("href") if not value.startswith(("#", "data:"))}


def test_a_lake_without_figures_has_a_page(tmp_path: Path) -> None:
    assert "nothing to compare it with yet" in written_of(Lake(tmp_path), run_of(0), DriftConfig())


# --- geometry


def test_a_night_without_a_value_breaks_the_line() -> None:
    series = Series("x", tuple(Point(nth(n), float(n)) for n in (0, 1, 3, 4)))
    drawn = line_chart(series, [nth(n) for n in range(5)])
    assert [len(line.split()) for line in drawn.lines] == [2, 2]
    places = [tuple(map(float, spot.split(","))) for line in drawn.lines for spot in line.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True), "more is higher up"


def test_a_change_of_one_percent_does_not_look_like_a_fall() -> None:
    drawn = line_chart(Series("x", (Point(nth(0), 100.0), Point(nth(1), 99.0))), [nth(0), nth(1)])
    first, last = (float(spot.split(",")[1]) for spot in drawn.lines[0].split())
    assert 0 < last - first < HEIGHT / 10
    assert (drawn.low, drawn.high) == (99.0, 100.0)


def test_values_that_are_no_numbers_are_left_out() -> None:
    drawn = line_chart(
        Series("x", (Point(nth(0), 1.0), Point(nth(1), math.nan), Point(nth(2), math.inf))), [nth(0), nth(1)]
    )
    assert (drawn.low, drawn.high, drawn.lines) == (1.0, 1.0, (drawn.lines[0],))


def test_a_far_limit_does_not_flatten_the_line() -> None:
    series = Series("x", (Point(nth(0), 0.95), Point(nth(1), 0.96)), "at least 0.2")
    assert line_chart(series, [nth(0), nth(1)]).limit is None


def test_the_change_of_an_age_is_a_difference() -> None:
    points = tuple(Point(nth(place), value) for place, value in enumerate((0.002, 0.035)))
    assert Series("all", points).change == "+1650.0%"
    aged = Series("all", points, near_zero=True)
    assert (aged.change, round(aged.moved, 3)) == ("+0.03", 0.033)


def test_stability_index_by_hand() -> None:
    assert stability([50, 50], [50, 50]) == 0
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)
    assert stability([50, 50], [60, 40]) == pytest.approx(0.1 * math.log(1.2) - 0.1 * math.log(0.8))
    assert stability([50, 50], [100, 0]) > 1


def test_a_page_without_nights_is_a_mistake() -> None:
    with pytest.raises(UserError, match="nights = 0"):
        DriftConfig(nights=0)
