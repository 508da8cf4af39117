"""What a check finds: that a source is fine, what looks odd, and every reason why a night would be stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.errors import UserError
from jobs.ingest.check import EventFacts, SourceCheck, check_source, odd
from jobs.ingest.step import IngestConfig
from jobs.lake.lake import Lake
from tests.support.command_line import jobs
from tests.support.tables import write_text

TODAY = date(2026, 5, 1)
NIGHT = date(2026, 4, 6)
SELECT = "SELECT who AS customer_id, what AS product_id, kind AS event_type, at AS event_ts, land AS market FROM raw"
HEADER = "who,what,kind,at,land\n"


def lines(count: int = 60, who: str = "c{}", land: str = "DE") -> str:
    rows = (
        f"{who.format(i % 7)},p{i % 5},purchase,2026-04-{1 + i % 5:02} 10:{i:02}:00,{land if i % 2 else 'FR'}"
        for i in range(count)
    )
    return HEADER + "".join(row + "\n" for row in rows)


def shop(folder: Path, rows: str = "", select: str = SELECT) -> IngestConfig:
    raw = folder / "raw"
    write_text(raw / "orders.csv", rows or lines())
    return IngestConfig(write_text(folder / "shop.sql", select), raw)


def checked(lake: Lake, config: IngestConfig, as_of: date | None = None) -> SourceCheck:
    return check_source(lake, config, as_of, TODAY, lambda *_: None)


def test_a_good_source(sail_lake: Lake, tmp_path: Path) -> None:
    found = checked(sail_lake, shop(tmp_path))
    assert (found.as_of, found.stops, odd(found), found.rejected) == (NIGHT, [], [], [])
    facts = found.facts
    assert facts and (facts["events"], facts["customers"], facts["products"], facts["markets"]) == (60, 7, 5, 2)
    assert (facts["days"], facts["returning"], found.rows) == (5, 7, 60)
    assert facts["first"].replace(tzinfo=None) == datetime(2026, 4, 1, 10, 0)
    assert (found.types, found.markets) == ({"purchase": 60}, {"DE": 30, "FR": 30})
    assert {path.name for path in sail_lake.root.iterdir()} <= {"all", "tables"}, "nothing but scratch"


def test_a_night_that_is_given_leaves_later_rows_to_later_nights(sail_lake: Lake, tmp_path: Path) -> None:
    found = checked(sail_lake, shop(tmp_path), date(2026, 4, 4))
    assert found.facts and found.facts["events"] == 36 and found.later == 24
    assert odd(found) == ["24 events are at 2026-04-04 or later, and wait for their nights"]


def test_files_that_are_not_read_are_named(sail_lake: Lake, tmp_path: Path) -> None:
    config = shop(tmp_path)
    write_text(config.raw / "notes.xlsx", "x")
    write_text(config.raw / "old" / "x.csv", "a\n1\n")
    found = checked(sail_lake, config)
    assert "notes.xlsx" in found.not_read and "old/x.csv" in found.not_read and len(found.files) == 1


BAD_ROWS = "c1,p1,view,2026-04-01 10:00:00,DE\n" * 30


def test_every_reason_that_would_stop_a_night_is_told_at_once(sail_lake: Lake, tmp_path: Path) -> None:
    select = f"-- events\n{SELECT};\n-- catalogue\nSELECT none AS product_id FROM raw"
    config = shop(tmp_path, lines() + BAD_ROWS, select)
    (config.raw / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08 cut")
    found = checked(sail_lake, config)
    told = "\n".join(found.stops)
    assert "cut.csv.gz" in told and "the SELECT for catalogue does not fit" in told
    assert "33.3% of the 90 rows for events would be rejected" in told and "'view'" in told
    assert len(found.stops) == 3 and found.facts and found.facts["events"] == 60


def test_what_follows_from_another_reason_is_not_told_too(sail_lake: Lake, tmp_path: Path) -> None:
    found = checked(sail_lake, shop(tmp_path, select=SELECT.replace(" at AS", " 'soon' AS")))
    assert len(found.stops) == 1, "that no event is left follows from the rejections"


def test_a_last_day_that_is_damaged_is_not_empty_too(sail_lake: Lake, tmp_path: Path) -> None:
    config = shop(tmp_path)
    (config.raw / "orders.csv").rename(config.raw / f"{NIGHT - timedelta(days=1)}.csv")
    (config.raw / f"{NIGHT}.csv.gz").write_bytes(b"\x1f\x8b\x08 cut")
    found = checked(sail_lake, config)
    assert len(found.stops) == 1 and "deliver it again" in found.stops[0]


@pytest.mark.parametrize(
    ("select", "told"),
    [
        ("SELECT )", "is no SQL|cannot be parsed|must be one SELECT"),
        (SELECT.replace("FROM raw", "FROM orders"), "reads orders"),
        (SELECT.replace("who AS", '"who" AS'), "in double quotes is a text"),
        (SELECT.replace(" at AS", " 'soon' AS"), "unparseable timestamp"),
    ],
)
def test_a_source_that_gives_no_night_says_why(select: str, told: str, sail_lake: Lake, tmp_path: Path) -> None:
    found = checked(sail_lake, shop(tmp_path, select=select))
    assert any(part in "\n".join(found.stops) for part in told.split("|")), found.stops


GUEST = "CASE WHEN cast(substr(at, 15, 2) AS INT) < 15 THEN 'g' ELSE concat('c', substr(at, 15, 2)) END"
ODD_CUSTOMERS = {
    "a guest": (lines(), GUEST, "the customer 'g' has 25% of the events"),
    "one customer": (lines(), "'nobody'", "every event has the same customer, 'nobody'"),
    "floats": (lines(who="1000{}.0"), "who", "every customer id ends in .0: a program has made floats"),
    "capitals": (lines() + "C1,p1,purchase,2026-04-03 10:00:01,DE\n", "who", "capitals or blanks: 'C1', 'c1'"),
    "sessions": (lines(), "concat(who, substr(at, 1, 10))", "no customer comes on a second day"),
}


@pytest.mark.parametrize("name", ODD_CUSTOMERS)
def test_what_looks_odd_about_customers_is_told(name: str, sail_lake: Lake, tmp_path: Path) -> None:
    rows, who, told = ODD_CUSTOMERS[name]
    found = checked(sail_lake, shop(tmp_path, rows, SELECT.replace("who AS", f"{who} AS")))
    assert [line for line in odd(found) if told in line], odd(found)


FACTS: EventFacts = {
    "events": 1000, "first": datetime(2026, 3, 1, 9, tzinfo=UTC), "last": datetime(2026, 4, 5, 20, tzinfo=UTC),
    "days": 36, "customers": 100, "products": 50, "markets": 2, "baskets": 300, "priced": 1000, "midnight": 0,
    "returning": 60, "float_customers": 0, "float_products": 0, "no_market": 0,
    "no_basket": 0, "no_price": 0, "free": 0, "like_cents": 10, "mean_price": 39.95,
}  # fmt: skip


def usual() -> SourceCheck:
    found = SourceCheck(Path("shop.sql"), Path("raw"), NIGHT, given=True, facts=FACTS)
    found.types, found.markets = {"click": 600, "purchase": 400}, {"DE": 700, "FR": 300}
    found.top_customers, found.top_products = {"c": 40}, {"p": 90}
    return found


def test_a_usual_shop_is_not_odd() -> None:
    assert odd(usual()) == []


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"no_market": 500}, "50% of the events have no market beside others that have one"),
        ({"no_price": 400}, "40% of the events have no price beside others"),
        ({"free": 300}, "30% of the prices are 0"),
        ({"free": 10, "like_cents": 990, "mean_price": 3995.0}, "if they are in cents"),
        ({"baskets": 1}, "every event has the same basket"),
        ({"midnight": 1000}, "every event is at 00:00:00"),
        ({"first": FACTS["last"]}, "every event is at the same instant, 2026-04-05 20:00"),
        ({"first": datetime(2001, 1, 1, tzinfo=UTC)}, "events are on 36 of 9,225 days since 2001-01-01"),
        ({"last": datetime(2026, 3, 5, tzinfo=UTC)}, "the newest event is 32 days before the night"),
        ({"float_products": 50}, "every product id ends in .0"),
        ({"float_customers": 40}, "40 of 100 customer ids end in .0"),
        ({"returning": 0}, "no customer comes on a second day"),
        ({"returning": 4}, "only 4% of the customers come on a second day"),
    ],
)
def test_figures_that_look_odd_are_told(facts: EventFacts, told: str) -> None:
    changed: EventFacts = {**FACTS, **facts}
    assert [line for line in odd(replace(usual(), facts=changed)) if told in line]


def small_markets(found: SourceCheck) -> None:
    found.markets = {"DE": 960} | {f"M{i}": 10 for i in range(4)}


def nameless(found: SourceCheck) -> None:
    found.catalogue = {"product_id": 50, "name": 0}


def short_catalogue(found: SourceCheck) -> None:
    found.catalogue = {"product_id": 40, "name": 40}


def postage(found: SourceCheck) -> None:
    found.top_products = {"POST": 400}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (small_markets, "4 of the markets have less than 20 events"),
        (nameless, "no product of the catalogue has a name"),
        (short_catalogue, "the catalogue has 40 products, less than the 50 with events"),
        (postage, "the product 'POST' has 40% of the events"),
    ],
)
def test_parts_that_look_odd_are_told(change: Callable[[SourceCheck], None], told: str) -> None:
    found = usual()
    change(found)
    assert [line for line in odd(found) if told in line]


def test_the_command_prints_what_is_fine_what_is_odd_and_what_to_run(tmp_path: Path) -> None:
    config = shop(tmp_path, lines(who="1000{}.0"))
    done = jobs(tmp_path / "lake", "check", "--source", str(config.source), "--raw", str(config.raw))
    assert done.returncode == 0, done.stderr
    for told in (
        "files      1 read, 60 rows", "customers  7, of whom 7 come on several days", "DE 50.0%", "Looks odd:",
        "night      2026-04-06 (the day after the last event",
        f"make night SOURCE={config.source} RAW={config.raw} AS_OF=2026-04-06",
    ):  # fmt: skip
        assert told in done.stdout, done.stdout
    assert not (tmp_path / "lake").exists()
    assert [line for line in done.stdout.splitlines() if line.startswith("  ") and len(line) > 110] == []


def test_the_command_ends_with_2_where_no_night_could_be_made(tmp_path: Path) -> None:
    config = shop(tmp_path, lines() + BAD_ROWS)
    where = ("--source", str(config.source), "--raw", str(config.raw))
    done = jobs(tmp_path / "lake", "check", *where)
    assert done.returncode == 2 and "A night would be stopped:\n  - 33.3% of the 90 rows" in done.stdout
    assert jobs(tmp_path / "lake", "check", *where, "--as-of", "soon").returncode == 2


def test_a_night_of_a_new_source_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, str]] = []
    monkeypatch.setattr("jobs.nights.night.run_night", lambda *given: begun.append(given[-1]))
    config = shop(tmp_path, lines() + BAD_ROWS)

    def night(*options: str) -> Result:
        where = ("--source", str(config.source), "--raw", str(config.raw), "--root", str(tmp_path / "lake"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", dict(os.environ))
            return CliRunner().invoke(app, ["night", "--as-of", str(NIGHT), *where, *options])

    stopped = night()
    assert isinstance(stopped.exception, UserError) and "no night was begun" in str(stopped.exception)
    assert "A night would be stopped" in stopped.output and begun == []
    write_text(config.raw / "orders.csv", lines())
    assert night("--allow-empty-day").exit_code == 0
    assert [each["NIGHTRAIL_ALLOW_EMPTY_DAY"] for each in begun] == ["1"]
