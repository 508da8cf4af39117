"""Reads raw files of each format: column names, limits, damage and rows."""

from __future__ import annotations

import csv
import io
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.errors import UserError
from jobs.ingest.source import Source, first_line
from jobs.lake.storage import unpacked
from jobs.text import clean

WIDE = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of UTF-16."""
CHUNK = 1 << 20
LONGEST_ROW = 1 << 20
"""Most bytes of one line, and of one row, whose quoted fields may hold line ends."""
MEGABYTE = 1 << 20
QUOTE, LINE_FEED, RETURN = b'"'[0], b"\n"[0], b"\r"[0]


@dataclass(frozen=True)
class RawFile:
    """One file of the raw folder."""

    path: Path
    name: str
    """Path below the raw folder, its identity in the table raw_files."""
    view: str
    """The SQL view that its rows are in."""
    day: date | None
    """The day in its name (YYYY-MM-DD); None for a file that grows or is replaced whole."""
    bytes: int


class RawFormat(ABC):
    """A format of raw files. Methods raise UserError naming the file that cannot be read."""

    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, source: Source) -> None:
        self.source = source
        self.delimiter = source.directives.delimiter
        self.most_bytes = source.directives.max_file_mb * MEGABYTE

    @abstractmethod
    def columns(self, file: RawFile) -> tuple[str, ...]:
        """Column names of a file."""

    @abstractmethod
    def check(self, file: RawFile) -> None:
        """Read a file once, in the memory of one chunk, before an engine does: refuse one that is damaged, larger than
        `max_file_mb` when it is unpacked, or not made of rows."""

    @abstractmethod
    def read_all(self, file: RawFile) -> None:
        """Read a file to its end, to find the damage that an engine met."""

    @abstractmethod
    def frame(self, spark: SparkSession, paths: list[str], schema: str) -> DataFrame:
        """The rows of files with those columns."""

    def too_large(self, file: RawFile) -> UserError:
        """The error for a file that exceeds `max_file_mb`."""
        return UserError(
            f"the raw file {file.name} ({file.bytes:,} bytes) holds more than max_file_mb = "
            f"{self.source.directives.max_file_mb} MiB when it is unpacked; split it, or raise max_file_mb in "
            f"{self.source.path}"
        )


class Csv(RawFormat):
    """Text with one row a line, gzipped or not."""

    suffixes = (".csv", ".csv.gz")

    def columns(self, file: RawFile) -> tuple[str, ...]:
        """The fields of the first line."""
        with _reading(file), unpacked(file.path) as stream:
            if stream.read(2) in WIDE:  # a text of two bytes a letter has no column that a SELECT could name
                raise UserError(f"the raw file {file.name} is UTF-16; deliver it as UTF-8")
            stream.seek(0)
            # utf-8-sig: a column whose name begins with a byte-order mark would never match the SELECT's.
            text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace")
            header = next(csv.reader(text, delimiter=self.delimiter), None)
        if not header:
            raise UserError(f"the raw file {file.name} is empty, without even a header line; deliver it again")
        return _distinct(file, header)

    def check(self, file: RawFile) -> None:
        """A small gzip can hold a thousand times its size, and an unclosed quote makes one field of all that follows:
        sizes and quotes are counted over chunks."""
        longest, size = _Longest(), 0
        with _reading(file), unpacked(file.path) as stream:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if size > self.most_bytes:
                    raise self.too_large(file)
                longest.add(chunk)
                if max(longest.line) > LONGEST_ROW:
                    raise UserError(
                        f"the raw file {file.name} has a line of more than {LONGEST_ROW:,} bytes, so it is no csv of "
                        "rows; deliver it again"
                    )
        if max(longest.row) > LONGEST_ROW or longest.open_quote:
            self._check_rows(file)

    def _check_rows(self, file: RawFile) -> None:
        """Read the rows one by one, because a quote in the middle of a field opens none: slow, so only where the count
        of quotes is odd or a row seems long."""
        last = "\x00the end\x00"
        row: list[str] = []
        before = csv.field_size_limit(LONGEST_ROW)
        try:
            with unpacked(file.path) as stream:
                text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
                for each in csv.reader(_with_end(text, last), delimiter=self.delimiter):
                    row = each
        except csv.Error as error:
            raise UserError(
                f"the raw file {file.name} is no csv of rows: {error}; look for a quote that is not closed, and "
                "deliver it again"
            ) from None
        finally:
            csv.field_size_limit(before)
        if row != [last]:
            raise UserError(
                f"the raw file {file.name} ends within a quoted field, so its last rows would be lost; look for a "
                "quote that is not closed, and deliver it again"
            )

    def read_all(self, file: RawFile) -> None:
        """Unpack it."""
        with _reading(file), unpacked(file.path) as stream:
            while stream.read(CHUNK):
                pass

    def frame(self, spark: SparkSession, paths: list[str], schema: str) -> DataFrame:
        """Every column a string."""
        # Without `escape` Spark reads a doubled quote as two characters, unlike RFC 4180 and Sail.
        return spark.read.schema(schema).options(header="true", sep=self.delimiter, escape='"').csv(paths)


class Parquet(RawFormat):
    """Parquet files, whose footers tell their columns and sizes."""

    suffixes = (".parquet",)

    def columns(self, file: RawFile) -> tuple[str, ...]:
        """The names of the schema."""
        import pyarrow.parquet as pq

        with _reading(file), file.path.open("rb") as stream:
            names = pq.read_schema(stream).names
        return _distinct(file, names)

    def check(self, file: RawFile) -> None:
        """Check the sizes in the footer; damage behind it is found by the engine."""
        import pyarrow.parquet as pq

        with _reading(file), file.path.open("rb") as stream:
            footer = pq.read_metadata(stream)
        size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        if max(size, footer.num_rows) > self.most_bytes:
            raise self.too_large(file)

    def read_all(self, file: RawFile) -> None:
        """Decode and validate every batch."""
        import pyarrow.parquet as pq

        with _reading(file), file.path.open("rb") as stream:
            for batch in pq.ParquetFile(stream).iter_batches():
                batch.validate(full=True)

    def frame(self, spark: SparkSession, paths: list[str], schema: str) -> DataFrame:
        """Columns of the files' own types."""
        return spark.read.parquet(*paths)


