"""A raw file of any dialect gives its rows as text, and a row or file that cannot be read is named."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import UserError
from jobs.ingest.files import RawFile
from jobs.ingest.formats import LONGEST_ROW, Findings, format_of
from jobs.ingest.raw_files import kind_of
from jobs.ingest.source import Directives

Rows = list[tuple[str | None, ...]]


def raw_file(path: Path) -> RawFile:
    kind = kind_of(path.name)
    assert kind
    return RawFile(path, path.name, "raw", None, path.stat().st_size, kind)


def read(path: Path, **directives: Any) -> tuple[tuple[str, ...], Rows, Findings]:
    """Column names, rows and findings of a file."""
    findings = Findings()
    raw_format = format_of(raw_file(path), Directives(**directives))
    rows: Rows = []
    for batch in raw_format.batches(raw_file(path), findings):
        rows += [tuple(row.values()) for row in batch.to_pylist()]
    return raw_format.columns(raw_file(path)), rows, findings


def written(folder: Path, content: bytes | str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


PLAIN = "id,name\n1,Café\n2,b\n"
DIALECTS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "plain": (PLAIN.encode(), {}),
    "without an end": (PLAIN.rstrip("\n").encode(), {}),
    "Windows' line ends": (PLAIN.replace("\n", "\r\n").encode(), {}),
    "old line ends": (PLAIN.replace("\n", "\r").encode(), {}),
    "byte-order mark": (PLAIN.encode("utf-8-sig"), {}),
    "UTF-16 with a mark": (PLAIN.encode("utf-16"), {}),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), {}),
    "UTF-16, big end first": (PLAIN.encode("utf-16-be"), {}),
    "Windows-1252": (PLAIN.encode("windows-1252"), {"encoding": "windows-1252"}),
    "semicolons": (PLAIN.replace(",", ";").encode(), {}),
    "tabs": (PLAIN.replace(",", "\t").encode(), {}),
    "bars": (PLAIN.replace(",", "|").encode(), {}),
    "another delimiter": (PLAIN.replace(",", "~").encode(), {"delimiter": "~"}),
    "Excel's first line": (b"sep=;\r\n" + PLAIN.replace(",", ";").encode(), {}),
    "empty lines first": (b"\n\r\n;;\n" + PLAIN.replace(",", ";").encode(), {}),
    "empty lines between": (PLAIN.replace("\n", "\n\n").encode(), {}),
    "quoted": (b'"id","name"\n"1","Caf\xc3\xa9"\n"2","b"\n', {}),
    "blanks around names": (PLAIN.replace("id,name", " id , name").encode(), {}),
    "gzip": (gzip.compress(PLAIN.encode()), {}),
    "gzip in two parts": (gzip.compress(PLAIN[:9].encode()) + gzip.compress(PLAIN[9:].encode()), {}),
    "zstd": (pa.compress(PLAIN.encode(), codec="zstd", asbytes=True), {}),
}


def zipped(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize("case", DIALECTS)
def test_a_dialect_gives_the_rows_that_it_means(case: str, tmp_path: Path) -> None:
    content, directives = DIALECTS[case]
    names, rows, findings = read(written(tmp_path, content), **directives)
    assert (names, rows) == (("id", "name"), [("1", "Café"), ("2", "b")])
    assert not findings.malformed and not findings.broken


def test_a_zip_archive_gives_its_one_file(tmp_path: Path) -> None:
    path = written(tmp_path, zipped(**{"a.csv": PLAIN, "__MACOSX/._a.csv": "x"}), "a.csv.zip")
    assert read(path)[1] == [("1", "Café"), ("2", "b")]
    with pytest.raises(UserError, match=r"b\.csv\.zip holds 2 files; unpack it"):
        read(written(tmp_path, zipped(a=PLAIN, b=PLAIN), "b.csv.zip"))


def test_fields_of_rfc_4180_and_escaped_ones_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n"x, ""y""","two\nlines"\nhe said "hi","C\\4"\n"",x\n,""\n')
    assert read(path)[1] == [('x, "y"', "two\nlines"), ('he said "hi"', "C\\4"), (None, "x")]
    path = written(tmp_path, 'a,b\n"x \\"y\\"",1\\,5\n', "b.csv")
    assert read(path, escape="\\")[1] == [('x "y"', "1,5")]
    path = written(tmp_path, 'a\tb\n"12 inch\t1\n', "c.tsv")
    assert read(path, quote="")[1] == [('"12 inch', "1")]


def test_columns_without_a_name_are_named_by_their_place(tmp_path: Path) -> None:
    names, rows, _ = read(written(tmp_path, ",id,\n0,a,b\n"))
    assert (names, rows) == (("column_1", "id", "column_3"), [("0", "a", "b")])


def test_a_header_that_leaves_out_a_column_is_understood(tmp_path: Path) -> None:
    names, rows, _ = read(written(tmp_path, "id;name\n1;a;\n2;b;\n"))
    assert (names, rows) == (("id", "name", "column_3"), [("1", "a", None), ("2", "b", None)])
    names, rows, _ = read(written(tmp_path, '"id","name"\n"1","x","a"\n"2","y","b"\n', "r.csv"))
    assert (names, rows[1]) == (("column_1", "id", "name"), ("2", "y", "b"))
    _, rows, findings = read(written(tmp_path, "id,price\na,12,95\nb,8,50\n", "comma.csv"))
    assert (rows, len(findings.malformed)) == ([], 2), "a decimal comma shifts no column"


