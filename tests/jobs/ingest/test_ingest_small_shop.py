"""A shop of three columns, on Sail: what is refused, with which words, and what an operator may let through."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import UserError
from jobs.ingest import step as ingest
from jobs.ingest.raw_files import list_raw_files
from jobs.ingest.source import Directives, Source
from jobs.ingest.staging import StagedFiles
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.tables.records import RAW_FILES
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from tests.support.tables import assert_same_rows, snapshot, versions, write_text

MakeRun = Callable[[date], Run]

EVENTS_SELECT = "SELECT id AS event_id, who AS customer_id, what AS product_id, 'click' AS event_type, ts AS event_ts"
CATALOGUE_SELECT = "-- catalogue\nSELECT what AS product_id FROM products;\n"
HEADER = "id,who,what,ts\n"
DAYS = (date(2026, 3, 6), date(2026, 3, 7), date(2026, 3, 8))  # Friday to Sunday
NIGHT = date(2026, 3, 9)


class SmallShop:
    """A drop zone of a few rows and its source, changed by each test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.raw = folder, folder / "raw"
        self.source("")

    def source(self, directives: str, catalogue: str = "", view: str = "events") -> None:
        text = f"{directives}\n-- events\n{EVENTS_SELECT} FROM {view};\n{catalogue}"
        (self.folder / "shop.sql").write_text(text, encoding="utf-8")

    def day(self, day: date, rows: int = 4, suffix: str = ".csv.gz") -> Path:
        lines = "".join(f"{day}-{i},C{i % 3},P{i % 2},{day}T10:00:{i:02}Z\n" for i in range(rows))
        return write_text(self.raw / "events" / f"{day}{suffix}", HEADER + lines)

    def config(self, **changed: bool) -> ingest.IngestConfig:
        return ingest.IngestConfig(self.folder / "shop.sql", self.raw, **changed)


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    small = SmallShop(tmp_path)
    for day in DAYS:
        small.day(day)
    return small


def test_a_source_of_events_alone_derives_catalogue_and_availability(
    shop: SmallShop, sail_lake: Lake, run: MakeRun
) -> None:
    counts = ingest.execute(sail_lake, run(NIGHT), shop.config())
    assert counts == Counts(12, 12, 0, "12 events from 3 new files")
    catalogue = sail_lake.arrow(CATALOGUE, ["product_id", "name", "launched_at", "price"]).to_pylist()
    assert catalogue == [
        {"product_id": name, "name": name, "launched_at": DAYS[0], "price": None} for name in ("P0", "P1")
    ]
    available = sail_lake.arrow(AVAILABILITY, ["product_id", "market", "available"]).to_pylist()
    assert available == [{"product_id": name, "market": "all", "available": True} for name in ("P0", "P1")]


def test_a_product_without_recent_events_is_not_live(shop: SmallShop, sail_lake: Lake, run: MakeRun) -> None:
    shop.source("--! live_days = 2")
    write_text(shop.raw / "events" / f"{DAYS[0]}.csv.gz", f"{HEADER}x,C1,P-old,{DAYS[0]}\n")
    ingest.execute(sail_lake, run(NIGHT), shop.config())
    assert sail_lake.arrow(AVAILABILITY)["product_id"].to_pylist() == ["P0", "P1"]
    assert sail_lake.arrow(CATALOGUE)["product_id"].to_pylist() == ["P-old", "P0", "P1"]


@pytest.fixture
def good_night(shop: SmallShop, sail_lake: Lake, run: MakeRun) -> Lake:
    """A lake with one night; the shop has its next day too, which a test spoils."""
    ingest.execute(sail_lake, run(NIGHT - timedelta(days=1)), shop.config())
    return sail_lake


def assert_refused(lake: Lake, run: Run, config: ingest.IngestConfig, *parts: str) -> None:
    """The ingest raises UserError with all parts, and every table is as it was, its version too."""
    content = snapshot(lake)
    before = versions(lake)
    with pytest.raises(UserError) as caught:
        ingest.execute(lake, run, config)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)
    assert versions(lake) == before
    for name, table in snapshot(lake).items():
        assert_same_rows(table, content[name], ("after", "before"))
    assert list(lake.root.glob(".ingest*")) == [], "nothing is left aside"


def test_a_good_next_day_is_not_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    """So that what the following tests see is the fault they made."""
    assert ingest.execute(good_night, run(NIGHT), shop.config()).rows_out == 4
    assert good_night.version(EVENTS) == 2


def test_a_column_missing_in_one_file_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    write_text(shop.raw / "events" / f"{DAYS[-1]}.csv.gz", "id,who,ts\n1,C1,2026-03-08\n")
    assert_refused(good_night, run(NIGHT), shop.config(), f"events/{DAYS[-1]}.csv.gz", "lacks what", "new: none")


