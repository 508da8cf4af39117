"""A lake that was restored or made anew counts its versions again: what is online is not taken for what it holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.lake.changes import stamp
from jobs.tables.shop import RECOMMENDED_FOR_YOU
from tests.support.nights import Rows, Shop


def test_a_table_made_anew_at_the_same_version_is_published(night: Shop, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    lake, rows = shop.lake, shop.rows(RECOMMENDED_FOR_YOU)
    before, version = stamp(lake, RECOMMENDED_FOR_YOU), lake.version(RECOMMENDED_FOR_YOU)
    assert shop.step("publish").rows_out == 0, "nothing has changed yet"
    shutil.rmtree(lake.path(RECOMMENDED_FOR_YOU))
    lake._current.clear()

    def other_order(found: Rows) -> Rows:
        return found or [rows[0] | {"product_ids": rows[0]["product_ids"][::-1]}, *rows[1:]]

    while not lake.exists(RECOMMENDED_FOR_YOU) or lake.version(RECOMMENDED_FOR_YOU) < version:
        shop.rewrite(RECOMMENDED_FOR_YOU, other_order)
    assert lake.version(RECOMMENDED_FOR_YOU) == version and stamp(lake, RECOMMENDED_FOR_YOU) != before
    assert shop.step("publish").rows_out == 1
    asked = {"customer_id": rows[0]["customer_id"], "market": rows[0]["market"]}
    assert list(shop.online().read("home_v1", [asked])[0]["product_ids"]) == rows[0]["product_ids"][::-1]


def test_lists_without_an_index_stop_before_any_is_made(copied_night: Shop) -> None:
    lake = copied_night.lake
    version = lake.version(RECOMMENDED_FOR_YOU)
    shutil.rmtree(lake.directory("indexes", copied_night.run_of(lake.nights(RECOMMENDED_FOR_YOU)[0]).as_of))
    with pytest.raises(UserError, match="index"):
        copied_night.step("lists")
    assert lake.version(RECOMMENDED_FOR_YOU) == version
