"""Bad days through the real ingest: the raw files are damaged, and the night stops before anything is made of them."""

from __future__ import annotations

import csv
import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.config import quick
from jobs.errors import GateError, UserError
from jobs.ingest.figures import COLUMNS
from jobs.lake.rows import arrow_schema
from jobs.tables.records import GATES, INPUTS, RUNS
from tests.support.nights import FIRST, SECOND, Rows, Shop

Raw = dict[str, str | None]
NIGHTS_BEFORE = 7


def rewrite(raw: Path, folder: str, change: Callable[[list[Raw]], list[Raw]], pattern: str = "*") -> None:
    """Replace the rows of a folder's files by what `change` makes of each file's."""
    for path in sorted((raw / folder).glob(f"{pattern}.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
        with gzip.open(path, "wt", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(change([dict(row) for row in rows]))


LAST_DAY = f"{FIRST}"


def lose_half_of_the_events(raw: Path) -> None:
    rewrite(raw, "events", lambda rows: rows[::2], LAST_DAY)


def lose_a_market(raw: Path) -> None:
    rewrite(raw, "events", lambda rows: [row for row in rows if row["market"] != "GB"], LAST_DAY)


def lose_an_event_type(raw: Path) -> None:
    rewrite(raw, "events", lambda rows: [row for row in rows if row["event_type"] != "click"], LAST_DAY)


def lose_half_of_the_catalogue(raw: Path) -> None:
    """Products that nobody looked at that day: the events alone show nothing."""
    wanted: set[str | None] = set()
    rewrite(raw, "events", lambda rows: wanted.update(row["product_id"] for row in rows) or rows, LAST_DAY)
    for folder in ("products", "availability"):
        rewrite(raw, folder, lambda rows: [row for row in rows if row["product_id"] in wanted])


def sell_half_of_it_nowhere(raw: Path) -> None:
    def change(rows: list[Raw]) -> list[Raw]:
        return [row | {"available": "false"} if sum((row["product_id"] or "").encode()) % 2 else row for row in rows]

    rewrite(raw, "availability", change)


def sell_hardly_anything_in_one_market(raw: Path) -> None:
    def change(rows: list[Raw]) -> list[Raw]:
        def gone(row: Raw) -> bool:
            return row["market"] == "DE" and sum((row["product_id"] or "").encode()) % 5 > 0

        return [row | {"available": "false"} if gone(row) else row for row in rows]

    rewrite(raw, "availability", change)


def write_prices_in_pence(raw: Path) -> None:
    def dearer(price: str | None) -> str | None:
        try:
            return str(100 * float(price or ""))
        except ValueError:
            return price

    rewrite(raw, "products", lambda rows: [row | {"price": dearer(row["price"])} for row in rows])


def leave_brands_out(raw: Path) -> None:
    rewrite(raw, "products", lambda rows: [row | {"brand": ""} for row in rows])


@dataclass(frozen=True)
class BadDay:
    """What was done to the raw files, and the gates that must say so."""

    do: Callable[[Path], None]
    gates: tuple[str, ...]
    told: str
    """What the message says beside figure and limit."""

    def __str__(self) -> str:
        return self.do.__name__


BAD_DAYS = (
    BadDay(lose_half_of_the_events, ("input_events",), " new events, usually "),
    BadDay(lose_a_market, ("input_markets",), "market GB: 0 events, usually"),
    BadDay(lose_an_event_type, ("input_types",), "type click: 0 events, usually"),
    BadDay(lose_half_of_the_catalogue, ("input_products", "input_pairs"), "catalogue products, usually"),
    BadDay(sell_half_of_it_nowhere, ("input_pairs",), "available pairs, usually"),
    BadDay(sell_hardly_anything_in_one_market, ("input_market_pairs",), "market DE: "),
    BadDay(write_prices_in_pence, ("input_prices",), "mean product price is"),
    BadDay(leave_brands_out, ("input_nulls",), "column catalogue.brand: 100% of the rows have no value"),
)


@pytest.fixture(scope="module")
def usual(night: Shop, raw_with_a_new_day: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The first night live, with a week of nights like it before, and the second night's input read once."""
    shop = night.copy(tmp_path_factory.mktemp("usual"), quick(source, raw_with_a_new_day))
    shop.step("ingest", SECOND)
    remember(shop, shop.rows(INPUTS, SECOND))
    return shop


@pytest.fixture
def second(usual: Shop, source: Path, tmp_path: Path) -> Shop:
    """The same, its lake and raw files free to be damaged."""
    raw = Path(shutil.copytree(usual.config.ingest.raw, tmp_path / "raw"))
    return usual.copy(tmp_path, quick(source, raw))


def remember(shop: Shop, usual: Rows) -> None:
    """Let the nights up to the first have had such an input."""
    before = [FIRST - timedelta(days=days) for days in range(NIGHTS_BEFORE)]
    rows = [row | {"as_of": day} for day in before for row in usual]
    shop.lake.overwrite(INPUTS, pa.Table.from_pylist(rows, schema=arrow_schema(INPUTS)))


@pytest.mark.parametrize("day", BAD_DAYS, ids=str)
def test_a_bad_day_stops_the_night_at_once(day: BadDay, second: Shop) -> None:
    seen = second.what_services_see()
    day.do(second.config.ingest.raw)
    with pytest.raises(GateError) as stopped:
        second.step("ingest", SECOND)
    message = str(stopped.value)
    rows = {row["gate"]: row for row in second.rows(GATES, SECOND)}
    assert stopped.value.exit_code == 3
    assert {gate for gate, row in rows.items() if not row["passed"]} >= set(day.gates)
    for gate in day.gates:
        assert f"{gate} is {rows[gate]['value']:g}, must be {rows[gate]['rule']}" in message
        assert f"--accept {gate}" in message
        assert rows[gate]["step"] == "ingest" and not rows[gate]["accepted"]
    assert day.told in message and "What was live stays live" in message
    assert f"`python -m jobs ingest --as-of {SECOND} --accept" in message and "NIGHTRAIL_ACCEPT=" in message
    assert {row["step"]: row["status"] for row in second.rows(RUNS, SECOND)} == {"ingest": "failed"}
    with pytest.raises(GateError, match=day.gates[0]):
        second.step("publish", SECOND)
    assert second.what_services_see() == seen


def test_a_bad_day_is_let_through_on_purpose_and_that_is_recorded(second: Shop) -> None:
    lose_half_of_the_events(second.config.ingest.raw)
    failing = ["input_events", "input_markets", "input_types"]
    second.step("ingest", SECOND, accepted=failing)
    rows = {row["gate"]: row for row in second.rows(GATES, SECOND)}
    assert rows["input_events"]["passed"] and rows["input_events"]["accepted"]
    assert rows["input_events"]["detail"].startswith("accepted on purpose; ")
    assert not rows["input_products"]["accepted"]


def test_a_usual_day_passes_and_its_gates_are_recorded(second: Shop) -> None:
    second.step("ingest", SECOND)
    rows = second.rows(GATES, SECOND)
    assert {row["gate"] for row in rows} >= {gate for day in BAD_DAYS for gate in day.gates} | {"input_columns"}
    assert all(row["passed"] and not row["accepted"] and row["step"] == "ingest" for row in rows)


def test_a_column_that_is_gone_stops_the_night_and_a_new_one_does_not(second: Shop) -> None:
    usual = [row for row in second.rows(INPUTS, FIRST) if row["slice"] != "column products.image_url"]
    more = {"figure": COLUMNS, "slice": "column products.supplier", "value": 1.0, "run_id": usual[0]["run_id"]}
    remember(second, [*usual, more])
    with pytest.raises(GateError, match="gone: products.supplier; new: products.image_url"):
        second.step("ingest", SECOND)
    remember(second, usual)
    second.step("ingest", SECOND)
    row = next(row for row in second.rows(GATES, SECOND) if row["gate"] == "input_columns")
    assert row["passed"] and row["detail"].endswith("new: products.image_url")


def test_a_night_whose_input_failed_is_not_published_though_its_lists_are_good(
    copied_second: Shop, tmp_path: Path
) -> None:
    raw = tmp_path / "damaged"
    shutil.copytree(copied_second.config.ingest.raw, raw)
    leave_brands_out(raw)
    ingest = replace(copied_second.config.ingest, raw=raw)
    shop = Shop(copied_second.lake, replace(copied_second.config, ingest=ingest))
    with pytest.raises(GateError, match="input_nulls"):
        shop.step("ingest", SECOND)
    shop.step("gate", SECOND)
    seen = shop.what_services_see()
    with pytest.raises(GateError, match="failed its gates \\(input_nulls\\)"):
        shop.step("publish", SECOND)
    assert shop.what_services_see() == seen


def test_accepting_a_gate_of_the_input_that_there_is_not_is_a_users_mistake(second: Shop) -> None:
    with pytest.raises(UserError, match="no such gate of the input; there are input_events, ") as refused:
        second.step("ingest", SECOND, accepted=["input_evnets"])
    assert refused.value.exit_code == 2


def test_a_shops_first_night_has_only_its_age_to_be_judged_by(night: Shop) -> None:
    rows = [row for row in night.rows(GATES) if row["step"] == "ingest"]
    assert [row["gate"] for row in rows] == ["input_age"]
    assert 0 < rows[0]["value"] < 1
