"""Small exports that once went wrong are read right, or refused with the value and a remedy that helps."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import UserError
from jobs.ingest import step as ingest
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.tables.records import REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from tests.support.tables import write_text

MakeRun = Callable[[date], Run]
NIGHT = date(2026, 4, 6)
SELECT = "SELECT id AS event_id, c AS customer_id, p AS product_id, ty AS event_type, t AS event_ts FROM raw"
HEADER = "id,c,p,t,ty\n"
PRODUCTS = "-- catalogue\nSELECT id AS product_id, name FROM products;\n"


def lines(count: int, first: int = 0, end: str = "\n") -> str:
    return "".join(
        f"o{i},c{i % 7},p{i % 5},2026-04-0{1 + i % 5} 10:00:00,click{end}" for i in range(first, first + count)
    )


@dataclass
class Export:
    """A stranger's folder and source."""

    folder: Path
    lake: Lake
    run: Run

    def file(self, name: str, content: str | bytes) -> None:
        """Write a raw file."""
        path = self.folder / "raw" / name
        if isinstance(content, str):
            write_text(path, content)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def ingest(self, select: str = SELECT, others: str = "", directives: str = "") -> Counts:
        """Run the step on what was written."""
        write_text(self.folder / "source.sql", f"{directives}\n{others}\n-- events\n{select}")
        return ingest.execute(self.lake, self.run, ingest.IngestConfig(self.folder / "source.sql", self.folder / "raw"))

    def refused(self, *parts: str, select: str = SELECT, others: str = "", directives: str = "") -> None:
        """Assert that the step stops with these words, and writes nothing."""
        with pytest.raises(UserError) as caught:
            self.ingest(select, others, directives)
        assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)
        assert not self.lake.exists(EVENTS) or not self.lake.arrow(EVENTS).num_rows

    def events(self) -> pa.Table:
        """What came out."""
        return self.lake.arrow(EVENTS).sort_by("event_id")


@pytest.fixture
def export(tmp_path: Path, sail_lake: Lake, run: MakeRun) -> Export:
    return Export(tmp_path, sail_lake, run(NIGHT))


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", None])
@pytest.mark.parametrize("unit", ["ns", "ms"])
def test_parquet_instants_stay_instants(export: Export, zone: str | None, unit: str) -> None:
    instants = [datetime(2026, 4, 1, 22, 30, tzinfo=UTC), datetime(2026, 4, 5, 20, 30, tzinfo=UTC)]
    given = [i.astimezone(ZoneInfo(zone)) if zone else i.replace(tzinfo=None) for i in instants]
    table = pa.table({"c": ["c1", "c2"], "p": ["p1", "p2"], "at": pa.array(given, pa.timestamp(unit, zone))})
    (export.folder / "raw").mkdir()
    pq.write_table(table, export.folder / "raw" / "e.parquet")
    for column in ("at", "CAST(at AS TIMESTAMP)"):
        export.ingest(f"SELECT c AS customer_id, p AS product_id, 'click' AS event_type, {column} AS event_ts FROM raw")
        assert sorted(export.events()["event_ts"].to_pylist()) == instants


def test_files_of_every_suffix_are_read_together(export: Export) -> None:
    export.file("a.csv", HEADER + lines(10))
    export.file("B.CSV", HEADER + lines(10, 10))
    export.file("c.tsv", (HEADER + lines(10, 20)).replace(",", "\t"))
    with zipfile.ZipFile(export.folder / "raw" / "d.csv.zip", "w") as archive:
        archive.writestr("d.csv", HEADER + lines(10, 30))
    rows = '{"id": "o%d", "c": "c1", "p": "p1", "t": "2026-04-05 20:00:00", "ty": "click"}\n'
    export.file("e.jsonl", "".join(rows % i for i in range(40, 50)))
    export.file("f.xlsx", b"PK")
    counts = export.ingest()
    assert counts.rows_out == 50
    assert counts.note.endswith("from 5 new files; files not read: f.xlsx (.xlsx is not read; save the sheet as csv)")


def test_a_column_in_double_quotes_is_refused_with_backticks(export: Export) -> None:
    export.file("orders.csv", HEADER.replace("c,", "Customer ID,", 1) + lines(20))
    export.refused(
        '"Customer ID" in double quotes is a text, the same in every row',
        "`Customer ID`",
        select=SELECT.replace("c AS", '"Customer ID" AS'),
    )


def test_names_in_another_encoding_are_kept_and_told(export: Export) -> None:
    export.file("raw.csv", HEADER + lines(50))
    names = "".join(f"p{i},{'Straßenschuh' if i == 3 else 'Shoe'}\n" for i in range(5))
    export.file("products/p.csv", ("id,name\n" + names).encode("windows-1252"))
    note = export.ingest(others=PRODUCTS).note
    assert "text with bytes of another encoding than the source names (1: 'Stra\ufffdenschuh')" in note
    found = export.lake.arrow(CATALOGUE)["name"].to_pylist()
    assert sorted(found) == ["Shoe"] * 4 + ["Stra\ufffdenschuh"]
    export.ingest(others=PRODUCTS, directives='--! encoding = "windows-1252"')
    assert "Straßenschuh" in export.lake.arrow(CATALOGUE)["name"].to_pylist()


