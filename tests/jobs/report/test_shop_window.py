"""The shop window's page: what is in it, read back in Python as the browser reads it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.report.pages import page_path
from jobs.report.pictures import KIND, SILHOUETTES, silhouette
from jobs.report.step import ReportConfig, execute
from jobs.report.window.choice import ShopWindowConfig
from jobs.report.window.data import Numbering
from jobs.report.window.page import written_of
from jobs.tables.shop import BAG_EXTRAS, LIST, YOU_MIGHT_ALSO_LIKE
from jobs.text import clean
from tests.support.page import Page
from tests.support.toy_shop import NIGHT, RUN, listed
from tests.support.toy_shop import shop as small_lake
from tests.support.window_shop import EXTRAS, HOSTILE, MODEL, PAIR, PRODUCTS, REASON, WHO, decoded, window_lake

CONFIG = ShopWindowConfig()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return window_lake(tmp_path_factory.mktemp("window"))


@pytest.fixture(scope="module")
def page(lake: Lake) -> str:
    return written_of(lake, RUN, CONFIG, [PAIR])


def shown(page: str, table: str, key: str) -> dict[str, Any]:
    """One list of a page, with names in place of numbers."""
    head, lists = decoded(page)
    note, products, scores, sources, rules = lists[table][key]
    return {
        "product_ids": [head["catalogue"][n][0] for n in products],
        "scores": scores,
        "sources": [head["sources"][n] for n in sources],
        "rules": [head["rules"][n] for n in rules],
        "note": head["notes"][note],
    }


def test_lists_come_back_as_the_tables_have_them(page: str) -> None:
    head, lists = decoded(page)
    assert [row[0] for row in head["catalogue"][:4]] == ["p1", "p2", "p3", "p4"], "the most wanted first"
    assert (head["markets"], head["variants"]) == (["GB", "FR"], ["default", "calm"])
    first = shown(page, "you_might_also_like", "0,0,0")
    assert first["product_ids"] == ["p2", "p3", "p4", "p5", "p6", "p7", "p8"]
    assert first["scores"] == pytest.approx([0.6875, 0.625, 0.5625, 0.5, 0.4375, 0.375, 0.3125], rel=1e-4)
    assert first["rules"][:3] == ["scarves-first", "brand cap", ""]
    assert first["note"] == ["default", "", MODEL, RUN.run_id]
    assert shown(page, "you_might_also_like", "0,0,1")["product_ids"] == ["p8", "p7", "p6", "p5", "p4", "p3", "p2"]
    assert shown(page, "you_might_also_like", "0,1,0")["note"][1] == "few are sold here"
    assert "0,1,1" not in lists["you_might_also_like"]
    bought = shown(page, "people_also_bought", "0,0,0")
    assert (bought["sources"], bought["rules"]) == (["co-purchase", "market popularity"], [])
    assert head["reasons"] == {"scarves-first": REASON}


def test_scores_that_a_bag_combines_are_exact(page: str) -> None:
    for key, product in (("0,0,0", "p1"), ("1,0,0", "p2")):
        found = shown(page, "bag_extras", key)
        assert found["product_ids"] == [p for p, _ in EXTRAS[product]]
        assert found["scores"] == [score for _, score in EXTRAS[product]], "digits that give the same float32"


def test_customers_have_their_history_and_own_list(page: str) -> None:
    head, _ = decoded(page)
    assert [c["id"] for c in head["customers"]] == [WHO["c1"], WHO["c2"], WHO["c3"]]
    names = [row[0] for row in head["catalogue"]]
    assert [(names[n], kind) for n, kind, _ in head["customers"][0]["events"]] == [
        ("p2", "click"), ("gone", "bag"), ("p3", "purchase")
    ]  # fmt: skip
    assert shown(page, "recommended_for_you", "1")["note"][0] == "calm"
    side = head["contexts"][0]["sides"][1]
    assert (side["customer"], [(names[n], score) for n, score in side["list"]]) == (
        WHO["c2"],
        [("p3", 0.8), ("p5", 0.1)],
    )


def test_market_rankings_are_by_category(page: str) -> None:
    head, _ = decoded(page)
    assert head["categories"] == ["*", "scarves"]
    assert shown(page, "market_ranking", "1,0,0")["product_ids"] == ["p5", "p3"]


def test_no_customer_is_named(page: str) -> None:
    texts = json.dumps(decoded(page)) + Page(page).text
    assert not [customer for customer in WHO if re.search(rf"\b{customer}\b", texts)]


def test_nothing_from_data_is_markup(page: str) -> None:
    parsed = Page(page)
    assert parsed.tags.count("script") == len(decoded(page)[1]) + 2, "the data lists, the page's and the script"
    assert HOSTILE in [row[1] for row in decoded(page)[0]["catalogue"]]
    assert "hacked" not in page and "<img" not in page and "onerror" not in page
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|\bsrc=|fetch\(|XMLHttp|innerHTML|eval\(", page
    )
    assert set(parsed.values("href")) == {"#main", "data:,", "index.html"}


def test_only_the_pages_own_script_and_style_may_run(page: str) -> None:
    policy = Page(page).values("content")[-1]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_equal_tables_give_equal_bytes(lake: Lake, page: str) -> None:
    assert written_of(lake, RUN, CONFIG, [PAIR]) == page


def test_what_does_not_fit_is_left_out_and_said(lake: Lake) -> None:
    small = ShopWindowConfig(products=2, places=3, bag_places=2, markets=1, customers=1, history=2)
    page = written_of(lake, RUN, small)
    head, lists = decoded(page)
    assert set(lists["you_might_also_like"]) == {"0,0,0", "0,0,1", "1,0,0", "1,0,1"}
    assert [len(products) for _, products, *_ in lists["bag_extras"].values()] == [2, 2]
    assert (head["shown"], head["markets"]) == (2, ["GB"])
    assert shown(page, "you_might_also_like", "0,0,0")["product_ids"] == ["p2", "p3", "p4"], (
        "others are named in the tiles"
    )
    assert [len(c["events"]) for c in head["customers"]] == [2] and head["customers"][0]["inAll"] == 3
    assert (
        "2 of 8 products (those with the most recent events), 1 of 2 markets (the busiest), 1 of 3 customers"
        in Page(page).text
    )


def test_markets_keep_to_the_budget_of_positions(lake: Lake) -> None:
    per_market = 8 * 2 * (12 + 12 + 24)
    for room, markets in ((2 * per_market, ["GB", "FR"]), (2 * per_market - 1, ["GB"]), (1, ["GB"])):
        head, _ = decoded(written_of(lake, RUN, replace(CONFIG, positions=room)))
        assert head["markets"] == markets


def without_extras(root: Path) -> Lake:
    """A night from before there were bag extras."""
    lake = small_lake(root)
    shutil.rmtree(lake.path(BAG_EXTRAS))
    return lake


@pytest.mark.parametrize("prepare", [Lake, without_extras], ids=["an empty lake", "without bag extras and rankings"])
def test_what_is_missing_is_left_out(tmp_path: Path, prepare: Callable[[Path], Lake]) -> None:
    lake = prepare(tmp_path)
    before = sorted(tmp_path.rglob("_delta_log"))
    head, lists = decoded(written_of(lake, RUN, CONFIG))
    assert "bag_extras" not in lists and "market_ranking" not in lists and head["contexts"] == []
    assert bool(lists) == bool(before)
    assert sorted(tmp_path.rglob("_delta_log")) == before, "a page writes no table"


def test_a_table_from_before_there_were_rules_is_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    without = LIST.replace(next(line for line in LIST.splitlines() if line.startswith("rules")), "")
    old = replace(YOU_MIGHT_ALSO_LIKE, text=YOU_MIGHT_ALSO_LIKE.text.replace(LIST, without))
    assert "rules" not in old.names
    row = listed({"product_id": "p1"}, [("p2", 0.5)])
    lake.replace_rows(old, [{k: v for k, v in row.items() if k != "rules"}], RUN)
    small = small_lake(tmp_path / "other")
    (tmp_path / "tables" / "catalogue").symlink_to(small.path(replace(YOU_MIGHT_ALSO_LIKE, name="catalogue")))
    assert shown(written_of(lake, RUN, CONFIG), "you_might_also_like", "0,0,0")["rules"] == []


def test_the_report_writes_the_page_and_every_page_links_to_it(tmp_path: Path) -> None:
    lake = window_lake(tmp_path)
    counts = execute(lake, RUN, ReportConfig())
    own = page_path(lake, NIGHT)
    assert counts.rows_out == 3 and "shop.html" in counts.note
    assert "shop.html#market=GB&product=p1" in Page(own.read_text("utf-8")).values("href")
    assert decoded(own.with_name("shop.html").read_text("utf-8"))[0]["shown"] == len(PRODUCTS)


@pytest.mark.parametrize("name", ["products", "places", "bag_places", "markets", "positions", "customers", "history"])
def test_a_size_below_one_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} = 0"):
        replace(CONFIG, **{name: 0})


def test_numbers_follow_the_order_in_which_strings_are_met() -> None:
    numbering = Numbering(["b", "a"])
    assert numbering.of(pa.array(["c", "a", None, "c", "b"])).to_pylist() == [2, 1, 3, 2, 0]
    assert numbering.texts == ["b", "a", "c", ""]


def test_a_kind_is_found_by_the_last_known_word() -> None:
    assert silhouette("hiking boots", "anything") == "boot"
    assert silhouette("T-shirts", "") == "top"
    assert silhouette("", "Red Bag, with a dress") == "bag"
    assert silhouette("", "GUMBALL COAT RACK") == "", "no coat"
    assert silhouette("women", "SET OF 3 MUGS") == "cup"
    assert silhouette("", "<script>") == ""
    assert set(KIND.values()) == set(SILHOUETTES)
    for body, seams, straps in SILHOUETTES.values():
        assert re.fullmatch(r"[MLHVQAZhva0-9 .]+", body)
        assert re.fullmatch(r"[MLHVQAZhva0-9 .]*", seams + straps)


@pytest.mark.parametrize("text", ["plain  text ", "naïve – ok", "a\u00a0b", "x\x1b[2Jy", "\u202eback", "", None])
def test_clean_text_is_the_same_by_its_short_way(text: str | None) -> None:
    assert clean(text) == clean(f"\x00{text or ''}")
