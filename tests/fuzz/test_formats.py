"""Files of any dialect and format, written by other programs' writers: every row is read as it was, or named."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
import math
import random
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import UserError
from jobs.ingest.cells import BLANKS, GUEST, INVISIBLE_BLANKS
from jobs.ingest.files import RawFile
from jobs.ingest.formats import Findings, format_of
from jobs.ingest.raw_files import kind_of
from jobs.ingest.source import MISSING, Directives
from tests.support.hostile import cell, letters, mutated

Row = dict[str, str | None]
NAMES = ("id", "customer.id", "Bestell Nr", "größe", "Artikel-Nr.", "ts", "x", "Preis (EUR)", "名前", "_1")
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252", "latin-1", "utf-32")
MARKS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
"""Byte-order marks that Python's codec of the name does not write."""


def read(path: Path, directives: Directives) -> tuple[list[Row], Findings]:
    """Every row of a file, with null for the columns that its batch lacks."""
    kind = kind_of(path.name)
    assert kind
    findings = Findings()
    file = RawFile(path, path.name, "raw", None, path.stat().st_size, kind)
    batches = list(format_of(file, directives).batches(file, findings))
    assert all(set(batch.schema.types) <= {pa.string()} for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()], findings


def as_read(text: str | None) -> str | None:
    """What a value becomes: blanks that nobody sees are taken from its ends, its letters are composed."""
    if text is None or text in ("", *MISSING):
        return None
    plain = unicodedata.normalize("NFC", text.strip(INVISIBLE_BLANKS))
    plain = plain.strip(BLANKS) if plain != text else text
    return None if plain in ("", *MISSING) else plain


def differ(read_rows: list[Row], written: list[Row]) -> list[tuple[Row, Row]]:
    """Pairs that are not equal; GUEST may be missing, which depends on the others of its column."""

    def same(found: str | None, made: str | None) -> bool:
        return found == as_read(made) or (made is not None and made.strip(BLANKS) == GUEST and found is None)

    return [
        (found, made)
        for found, made in zip(read_rows, written, strict=True)
        if not all(same(found.get(name), made.get(name)) for name in found.keys() | made.keys())
    ]


def packed(rng: random.Random, path: Path, content: bytes) -> Path:
    """Write the content plain or packed, with a suffix in small letters or capitals."""
    kind = rng.choice(("", "", ".gz", ".zst", ".zip"))
    stream = io.BytesIO()
    if kind == ".gz":  # of two members, as appended files are
        cut = rng.randrange(len(content) + 1)
        stream.write(gzip.compress(content[:cut]) + gzip.compress(content[cut:]))
    elif kind == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(content)
        stream.write(sink.getvalue())
    elif kind == ".zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(rng.choice(("orders.csv", "export/Orders 1.csv")), content)
    else:
        stream.write(content)
    name = path.name + kind
    whole = path.with_name(name.upper() if rng.random() < 0.2 else name)
    whole.write_bytes(stream.getvalue())
    return whole


# --- delimited text


@dataclass(frozen=True)
class Written:
    """How a file of delimited text is written."""

    delimiter: str
    quoting: int
    quote: str
    escape: str
    end: str
    encoding: str
    separator_line: bool
    blank_lines: int

    def of(self, names: list[str], rows: list[list[str]], ragged: dict[int, list[str]]) -> bytes:
        """The file; `ragged` rows stand before those of their number."""
        stream = io.StringIO(newline="")
        writer = csv.writer(
            stream,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            escapechar=self.escape or None,
            doublequote=not self.escape,
            quoting=self.quoting,
            lineterminator=self.end,
        )
        stream.write(f"sep={self.delimiter}{self.end}" if self.separator_line else "")
        stream.write(self.end * self.blank_lines)
        writer.writerow(names)
        for number, row in enumerate(rows):
            if number in ragged:
                stream.write(self.delimiter.join(ragged[number]) + self.end)
            writer.writerow(row)
        return MARKS.get(self.encoding, b"") + stream.getvalue().encode(self.encoding)

    def directives(self, columns: int) -> Directives:
        """What the source has to say, and the file does not tell."""
        given: dict[str, Any] = {"quote": self.quote, "escape": self.escape}
        told = self.separator_line or (self.delimiter in ",;\t|" and columns > 1)
        if self.encoding in ("windows-1252", "latin-1"):
            given["encoding"] = self.encoding
        return Directives(**given, delimiter="" if told else self.delimiter)


