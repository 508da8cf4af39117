"""Live is what was published: steps of the live night that run again change nothing until it is published again."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from jobs.ask.explain import explain
from jobs.ask.sql import answer
from jobs.cli.operate import chosen_rollback
from jobs.errors import GateError
from jobs.lake.engine import Engine
from jobs.lake.known import known_at
from jobs.lake.lake import Lake
from jobs.lake.live import live_table, publication, publications, staged_since
from jobs.nights.status import status_of
from jobs.report.pages import page_path
from jobs.tables.records import GATES, PUBLISHED
from jobs.tables.shop import PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE
from tests.support.damages import with_manifest
from tests.support.nights import FIRST, SECOND, Shop

SHORT = 3
"""Products of a list that is made again with other settings."""
COMPARING = ("_rows", "_churn", "customers")
ACCEPTED = ["you_might_also_like_churn", "people_also_bought_churn", "bag_extras_churn", "recommended_for_you_churn"]


@pytest.fixture
def shop(made_night: Callable[[Engine], Shop], engine: Engine, tmp_path: Path) -> Shop:
    """A published night of each engine, free to be changed."""
    return made_night(engine).copy(tmp_path)


def longest(lake: Lake) -> tuple[int, int, int]:
    """Products of the longest live list: by the call, by SQL, and by `explain` of the first list's place."""
    rows = live_table(lake.root, YOU_MIGHT_ALSO_LIKE.name, ["product_id", "market", "product_ids"]).to_pylist()
    best = max(rows, key=lambda row: len(row["product_ids"]))
    told = answer(lake, f"SELECT max(size(product_ids)) AS n FROM live.{YOU_MIGHT_ALSO_LIKE.name}")["n"][0].as_py()
    found = explain(lake, YOU_MIGHT_ALSO_LIKE.name, {name: best[name] for name in ("product_id", "market")}, 1)
    assert found.live
    return len(best["product_ids"]), told, found.length


def online(shop: Shop) -> int:
    """Products of the longest list that services get."""
    keys = [{name: row[name] for name in YOU_MIGHT_ALSO_LIKE.key} for row in shop.rows(YOU_MIGHT_ALSO_LIKE)]
    return max(
        len(row["you_might_also_like__product_ids"] or ()) for row in shop.online().read("product_page_v2", keys)
    )


def gates_of(shop: Shop) -> dict[str, dict[str, Any]]:
    """Gate -> its row."""
    return {row["gate"]: row for row in shop.rows(GATES)}


@pytest.mark.parametrize("engine", ["sail", pytest.param("spark", marks=pytest.mark.soak)], indirect=True)
def test_live_is_what_was_published_until_it_is_published_again(shop: Shop) -> None:
    lake = shop.lake
    (full, *_), first = longest(lake), publication(lake)
    assert first and full > SHORT and staged_since(lake, first) == []
    shop.step("lists", top_n=SHORT)
    shop.step("audiences")
    assert longest(lake) == (full, full, full) and online(shop) == full
    assert YOU_MIGHT_ALSO_LIKE.name in status_of(lake, 1, datetime(2026, 5, 2, tzinfo=UTC)).staged_since
    row = lake.arrow(YOU_MIGHT_ALSO_LIKE, as_of=FIRST).to_pylist()[0]
    again = explain(
        lake, YOU_MIGHT_ALSO_LIKE.name, {"product_id": row["product_id"], "market": row["market"]}, 1, FIRST
    )
    assert (again.live, again.live_night) == (False, FIRST) and again.length <= SHORT

    with pytest.raises(GateError, match="you_might_also_like_churn"):
        shop.step("gate")
    refused = gates_of(shop)
    assert {f"{YOU_MIGHT_ALSO_LIKE.name}{name}" if name[0] == "_" else name for name in COMPARING} <= set(refused)
    with pytest.raises(GateError):
        shop.step("publish")
    assert longest(lake) == (full, full, full) and publications(lake) == [first]
    with pytest.raises(GateError):
        shop.step("gate")
    assert gates_of(shop)["you_might_also_like_churn"] == refused["you_might_also_like_churn"], "not with the refused"

    note = shop.step("gate", accepted=ACCEPTED).note
    counted = status_of(lake, 1, datetime(2026, 5, 2, tzinfo=UTC)).nights[0].gates
    assert (
        note == f"gates: {counted}"
        and set(counted.accepted) <= set(ACCEPTED)
        and counted.passed + len(counted.accepted) == counted.checked
    )
    shop.step("publish")
    assert label(shop) == ("past", "shoppers see"), "the page shows the lists of before"
    assert longest(lake) == (SHORT, SHORT, SHORT) and online(shop) == SHORT
    assert [(one.night, one.live) for one in publications(lake)] == [(FIRST, False), (FIRST, True)]
    shop.step("clean")
    assert longest(lake) == (SHORT, SHORT, SHORT)

    back = chosen_rollback(lake, None)
    assert (back.night, back.at) == (FIRST, first.at)
    assert "its rows were online" in shop.step("publish", replace_newer=True, published_at=back.at).note
    assert longest(lake) == (full, full, full) and online(shop) == full
    assert label(shop) == ("live", "shoppers see")
    forth = chosen_rollback(lake, FIRST)
    shop.step("publish", replace_newer=True, published_at=forth.at)
    assert longest(lake) == (SHORT, SHORT, SHORT) and online(shop) == SHORT
    assert {row["live"] for row in lake.arrow(PUBLISHED).to_pylist()} == {True, False}
    assert known(lake, timedelta(seconds=-1)) == [None, full, SHORT, full]
    assert known(lake, timedelta(0)) == known(lake, timedelta(microseconds=1)) == [full, SHORT, full, SHORT]


