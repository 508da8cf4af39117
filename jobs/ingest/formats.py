"""Reads raw files of each format as Arrow batches of text columns, with the rows that are malformed apart."""

from __future__ import annotations

import csv
import json
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from jobs.errors import UserError
from jobs.ingest.cells import CellCleaner, as_text, text_of
from jobs.ingest.files import Kind, RawFile, too_large
from jobs.ingest.source import Directives, first_line
from jobs.ingest.text import CHUNK, LONGEST_ROW, Dialect, Utf8Stream, column_names, dialect_of, text_lines
from jobs.text import clean

END = "\x00the end\x00"
"""First field of a row put behind a file's last one: where it is not read, a quote before it is not closed."""
CORRECT_QUOTE = 'correct it, or set quote = "" in the source where quotes are letters like others'
LINE_FEED = b"\n"[0]
LINE_END = re.compile("\r\n|\r|\n")
DAMAGE = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error, pa.ArrowException),
    NotImplementedError,  # a zip archive of a kind that Python does not unpack
)
"""What libraries raise for files that are damaged or of an unknown kind."""
LONGEST_SHOWN = 10_000
"""Most characters of a malformed row that are kept."""


@dataclass(frozen=True)
class MalformedRow:
    """A row that has no columns to be read by."""

    line: int
    """Of its file, from 1."""
    reason: str
    text: str


@dataclass
class Findings:
    """The other results of reading a file: what its rows do not tell."""

    malformed: list[MalformedRow] = field(default_factory=list)
    empty: int = 0
    """Rows without any value, as spreadsheets leave them behind their last one; they are skipped."""
    broken: int = 0
    """Characters that stand for bytes which are no text in the file's encoding."""
    cleaned: Counter[str] = field(default_factory=Counter)
    """Column -> values from whose ends invisible blanks were taken, or whose letters were composed (NFC)."""


class RawFormat(ABC):
    """A format of raw files. Methods raise UserError naming a file that cannot be read, and why."""

    finds_missing: ClassVar[bool] = False
    """Whether `_batches` has null for missing values already."""

    def __init__(self, directives: Directives) -> None:
        self.directives = directives

    @abstractmethod
    def columns(self, file: RawFile) -> tuple[str, ...]:
        """Column names of a file."""

    @abstractmethod
    def _batches(self, file: RawFile, findings: Findings) -> Iterator[pa.RecordBatch]:
        """All rows, every column text."""

    def batches(self, file: RawFile, findings: Findings) -> Iterator[pa.RecordBatch]:
        """All rows in the memory of some of them: every column text, with null for a missing value.

        What the rows do not tell is added to `findings` by the time of the last one.
        """
        cells = CellCleaner(self.directives.missing, findings.cleaned, self.finds_missing)
        with reading(file):
            for batch in self._batches(file, findings):
                yield _with_values(cells.cleaned(batch), findings)


def _with_values(batch: pa.RecordBatch, findings: Findings) -> pa.RecordBatch:
    """The rows that have any value."""
    empty = None
    for column in batch.columns:
        if not column.null_count:
            return batch
        empty = column.is_null() if empty is None else pc.and_(empty, column.is_null())
    count = pc.sum(empty).as_py() or 0 if empty is not None else 0
    findings.empty += count
    return batch.filter(pc.invert(empty)) if count else batch


