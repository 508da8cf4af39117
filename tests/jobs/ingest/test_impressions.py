"""Impressions are read, checked, deduplicated and kept apart where no person can have seen them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.client.list_ids import list_id
from jobs.ingest import rules
from jobs.ingest import step as ingest
from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.records import REJECTED
from tests.support.tables import rows_of, strings, write_text

NIGHT = date(2026, 3, 10)
AT = datetime(2026, 3, 9, 4, tzinfo=UTC)
LIST = list_id(AT, "ymal", "G.B", "B", "P~1 é")
GOOD: dict[str, str | None] = {
    "customer_id": "C1", "product_id": "P1", "shown_at": "2026-03-09T10:00:00Z", "touch_point": None, "place": "3",
    "list_id": LIST, "market": "XX", "variant": None, "owner": None, "excluded": None,
}  # fmt: skip
NO_LIST = {"list_id": None, "touch_point": "Bag_extras"}
FAULTS: dict[str, tuple[dict[str, str | None], str | None]] = {
    "good": ({}, None),
    "without a list": (NO_LIST, None),
    "nobody": ({"customer_id": " "}, "missing customer"),
    "nothing": ({"product_id": None}, "missing product"),
    "no place in the shop": ({"list_id": None}, "missing touch point"),
    "no such list": ({"list_id": LIST.replace("ymal", "x")}, "missing touch point"),
    "no text in the list": ({"list_id": f"{LIST}~FF"}, "missing touch point"),
    "no such place": ({"list_id": None, "touch_point": "home"}, "unknown touch point"),
    "no time": ({"shown_at": "10:00"}, "unparseable timestamp"),
    "too early": ({"shown_at": "2026-03-10"}, "future timestamp"),
    "too late": ({"shown_at": "2026-01-01"}, "more than 30 days late"),
    "another shop's": ({"product_id": "P9"}, "unknown product"),
    "left out": ({"excluded": "a crawler"}, "excluded: a crawler"),
    "odd place": (NO_LIST | {"place": "0"}, None),
}


def test_rows_are_read_or_have_their_reason(engine: Engine) -> None:
    rows = [GOOD | changed for changed, _ in FAULTS.values()] + [GOOD | {"market": "again"}] * 2
    given = rules.contract_rows(strings(engine.spark, rows), "impressions", "shop.sql")
    products = engine.spark.createDataFrame([("P1",)], "product_id STRING")
    repeated = rules.repeated_ids(given, "impressions")
    validated = rules.validate_impressions(given, NIGHT, products, NIGHT - timedelta(days=1), 30, repeated)
    alone, several = validated.where("NOT repeated"), validated.where("repeated")
    found = alone.unionByName(rules.without_repeats(several, "impressions"))
    by_place = rows_of(found, *(name for name in rules.IMPRESSION_COLUMNS if name != "impression_id"), "reason")
    expected = sorted([reason for _, reason in FAULTS.values()] + [None, "duplicate impression"], key=str)
    assert sorted((row["reason"] for row in by_place), key=str) == expected
    good = [row for row in by_place if row["reason"] is None]
    lists = [tuple(row[n] for n in ("touch_point", "market", "variant", "owner", "list_id", "place")) for row in good]
    of_list, of_row = ("you_might_also_like", "G.B", "B", "P~1 é", LIST), ("bag_extras", "XX", None, None, None)
    assert sorted(lists, key=str) == sorted([(*of_row, 3), (*of_row, None), (*of_list, 3), (*of_list, 3)], key=str)
    assert rows_of(found.where("unread IS NOT NULL AND reason IS NULL"), "unread") == [{"unread": "place\x1f0"}]


SOURCE = """
-- events
SELECT * FROM events;
-- impressions
SELECT visitor AS customer_id, list AS list_id, product AS product_id, place, at AS shown_at FROM shown
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    """(source, raw folder) of a shop with one event a day and no impressions yet."""
    for day in (8, 9, 10):
        line = f"C1,P1,click,2026-03-{day:02}T10:05:00Z\n"
        header = "customer_id,product_id,event_type,event_ts\n"
        write_text(tmp_path / "raw" / "events" / f"2026-03-{day:02}.csv", header + line)
    return write_text(tmp_path / "shop.sql", SOURCE), tmp_path / "raw"


def shown(raw: Path, name: str, lines: list[str]) -> None:
    """Deliver impressions."""
    write_text(raw / "shown" / name, "\n".join(["visitor,list,product,place,at", *lines]) + "\n")


def test_impressions_are_ingested_once(shop: tuple[Path, Path], sail_lake: Lake, run: Callable[[date], Run]) -> None:
    lake, config = sail_lake, ingest.IngestConfig(*shop)
    ingest.execute(lake, run(NIGHT), config)
    assert not lake.exists(IMPRESSIONS)
    lines = [f"C1,{LIST},P1,{place},2026-03-10T10:00:00Z" for place in (1, 2)]
    bot = [f"bot,{LIST},P1,{place},2026-03-10T10:00:{place % 60:02}Z" for place in range(1, 602)]
    shown(shop[1], "2026-03-10.csv", [*lines, lines[0], *bot])
    counts = ingest.execute(lake, run(NIGHT + timedelta(days=1)), config)
    assert "603 impressions" in counts.note and "601 impressions of customers who had more" in counts.note
    rows = lake.arrow(IMPRESSIONS, ("customer_id", "place", "counted", "shown_date")).to_pylist()
    assert {row["counted"] for row in rows if row["customer_id"] == "bot"} == {False}
    day = date(2026, 3, 10)
    own = [row for row in rows if row["customer_id"] == "C1"]
    assert sorted(own, key=str) == [
        {"customer_id": "C1", "place": place, "counted": True, "shown_date": day} for place in (1, 2)
    ]
    assert lake.arrow(REJECTED, ("source", "reason")).to_pylist() == [
        {"source": "impressions", "reason": "duplicate impression"}
    ]
    version = lake.version(IMPRESSIONS)
    ingest.execute(lake, run(NIGHT + timedelta(days=1)), config)
    assert lake.version(IMPRESSIONS) == version
    # Delivered again with one more row, on a day on which nothing else happened.
    shown(shop[1], "2026-03-10.csv", [*lines, f"C1,{LIST},P1,4,2026-03-10T12:00:00Z"])
    write_text(
        shop[1] / "events" / "2026-03-11.csv", "customer_id,product_id,event_type,event_ts\nC1,P1,click,2026-03-11\n"
    )
    ingest.execute(lake, run(NIGHT + timedelta(days=2)), config)
    found = lake.arrow(IMPRESSIONS, ("place", "as_of", "customer_id")).to_pylist()
    assert [row["place"] for row in found if row["as_of"] == NIGHT + timedelta(days=2)] == [4]
    assert len(found) == 604