def dialect(rng: random.Random) -> Written:
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_ALL, csv.QUOTE_NONE))
    escape = "\\" if quoting == csv.QUOTE_NONE or rng.random() < 0.25 else ""
    return Written(
        delimiter=rng.choice(",,;;\t|~^"),
        quoting=quoting,
        quote="" if quoting == csv.QUOTE_NONE else rng.choice('"""\''),
        escape=escape,
        end=rng.choice(("\n", "\r\n", "\r\n", "\r")),
        encoding=rng.choice(ENCODINGS),
        separator_line=rng.random() < 0.2,
        blank_lines=rng.choice((0, 0, 0, 1, 3)),
    )


def writable(rng: random.Random, written: Written) -> str:
    """A cell that the dialect can hold."""
    text = rng.choice((cell(rng), letters(rng, 8), "plain", "12,5", "2026-04-05 10:00:00"))
    if written.quoting != csv.QUOTE_ALL:  # Python's writer quotes no line end but its own
        text = " ".join(text.splitlines()) if text.splitlines() else text
        text = text.replace("\r", " ").replace("\n", " ")
    text = text.replace("\0", "")  # which Python's writer leaves unquoted
    return text.encode(written.encoding, "replace").decode(written.encoding) if text else text


def delimited(folder: Path, rng: random.Random) -> None:
    """Every row is read as it was written, and ragged ones are named with their lines."""
    written = dialect(rng)
    names = [
        n
        for n in rng.sample(NAMES, rng.randint(1, 6))
        if n.encode(written.encoding, "ignore").decode(written.encoding) == n
    ]
    # A row without any value would be skipped: each has its number.
    rows = [[*(writable(rng, written) for _ in names), str(number)] for number in range(rng.choice((0, 1, 3, 40)))]
    names.append("number")
    ragged = {}
    if len(names) > 2 and rows:
        ragged = {
            rng.randrange(len(rows)): ["r"] * rng.choice((2, len(names) + 1)) for _ in range(rng.choice((0, 0, 2)))
        }
    content = written.of(names, rows, ragged)
    if content.decode("utf-8", "ignore").encode() == content:  # letters that are UTF-8 by chance, as CafÃ© is
        content = content if content.isascii() else replace(written, encoding="utf-8").of(names, rows, ragged)
    path = packed(rng, folder / f"f.{rng.choice(('csv', 'txt'))}", content)
    found, findings = read(path, written.directives(len(names)))
    made = [dict(zip(names, row, strict=True)) for row in rows]
    assert len(found) == len(made), (written, found[:3], made[:3])
    assert not (wrong := differ(found, made)), (written, wrong[0])
    assert [row.text.split(written.delimiter) for row in findings.malformed] == [ragged[n] for n in sorted(ragged)]
    assert [row.reason for row in findings.malformed] == [
        "too few fields" if len(ragged[n]) < len(names) else "too many fields" for n in sorted(ragged)
    ]


# --- JSON lines


NO_OBJECTS = ("[1, 2]", "17", "{", "{'a': 1}", "null", '"x"', "x" * 300, '{"id": 1}}', '{"id": 1, "ID": 2}')


def json_value(rng: random.Random, depth: int = 0) -> object:
    values: tuple[Callable[[], object], ...] = (
        lambda: cell(rng),
        lambda: letters(rng, 8),
        lambda: rng.randint(-(10**18), 10**18),
        lambda: rng.choice((0.5, 2.0, -0.0, 1e300, 12.95, 1e16, 1e-7)),
        lambda: rng.choice((True, False, None)),
        lambda: [json_value(rng, depth + 1) for _ in range(rng.randint(0, 2))],
        lambda: {letters(rng, 3): json_value(rng, depth + 1) for _ in range(rng.randint(0, 2))},
    )
    return rng.choice(values if depth < 3 else values[:5])()


