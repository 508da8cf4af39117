"""The report of a very small lake, written without Spark."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.report.charts import Axis
from jobs.report.pages import page_path
from jobs.report.pictures import PAINT, paint
from jobs.report.step import ReportConfig, execute
from tests.support.page import Page
from tests.support.toy_shop import HOSTILE, MODEL, NAMES, NIGHT, RUN, finish, shop

SECTIONS = ("steps", "rejected", "gates", "quality", "sources", "shares", "products", "customers")


def written(lake: Lake) -> str:
    """The page of the night, as written."""
    execute(lake, RUN, ReportConfig())
    return page_path(lake, NIGHT).read_text(encoding="utf-8")


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake)
    page = Page(written(lake))
    assert "script" not in page.tags
    assert "b" not in {tag for tag, _, _ in page.attributes}
    assert HOSTILE in page.text
    assert "<b>fees</b>" in page.text
    assert "B & Co" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_the_page_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake)
    text = written(lake)
    page = Page(text)
    assert all(
        value.startswith("#") or value.split("#")[0] in ("data:,", "shop.html", "drift.html")
        for value in page.values("href")
    )
    assert not page.values("src")
    assert not page.values("srcset")
    assert not re.search(r"https?://|url\(|@import|src=", text)
    assert "default-src 'none'" in " ".join(page.values("content"))
    assert len(text.encode()) < 1_000_000


def test_every_section_is_there_and_linked(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake)
    text = written(lake)
    page = Page(text)
    assert [i for i in page.values("id") if i in SECTIONS] == list(SECTIONS)
    assert {f"#{name}" for name in SECTIONS} <= set(page.values("href"))
    assert len(set(page.values("id"))) == len(page.values("id")), "an id stands twice"
    assert set(page.values("aria-labelledby")) >= {f"{name}-title" for name in SECTIONS}
    assert all(scope in ("col", "row", "rowgroup") for scope in page.values("scope"))
    assert page.tags.count("th") == len(page.values("scope"))
    for shown in ("Went live", "1,234,567", "90.0 s", "Faults: 1,500 rows", "Excluded on purpose: 1 row", "champion",
                  "at least 0.9", "150% above", "popularity", "£1,234.50", MODEL):  # fmt: skip
        assert shown in page.text, shown


@pytest.mark.parametrize("prepare", [Lake, shop], ids=["an empty lake", "lists only"])
def test_what_is_not_there_yet_is_said(tmp_path: Path, prepare: Callable[[Path], Lake]) -> None:
    lake = prepare(tmp_path)
    text = Page(written(lake)).text
    assert "Staged" in text
    assert "nothing has been published yet" in text
    assert "has not been through its gates" in text
    assert "no step of this run" in text
    assert not (tmp_path / "tables" / "gates").exists(), "a report writes no table"


def test_a_failed_step_shows_in_the_headline(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake, failed="gate")
    assert "The step gate failed" in Page(written(lake)).text
    assert "Failed" in Page(written(lake)).text


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake)
    assert written(lake) == written(lake)
    written_files = sorted(path.name for path in page_path(lake, NIGHT).parent.iterdir())
    assert written_files == ["drift.html", "index.html", "lists.json", "shop.html"]


def test_colours_come_from_the_table_alone() -> None:
    assert paint("Dark Navy") == PAINT["navy"]
    assert paint("light-gray melange") == PAINT["grey"]
    assert paint('red"};url(x)') == PAINT["red"]
    assert paint("unheard-of") == paint("") == ""


@pytest.mark.parametrize("value", [0.0, 0.0031, 0.0947, 0.4, 1.0, -0.0585, 12.0])
def test_an_axis_holds_its_values_and_0_between_round_steps(value: float) -> None:
    axis = Axis.over([value, 1.1 * value])
    assert 0 <= axis.at(value) <= 100 and axis.low <= min(0, 1.1 * value) and axis.high >= max(0, 1.1 * value)
    places, labels = zip(*axis.ticks, strict=True)
    assert (places[0], places[-1]) == (0, 100) and "0" in labels
    assert 2 <= len(places) <= 7


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="examples = 0"):
        ReportConfig(examples=0)


def test_every_source_of_a_position_is_in_the_legend(tmp_path: Path) -> None:
    from jobs.tables.shop import SOURCES

    text = Page(written(shop(tmp_path))).text
    assert [source for source in SOURCES if source not in text] == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed: apt-get install chromium")
def test_a_browser_shows_the_names_as_text(tmp_path: Path) -> None:
    lake = shop(tmp_path / "lake")
    finish(lake)
    written(lake)
    quiet = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path / 'chromium'}")  # fmt: skip
    page_address = page_path(lake, NIGHT).as_uri()
    command = ["chromium", "--headless", *quiet, "--virtual-time-budget=2000", "--dump-dom", page_address]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    page = Page(shown)
    assert "script" not in page.tags
    for name in (NAMES["p1"], HOSTILE, NAMES["p4"]):
        assert name in page.text