def test_a_column_may_be_added_later_and_stand_elsewhere(export: Export) -> None:
    for day in range(1, 5):
        export.file(f"2026-04-0{day}.csv", HEADER + f"o{day},c1,p1,2026-04-0{day} 10:00:00,click\n")
    export.file("2026-04-05.csv", "coupon,ty,t,p,c,id\nx,click,2026-04-05 10:00:00,p1,c2,o5\n")
    assert export.ingest().rows_out == 5
    assert export.events()["customer_id"].to_pylist() == ["c1"] * 4 + ["c2"]


def test_a_column_with_another_name_from_some_day_on_is_read_by_naming_both(export: Export) -> None:
    export.file("2026-04-04.csv", HEADER + "o1,c1,p1,2026-04-04 10:00:00,click\n")
    export.file("2026-04-05.csv", "id,client,p,t,ty\no2,c2,p1,2026-04-05 10:00:00,click\n")
    export.refused("2026-04-05.csv lacks c, which 2026-04-04.csv", "it has new: client", "coalesce(old, new)")
    select = SELECT.replace("c AS", "coalesce(c, client) AS")
    export.refused("lacks c, which", select=select.replace("client", "p"))
    assert export.ingest(select).rows_out == 2
    assert export.events()["customer_id"].to_pylist() == ["c1", "c2"]


@pytest.mark.parametrize("first", ["\n\n", "sep=;\n", ";;;;\n"])
def test_lines_before_the_header_are_no_rows(export: Export, first: str) -> None:
    export.file("orders.csv", first + (HEADER + lines(20)).replace(",", ";"))
    assert export.ingest().rows_out == 20


def test_a_history_with_a_day_in_its_name_is_told_apart_from_a_late_day(export: Export) -> None:
    export.file("orders-2026-04-05.csv", HEADER + lines(5) + lines(20, 5).replace("2026-04", "2025-10"))
    export.refused(
        "80.0% of the 25 rows for events",
        "more than 30 days late (20: '2025-10-01 10:00:00'",
        "take the day out of the name",
        "late_days",
    )


def test_a_file_that_waits_for_its_night_is_named(export: Export) -> None:
    export.file("orders-2026-04-06.csv", HEADER + lines(5))
    export.refused("orders-2026-04-06.csv", "for nights from 2026-04-07 on", "take it out of the name")


def test_tables_in_one_folder_are_sent_to_folders_of_their_own(export: Export) -> None:
    export.file("orders.csv", "id,c,t,ty\no1,c1,2026-04-05 10:00:00,click\n")
    export.file("order_items.csv", "id,p\no1,p1\n")
    joined = SELECT.replace("raw", "orders JOIN order_items USING (id)")
    export.refused("order_items/order_items.csv", "orders/orders.csv", "sub-folder", select=joined)
    export.refused("orders.csv lacks p, which order_items.csv", "sub-folder")


def test_a_row_with_a_field_too_many_is_rejected_with_file_and_line(export: Export) -> None:
    export.file("a.csv", HEADER + lines(30))
    export.file("b.csv", HEADER + lines(10, 30) + "o99,c1,p1,2026-04-05 10:00:00,click,x\n" + lines(10, 40) + "Total\n")
    counts = export.ingest()
    assert (counts.rows_out, counts.rejected) == (50, 2)
    assert "too many fields (1: 'b.csv, line 12')" in counts.note
    rejected = export.lake.arrow(REJECTED).sort_by("reason").to_pylist()
    assert [(row["source"], row["reason"], row["raw"]) for row in rejected] == [
        ("events", "too few fields", '{"file": "b.csv", "line": 23, "row": "Total"}'),
        ("events", "too many fields", '{"file": "b.csv", "line": 12, "row": "o99,c1,p1,2026-04-05 10:00:00,click,x"}'),
    ]


def test_each_reason_shows_values_and_what_to_write(export: Export) -> None:
    rows = "c0,p0,view,2026-04-01 10:00:00,12.95\nc1,p1,click,5/4/2026,12.95\n" + 'c2,p2,click,2026-04-03,"12,95 EUR"\n'
    export.file("e.csv", "c,p,ty,t,pr\n" + rows)
    export.refused(
        "unknown event type (1: 'view'): click, save, bag and purchase are read; CASE event_type WHEN 'view'",
        "unparseable timestamp (1: '5/4/2026'): 2026-04-05, 2026-04-05 10:00",
        "to_timestamp(t, 'd/M/yyyy H:mm')",
        "also price not read (1: '12,95 EUR'): 12.95",
        "replace(regexp_replace(price",
        select="SELECT c AS customer_id, p AS product_id, ty AS event_type, t AS event_ts, pr AS price FROM raw",
    )