def test_a_file_without_a_header_line_has_the_names_of_the_source(tmp_path: Path) -> None:
    names, rows, _ = read(written(tmp_path, "\n1,a\n2,b\n"), header=["id", "name"])
    assert (names, rows) == (("id", "name"), [("1", "a"), ("2", "b")])


def test_rows_with_too_few_or_too_many_fields_are_set_apart_with_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n\n1,"two\nlines"\n1,2,3\n3,4\nTotal\n')
    _, rows, findings = read(path)
    assert rows == [("1", "two\nlines"), ("3", "4")]
    assert [(row.line, row.reason, row.text) for row in findings.malformed] == [
        (5, "too many fields", "1,2,3"),
        (7, "too few fields", "Total"),
    ]


@pytest.mark.parametrize("end", ["", "\n5,6\n", '7,"8"\n9,10\n', '7,8\n9,"a"\n'])
def test_a_quote_that_is_not_closed_loses_no_row_in_silence(end: str, tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n1,2\n3,"4\n' + "5,6\n" * 5 + end)
    with pytest.raises(UserError, match="quote") as caught:
        read(path)
    assert "a.csv" in str(caught.value)


def test_a_row_after_whose_quote_others_are_lost_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n1,2\n"3,4\n' + "5,6\n" * 5 + '7,"8"\n9,10\n')
    with pytest.raises(UserError, match=r"a\.csv has a quote in line 3 that is not closed"):
        read(path)


def test_texts_over_several_lines_are_no_fault(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n1,"Soft, warm\nFor ""cold"" days, and others\nWash cold"\n')
    assert len(read(path)[1]) == 1


def test_a_row_longer_than_any_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, b'a,b\n1,"' + b"x" * (2 * LONGEST_ROW + 10) + b'"\n')
    with pytest.raises(UserError, match=r"a\.csv has a row of more than"):
        read(path)


def test_bytes_of_another_encoding_are_replaced_and_counted(tmp_path: Path) -> None:
    _, rows, findings = read(written(tmp_path, PLAIN.encode("windows-1252")))
    assert rows == [("1", "Caf\ufffd"), ("2", "b")]
    assert findings.broken == 1


def test_an_encoding_is_that_of_the_files_which_are_not_utf8(tmp_path: Path) -> None:
    for name, content in (("a.csv", PLAIN.encode("windows-1252")), ("b.csv", PLAIN.encode())):
        assert read(written(tmp_path, content, name), encoding="windows-1252")[1][0] == ("1", "Café")
    path = written(tmp_path, '{"id": "1"}\n' * 200_000 + '{"id": "Café"}\n', "c.jsonl")
    assert read(path, encoding="windows-1252")[1][-1] == ("Café",)


def test_missing_values_are_null_whatever_stands_for_them(tmp_path: Path) -> None:
    words = ["", "nan", "NULL", "\\N", "(not set)", "N/A", "<NA>", "None"]
    content = "a,b\n" + "".join(f"{word},x\n" for word in words)
    assert {row[0] for row in read(written(tmp_path, content))[1]} == {None}
    assert {row[0] for row in read(written(tmp_path, json_lines(words), "b.jsonl"))[1]} == {None}
    assert read(written(tmp_path, "a,b\nNA,x\nnan,x\n?,x\n", "c.csv"), missing=["?"])[1] == [
        ("NA", "x"),
        ("nan", "x"),
        (None, "x"),
    ]


def json_lines(values: list[Any]) -> str:
    return "".join(json.dumps({"a": value, "b": 1}) + "\n" for value in values)


def test_minus_one_is_missing_among_texts_and_a_number_among_numbers(tmp_path: Path) -> None:
    _, rows, _ = read(written(tmp_path, "user,stock\nanna,3\n-1,-1\nbo,5\n"))
    assert rows == [("anna", "3"), (None, "-1"), ("bo", "5")]


def test_invisible_blanks_and_letters_in_two_parts_are_made_equal_and_counted(tmp_path: Path) -> None:
    content = "id,name\n\u00a0A1\u200b,x\nA1,Cafe\u0301\nA\u00a01, B \n"
    _, rows, findings = read(written(tmp_path, content))
    assert rows == [("A1", "x"), ("A1", "Café"), ("A\u00a01", " B ")]
    assert findings.cleaned == {"id": 1, "name": 1}


def test_json_lines_have_a_column_for_every_key(tmp_path: Path) -> None:
    content = (
        '{"id": 1, "price": 12.50, "ok": true, "user": {"id": "é"}}\n\n'
        'no json\n{"id": 17850.0, "extra": [1, "x"], "big": 12345678901234567890, "none": null}\n[1]\n'
    )
    names, rows, findings = read(written(tmp_path, content, "a.jsonl"))
    assert names == ("id", "price", "ok", "user", "extra", "big", "none")
    assert rows == [
        ("1", "12.5", "true", '{"id": "\\u00e9"}', None, None, None),
        ("17850", None, None, None, '[1, "x"]', "12345678901234567890", None),
    ]
    assert [(row.line, row.text) for row in findings.malformed] == [(3, "no json"), (5, "[1]")]
    with pytest.raises(UserError, match="is one JSON array"):
        read(written(tmp_path, '[{"id": 1},\n{"id": 2}]', "b.json"))


def test_a_json_line_longer_than_any_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": "' + "x" * LONGEST_ROW + '"}\n', "a.jsonl")
    with pytest.raises(UserError, match=r"a\.jsonl has a line of more than 1,048,576 characters \(1\)"):
        read(path)


INSTANT = datetime(2026, 4, 1, 22, 30, tzinfo=UTC)
NEW_YORK = INSTANT.astimezone(timezone(timedelta(hours=-4)))
PARQUET: dict[str, tuple[pa.Array, str]] = {
    **{
        f"timestamp in {unit}, {zone or 'no zone'}": (
            pa.array([INSTANT if zone else INSTANT.replace(tzinfo=None)], pa.timestamp(unit, zone)),
            "2026-04-01 22:30:00",
        )
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "America/New_York", "+05:30")
    },
    "date": (pa.array([date(2026, 4, 1)]), "2026-04-01"),
    "date in milliseconds": (pa.array([date(2026, 4, 1)], pa.date64()), "2026-04-01"),
    "dictionary": (pa.array(["P1"]).dictionary_encode(), "P1"),
    "dictionary of instants": (
        pa.array([INSTANT], pa.timestamp("us", "UTC")).dictionary_encode(),
        "2026-04-01 22:30:00",
    ),
    "large text": (pa.array(["P1"], pa.large_string()), "P1"),
    "bytes": (pa.array(["Café".encode()]), "Café"),
    "broken bytes": (pa.array([b"Caf\xe9"]), "Caf\ufffd"),
    "decimal": (pa.array([Decimal("12.95")]), "12.95"),
    "whole decimal": (pa.array([Decimal("17850.00")]), "17850"),
    "float": (pa.array([12.95]), "12.95"),
    "short float": (pa.array([12.95], pa.float32()), "12.95"),
    "whole float": (pa.array([17850.0]), "17850"),
    "whole number": (pa.array([17850], pa.uint16()), "17850"),
    "truth": (pa.array([True]), "true"),
    "list": (pa.array([["a", "b"]]), '["a", "b"]'),
    "record": (pa.array([{"sku": "P1", "n": 2}]), '{"sku": "P1", "n": 2}'),
}


