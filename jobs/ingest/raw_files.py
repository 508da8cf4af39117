"""The drop zone: which raw files there are, of which day, and whether they can be read."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame

from jobs.errors import UserError
from jobs.ingest.source import Source, relations
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.storage import unpacked
from jobs.text import clean

SUFFIXES = {"csv": (".csv", ".csv.gz"), "parquet": (".parquet",)}
NOT_IN_NAMES = re.compile(r"[*?\[\]{}\\\x00-\x1f\x7f\ud800-\udfff]")
"""The engines take a path for a pattern: a file called `a[1].csv` would be skipped without a word."""
WIDE = (b"\xff\xfe", b"\xfe\xff")
"""How UTF-16 begins."""
TOP_LEVEL = "raw"
"""The view of the files that lie in the raw folder itself; files in a sub-folder are a view of its name."""


@dataclass(frozen=True)
class RawFile:
    """One file of the drop zone."""

    path: Path
    name: str
    """Path below the raw folder, its identity in the table raw_files."""
    view: str
    """The SQL view its rows are in."""
    day: date | None
    """The day in its name (YYYY-MM-DD); None for a file that grows or is replaced whole."""
    bytes: int


def list_raw_files(raw: Path, source: Source) -> list[RawFile]:
    """Every file of the source's format below `raw`, by name; raises UserError where there is none."""
    if not raw.is_dir():
        raise UserError(f"the raw folder {raw} is not there; give the folder that holds the shop's raw files")
    if found := NOT_IN_NAMES.search(str(raw)):
        raise UserError(f"the raw folder {raw} has {found.group()!r} in its path, which the engines would not read as "
                        "it is; rename it")  # fmt: skip
    files = []
    for path, size in storage.files(raw):
        name = path.relative_to(raw).as_posix()
        if path.name.startswith((".", "_")) or not path.name.endswith(SUFFIXES[source.directives.format]):
            continue
        if size is None:
            raise UserError(f"{clean(name)} in {raw} is no plain file; take it away")
        if found := NOT_IN_NAMES.search(name):
            raise UserError(f"the raw file {clean(name)!r} has {found.group()!r} in its name, which the engines would "
                            "not read as it is; rename it")  # fmt: skip
        parts = name.split("/")
        view = parts[0] if len(parts) > 1 else TOP_LEVEL
        files.append(RawFile(path, name, view, _day(name), size))
    if not files:
        suffixes = " or ".join(SUFFIXES[source.directives.format])
        raise UserError(f"{raw} holds no file ending in {suffixes}; {source.path} says format = "
                        f"{source.directives.format!r}")  # fmt: skip
    return files


def read_by(statement: str, files: list[RawFile]) -> list[RawFile]:
    """The files whose view a SELECT reads; every file where it reads none of them."""
    names = relations(statement)
    return [f for f in files if f.view.lower() in names] or files


def _day(name: str) -> date | None:
    found = re.search(r"\d{4}-\d{2}-\d{2}", name)
    try:
        return date.fromisoformat(found.group()) if found else None
    except ValueError:
        return None


def csv_header(file: RawFile, delimiter: str) -> tuple[str, ...]:
    """Column names of a csv file; raises UserError for an empty or unreadable one."""
    try:
        with storage.unpacked(file.path) as stream:
            # A text of two bytes a letter has no column that a SELECT could name.
            if stream.read(2) in WIDE:
                raise UserError(f"the raw file {file.name} is UTF-16; deliver it as UTF-8")
            stream.seek(0)
            # An id that spells a byte-order mark would never match the SELECT's.
            header = next(
                csv.reader(io.TextIOWrapper(stream, "utf-8-sig", errors="replace"), delimiter=delimiter), None
            )
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise UserError(f"the raw file {file.name} cannot be read: {error}; deliver it again") from None
    if not header:
        raise UserError(f"the raw file {file.name} is empty, without even a header line; deliver it again")
    return checked_names(file, header)


