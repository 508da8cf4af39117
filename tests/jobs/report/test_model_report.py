"""The model report as a page: names stay text, nothing comes from outside, equal input is equal bytes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.report.model.page import ModelReportConfig, examples_of, page, read_comparison, written_of
from jobs.report.model.quality import comparison_of
from jobs.report.pages import comparison_path, page_path
from jobs.report.step import ReportConfig, execute, write_model_page
from jobs.tables.records import EVALUATIONS, MODELS
from tests.jobs.report.test_model_report_quality import MODELS as MODEL_ROWS
from tests.jobs.report.test_model_report_quality import figure
from tests.support.model_shop import HOSTILE, Arithmetic, Attentive, everyone, histories, shop
from tests.support.page import Page
from tests.support.repository import REPOSITORY
from tests.support.toy_shop import MODEL, NIGHT, RUN, finish
from tests.support.toy_shop import shop as small_lake

CONFIG = ModelReportConfig(attention_events=6)
TITLE = {"as_of": "2026-04-06", "run_id": "r1", "model_id": "m1", "kind": "transformer"}
SECTIONS = ("uplift", "comparison", "decision", "learning", "slices", "attention", "contexts")


def made(name: str = "", model: Arithmetic | None = None) -> str:
    """A page with every section filled."""
    rivals = [{**row, "reason": f"{name}{row['reason']}"} for row in MODEL_ROWS]
    quality = [figure(scorer, 0.1, part) for scorer in ("amf", "transformer") for part in ("as served", "history 1-4")]
    quality += [
        figure(f"{name}popularity", 0.05),
        figure(f"{name}popularity", -0.5, "uplift over amf"),
        figure("transformer", 0.2, "uplift over amf"),
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
    for said in ("No model has been measured", "No candidate has been trained", "No loss was recorded", "No uplift",
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


def test_the_comparison_lies_beside_the_page_for_programs(tmp_path: Path) -> None:
    lake = with_models(tmp_path)
    parts = {"as served": 0.3, "all": 0.35, "new to the customer": 0.1, "uplift over amf": 0.5}
    rows = [row(f"transformer-{RUN.run_id}", part, value) for part, value in parts.items()]
    rows += [row(MODEL, "as served", 0.2), row("popularity", "as served", 0.1), row("popularity", "all", math.inf)]
    lake.replace_rows(EVALUATIONS, rows, RUN)
    execute(lake, RUN, ReportConfig())
    written = comparison_path(lake, NIGHT)
    first = written.read_bytes()
    found = json.loads(first)
    assert list(found) == ["headline", "champion", "models", "uplift_over_amf"]
    assert found["headline"] == {"metric": "ndcg@10", "slice": "as served"}
    assert found["champion"] == "transformer"
    assert list(found["models"]) == ["transformer", "amf", "popularity"]
    assert list(found["models"]["transformer"]) == ["as served", "all", "new to the customer"]
    assert list(found["models"]["popularity"]) == ["as served"], "only finite numbers"
    assert found["uplift_over_amf"] == {"transformer": {"value": 0.5, "low": 0.4, "high": 0.6}}
    assert "The transformer serves and beats AMF by 50.0%" in page_path(lake, NIGHT, "model").read_text("utf-8")
    said = (
        f"{MODEL} serves, though it did not win the newest comparison. There the transformer came first and beats AMF"
    )
    assert said in page_path(lake, NIGHT).read_text("utf-8"), "the lists are of a model that lost"
    written.unlink()
    execute(lake, RUN, ReportConfig())
    assert written.read_bytes() == first


def test_a_comparison_of_older_code_has_no_uplift(tmp_path: Path) -> None:
    lake = with_models(tmp_path)
    execute(lake, RUN, ReportConfig())
    found = json.loads(comparison_path(lake, NIGHT).read_bytes())
    assert found["headline"]["slice"] == "all" and found["uplift_over_amf"] == {}
    assert set(found["models"]) == {"amf", "popularity"}


def test_models_of_another_run_of_the_night_do_not_count(tmp_path: Path) -> None:
    lake = with_models(tmp_path)
    other = {**MODEL_ROWS[0], "model_id": "amf-other", "kind": "amf", "champion": True}
    lake.replace_rows(MODELS, [other], replace(RUN, run_id="other"), where="run_id = 'other'")
    lake.replace_rows(EVALUATIONS, [row(f"transformer-{RUN.run_id}", "as served", 0.3)], RUN)
    compared = read_comparison(lake, NIGHT, f"transformer-{RUN.run_id}")
    assert (compared.champion, [c.label for c in compared.candidates]) == ("transformer", ["transformer"])


def row(model_id: str, part: str, value: float) -> dict[str, Any]:
    """A row of `evaluations`."""
    return {"model_id": model_id, "dataset": "each of the last 7 days", "metric": "ndcg@10", "slice": part,
            "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "customers": 90}  # fmt: skip


def test_another_night_links_the_newest_page_unless_asked_for_its_own(tmp_path: Path) -> None:
    lake = with_models(tmp_path)
    execute(lake, RUN, ReportConfig())
    later = replace(RUN, as_of=NIGHT + timedelta(days=1))
    for asked, address in ((False, f"../as_of={NIGHT}/model.html"), (True, "model.html")):
        if asked:
            write_model_page(lake, later, ReportConfig())
        counts = execute(lake, later, ReportConfig())
        assert counts.rows_out == 3, "page and document about the model are not written again"
        for name in ("index", "shop"):
            assert f'href="{address}"' in page_path(lake, later.as_of, name).read_text("utf-8")


def test_the_pages_need_no_drawing_library() -> None:
    code = "import sys, jobs.report.step; print([m for m in ('matplotlib', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="looked_at = 0"):
        replace(ModelReportConfig(), looked_at=0)
