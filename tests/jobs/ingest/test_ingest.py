"""Raw files become tables or rejected rows: nothing is lost, nothing comes twice, and an error changes nothing."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.ingest import step as ingest
from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.sample_shop import write_days
from jobs.tables.records import REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from tests.conftest import SampleShop
from tests.support.tables import assert_same_rows, snapshot

SOURCES = Path(__file__).parents[3] / "jobs" / "sources"
MakeRun = Callable[[date], Run]
MakeLake = Callable[[Engine, Path], Lake]
DIRT_REASONS = {
    "unknown_product": ("events", "unknown product"),
    "missing_customer": ("events", "missing customer"),
    "future_timestamp": ("events", "future timestamp"),
    "duplicate_event": ("events", "duplicate event"),
    "negative_price": ("events", "negative price"),
    "unknown_event_type": ("events", "unknown event type"),
    "unparseable_timestamp": ("events", "unparseable timestamp"),
    "invalid_utf8_customer": ("events", "broken encoding in customer_id"),
    "empty_product": ("events", "missing product"),
    "product_empty_id": ("catalogue", "missing product"),
}
"""What ingest calls each fault of the sample shop that costs a row."""

PRODUCTS_KEPT = ("product_negative_price", "product_invalid_utf8")


# --- the sample shop, on Sail; a whole night of it has equal tables on both engines (tests/night/test_whole_night.py)


@dataclass
class Nights:
    """A lake after the sample shop's night and after the night that follows."""

    lake: Lake
    raw: Path
    first: date
    counts: Counts
    after_first: dict[str, pa.Table]
    new_day: int
    """Clean events of the one day the second night adds."""
    after_second: dict[str, pa.Table]


@pytest.fixture(scope="module")
def nights(
    sail_engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_raw: SampleShop,
    lake_factory: MakeLake,
    run: MakeRun,
) -> Nights:
    folder = tmp_path_factory.mktemp("nights")
    raw = Path(shutil.copytree(tiny_raw.raw, folder / "raw"))
    lake, config = lake_factory(sail_engine, folder / "lake"), ingest.IngestConfig(SOURCES / "sample.sql", raw)
    first, days = tiny_raw.size.as_of, tiny_raw.size.days
    counts = ingest.execute(lake, run(first), config)
    after_first = snapshot(lake)
    added = write_days(raw, tiny_raw.size, range(days, days + 1), lambda *_: None)
    ingest.execute(lake, run(first + timedelta(days=1)), config)
    return Nights(lake, raw, first, counts, after_first, sum(added.clean_events.values()), snapshot(lake))


def test_rejected_rows_are_the_generators_dirt(nights: Nights, tiny_raw: SampleShop) -> None:
    told: Counter[tuple[str, str]] = Counter()
    for kind, count in tiny_raw.summary.dirt_total().items():
        if kind in DIRT_REASONS:
            told[DIRT_REASONS[kind]] += count
    rejected = nights.after_first["rejected"]
    found = Counter(zip(rejected["source"].to_pylist(), rejected["reason"].to_pylist(), strict=True))
    assert found == told
    assert min(told.values()) > 0
    assert nights.counts.rejected == sum(told.values())
    assert not pc.any(rejected["expected"]).as_py()


def test_clean_rows_are_the_events_of_each_day(nights: Nights, tiny_raw: SampleShop) -> None:
    days = Counter(str(day) for day in nights.after_first["events"]["event_date"].to_pylist())
    assert days == tiny_raw.summary.clean_events


def test_events_have_the_values_of_their_raw_rows(nights: Nights, tiny_raw: SampleShop) -> None:
    """Read once more without the ingest's help."""
    texts = [
        gzip.decompress(p.read_bytes()).decode("utf-8", "replace") for p in sorted(tiny_raw.raw.glob("events/*.gz"))
    ]
    raw = pl.concat([pl.read_csv(text.encode(), infer_schema=False) for text in texts]).unique("event_id", keep="first")
    events = pl.DataFrame(nights.after_first["events"]).drop("event_date", "as_of", "run_id").sort("event_id")
    assert events.drop_in_place("size").is_null().all()
    expected = (
        raw.join(events.select("event_id"), on="event_id", how="semi")
        .sort("event_id")
        .select(
            "event_id",
            "customer_id",
            "product_id",
            "event_type",
            pl.col("event_ts").str.strptime(pl.Datetime("us"), "%Y-%m-%dT%H:%M:%S%.3fZ").dt.replace_time_zone("UTC"),
            "market",
            "basket_id",
            pl.col("quantity").cast(pl.Int64).fill_null(1),
            pl.col("price").cast(pl.Float64),
        )
    )
    assert_same_rows(events.to_arrow(), expected.to_arrow(), ("events", "raw files"))


