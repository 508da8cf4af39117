"""The report of a very small lake, written without Spark."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.nights.status import status_of
from jobs.report.charts import Axis
from jobs.report.figures import outcomes_of
from jobs.report.pages import page_path
from jobs.report.pictures import PAINT, TEMPLATES, paint
from jobs.report.step import ReportConfig, execute
from jobs.tables.records import GATES
from jobs.tables.shop import SOURCES
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


def test_every_source_of_a_position_is_in_the_legend_in_words_and_a_colour(tmp_path: Path) -> None:
    text = written(shop(tmp_path))
    said = Page(text).text
    assert [source for source, why in SOURCES.items() if source not in said or why not in said] == []
    legend = text.split('class="legend sources"')[1].split("</dl>")[0]
    assert re.findall(r'class="(s\d)"', legend) == [f"s{place}" for place in range(len(SOURCES))]
    stack = text.split('class="stack"')[1].split("</div>")[0]
    assert re.findall(r'class="(s\d)"', stack) == ["s0", "s4"], "model, market popularity"


COLOUR_VISION = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Light as eyes without one kind of cone see it: Machado and others 2009, severity 1."""
LEAST_DISTANCE = 0.1
"""Of two colours in Oklab, where 0.02 is just seen."""


def oklab(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[n, 3] linear sRGB as Oklab."""
    cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    axes = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return np.cbrt(light @ np.transpose(cones)) @ np.transpose(axes)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_of_sources_differ_for_every_eye(scheme: int, vision: str) -> None:
    style = (TEMPLATES / "report.css").read_text("utf-8")
    found = [re.findall(rf"--s{place}: #(\w{{6}});", style)[scheme] for place in range(len(SOURCES))]
    srgb = np.array([[int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)] for colour in found])
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = oklab(np.clip(light @ np.transpose(COLOUR_VISION[vision]), 0, 1))
    apart = np.sqrt(((seen[:, None] - seen[None]) ** 2).sum(axis=-1))[np.triu_indices(len(SOURCES), 1)]
    assert apart.min() >= LEAST_DISTANCE


def test_accepted_gates_are_said_and_counted_as_status_counts_them(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake)
    outcomes = (("input_events", True, False), ("bag_extras_churn", True, True), ("one_model", False, False))
    gates = [{"gate": name, "value": 0.1, "rule": "at least 0.9", "passed": passed, "accepted": accepted}
             for name, passed, accepted in outcomes]  # fmt: skip
    lake.replace_rows(GATES, gates, RUN)
    said = re.sub(r"\s+", " ", Page(written(lake)).text)
    headline = "1 of 3 gates failed: one_model"
    for part in ("of 3 gates passed, 1 failed and 1 accepted", "✕ failed", "○ accepted", headline):
        assert part in said, part
    counted = status_of(lake, 1, RUN.started_at).nights[0].gates
    assert str(counted) == "1 of 3 passed; failed: one_model; accepted: bag_extras_churn"
    assert counted == outcomes_of(lake, NIGHT)


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
