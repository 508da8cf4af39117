"""A source file says what it means, or which line is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.ingest.source import Directives, read_source, relations

SHIPPED = sorted((Path(__file__).parents[3] / "jobs" / "sources").glob("*.sql"))


def source_file(folder: Path, text: str) -> Path:
    path = folder / "shop.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_source_has_directives_and_one_select_per_label(tmp_path: Path) -> None:
    source = read_source(
        source_file(
            tmp_path,
            """
--! # A comment inside the directives.
--! delimiter = ";"
--! closed_weekdays = ["sunday"]
-- Anybody's remark.
-- events
SELECT a AS customer_id -- a remark at a line's end; not a statement's end
FROM raw;
-- catalogue
WITH newest AS (SELECT 1) SELECT * FROM newest;
""",
        )
    )
    assert source.directives == Directives(delimiter=";", closed_weekdays=["sunday"])
    assert list(source.statements) == ["events", "catalogue"]
    assert source.statements["events"].startswith("SELECT a AS customer_id")
    assert source.statements["events"].endswith("FROM raw")
    assert source.statements["catalogue"] == "WITH newest AS (SELECT 1) SELECT * FROM newest"


def test_a_directive_may_have_a_blank_before_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "shop.sql"
    path.write_text("-- ! delimiter = ';'\n-- !important: a comment\nSELECT 1")
    assert read_source(path).directives.delimiter == ";"


def test_a_single_select_without_label_is_the_one_for_events(tmp_path: Path) -> None:
    assert read_source(source_file(tmp_path, "select 1")).statements == {"events": "select 1"}


def test_a_semicolon_inside_a_line_does_not_end_a_statement(tmp_path: Path) -> None:
    assert read_source(source_file(tmp_path, "SELECT ';' AS a;")).statements == {"events": "SELECT ';' AS a"}


def test_a_semicolon_in_a_text_or_before_a_remark_is_understood(tmp_path: Path) -> None:
    text = "SELECT 'a;\n' AS a FROM raw; -- a remark\n-- catalogue\nSELECT 1"
    assert read_source(source_file(tmp_path, text)).statements == {
        "events": "SELECT 'a;\n' AS a FROM raw",
        "catalogue": "SELECT 1",
    }


def test_the_views_that_a_select_reads_are_its_relations_alone() -> None:
    text = "WITH new AS (SELECT raw.id, 'orders' AS kind, stock AS a FROM `Sales` AS raw) SELECT * FROM new -- stock"
    assert relations(text) == {"new", "sales"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_source_can_be_read(path: Path) -> None:
    assert "events" in read_source(path).statements


def test_there_are_shipped_sources() -> None:
    assert {"sample", "online_retail", "fashion_rental"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("-- events\nSELECT 1;\n-- events\nSELECT 2;", ["two SELECTs for events", "shop.sql"]),
        ("SELECT 1;\nSELECT 2;", ["two SELECTs for events"]),
        ("-- catalogue\nSELECT 1;", ["no SELECT for events"]),
        ("", ["no SELECT for events"]),
        ("SELECT a FROM raw WHERE;", ["shop.sql", "cannot be parsed", "Line 1"]),
        ("SELECT 'a;", ["shop.sql is no SQL", "Missing '"]),
        ("-- events\nDROP TABLE raw;", ["must be one SELECT", "DROP TABLE raw"]),
        ("-- events\nSELECT 1;\n-- availability\nINSERT INTO x VALUES (1);", ["availability", "must be one SELECT"]),
        (
            '--! formatt = "csv"\nSELECT 1;',
            ["unknown directive ['formatt']", "is format meant?", "known are", "max_rejected_share"],
        ),
        ("--! format = csv\nSELECT 1;", ["not TOML", "shop.sql", "format = csv", "needs quotes"]),
        ('--! format = "xml"\nSELECT 1;', ["'xml'", "'parquet'"]),
        ("--! max_rejected_share = 5\nSELECT 1;", ["shop.sql", "max_rejected_share = 5 must be less than"]),
        ('--! max_rejected_share = "5 %"\nSELECT 1;', ["shop.sql", "max_rejected_share"]),
        ('--! closed_weekdays = "sunday"\nSELECT 1;', ["closed_weekdays = 'sunday' must be a valid list"]),
        ("--! live_days = 1.5\nSELECT 1;", ["live_days = 1.5 must be a valid integer"]),
        ("--! delimiter = 5\nSELECT 1;", ["delimiter = 5 must be a valid string"]),
        ('--! closed_weekdays = ["samstag"]\nSELECT 1;', ["samstag", "saturday"]),
    ],
)
def test_a_mistake_in_a_source_is_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_source(source_file(tmp_path, text))
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.sql cannot be read"):
        read_source(tmp_path / "gone.sql")


def test_a_source_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.sql").write_bytes(b"SELECT '\xff\xfe'")
    with pytest.raises(UserError, match=r"bytes\.sql cannot be read"):
        read_source(tmp_path / "bytes.sql")