class Delimited(RawFormat):
    """Text with one row a line and a character between its fields (RFC 4180, and dialects of it)."""

    finds_missing = True

    def columns(self, file: RawFile) -> tuple[str, ...]:
        """The fields of the header."""
        with reading(file):
            return column_names(file, dialect_of(file, self.directives).header)

    def _batches(self, file: RawFile, findings: Findings) -> Iterator[pa.RecordBatch]:
        dialect = dialect_of(file, self.directives)
        names = column_names(file, dialect.header)
        bad: list[pa_csv.InvalidRow] = []

        def set_apart(row: pa_csv.InvalidRow) -> str:
            bad.append(row)
            return "skip"

        end = f"\n{END}{dialect.delimiter * (len(names) - 1)}\n".encode()
        stream = Utf8Stream(file, self.directives, end)
        with pa_csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # Not through several threads: rows keep their order, and the last one is the end's.
            pa_csv.ReadOptions(
                use_threads=False, block_size=LONGEST_ROW, column_names=names, skip_rows=dialect.header_lines
            ),
            pa_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
                escape_char=dialect.escape or False,
                newlines_in_values=bool(dialect.quote),
                invalid_row_handler=set_apart,
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=["", *self.directives.missing],
                strings_can_be_null=True,
            ),
        ) as batches:
            for batch in _up_to_end(file, batches):
                _check_swallowed(file, dialect, batch)
                yield batch
        findings.broken += stream.broken
        if bad:
            findings.malformed += self._located(file, dialect, bad)

    def _located(self, file: RawFile, dialect: Dialect, bad: list[pa_csv.InvalidRow]) -> Iterator[MalformedRow]:
        """The rows with too few or too many fields, with their lines, which the reader does not count.

        A row over several lines in which others stand is one after whose quote the reader lost its way.
        """
        with text_lines(Utf8Stream(file, self.directives)) as text:
            numbered = enumerate(text, start=1)
            for row in bad:
                begin, *others = LINE_END.split(row.text)
                number = next((number for number, line in numbered if line.rstrip("\r\n") == begin), 0)
                fields = (len(each) for each in dialect.rows(iter(others)))
                if others and row.expected_columns in fields:
                    raise UserError(
                        f"the raw file {file.name} has a quote in line {number} that is not closed, so the lines after "
                        f"it would be lost: {clean(begin)[:80]!r}; {CORRECT_QUOTE}"
                    )
                reason = "too few fields" if row.actual_columns < row.expected_columns else "too many fields"
                yield MalformedRow(number, reason, row.text[:LONGEST_SHOWN])


def _up_to_end(file: RawFile, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """All rows but the last, which must be the one that stands for the end; raises UserError where it is not."""
    held = None
    for batch in batches:
        if len(batch):
            if held is not None:
                yield held
            held = batch
    if held is None or held.column(0)[-1].as_py() != END:
        raise UserError(
            f"the raw file {file.name} ends within a quoted field, so its last rows would be lost; look for a quote "
            f"that is not closed: {CORRECT_QUOTE}"
        )
    yield held.slice(0, len(held) - 1)


def _check_swallowed(file: RawFile, dialect: Dialect, batch: pa.RecordBatch) -> None:
    """Raise UserError for a field that took in whole rows: its quote was meant to be closed, or to be a letter.

    Its lines have the fields of a row, and the quote of a later row is left in it.
    """
    for column in batch.columns if dialect.quote else ():
        data = column.buffers()[2]
        if data is None or not (np.frombuffer(data, np.uint8) == LINE_FEED).any():
            continue
        several = pc.and_(pc.match_substring(column, "\n"), pc.match_substring(column, dialect.quote))
        for value in column.filter(several).to_pylist():
            _, *inner, last = value.split("\n")
            fields = last.split(dialect.delimiter)
            rows = all(len(row) == batch.num_columns for row in dialect.rows(iter(inner)))
            if inner and rows and len(fields) == batch.num_columns and any(f.endswith(dialect.quote) for f in fields):
                raise UserError(
                    f"the raw file {file.name} has a quote before the line {clean(inner[0])[:80]!r} that is not "
                    f"closed, so rows would be lost; {CORRECT_QUOTE}"
                )


class JsonLines(RawFormat):
    """One JSON object a line, whose keys are the columns; objects and arrays within it stay JSON.

    JSON is UTF-8 (RFC 8259), or has a byte-order mark.
    """

    def columns(self, file: RawFile) -> tuple[str, ...]:
        """The keys of all objects, in the order of their first."""
        names: dict[str, None] = {}
        with reading(file):
            for batch in self._batches(file, Findings()):
                names |= dict.fromkeys(batch.schema.names)
        return column_names(file, tuple(names))

    def _batches(self, file: RawFile, findings: Findings) -> Iterator[pa.RecordBatch]:
        stream = Utf8Stream(file, replace(self.directives, encoding="utf-8"))
        rows: list[dict[str, str | None]] = []
        names = _Names()
        size = 0
        with text_lines(stream) as text:
            number = 0
            while line := text.readline(LONGEST_ROW):
                number += 1
                size += len(line)
                if len(line) == LONGEST_ROW and not line.endswith(("\r", "\n")):
                    raise UserError(
                        f"the raw file {file.name} has a line of more than {LONGEST_ROW:,} characters ({number}), so "
                        "it is no file of JSON lines; deliver one object a line"
                    )
                if not line.strip():
                    continue
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError):
                    found = None
                row = {names[key]: text_of(each) for key, each in found.items()} if isinstance(found, dict) else None
                if row is not None and len(row) == len(found):
                    rows.append(row)
                elif number == 1 and line.lstrip().startswith("["):
                    raise UserError(
                        f"the raw file {file.name} is one JSON array; deliver it as JSON lines, one object a line "
                        f"(jq -c '.[]')"
                    )
                else:
                    reason = "no JSON object" if row is None else "a key twice, in capitals or not"
                    findings.malformed.append(MalformedRow(number, reason, line.rstrip("\r\n")[:LONGEST_SHOWN]))
                if size >= CHUNK:
                    yield from _batch(rows)
                    rows, size = [], 0
        yield from _batch(rows)
        if not number:
            raise UserError(f"the raw file {file.name} is empty; deliver it again")
        findings.broken += stream.broken