def matches(found: str | None, made: object) -> bool:
    """Whether the text stands for the value."""
    if made is None or isinstance(made, str):
        return not differ([{"x": found}], [{"x": made}])
    if isinstance(made, bool):
        return found == ("true" if made else "false")
    if isinstance(made, int):
        return found == str(made)
    if isinstance(made, float):
        return found is not None and float(found) == made and (abs(made) > 2**53 or made % 1 != 0 or "." not in found)
    return found is not None and json.loads(found) == made


def json_lines(folder: Path, rng: random.Random) -> None:
    """Objects with other keys each, in other capitals; lines that are none are named."""
    rows, lines, others = [], [], []
    for number in range(1, rng.choice((1, 3, 40)) + 1):
        if rng.random() < 0.1 and number > 1:
            others.append(number)
            lines.append(rng.choice(NO_OBJECTS))
            continue
        row = {name: json_value(rng) for name in rng.sample(NAMES, rng.randint(1, 6))} | {"number": number}
        rows.append({name.casefold(): value for name, value in row.items()})
        spelled = {rng.choice((name, name, name.upper(), f" {name}")): value for name, value in row.items()}
        lines.append(json.dumps(spelled, ensure_ascii=rng.random() < 0.5))
    end = rng.choice(("\n", "\r\n"))
    content = (end.join(lines) + rng.choice(("", end, end + end))).encode(rng.choice(("utf-8", "utf-8-sig", "utf-16")))
    path = packed(rng, folder / f"f.{rng.choice(('jsonl', 'ndjson', 'json'))}", content)
    found, findings = read(path, Directives())
    assert [row.line for row in findings.malformed] == others
    assert len(found) == len(rows)
    for mine, made in zip(found, rows, strict=True):
        texts = {name.casefold(): value for name, value in mine.items()}
        assert texts.keys() >= made.keys()
        wrong = [name for name in texts if not matches(texts[name], made.get(name))]
        assert not wrong, (texts[wrong[0]], made.get(wrong[0]))


# --- Parquet

START = datetime(1990, 1, 1)
ZONES = (None, "UTC", "America/New_York", "Asia/Kolkata", "+05:30")


def moment(rng: random.Random) -> datetime:
    return START + timedelta(seconds=rng.randrange(40 * 365 * 86_400), microseconds=rng.choice((0, 0, 250_000, 1)))


def column(rng: random.Random, size: int, depth: int = 0) -> pa.Array:
    """Values of any type that files of shops and data frames have."""
    unit = rng.choice(("s", "ms", "us", "ns"))
    few = ["red", "grün", "x" * 30]
    whole = [rng.choice((1.0, 20_000_000.0, -3.0)) for _ in range(size)]
    makers: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([cell(rng) for _ in range(size)], rng.choice((pa.string(), pa.large_string()))),
        lambda: pa.array(
            [moment(rng).replace(microsecond=0) for _ in range(size)], pa.timestamp(unit, rng.choice(ZONES))
        ),
        lambda: pa.array([moment(rng) for _ in range(size)], pa.timestamp(rng.choice(("us", "ns")), rng.choice(ZONES))),
        lambda: pa.array([rng.choice(few) for _ in range(size)]).dictionary_encode(),
        lambda: pa.array([Decimal(rng.randint(-(10**9), 10**9)).scaleb(-2) for _ in range(size)], pa.decimal128(20, 2)),
        lambda: pa.array(whole, rng.choice((pa.float32(), pa.float64()))),
        lambda: pa.array([rng.uniform(-1e6, 1e6) for _ in range(size)], rng.choice((pa.float32(), pa.float64()))),
        lambda: pa.array([rng.choice((math.nan, 0.5, 1e300, -0.0, 7.0)) for _ in range(size)]),
        lambda: pa.array([rng.randrange(100) for _ in range(size)], rng.choice((pa.int8(), pa.uint16(), pa.int32()))),
        lambda: pa.array([rng.randint(-(2**63), 2**63 - 1) for _ in range(size)], pa.int64()),
        lambda: pa.array([rng.choice((True, False)) for _ in range(size)]),
        lambda: pa.array([moment(rng).date() for _ in range(size)], rng.choice((pa.date32(), pa.date64()))),
        lambda: pa.array([letters(rng, 6).encode() for _ in range(size)], pa.binary()),
        lambda: pa.nulls(size),
    )
    nested: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([[cell(rng) for _ in range(rng.randint(0, 3))] for _ in range(size)], pa.list_(pa.string())),
        lambda: pa.StructArray.from_arrays([column(rng, size, depth + 1) for _ in range(2)], ["a", "b"]),
    )
    made = rng.choice(makers + nested if depth < 2 else makers)()
    gaps = pa.array([rng.random() < 0.1 for _ in range(size)])
    if pa.types.is_dictionary(made.type) or pa.types.is_nested(made.type) or pa.types.is_null(made.type):
        return made
    return pa.compute.if_else(gaps, pa.scalar(None, made.type), made)


