"""Whether a raw file may be given to the engine: read once to its end, in little memory, before anything else does."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from jobs.errors import UserError
from jobs.rawfiles import RawFile
from jobs.source import Source
from jobs.storage import unpacked

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
