"""The model report as a page: names stay text, nothing comes from outside, equal input is equal bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.report.model.page import ModelReportConfig, examples_of, page, written_of
from jobs.report.model.quality import comparison_of
from jobs.report.pages import page_path
from jobs.report.step import ReportConfig, execute, write_model_page
from jobs.tables.records import MODELS
from tests.jobs.report.test_model_report_quality import MODELS as MODEL_ROWS
from tests.jobs.report.test_model_report_quality import figure
from tests.support.model_shop import HOSTILE, Arithmetic, Attentive, everyone, histories, shop
from tests.support.page import Page
from tests.support.repository import REPOSITORY
from tests.support.toy_shop import NIGHT, RUN, finish
from tests.support.toy_shop import shop as small_lake

CONFIG = ModelReportConfig(attention_events=6)
TITLE = {"as_of": "2026-04-06", "run_id": "r1", "model_id": "m1", "kind": "transformer"}
SECTIONS = ("comparison", "decision", "learning", "slices", "attention", "contexts")


def made(name: str = "", model: Arithmetic | None = None) -> str:
    """A page with every section filled."""
    rivals = [{**row, "reason": f"{name}{row['reason']}"} for row in MODEL_ROWS]
    quality = [figure(scorer, 0.1, part) for scorer in ("amf", "transformer") for part in ("all", "history 1-4")]
    quality += [
        figure(f"{name}popularity", 0.05),
        figure("amf", 0.1, f"market {name}GB"),
        figure("amf", -0.1, "decision"),
    ]
    metadata = {"learning": {f"{name}amf": [2.0, 1.0]}, "validation": {"amf": [0.1, 0.2]}}
    compared = comparison_of(quality, rivals, metadata)
    examples = examples_of(shop(model or Attentive(), everyone(), name), CONFIG)
    return page(TITLE, compared, examples)


@pytest.fixture(scope="module")
def hostile() -> str:
    return made(HOSTILE + " ")


def test_names_are_text_in_lists_and_charts(hostile: str) -> None:
    parsed = Page(hostile)
    assert "script" not in parsed.tags
    assert not [value for name in ("onload", "onclick", "src", "srcset") for value in parsed.values(name)]
    assert HOSTILE in parsed.text
    assert any(HOSTILE in value for value in parsed.values("aria-label"))


def test_the_page_needs_nothing_from_outside(hostile: str) -> None:
    parsed = Page(hostile)
    assert "://" not in hostile
    assert not re.search(r"@import|<!ENTITY|<\?xml|@font-face", hostile)
    addresses = parsed.values("href")
    assert all(a.startswith(("#", "data:")) or a in ("index.html", "shop.html") for a in addresses), addresses
    assert "url(" not in hostile
    assert parsed.tags.count("style") == 1
    assert "default-src 'none'" in " ".join(parsed.values("content"))
    assert len(hostile.encode()) < 500_000


def test_every_section_is_filled_and_linked(hostile: str) -> None:
    parsed = Page(hostile)
    ids = parsed.values("id")
    assert len(set(ids)) == len(ids), "an id stands twice"
    assert [i for i in ids if i in SECTIONS] == list(SECTIONS)
    assert {f"#{name}" for name in SECTIONS} <= set(parsed.values("href"))
    assert "note" not in parsed.values("class"), "nothing is missing here"
    assert {a[1:] for a in parsed.values("href") if a[0] == "#"} <= set(ids)


def test_every_figure_has_a_caption_and_words_for_a_screen_reader(hostile: str) -> None:
    parsed = Page(hostile)
    assert parsed.tags.count("figure") == parsed.tags.count("figcaption") >= 15
    drawn = [tag for tag, key, value in parsed.attributes if (key, value) == ("role", "img")]
    assert len(drawn) == len(
        [1 for tag, key, label in parsed.attributes if tag in ("svg", "table") and key == "aria-label" and label]
    )


def test_equal_input_gives_equal_bytes() -> None:
    assert made() == made()


def test_a_model_without_attention_says_so_and_shows_the_rest() -> None:
    text = Page(made(model=Arithmetic())).text
    assert "which has no attention to show" in text
    assert "Layer 1" not in text
    assert "Alternatives in this context" in text


def test_what_is_missing_is_said() -> None:
    nobody = examples_of(shop(Attentive(), histories([])), CONFIG)
    text = Page(page(TITLE, comparison_of([], [], {}), nobody)).text
    for said in ("No model has been measured", "No candidate has been trained", "No loss was recorded",
                 "has no figures by", "No customer has a history", "was met by two customers"):  # fmt: skip
        assert said in text, said
    text = Page(page(TITLE | {"model_id": ""}, comparison_of([], [], {}), None)).text
    assert "No model has been trained" in text and text.count("There is no trained model") == 2


@pytest.mark.parametrize("prepare", [Lake, small_lake], ids=["an empty lake", "no model trained"])
def test_a_night_without_a_model_has_a_page_and_no_new_table(tmp_path: Path, prepare: type[Lake]) -> None:
    lake = prepare(tmp_path)
    before = sorted(tmp_path.rglob("_delta_log"))
    assert "No model has been trained" in written_of(lake, RUN, ModelReportConfig())
    assert sorted(tmp_path.rglob("_delta_log")) == before


def with_models(root: Path) -> Lake:
    """A finished night that compared models; their files are not there."""
    lake = small_lake(root)
    finish(lake)
    lake.replace_rows(MODELS, [{**row, "model_id": f"{row['kind']}-{RUN.run_id}"} for row in MODEL_ROWS], RUN)
    return lake


def test_a_night_that_compared_models_has_their_page(tmp_path: Path) -> None:
    lake = with_models(tmp_path)
    execute(lake, RUN, ReportConfig())
    assert 'href="model.html"' in page_path(lake, NIGHT).read_text("utf-8")
    about = page_path(lake, NIGHT, "model").read_text("utf-8")
    assert 'href="index.html"' in about and "popularity" in Page(about).text


def test_another_night_links_the_newest_page_unless_asked_for_its_own(tmp_path: Path) -> None:
    lake = with_models(tmp_path)
    execute(lake, RUN, ReportConfig())
    later = replace(RUN, as_of=NIGHT + timedelta(days=1))
    for asked, address in ((False, f"../as_of={NIGHT}/model.html"), (True, "model.html")):
        if asked:
            write_model_page(lake, later, ReportConfig())
        counts = execute(lake, later, ReportConfig())
        assert counts.rows_out == 3, "the page about the model is not written again"
        for name in ("index", "shop"):
            assert f'href="{address}"' in page_path(lake, later.as_of, name).read_text("utf-8")


def test_the_pages_need_no_drawing_library() -> None:
    code = "import sys, jobs.report.step; print([m for m in ('matplotlib', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="looked_at = 0"):
        replace(ModelReportConfig(), looked_at=0)
