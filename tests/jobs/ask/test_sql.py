"""Live tables have the rows that were published, in one call and in SQL on both engines; staged rows are not seen."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs.ask.sql import answer, check_out, print_answer, write_answer
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.live import live_night, live_table
from jobs.lake.rows import arrow_schema
from jobs.tables.records import GATES, PUBLISHED, RAW_FILES
from jobs.tables.shop import CATALOGUE, RULE_EFFECTS, YOU_MIGHT_ALSO_LIKE
from tests.conftest import run_of

FIRST, LIVE, LATER = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
TABLE = YOU_MIGHT_ALSO_LIKE
Lists = dict[str, list[str] | None]


def stage(lake: Lake, as_of: date, lists: Lists, since: date | None = None) -> None:
    """Stage product -> its list; None deletes the list."""
    rows: list[dict[str, Any]] = [
        {
            "product_id": product,
            "market": "GB",
            "variant": "default",
            "product_ids": shown,
            "gone": shown is None or None,
        }
        for product, shown in lists.items()
    ]
    schema = pa.schema([field for field in arrow_schema(TABLE) if field.name not in ("as_of", "run_id", "since")])
    lake.replace(TABLE, pa.Table.from_pylist(rows, schema=schema), run_of(as_of), since=since)


@pytest.fixture
def live(lake: Lake) -> Lake:
    """A lake whose second night is live, with rows staged since: of that night again, and of a later one."""
    stage(lake, FIRST, {"P1": ["A"], "P2": ["B"], "P3": ["C"]})
    stage(lake, LIVE, {"P1": ["A", "B"], "P3": None}, since=FIRST)
    for night, price in ((FIRST, 1.0), (LIVE, 2.0), (LATER, 3.0)):
        lake.replace_rows(CATALOGUE, [{"product_id": "P1", "name": "hat", "price": price}], run_of(night))
        lake.replace_rows(RAW_FILES, [{"path": f"{night}.csv", "bytes": 1}], run_of(night))
        lake.replace_rows(GATES, [{"gate": "stale", "value": price}], run_of(night))
        lake.replace_rows(RULE_EFFECTS, [{"rule_id": "r1", "changed": int(price)}], run_of(night))
    published = [
        {
            "surface": table.name,
            "since": FIRST,
            "table_version": lake.version(table),
            "as_of": LIVE,
            "run_id": "r",
            "published_at": datetime(2026, 3, 2, tzinfo=UTC),
        }
        for table in (TABLE, GATES, RULE_EFFECTS)
    ]
    lake.overwrite(PUBLISHED, pa.Table.from_pylist(published, schema=arrow_schema(PUBLISHED)))
    lake.replace_rows(GATES, [{"gate": "stale", "value": 9.0}], run_of(LIVE))
    stage(lake, LIVE, {"P1": ["staged again"], "P2": ["staged again"]}, since=FIRST)
    stage(lake, LATER, {"P1": ["staged later"]}, since=FIRST)
    return lake


def test_sql_and_the_call_read_the_rows_that_were_published(live: Lake) -> None:
    assert live_night(live) == LIVE
    expected = [{"product_id": "P1", "product_ids": ["A", "B"]}, {"product_id": "P2", "product_ids": ["B"]}]
    called = live_table(live.root, TABLE.name, ["product_id", "product_ids"])
    found = answer(live, f"SELECT product_id, product_ids FROM live.{TABLE.name} ORDER BY product_id")
    assert called.to_pylist() == found.to_pylist() == expected, "P3 is deleted, and no staged row is seen"
    of_catalogue = (
        "SELECT c.price, live.raw_files.path FROM `live`.catalogue AS c CROSS JOIN live.raw_files ORDER BY path"
    )
    assert answer(live, of_catalogue)["price"].to_pylist() == [2.0] * 3, "the live night's row of three nights'"
    assert live_table(live.root, "raw_files").num_rows == 3, "a table that records history has all its rows"
    text = answer(live, "WITH some AS (SELECT 'live.catalogue' AS name FROM live.catalogue) SELECT name FROM some")
    assert text.to_pylist() == [{"name": "live.catalogue"}]
    where = pc.field("product_id") == "P2"
    assert live_table(live.root, TABLE.name, ["product_ids"], where).to_pylist() == [{"product_ids": ["B"]}]
    older = answer(
        live, f"SELECT product_id FROM live.{TABLE.name} WHERE product_ids[0] = 'A' AND size(product_ids) = 1"
    )
    assert older.num_rows == 0, "an older row does not come back where the newer one does not match"


def test_figures_of_a_night_are_those_of_what_is_live_and_all_of_them_under_the_plain_name(live: Lake) -> None:
    assert live_table(live.root, "gates", ["value"]).to_pylist() == [{"value": 2.0}], (
        "not those of the night made again"
    )
    assert live_table(live.root, "rule_effects", ["changed"]).to_pylist() == [{"changed": 2}]
    query = "SELECT gates.as_of, e.changed FROM gates CROSS JOIN live.rule_effects AS e ORDER BY value"
    assert [tuple(row.values()) for row in answer(live, query).to_pylist()] == [(FIRST, 2), (LATER, 2), (LIVE, 2)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT 1; SELECT 2", "give one SELECT"),
        ("DROP TABLE live.catalogue", "give one SELECT"),
        ("INSERT INTO live.catalogue SELECT * FROM live.catalogue", "give one SELECT"),
        ("SELECT FROM WHERE", "this is no SQL"),
        ("SELECT * FROM live.shoes", "no table 'shoes'; its tables are: raw_files, catalogue, you_might_also_like"),
        ("SELECT * FROM catalogue", "reads catalogue; tables to read are: live."),
        ("SELECT * FROM old.gates", r"reads old\.gates; tables to read are: live\.raw_files, .*, gates, published,"),
        ("SELECT * FROM gates, live.gates", r"reads gates and live\.gates; read one of them, and choose nights"),
        ("SELECT * FROM parquet.`/etc/passwd`", "tables to read are: live."),
        ("SELECT colour_of_hat FROM live.catalogue", "the query failed: .*colour_of_hat"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(query: str, words: str, live: Lake) -> None:
    with pytest.raises(UserError, match=words) as raised:
        answer(live, query)
    assert "\n" not in str(raised.value)


def test_before_anything_is_live_there_is_nothing_to_read(sail_lake: Lake) -> None:
    with pytest.raises(UserError, match="its tables are: none"):
        answer(sail_lake, f"SELECT * FROM live.{TABLE.name}")
    stage(sail_lake, FIRST, {"P1": ["A"]})
    with pytest.raises(UserError, match="nothing is live in .* yet"):
        answer(sail_lake, f"SELECT * FROM live.{TABLE.name}")
    with pytest.raises(UserError, match="nothing is live in .* yet"):
        live_table(sail_lake.root, TABLE.name)


def test_rows_are_printed_up_to_a_limit_or_written_to_a_file(tmp_path: Path) -> None:
    rows = pa.table({"product_id": ["P1", "P2"], "product_ids": [["A", "\x1b[31mB"], None], "score": [0.5, 1.0]})
    console = Console(record=True, width=100)
    print_answer(rows, 1, console)
    print_answer(rows, 2, console)
    said = console.export_text()
    assert "the first 1 rows; give --limit N for more" in said and "2 rows" in said and "A, B" in said
    for name in ("rows.csv", "rows.parquet"):
        check_out(tmp_path / name)
        write_answer(rows, tmp_path / name)
    assert pq.read_table(tmp_path / "rows.parquet").equals(rows)
    written = pyarrow.csv.read_csv(tmp_path / "rows.csv").to_pylist()
    assert written[0] == {"product_id": "P1", "product_ids": '["A", "\\u001b[31mB"]', "score": 0.5}
    with pytest.raises(UserError, match="ends in .csv or .parquet"):
        check_out(tmp_path / "rows.txt")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_answer(rows, tmp_path / "file" / "rows.csv")