@pytest.mark.parametrize("part", [0.3, 0.8, 0.99])
def test_a_file_cut_short_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun, part: float) -> None:
    path = shop.day(DAYS[-1], rows=60)
    rows = "".join(f"{i},C{i * 7919 % 997},P1,{DAYS[-1]}T10:00:{i % 60:02}Z\n" for i in range(20_000))
    write_text(path, HEADER + rows)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert_refused(good_night, run(NIGHT), shop.config(), f"events/{DAYS[-1]}.csv.gz", "deliver it again")


def test_a_night_without_its_last_days_file_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    (shop.raw / "events" / f"{DAYS[-1]}.csv.gz").unlink()
    parts = (f"no raw file for {DAYS[-1]}", f"the newest in {shop.raw} is of {DAYS[-2]}", "--allow-empty-day")
    assert_refused(good_night, run(NIGHT), shop.config(), *parts)


def test_a_last_day_of_a_header_alone_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    shop.day(DAYS[-1], rows=0)
    assert_refused(good_night, run(NIGHT), shop.config(), f"raw files of {DAYS[-1]} hold no valid event")


def test_an_empty_file_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    write_text(shop.raw / "events" / f"{DAYS[-1]}.csv.gz", "")
    assert_refused(good_night, run(NIGHT), shop.config(), f"{DAYS[-1]}.csv.gz is empty")