def checked_names(file: RawFile, names: Sequence[str]) -> tuple[str, ...]:
    """The column names of a file; raises UserError where they are no text or two cannot be told apart."""
    if broken := [name for name in names if any(unicodedata.category(letter) == "Cc" for letter in name)]:
        raise UserError(f"the raw file {file.name} has no header of text: it begins {clean(broken[0])[:40]!r}; deliver "
                        "it again as UTF-8")  # fmt: skip
    counted = Counter(name.casefold() for name in names)
    if twice := [name for name in names if counted[name.casefold()] > 1]:
        raise UserError(f"the raw file {file.name} has the column {clean(twice[0])[:40]!r} more than once, in capitals "
                        "or not; name each one differently")  # fmt: skip
    return tuple(names)


def unreadable(files: list[RawFile]) -> str | None:
    """The first file that does not decompress or read to its end, with why; None where all do."""
    for file in files:
        try:
            if file.name.endswith(".parquet"):
                _read_parquet(file.path)
            with storage.unpacked(file.path) as stream:
                while stream.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error, ValueError) as error:
            return f"{file.name}: {str(error).splitlines()[0][:300]}"
    return None


def _read_parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        for batch in pq.ParquetFile(file).iter_batches():
            batch.validate(full=True)


# Whether a raw file may be given to the engine: read once to its end, in little memory, before anything else does.

CHUNK = 1 << 20
LONGEST_ROW = 1 << 20
"""Bytes of one line, and of one row, whose quoted fields may hold line ends."""
MEGABYTE = 1 << 20
QUOTE, LINE_FEED, RETURN = b'"'[0], b"\n"[0], b"\r"[0]


def check_raw_files(files: Sequence[RawFile], source: Source) -> None:
    """Raise UserError naming the first file that is damaged, that grows beyond `max_file_mb`, or that cannot be rows.

    A gzip of a few megabytes can hold a thousand times as much, and a quote that is never closed makes one field of
    the rest of its file: both are found here, in the memory of one chunk.
    """
    for file in files:
        if source.directives.format == "parquet":
            _check_parquet(file, source)
        else:
            _check_text(file, source)


def _check_parquet(file: RawFile, source: Source) -> None:
    """The sizes that its footer tells; what is wrong behind them is the engine's to find."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.path.open("rb") as stream:
            footer = pq.read_metadata(stream)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"the raw file {file.name} cannot be read: {error}; deliver it again") from None
    size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    if max(size, footer.num_rows) > source.directives.max_file_mb * MEGABYTE:
        raise _too_large(file, source)


def _too_large(file: RawFile, source: Source) -> UserError:
    return UserError(
        f"the raw file {file.name} ({file.bytes:,} bytes) holds more than max_file_mb = "
        f"{source.directives.max_file_mb} MiB when it is unpacked; split it, or raise max_file_mb in {source.path}"
    )


def _check_text(file: RawFile, source: Source) -> None:
    longest = _Longest()
    size = 0
    for chunk in _chunks(file):
        size += len(chunk)
        if size > source.directives.max_file_mb * MEGABYTE:
            raise _too_large(file, source)
        longest.add(chunk)
        if longest.line_so_far > LONGEST_ROW:
            raise UserError(f"the raw file {file.name} has a line of more than {LONGEST_ROW:,} bytes, so it is no csv "
                            "of rows; deliver it again")  # fmt: skip
    if longest.row_so_far > LONGEST_ROW or longest.open_quote:
        _check_rows(file, source)


def _chunks(file: RawFile) -> Iterator[bytes]:
    try:
        with unpacked(file.path) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"the raw file {file.name}: {error}; it is damaged or cut short: deliver it again"
        ) from None  # fmt: skip


class _Longest:
    """The longest line, and the longest row where quotes are balanced as RFC 4180 wants, over chunks."""

    def __init__(self) -> None:
        self.line = self.row = self._line_now = self._row_now = 0
        self.open_quote = False

    @property
    def line_so_far(self) -> int:
        """The longest line, one that has not ended included."""
        return max(self.line, self._line_now)

    @property
    def row_so_far(self) -> int:
        """The longest row, one that has not ended included."""
        return max(self.row, self._row_now)

    def add(self, chunk: bytes) -> None:
        """Go on with the file's next bytes."""
        data = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero((data == LINE_FEED) | (data == RETURN))
        self.line, self._line_now = self._spans(ends, len(data), self.line, self._line_now)
        quotes = np.flatnonzero(data == QUOTE)
        # A line end is a row's end where the quotes before it are even in number.
        inside = (np.searchsorted(quotes, ends) + self.open_quote) % 2 == 1
        self.row, self._row_now = self._spans(ends[~inside], len(data), self.row, self._row_now)
        self.open_quote ^= bool(len(quotes) % 2)

    @staticmethod
    def _spans(ends: np.ndarray, size: int, longest: int, open_since: int) -> tuple[int, int]:
        """(longest span up to the last of `ends`, bytes behind it)."""
        if not len(ends):
            return max(longest, 0), open_since + size
        inner = int(np.diff(ends).max(initial=0))
        return max(longest, open_since + int(ends[0]), inner), size - int(ends[-1]) - 1


