"""Lists of products from night to night: what differs is written, and reads as if all had been made anew."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.lists.product_lists import read_list_digests
from jobs.run import fingerprint
from jobs.tables.shop import (
    AVAILABILITY,
    BAG_EXTRAS,
    CATALOGUE,
    PEOPLE_ALSO_BOUGHT,
    SOLD_OUT_ALTERNATIVES,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from tests.support.nights import FIRST, SECOND, STAGING, Rows, Shop
from tests.support.tables import assert_same_rows

TABLES = (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, BAG_EXTRAS)
ALL = (*TABLES, SOLD_OUT_ALTERNATIVES)
IDENTITY = ("as_of", "run_id", "since")
THIRD, FOURTH = SECOND + timedelta(days=1), SECOND + timedelta(days=2)


def content(shop: Shop, table: Table) -> pa.Table:
    """The second night's rows, without what says when they were made."""
    return shop.lake.arrow(table, [name for name in table.names if name not in IDENTITY], SECOND)


def stored(shop: Shop, table: Table) -> pa.Table:
    """What the second night has written."""
    return shop.lake.dataset(table).to_table(filter=pc.field("as_of") == pa.scalar(SECOND))


def staged(shop: Shop, night: date) -> None:
    """Make a night of a day on which nothing was delivered."""
    shop.step("ingest", night, allow_empty_day=True)
    shop.steps(STAGING[1:], night)


def sell_other_things(shop: Shop) -> None:
    """One product sold out everywhere, one dearer, one launched that day, one that left the catalogue."""

    def catalogue(rows: Rows) -> Rows:
        return [rows[0] | {"price": 5 * (rows[0]["price"] or 1)}, *rows[2:], rows[2] | {"product_id": "launched"}]

    def availability(rows: Rows) -> Rows:
        gone = shop.rows(CATALOGUE, SECOND)[3]["product_id"]
        changed = [row | {"available": False} if row["product_id"] == gone else row for row in rows]
        return [
            *changed,
            *({"product_id": "launched", "market": m, "available": True} for m in {r["market"] for r in rows}),
        ]

    shop.rewrite(CATALOGUE, catalogue, SECOND)
    shop.rewrite(AVAILABILITY, availability, SECOND)


@pytest.mark.parametrize("moved", [False, True], ids=["an ordinary day", "other things for sale"])
def test_a_night_of_what_differs_equals_all_lists_made_anew(copied_second: Shop, tmp_path: Path, moved: bool) -> None:
    going_on = copied_second
    if moved:
        sell_other_things(going_on)
        for step in ("embed", "index"):
            going_on.step(step, SECOND)
    counts = going_on.step("lists", SECOND)
    written = sum(len(stored(going_on, table)) for table in ALL)
    assert f"{written:,} product lists changed since the night before" in counts.note
    anew = going_on.copy(tmp_path / "anew")
    for table in ALL:
        (anew.lake.directory("lists", FIRST) / f"{table.name}.arrow").unlink()
    anew.step("lists", SECOND)
    for table in ALL:
        assert_same_rows(content(going_on, table), content(anew, table), ("going on", "anew"))
        assert going_on.lake.count(table, SECOND) == len(stored(anew, table))
    for table in TABLES:
        assert (going_on.lake.since(table, SECOND), anew.lake.since(table, SECOND)) == (FIRST, SECOND)
        assert 0 < len(stored(going_on, table)) < len(stored(anew, table))
        ended = pc.sum(pc.fill_null(stored(going_on, table)["gone"], False)).as_py()
        assert ended > 0 if moved else ended is not None


def test_a_list_says_why_it_is_short_once_its_market_sells_what_it_may_not_show(copied_second: Shop) -> None:
    of_department: dict[str, list[str]] = {}
    for row in copied_second.rows(CATALOGUE, SECOND):
        of_department.setdefault(row["department"], []).append(row["product_id"])
    alike, others = sorted(of_department.values(), key=len)[-1][:3], sorted(of_department.values(), key=len)[0][:1]
    market = copied_second.rows(AVAILABILITY, FIRST)[0]["market"]
    for night, sold in ((FIRST, alike), (SECOND, alike + others)):
        here = [{"product_id": product, "market": market, "available": True} for product in sold]
        copied_second.rewrite(AVAILABILITY, lambda rows, h=here: [r for r in rows if r["market"] != market] + h, night)
        copied_second.step("lists", night)
        of_market = [r for r in copied_second.rows(YOU_MIGHT_ALSO_LIKE, night) if r["market"] == market]
        lists = [row for row in of_market if row["product_id"] in alike]
        assert [len(row["product_ids"]) for row in lists] == [2, 2, 2]
        assert {row["short_reason"] is None for row in lists} == {night == FIRST}
    assert copied_second.lake.since(YOU_MIGHT_ALSO_LIKE, SECOND) == FIRST


def test_nights_after_one_that_is_made_again_are_no_ground_to_go_on_from(copied_second: Shop) -> None:
    lake = copied_second.lake
    staged(copied_second, THIRD)
    assert all(lake.since(table, THIRD) == FIRST for table in TABLES)
    copied_second.step("lists", SECOND)
    assert all(read_list_digests(lake, table, THIRD) is None for table in TABLES)
    staged(copied_second, FOURTH)
    assert all(lake.since(table, FOURTH) == FOURTH for table in TABLES)


@pytest.mark.parametrize("damage", ["torn", "another format", "other markets"])
def test_lists_are_all_written_where_what_the_night_before_said_is_not_known(copied_second: Shop, damage: str) -> None:
    table = YOU_MIGHT_ALSO_LIKE
    path = copied_second.lake.directory("lists", FIRST) / f"{table.name}.arrow"
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "another format":
        path.write_bytes(path.read_bytes().replace(b"layout", b"tuoyal"))
    else:
        copied_second.rewrite(AVAILABILITY, lambda rows: [r for r in rows if r["market"] != rows[0]["market"]], SECOND)
    copied_second.step("lists", SECOND)
    assert copied_second.lake.since(table, SECOND) == SECOND


def test_what_fills_lists_stays_for_days_and_then_follows_the_events(copied_second: Shop) -> None:
    assert (copied_second.lake.directory("lists", FIRST) / "filling.arrow").is_file()
    assert not (copied_second.lake.directory("lists", SECOND) / "filling.arrow").exists()
    (copied_second.lake.directory("lists", FIRST) / "filling.arrow").write_bytes(b"torn")
    copied_second.step("lists", SECOND)
    assert (copied_second.lake.directory("lists", SECOND) / "filling.arrow").is_file(), "settled anew"
    assert all(copied_second.lake.since(table, SECOND) == SECOND for table in TABLES), "most lists may be others then"


def test_a_shop_where_nobody_looks_goes_on_as_well(copied_second: Shop) -> None:
    """Such a shop's index of alternatives has no model behind it, and says of every night that it was fitted then."""
    manifest = copied_second.lake.directory("indexes", SECOND) / YOU_MIGHT_ALSO_LIKE.name / "manifest.json"
    plain = json.loads(manifest.read_text("utf-8"))
    del plain["sha256"], plain["co_views"]
    plain["fit"]["on"] = SECOND.isoformat()
    manifest.write_text(json.dumps(plain | {"sha256": fingerprint(plain)}), "utf-8")
    for table in TABLES:
        copied_second.lake.delta(table).delete(f"as_of = '{SECOND}'")
    copied_second.step("lists", SECOND)
    assert all(copied_second.lake.since(table, SECOND) == FIRST for table in TABLES)