def known(lake: Lake, later: timedelta) -> list[int | None]:
    """Products of the longest list that was live a while after each publication."""
    rows = live_table(lake.root, YOU_MIGHT_ALSO_LIKE.name, YOU_MIGHT_ALSO_LIKE.key)
    found: list[int | None] = []
    for one in publications(lake):
        assert one.at
        times = np.full(rows.num_rows, one.at.replace(tzinfo=None) + later, "datetime64[us]")
        lists = known_at(lake, YOU_MIGHT_ALSO_LIKE, rows, times, ["product_ids"])["product_ids"]
        found.append(pc.max(pc.list_value_length(lists)).as_py())
    return found


def test_an_earlier_publication_is_loaded_where_the_store_lost_it(night: Shop, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    (full, *_), first = longest(shop.lake), publication(shop.lake)
    assert first
    shop.step("lists", top_n=SHORT)
    shop.step("audiences")
    shop.step("gate", accepted=ACCEPTED)
    shop.step("publish")
    store = shop.lake.work / "feast" / "online.db"
    for path in store.parent.glob("online.db*"):
        path.unlink()
    assert "its rows were online" not in shop.step("publish", replace_newer=True, published_at=first.at).note
    assert longest(shop.lake) == (full, full, full) and online(shop) == full


def test_a_live_night_made_again_counts_its_baskets_against_those_that_were_published(
    night: Shop, tmp_path: Path
) -> None:
    shop = night.copy(tmp_path)
    baskets = gates_of(shop)["co_purchase_baskets"]["value"]
    with_manifest(shop, PEOPLE_ALSO_BOUGHT, FIRST, baskets=2 * int(baskets))  # the index step ran again on late files
    for _ in range(2):  # also against those of the night that was made again and not published
        shop.step("gate")
        rows = gates_of(shop)
        assert rows["co_purchase_baskets"]["value"] == 2 * baskets > 0
        assert "the model counts over 20% more baskets" in rows["people_also_bought_churn"]["detail"]
        assert rows["people_also_bought_churn"]["rule"] == "at most 0.9"
        assert "the model is the same" in rows["market_ranking_churn"]["detail"]
    shop.step("publish")
    shop.step("gate")
    assert "the model is the same" in gates_of(shop)["people_also_bought_churn"]["detail"]


def label(shop: Shop) -> tuple[str, str]:
    """What the night's two pages say of its lists: the label of one, and how the other calls them."""
    pages = [page_path(shop.lake, FIRST, name).read_text("utf-8") for name in ("index", "shop")]
    patterns = (r'class="state (\w+)"', r" as (\w+ \w+)")
    words = [re.search(pattern, page) for pattern, page in zip(patterns, pages, strict=True)]
    assert all(words) and all("</html>" in page for page in pages)
    return words[0][1], words[1][1]  # type: ignore[index]


def test_pages_say_what_is_live_and_are_marked_when_that_changes(night: Shop, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    first = publication(shop.lake)
    assert first and label(shop) == ("live", "shoppers see")
    before = page_path(shop.lake, FIRST, "shop").read_text("utf-8")
    shop.step("lists", top_n=SHORT)
    shop.step("audiences")
    shop.step("gate", accepted=ACCEPTED)
    assert page_path(shop.lake, FIRST, "shop").read_text("utf-8") == before, "it shows what is still live"
    shop.step("report")
    assert label(shop) == ("staged", "they are")
    assert "made again after it went live at" in page_path(shop.lake, FIRST).read_text("utf-8")
    shop.step("publish")
    assert label(shop) == ("live", "shoppers see")
    shop.step("publish", replace_newer=True, published_at=first.at)
    assert label(shop) == ("past", "shoppers see")
    shop.step("report", SECOND)
    assert label(shop) == ("past", "shoppers see")
    forth = chosen_rollback(shop.lake, FIRST)
    shop.step("publish", replace_newer=True, published_at=forth.at)
    assert label(shop) == ("live", "shoppers see")