def _check_rows(file: RawFile, source: Source) -> None:
    """Read the rows one by one, as quotes in the middle of a field are none: slow, and only where a count is odd."""
    last = "\x00the end\x00"
    row: list[str] = []
    before = csv.field_size_limit(LONGEST_ROW)
    try:
        with unpacked(file.path) as stream:
            text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
            for each in csv.reader(_with(text, last), delimiter=source.directives.delimiter):
                row = each
    except csv.Error as error:
        raise UserError(f"the raw file {file.name} is no csv of rows: {error}; look for a quote that is not closed, "
                        "and deliver it again") from None  # fmt: skip
    finally:
        csv.field_size_limit(before)
    if row != [last]:
        raise UserError(f"the raw file {file.name} ends within a quoted field, so its last rows would be lost; look "
                        "for a quote that is not closed, and deliver it again")  # fmt: skip


def _with(lines: Iterator[str], last: str) -> Iterator[str]:
    for line in lines:
        yield line.replace("\0", " ")
    yield "\n"
    yield last


# Raw files as SQL views, one a folder, with every column a string.


def check_names(files: Sequence[RawFile]) -> None:
    """Raise UserError where a raw folder's name cannot be that of a view."""
    for view in sorted({f.view for f in files}):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", view):
            raise UserError(f"the raw folder {view!r} cannot be a view's name; use letters, digits and underscores")


def register_views(lake: Lake, source: Source, every: Sequence[RawFile], files: Sequence[RawFile]) -> None:
    """One temporary view a folder of `every`; one without files of `files` is an empty view with its columns."""
    for view in sorted({f.view for f in every}):
        there = [f for f in every if f.view == view]
        read = [f for f in files if f.view == view]
        # Of files that are not read only the first tells the columns, so that a night's cost follows what it reads.
        columns = _same_columns([there[0], *(f for f in read if f != there[0])], source)
        frame = _read(lake, source, read, columns)
        frame.createOrReplaceTempView(view)


def _read(lake: Lake, source: Source, files: list[RawFile], columns: tuple[str, ...]) -> DataFrame:
    schema = ", ".join(f"`{name.replace('`', '``')}` STRING" for name in columns)
    if not files:
        return lake.spark.createDataFrame([], schema)
    paths = [str(f.path) for f in files]
    if source.directives.format == "parquet":
        return lake.spark.read.parquet(*paths)
    # Without `escape` Spark reads a doubled quote as two characters, unlike RFC 4180 and Sail.
    options = {"header": "true", "sep": source.directives.delimiter, "escape": '"'}
    return lake.spark.read.schema(schema).options(**options).csv(paths)


def _same_columns(files: list[RawFile], source: Source) -> tuple[str, ...]:
    expected = columns_of(files[0], source)
    for file in files[1:]:
        there = columns_of(file, source)
        if there != expected:
            raise UserError(
                f"the raw file {file.name} has the columns {', '.join(there)}; expected as in {files[0].name}: "
                f"{', '.join(expected)} (missing: {sorted(set(expected) - set(there)) or 'none'}, "
                f"new: {sorted(set(there) - set(expected)) or 'none'}); correct the file and run the night again"
            )
    return expected


def columns_of(file: RawFile, source: Source) -> tuple[str, ...]:
    """Column names of a raw file; raises UserError where it cannot be read."""
    if source.directives.format == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with file.path.open("rb") as stream:
                return checked_names(file, pq.read_schema(stream).names)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"the raw file {file.name} cannot be read: {error}; deliver it again") from None
    return csv_header(file, source.directives.delimiter)