def test_equal_lines_name_the_ways_to_keep_each_piece(export: Export) -> None:
    export.file("items.csv", HEADER + ("o1,c1,p1,2026-04-05 10:00:00,purchase\n" * 2) + lines(10, 5))
    export.refused(
        "duplicate event (1: 'p1')", "yield an event_id", "quantity", select=SELECT.replace("id AS event_id, ", "")
    )


def test_what_stands_for_nothing_is_nothing(export: Export) -> None:
    export.file("e.csv", HEADER + lines(50) + "o97,NULL,p1,2026-04-05,click\no98,-1,p1,2026-04-05,click\n")
    assert "missing customer (2)" in export.ingest().note


def test_rows_without_any_value_are_skipped_and_counted(export: Export) -> None:
    export.file("e.csv", HEADER + lines(20) + ",,,,\n" * 30)
    counts = export.ingest()
    assert (counts.rows_out, counts.rejected) == (20, 0)
    assert "30 empty rows skipped" in counts.note


def test_ids_that_look_alike_are_one_and_counted(export: Export) -> None:
    export.file("e.csv", HEADER + lines(50) + "o97,\u00a0c1\u200b,p1,2026-04-05 10:00:00,click\n")
    assert "invisible blanks were taken from, or letters composed in, values of raw.c (1)" in export.ingest().note
    assert len(set(export.events()["customer_id"].to_pylist())) == 7


def test_whole_numbers_that_pandas_made_floats_are_ids(export: Export) -> None:
    table = pa.table({"c": [17850.0, None, 13047.0], "p": [1, 2, 3], "t": ["2026-04-05"] * 3})
    (export.folder / "raw").mkdir()
    pq.write_table(table, export.folder / "raw" / "e.parquet")
    export.ingest(
        "SELECT c AS customer_id, p AS product_id, 'click' AS event_type, t AS event_ts, "
        "CASE WHEN c IS NULL THEN 'guest' END AS excluded FROM raw"
    )
    assert sorted(export.events()["customer_id"].to_pylist()) == ["13047", "17850"]


def test_events_without_a_market_join_that_of_their_basket_or_the_shops_main_one(export: Export) -> None:
    """Shopify names the country in the first line of an order alone."""
    rows = [("a", "1", "FR"), ("a", "1", ""), ("b", "2", ""), ("c", "3", "DE"), ("c", "3", ""), ("d", "4", "DE")]
    lines = "".join(f"e{n},{c},p{n},2026-04-0{1 + n % 5} 10:00:00,{o},{m}\n" for n, (c, o, m) in enumerate(rows))
    export.file("orders.csv", "id,c,p,t,o,m\n" + lines)
    select = (
        "SELECT id AS event_id, c AS customer_id, p AS product_id, 'purchase' AS event_type, t AS event_ts, "
        "o AS basket_id, m AS market FROM raw"
    )
    note = export.ingest(select).note
    assert "50% of the events have no market beside others that have one: they take that of their basket" in note
    assert "else DE, which has most events" in note
    assert export.events()["market"].to_pylist() == ["FR", "FR", "DE", "DE", "DE", "DE"]
    assert set(export.lake.arrow(AVAILABILITY)["market"].to_pylist()) == {"DE", "FR"}
    more = "".join(f"f{n},x,p{n},2026-04-06 10:00:00,9,FR\n" for n in range(9))
    export.file("orders.csv", "id,c,p,t,o,m\n" + lines + more)
    later = replace(export, run=Run(NIGHT + timedelta(days=1), "later", export.run.started_at))
    assert "corrected" not in later.ingest(select).note, "rows that are read again keep their market"
    assert later.events()["market"].to_pylist()[2] == "DE"


def test_a_shop_without_markets_has_one(export: Export) -> None:
    export.file("orders.csv", HEADER + lines(20))
    assert "market" not in export.ingest().note
    assert set(export.events()["market"].to_pylist()) == {"all"}


def test_a_catalogue_of_many_products_is_made_from_events(export: Export) -> None:
    """What a product's newest event says was once kept with the whole batch that the event came in."""
    days = [NIGHT - timedelta(days=day) for day in range(1, 401)]
    rows = [f"{p}-{n},c,p{p},{days[(7 * p + 90 * n) % 400]} 10:00:00" for n in range(4) for p in range(11_000)]
    export.file("orders.csv", "id,c,p,t\n" + "\n".join(rows) + "\n")
    export.ingest(SELECT.replace("ty AS", "'click' AS").replace("id AS event_id, ", ""))
    found = export.lake.arrow(CATALOGUE)
    assert found.num_rows == 11_000
    assert found["launched_at"].to_pylist()[0] == min(days[90 * n] for n in range(4))
