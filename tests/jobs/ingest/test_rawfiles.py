"""The drop zone is listed as it is, and a file that cannot be read is named."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.ingest.formats import Csv, RawFile
from jobs.ingest.raw_files import list_raw_files
from jobs.ingest.source import Directives, Source
from tests.support.tables import write_text


def source(format: str = "csv", delimiter: str = ",") -> Source:
    return Source(Path("shop.sql"), Directives(format=format, delimiter=delimiter), {"events": "SELECT 1"})


def only_file(folder: Path) -> RawFile:
    files = list_raw_files(folder, source())
    assert len(files) == 1
    return files[0]


def test_a_file_has_a_view_a_day_and_a_size(tmp_path: Path) -> None:
    write_text(tmp_path / "2026-03-09.csv", "a,b\n")
    write_text(tmp_path / "events" / "export_2026-03-10_v2.csv.gz", "a\n")
    write_text(tmp_path / "events" / "2026" / "growing.csv", "a\n")
    listed = [(f.name, f.view, f.day) for f in list_raw_files(tmp_path, source())]
    assert listed == [
        ("2026-03-09.csv", "raw", date(2026, 3, 9)),
        ("events/2026/growing.csv", "events", None),
        ("events/export_2026-03-10_v2.csv.gz", "events", date(2026, 3, 10)),
    ]
    assert list_raw_files(tmp_path, source())[0].bytes == len("a,b\n")


def test_hidden_files_and_other_formats_are_left_alone(tmp_path: Path) -> None:
    for name in (".2026-03-09.csv.gz.part", ".hidden.csv", "_SUCCESS.csv", "README.txt", "a.parquet", "a.csv.bak"):
        write_text(tmp_path / name, "a\n")
    write_text(tmp_path / "good.csv", "a\n")
    assert [f.name for f in list_raw_files(tmp_path, source())] == ["good.csv"]
    assert [f.name for f in list_raw_files(tmp_path, source("parquet"))] == ["a.parquet"]


def test_a_number_that_is_no_day_is_no_day(tmp_path: Path) -> None:
    write_text(tmp_path / "2026-13-45.csv", "a\n")
    assert only_file(tmp_path).day is None


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone is not there"):
        list_raw_files(tmp_path / "gone", source())


def test_an_empty_folder_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no file ending in \.csv or \.csv\.gz; shop\.sql says format = 'csv'"):
        list_raw_files(tmp_path, source())


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_the_header_of_a_file_is_read_without_its_byte_order_mark(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, '\ufeffid;"a;b"\n1;2\n')
    assert Csv(source(delimiter=";")).columns(only_file(tmp_path)) == ("id", "a;b")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "")
    with pytest.raises(UserError, match=rf"{name} is empty, without even a header"):
        Csv(source()).columns(only_file(tmp_path))


def test_a_file_that_is_no_gzip_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"id,b\n1,2\n")
    with pytest.raises(UserError, match=r"a\.csv\.gz cannot be read"):
        Csv(source()).columns(only_file(tmp_path))
    with pytest.raises(UserError, match=r"a\.csv\.gz cannot be read"):
        Csv(source()).read_all(only_file(tmp_path))


def test_a_file_cut_short_is_found_and_a_whole_one_is_not(tmp_path: Path) -> None:
    write_text(tmp_path / "whole.csv.gz", "a,b\n" + "1,2\n" * 1000)
    Csv(source()).read_all(only_file(tmp_path))
    packed = gzip.compress(b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))
    (tmp_path / "short.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"short\.csv\.gz cannot be read: .*damaged or cut short"):
        Csv(source()).read_all(list_raw_files(tmp_path, source())[0])
