"""The raw folder is listed as it is: every file is read, or named with the reason."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.ingest.raw_files import RawFolder, list_raw_files, told
from jobs.ingest.source import Directives, Source
from tests.support.tables import write_text

SELECT = "SELECT a FROM raw"


def source(format: str = "", **statements: str) -> Source:
    return Source(Path("shop.sql"), Directives(format=format), statements or {"events": SELECT})


def reasons(folder: RawFolder) -> dict[str, str]:
    return {each.name: each.reason for each in folder.not_read}


def test_a_file_has_a_view_a_day_and_a_size(tmp_path: Path) -> None:
    write_text(tmp_path / "2026-03-09.csv", "a,b\n")
    write_text(tmp_path / "events" / "export_2026-03-10_v2.csv.gz", "a\n")
    write_text(tmp_path / "events" / "2026" / "growing.csv", "a\n")
    files = list_raw_files(tmp_path, source()).files
    assert [(f.name, f.view, f.day) for f in files] == [
        ("2026-03-09.csv", "raw", date(2026, 3, 9)),
        ("events/2026/growing.csv", "events", None),
        ("events/export_2026-03-10_v2.csv.gz", "events", date(2026, 3, 10)),
    ]
    assert files[0].bytes == len("a,b\n")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("ORDERS.CSV", "csv"),
        ("a.Csv.GZ", "csv"),
        ("a.csv.zst", "csv"),
        ("a.csv.zip", "csv"),
        ("a.tsv", "tsv"),
        ("a.TXT", "txt"),
        ("a.jsonl.gz", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.PARQUET", "parquet"),
        ("orders_export (1).csv", "csv"),
        ("a[1].csv", "csv"),
    ],
)
def test_a_suffix_in_any_case_tells_the_format(tmp_path: Path, name: str, kind: str) -> None:
    write_text(tmp_path / name, "a\n")
    assert [(f.name, f.kind) for f in list_raw_files(tmp_path, source()).files] == [(name, kind)]


def test_every_file_that_is_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("good.csv", "a.xlsx", "a.csv.bak", "a.parquet.gz", "README.txt", "_events.csv", "odd-name/e.csv"):
        write_text(tmp_path / name, "a\n")
    for name in (".good.csv.part", "_SUCCESS"):
        write_text(tmp_path / name, "")
    folder = list_raw_files(tmp_path, source())
    assert [f.name for f in folder.files] == ["good.csv"]
    found = reasons(folder)
    assert sorted(found) == ["README.txt", "_events.csv", "a.csv.bak", "a.parquet.gz", "a.xlsx", "odd-name/e.csv"]
    for name, part in (("a.xlsx", "save the sheet as csv"), ("odd-name/e.csv", "cannot be a view's name")):
        assert part in found[name]


def test_a_format_that_the_source_names_is_read_alone(tmp_path: Path) -> None:
    for name in ("a.csv", "b.tsv", "c.parquet"):
        write_text(tmp_path / name, "a\n")
    folder = list_raw_files(tmp_path, source("csv"))
    assert [f.name for f in folder.files] == ["a.csv", "b.tsv"]
    assert "format = 'csv'" in reasons(folder)["c.parquet"]


def test_files_of_the_nights_day_and_later_wait_and_are_named(tmp_path: Path) -> None:
    for day in ("2026-04-05", "2026-04-06", "2026-04-07"):
        write_text(tmp_path / f"{day}.csv", "a\n")
    folder = list_raw_files(tmp_path, source()).of_night(date(2026, 4, 6))
    assert [f.name for f in folder.files] == ["2026-04-05.csv"]
    assert told(folder.not_read) == (
        "2026-04-06.csv, 2026-04-07.csv (for nights from 2026-04-07 on, by the day in the name)"
    )


def test_folders_that_no_select_names_are_not_read_and_named(tmp_path: Path) -> None:
    for name in ("events/a.csv", "stock/a.csv"):
        write_text(tmp_path / name, "a\n")
    chosen = source(events="SELECT a FROM Events")
    folder = list_raw_files(tmp_path, chosen).named_by(chosen)
    assert [f.name for f in folder.files] == ["events/a.csv"]
    assert reasons(folder) == {"stock/a.csv": "no SELECT reads its folder"}


def test_a_view_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    for name in ("orders.csv", "order_items.csv"):
        write_text(tmp_path / name, "a\n")
    chosen = source(events="WITH own AS (SELECT 1 AS a) SELECT o.a FROM orders o JOIN order_items i, own")
    with pytest.raises(UserError, match="sub-folder of its own.*order_items/order_items.csv, orders/orders.csv"):
        list_raw_files(tmp_path, chosen).named_by(chosen)


def test_a_number_that_is_no_day_is_no_day(tmp_path: Path) -> None:
    write_text(tmp_path / "2026-13-45.csv", "a\n")
    assert [f.day for f in list_raw_files(tmp_path, source()).files] == [None]


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("items-2026-03-30-2026-04-06.csv", None),  # a week
        ("orders-2026-04-05-made-2026-04-06.csv", date(2026, 4, 5)),
        ("2026-13-45_2026-04-05.csv", date(2026, 4, 5)),
    ],
)
def test_a_file_of_several_days_is_of_no_day(name: str, day: date | None, tmp_path: Path) -> None:
    write_text(tmp_path / name, "a\n")
    assert [f.day for f in list_raw_files(tmp_path, source()).files] == [day]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone is not there"):
        list_raw_files(tmp_path / "gone", source())


def test_a_folder_without_a_file_that_can_be_read_is_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no file that can be read \(csv, .*it is empty"):
        list_raw_files(tmp_path, source())
    write_text(tmp_path / "orders.xlsx", "a\n")
    with pytest.raises(UserError, match=r"orders\.xlsx \(\.xlsx is not read; save the sheet as csv\)"):
        list_raw_files(tmp_path, source())