def test_too_many_rejected_rows_are_refused_with_their_reasons(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    lines = "1,,P1,2026-03-08\n2,,P1,2026-03-08\n3,C1,P1,soon\n4,C1,P1,2026-03-08\n"
    write_text(shop.raw / "events" / f"{DAYS[-1]}.csv.gz", HEADER + lines)
    parts = (
        "75.0% of the 4 rows for events",
        "missing customer (2): empty, or a word such as nan",
        "unparseable timestamp (1: 'soon'): 2026-04-05",
        "limit of 5.0%",
    )
    assert_refused(good_night, run(NIGHT), shop.config(), *parts)


def test_a_catalogue_without_any_product_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    shop.source("", CATALOGUE_SELECT.replace("products", "events WHERE what = 'nothing'"))
    assert_refused(good_night, run(NIGHT), shop.config(), "the SELECT for catalogue gives no valid product")


def test_a_select_that_does_not_fit_is_refused_with_the_columns_there_are(
    shop: SmallShop, good_night: Lake, run: MakeRun
) -> None:
    shop.source("", view="gone")
    assert_refused(
        good_night, run(NIGHT), shop.config(), "SELECT for events reads gone", "gives events; a view is a sub-folder"
    )
    shop.source("", CATALOGUE_SELECT.replace("what AS", "sku AS").replace("products", "events"))
    assert_refused(
        good_night, run(NIGHT), shop.config(), "SELECT for catalogue does not fit", "events has id, who, what"
    )


def test_a_select_that_fails_on_a_row_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    shop.source("", CATALOGUE_SELECT.replace("what AS", "CAST(what AS BIGINT) AS").replace("products", "events"))
    assert_refused(good_night, run(NIGHT), shop.config(), "shop.sql")


def test_availability_without_a_catalogue_is_refused(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    select = "-- availability\nSELECT what AS product_id, 'GB' AS market, 'true' AS available FROM events;"
    shop.source("", select)
    assert_refused(good_night, run(NIGHT), shop.config(), "SELECT for availability but none for catalogue")


def test_a_folder_whose_name_is_no_view_is_named(shop: SmallShop, good_night: Lake, run: MakeRun) -> None:
    write_text(shop.raw / "web-shop" / f"{DAYS[-1]}.csv", "a\n")
    note = ingest.execute(good_night, run(NIGHT), shop.config()).note
    assert f"web-shop/{DAYS[-1]}.csv (its folder 'web-shop' cannot be a view's name" in note


@pytest.mark.parametrize("how", ["allow_empty_day", "closed_weekdays"])
@pytest.mark.parametrize("delivered", ["header only", "no file"])
def test_a_day_may_be_empty_where_the_operator_says_so(
    shop: SmallShop, good_night: Lake, run: MakeRun, how: str, delivered: str
) -> None:
    if delivered == "no file":
        (shop.raw / "events" / f"{DAYS[-1]}.csv.gz").unlink()
    else:
        shop.day(DAYS[-1], rows=0)
    if how == "closed_weekdays":
        shop.source('--! closed_weekdays = ["sunday"]')
    ingest.execute(good_night, run(NIGHT), shop.config(allow_empty_day=how == "allow_empty_day"))
    assert good_night.arrow(EVENTS).num_rows == 8
    assert good_night.arrow(CATALOGUE, as_of=NIGHT)["product_id"].to_pylist() == ["P0", "P1"]


def test_files_of_the_night_itself_and_later_are_not_read(shop: SmallShop, sail_lake: Lake, run: MakeRun) -> None:
    assert ingest.execute(sail_lake, run(DAYS[1]), shop.config()).rows_out == 4
    assert sail_lake.arrow(RAW_FILES)["path"].to_pylist() == [f"events/{DAYS[0]}.csv.gz"]


def test_a_file_that_is_delivered_late_is_read_by_the_next_night(
    shop: SmallShop, sail_lake: Lake, run: MakeRun
) -> None:
    late = (shop.raw / "events" / f"{DAYS[0]}.csv.gz").rename(shop.folder / "late.csv.gz")
    ingest.execute(sail_lake, run(DAYS[2]), shop.config())
    late.rename(shop.raw / "events" / f"{DAYS[0]}.csv.gz")
    ingest.execute(sail_lake, run(NIGHT), shop.config())
    assert Counter(sail_lake.arrow(EVENTS)["as_of"].to_pylist()) == {DAYS[2]: 4, NIGHT: 8}


def test_one_growing_file_gives_each_night_its_own_rows(shop: SmallShop, sail_lake: Lake, run: MakeRun) -> None:
    shutil.rmtree(shop.raw)
    shop.source("", view="raw")
    lines = [f"{day}-{i},C1,P1,{day}T0{i}:00:00Z\n" for day in DAYS for i in range(3)]
    path = write_text(shop.raw / "all.csv", HEADER + "".join(lines[:6]))
    first = ingest.execute(sail_lake, run(DAYS[1]), shop.config())
    assert (first.rows_in, first.rows_out, first.rejected) == (6, 3, 0)
    assert "3 rows belong to other nights" in first.note
    write_text(path, HEADER + "".join(lines))
    second = ingest.execute(sail_lake, run(NIGHT), shop.config())
    assert (second.rows_in, second.rows_out, second.rejected) == (9, 6, 0)
    assert sail_lake.arrow(EVENTS)["event_id"].to_pylist() == sorted(line.split(",")[0] for line in lines)


def test_parquet_files_with_types_of_their_own_are_read(shop: SmallShop, sail_lake: Lake, run: MakeRun) -> None:
    shutil.rmtree(shop.raw)
    shop.source('--! format = "parquet"')
    for day in DAYS:
        (shop.raw / "events").mkdir(parents=True, exist_ok=True)
        rows = {"id": [1 + day.day * 10, 2 + day.day * 10], "who": ["C1", None], "what": ["P1", "P1"], "ts": [day, day]}
        pq.write_table(pa.table(rows), shop.raw / "events" / f"{day}.parquet")
    shop.source('--! format = "parquet"\n--! max_rejected_share = 0.5')
    counts = ingest.execute(sail_lake, run(NIGHT), shop.config())
    assert (counts.rows_in, counts.rows_out, counts.rejected) == (6, 3, 3)
    assert sail_lake.arrow(EVENTS)["event_id"].to_pylist() == ["61", "71", "81"]
    assert sail_lake.arrow(EVENTS)["event_date"].to_pylist() == list(DAYS)


def test_a_damaged_parquet_file_is_refused(shop: SmallShop, sail_lake: Lake, run: MakeRun) -> None:
    shutil.rmtree(shop.raw)
    shop.source('--! format = "parquet"')
    write_text(shop.raw / "events" / f"{DAYS[-1]}.parquet", "no parquet")
    assert_refused(sail_lake, run(NIGHT), shop.config(), f"events/{DAYS[-1]}.parquet cannot be read")


ODD_CSV = (
    "\ufeffid,who,what,ts\r\n"
    '1,"C ""quoted"", 1",P1,2026-03-08\r\n'
    '2, C2 ,"P1",2026-03-08\r\n'
    '3,"",P1,2026-03-08\r\n'
    "\r\n"
    "4,C\\4,P'1,2026-03-08\r\n"
)


def test_odd_csv_reads_the_same_on_both_engines(lake: Lake, tmp_path: Path, run: MakeRun) -> None:
    write_text(tmp_path / "raw" / "odd.csv.gz", ODD_CSV)
    source = Source(tmp_path / "shop.sql", Directives(), {})
    files = list_raw_files(tmp_path / "raw", source).files
    StagedFiles(lake, run(NIGHT), source, tmp_path / "staged").register("SELECT * FROM raw", files, files)
    found = lake.spark.table("raw").select("id", "who", "what").toArrow()
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("1", 'C "quoted", 1', "P1"),
        ("2", " C2 ", "P1"),
        ("3", None, "P1"),
        ("4", "C\\4", "P'1"),
    ]