class _Names(dict[str, str]):
    """Key of a JSON object -> its column: trimmed, and spelled as the file's first that differs in capitals alone."""

    def __missing__(self, key: str) -> str:
        name = key.strip() or "column_1"
        self[key] = next((known for known in self.values() if known.casefold() == name.casefold()), name)
        return self[key]


def _batch(rows: list[dict[str, str | None]]) -> Iterator[pa.RecordBatch]:
    names = dict.fromkeys(name for row in rows for name in row)
    if rows:
        columns = [pa.array([row.get(name) for row in rows], pa.string()) for name in names]
        yield pa.RecordBatch.from_arrays(columns, list(names))


class Parquet(RawFormat):
    """Parquet files; their values become the text that a csv file would hold."""

    def columns(self, file: RawFile) -> tuple[str, ...]:
        """The names of the schema."""
        import pyarrow.parquet as pq

        with reading(file), file.path.open("rb") as stream:
            return column_names(file, tuple(pq.read_schema(stream).names))

    def _batches(self, file: RawFile, findings: Findings) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with file.path.open("rb") as stream:
            parquet = pq.ParquetFile(stream)
            footer = parquet.metadata
            size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
            if max(size, footer.num_rows) > self.directives.max_bytes:
                raise too_large(file, self.directives)
            names = column_names(file, tuple(parquet.schema_arrow.names))
            for group in range(footer.num_row_groups):  # Arrow joins no dictionaries of several within nested values
                for batch in parquet.iter_batches(batch_size=1 << 16, row_groups=[group]):
                    yield pa.RecordBatch.from_arrays([as_text(column) for column in batch.columns], list(names))


FORMATS: dict[Kind, type[RawFormat]] = {
    "csv": Delimited,
    "tsv": Delimited,
    "txt": Delimited,
    "jsonl": JsonLines,
    "parquet": Parquet,
}


def format_of(file: RawFile, directives: Directives) -> RawFormat:
    """The format of a file, by its suffix."""
    return FORMATS[file.kind](directives)


@contextmanager
def reading(file: RawFile) -> Iterator[None]:
    """Raise UserError naming the file for the errors of libraries that read it."""
    try:
        yield
    except UserError:
        raise
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise UserError(
                f"the raw file {file.name} has a row of more than {LONGEST_ROW:,} bytes, so it is no file of rows, or "
                f"a quote in it is not closed; {CORRECT_QUOTE}"
            ) from None
        raise _unreadable(file, error) from None
    except DAMAGE as error:
        raise _unreadable(file, error) from None
    except UnicodeError as error:
        raise UserError(
            f"the raw file {file.name} cannot be read: {first_line(error)}; deliver it as UTF-8, or correct encoding "
            "in the source"
        ) from None


def _unreadable(file: RawFile, error: Exception) -> UserError:
    return UserError(
        f"the raw file {file.name} cannot be read: {first_line(error)}; it is damaged or cut short: deliver it again"
    )