def test_the_catalogue_and_availability_are_the_newest_state(nights: Nights, tiny_raw: SampleShop) -> None:
    def newest(folder: str, key: list[str]) -> pl.DataFrame:
        frames = [
            pl.read_csv(gzip.decompress(p.read_bytes()).decode("utf-8", "replace").encode(), infer_schema=False)
            for p in sorted((tiny_raw.raw / folder).glob("*.gz"))
        ]
        return pl.concat(frames).unique(key, keep="last").filter(~pl.col("product_id").str.starts_with("D")).sort(key)

    products = newest("products", ["product_id"])
    found = nights.after_first["catalogue"]
    own = pc.starts_with(found["product_id"], "D")  # whose names and prices are dirty, which costs no row
    assert pc.sum(own).as_py() == sum(tiny_raw.summary.dirt_total()[kind] for kind in PRODUCTS_KEPT)
    found = found.filter(pc.invert(own))
    assert found["product_id"].to_pylist() == products["product_id"].to_list()
    assert found["price"].to_pylist() == products["price"].cast(pl.Float64).to_list()
    assert [str(day) for day in found["launched_at"].to_pylist()] == products["launched_at"].to_list()
    pairs = newest("availability", ["product_id", "market"])
    there = nights.after_first["availability"]
    assert there["market"].to_pylist() == pairs["market"].to_list()
    assert there["available"].to_pylist() == [word == "true" for word in pairs["available"]]


def test_a_second_night_adds_its_day_and_leaves_the_first_as_it_was(nights: Nights) -> None:
    assert nights.new_day > 0
    for name, before in nights.after_first.items():
        after = nights.after_second[name]
        assert_same_rows(after.filter(pc.less_equal(after["as_of"], nights.first)), before, ("after", "before"))
    events = nights.after_second["events"]
    new = events.filter(pc.greater(events["as_of"], nights.first))
    assert new.num_rows == nights.new_day
    assert set(new["event_date"].to_pylist()) == {nights.first}
    assert nights.lake.nights(CATALOGUE) == [nights.first, nights.first + timedelta(days=1)]


def test_two_nights_have_the_events_of_one_night_that_reads_both_days(
    nights: Nights, sail_lake: Lake, run: MakeRun
) -> None:
    both = nights.first + timedelta(days=1)
    ingest.execute(sail_lake, run(both), ingest.IngestConfig(SOURCES / "sample.sql", nights.raw))
    of_events = pc.field("source") == "events"  # the catalogue is read whole, and rejected anew, each night
    for table, wanted in ((EVENTS, pc.scalar(True)), (REJECTED, of_events)):
        names = [name for name in table.names if name not in ("as_of", "run_id")]
        one, two = sail_lake.arrow(table), nights.after_second[table.name]
        assert_same_rows(
            one.filter(wanted).select(names), two.filter(wanted).select(names), ("one night", "two nights")
        )
    for table in (CATALOGUE, AVAILABILITY):
        assert_same_rows(sail_lake.arrow(table, as_of=both), nights.lake.arrow(table, as_of=both))


def test_a_night_run_again_gives_equal_tables_even_after_a_later_one(nights: Nights, run: MakeRun) -> None:
    config = ingest.IngestConfig(SOURCES / "sample.sql", nights.raw)
    for night in (nights.first, nights.first + timedelta(days=1)):
        ingest.execute(nights.lake, run(night), config)
        for name, table in snapshot(nights.lake).items():
            assert_same_rows(table, nights.after_second[name], (f"{name} after {night} again", "before"))


# --- real data, on Sail


@pytest.mark.soak
def test_every_line_of_online_retail_is_an_event_or_rejected(real_data: Path, sail_lake: Lake, run: MakeRun) -> None:
    night = date(2011, 11, 10)
    raw = real_data / "online_retail" / "raw"
    counts = ingest.execute(sail_lake, run(night), ingest.IngestConfig(SOURCES / "online_retail.sql", raw))
    files = [path for path in raw.glob("*.csv.gz") if path.name < night.isoformat()]
    lines = sum(pl.read_csv(path, infer_schema=False).height for path in files)
    rejected = sail_lake.arrow(REJECTED).filter(pc.equal(sail_lake.arrow(REJECTED)["source"], "events"))
    assert sail_lake.arrow(EVENTS).num_rows + rejected.num_rows == lines > 400_000
    reasons = Counter(rejected["reason"].to_pylist())
    for reason in ("cancellation", "missing customer", "no product (postage, fees, adjustments)"):
        assert reasons[f"excluded: {reason}"] > 1_000, reasons
    assert counts.rejected == sail_lake.arrow(REJECTED).num_rows


@pytest.mark.soak
def test_fashion_rentals_of_later_nights_wait(real_data: Path, sail_lake: Lake, run: MakeRun) -> None:
    config = ingest.IngestConfig(SOURCES / "fashion_rental.sql", real_data / "fashion_rental")
    counts = ingest.execute(sail_lake, run(date(2020, 6, 1)), config)
    assert "32 rows belong to other nights" in counts.note
    assert counts.rows_in == sail_lake.arrow(EVENTS).num_rows + sail_lake.arrow(REJECTED).num_rows + 32