@pytest.mark.parametrize("case", PARQUET)
def test_a_parquet_value_becomes_the_text_that_it_means(case: str, tmp_path: Path) -> None:
    values, expected = PARQUET[case]
    nothing = pa.nulls(1, values.type)
    values = values if pa.types.is_dictionary(values.type) else pa.concat_arrays([values, nothing])
    pq.write_table(pa.table({"v": values}), tmp_path / "a.parquet")
    _, rows, _ = read(tmp_path / "a.parquet")
    text = str(rows[0][0])
    assert text.removesuffix("Z").removesuffix(".000000") == expected
    assert text.endswith("Z") == ((case.startswith("timestamp") and "no zone" not in case) or "instants" in case)
    assert [row[0] for row in rows[1:]] == [None] * (len(rows) - 1)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz"])
def test_an_empty_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{name} is empty"):
        read(written(tmp_path, b"\n\n" if name == "a.csv" else b"", name))


@pytest.mark.parametrize("part", [0.2, 0.5, 0.99])
def test_a_file_cut_short_is_named_and_a_whole_one_is_read(part: float, tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))
    assert len(read(written(tmp_path, packed, "whole.csv.gz"))[1]) == 5000
    with pytest.raises(UserError, match=r"short\.csv\.gz cannot be read: .*damaged or cut short"):
        read(written(tmp_path, packed[: int(len(packed) * part)], "short.csv.gz"))


def test_a_file_that_unpacks_to_more_than_the_limit_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * (1 << 19))
    with pytest.raises(UserError, match=r"a\.csv\.gz .* holds more than max_file_mb = 1 MiB"):
        read(written(tmp_path, packed, "a.csv.gz"), max_file_mb=1)


def test_column_names_that_cannot_be_distinguished_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'ID' more than once"):
        read(written(tmp_path, "id,ID\n1,2\n"))


@pytest.mark.parametrize(
    ("directives", "part"),
    [
        ({"delimiter": ";;"}, "delimiter = ';;' is not one ASCII character"),
        ({"quote": "é"}, "quote = 'é' is not one"),
        ({"delimiter": ";", "quote": ";"}, "not three different characters"),
        ({"encoding": "latin-17"}, "encoding = 'latin-17' is none that Python knows"),
    ],
)
def test_a_dialect_that_cannot_be_is_refused(directives: dict[str, str], part: str) -> None:
    with pytest.raises(UserError) as caught:
        Directives(**directives)  # type: ignore[arg-type]
    assert part in str(caught.value)