FORMATS: dict[str, type[RawFormat]] = {"csv": Csv, "parquet": Parquet}


def format_of(source: Source) -> RawFormat:
    """The format that a source's directive names."""
    return FORMATS[source.directives.format](source)


@contextmanager
def _reading(file: RawFile) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        reason = first_line(error)
        raise UserError(
            f"the raw file {file.name} cannot be read: {reason}; it is damaged or cut short: deliver it again"
        ) from None


def _distinct(file: RawFile, names: Sequence[str]) -> tuple[str, ...]:
    """The column names of a file; raises UserError where they are no text or two cannot be distinguished."""
    if broken := [name for name in names if any(unicodedata.category(letter) == "Cc" for letter in name)]:
        raise UserError(
            f"the raw file {file.name} has no header of text: it begins {clean(broken[0])[:40]!r}; deliver it again as "
            "UTF-8"
        )
    counted = Counter(name.casefold() for name in names)
    if twice := [name for name in names if counted[name.casefold()] > 1]:
        raise UserError(
            f"the raw file {file.name} has the column {clean(twice[0])[:40]!r} more than once, in capitals or not; "
            "name each one differently"
        )
    return tuple(names)


class _Longest:
    """The longest line, and the longest row where quotes are balanced as RFC 4180 wants, over chunks.

    `line` and `row` are (longest that has ended, length of the one that has not), in bytes.
    """

    def __init__(self) -> None:
        self.line = self.row = (0, 0)
        self.open_quote = False

    def add(self, chunk: bytes) -> None:
        """Go on with the file's next bytes."""
        data = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero((data == LINE_FEED) | (data == RETURN))
        self.line = _spans(ends, len(data), self.line)
        quotes = np.flatnonzero(data == QUOTE)
        # A line end is a row's end where the quotes before it are even in number.
        inside = (np.searchsorted(quotes, ends) + self.open_quote) % 2 == 1
        self.row = _spans(ends[~inside], len(data), self.row)
        self.open_quote ^= bool(len(quotes) % 2)


def _spans(ends: npt.NDArray[np.int64], size: int, so_far: tuple[int, int]) -> tuple[int, int]:
    longest, unended = so_far
    if not len(ends):
        return longest, unended + size
    inner = int(np.diff(ends).max(initial=0))
    return max(longest, unended + int(ends[0]), inner), size - int(ends[-1]) - 1


def _with_end(lines: Iterator[str], last: str) -> Iterator[str]:
    for line in lines:
        yield line.replace("\0", " ")
    yield "\n"
    yield last