def stands_for(found: str | None, made: Any, kind: pa.DataType) -> bool:
    """Whether the text is the value of that type; instants are compared as instants."""
    if made is None or (isinstance(made, float) and math.isnan(made)):
        return found is None
    if isinstance(made, bytes):
        return matches(found, made.decode("utf-8", "replace"))
    if isinstance(made, datetime):
        told = datetime.fromisoformat(found) if found else None
        at = made.astimezone(UTC) if made.tzinfo else made  # Python's == is false in the hour that comes twice
        return told is not None and (told.tzinfo is None) == (at.tzinfo is None) and told == at
    if isinstance(made, date):
        return found == made.isoformat()
    if isinstance(made, Decimal):
        return found is not None and Decimal(found) == made
    if pa.types.is_float32(kind):
        return found is not None and pa.scalar(float(found), pa.float32()).as_py() == made
    if isinstance(made, list | dict):
        return found is not None and json.loads(found) == json.loads(json.dumps(made, default=str))
    return matches(found, made)


def parquet(folder: Path, rng: random.Random) -> None:
    """Values of any type become the text that stands for them."""
    size = rng.choice((0, 1, 7, 300))
    names = rng.sample(NAMES, rng.randint(1, 6))
    table = pa.table([*(column(rng, size) for _ in names), pa.array(range(size))], [*names, "number"])
    path = folder / rng.choice(("f.parquet", "F.PARQUET"))
    pq.write_table(
        table, path, row_group_size=rng.choice((1, 100, 1000)), compression=rng.choice(("snappy", "zstd", "none"))
    )
    found, findings = read(path, Directives())
    written = pq.read_table(path)  # Parquet has no seconds
    assert len(found) == size
    assert findings.malformed == []
    for name in names:
        kind = written.schema.field(name).type
        for mine, made in zip(found, written[name].to_pylist(), strict=True):
            assert stands_for(mine[name], made, kind), (kind, mine[name], made)


# --- damaged files


def damaged(folder: Path, rng: random.Random) -> None:
    """A file with other bytes is read or refused in words."""
    writers: tuple[Callable[[Path, random.Random], None], ...] = (delimited, json_lines, parquet)
    rng.choice(writers)(folder, rng)
    (path,) = folder.iterdir()
    path.write_bytes(mutated(rng, path.read_bytes()))
    if rng.random() < 0.1:
        path = path.rename(folder / "f.csv.gz")
    with contextlib.suppress(UserError):
        read(path, Directives())


WRITERS: tuple[Callable[[Path, random.Random], None], ...] = (delimited, json_lines, parquet, damaged)


@pytest.mark.parametrize("inputs", [60, pytest.param(4_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("written", WRITERS, ids=lambda written: written.__name__)
def test_a_file_is_read_as_it_was_written(written: Callable[[Path, random.Random], None], inputs: int) -> None:
    for number in range(inputs):
        seed = f"{written.__name__}-{number}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                written(Path(folder), random.Random(seed))
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r}"[:2_000]) from error
