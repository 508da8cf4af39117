"""Reads a raw file of text as UTF-8: unpacks it, decodes it, and finds its dialect and its header."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, BinaryIO, cast

from jobs.errors import UserError
from jobs.ingest.files import RawFile, too_large
from jobs.ingest.source import Directives
from jobs.lake.storage import unpacked
from jobs.text import clean

if TYPE_CHECKING:
    from _csv import Reader

CHUNK = 1 << 20
LONGEST_ROW = 1 << 20
"""Most bytes of one row, whose quoted fields may hold line ends."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
BROKEN = "\ufffd"
"""The character that stands for bytes which are no text in the file's encoding."""
DELIMITERS = ",;\t|"
"""Delimiters that a header tells, the first of equals."""
SEPARATOR_LINE = re.compile(r'"?sep=([\t -~])"?', re.IGNORECASE)
"""The first line of a file that Excel wrote for itself."""
FIRST_ROWS = 5
"""Rows that show whether the header leaves a column out."""
HEADER_LINES = 100
"""Most lines up to the end of the header, empty ones included."""


class Utf8Stream(io.RawIOBase):
    """The content of a file in UTF-8, without its byte-order mark, read in order.

    `read` raises UserError where the file holds more than `max_file_mb` when it is unpacked.
    """

    def __init__(self, file: RawFile, directives: Directives, end: bytes = b"") -> None:
        self._file, self._directives, self._end = file, directives, end
        self._raw = unpacked(file.path)
        self._buffer = bytearray()
        self._size = 0
        self.broken = 0
        """Characters that stand for bytes which are no text in this encoding."""
        first = self._next()
        encoding, mark = encoding_of(first, directives.encoding)
        self._plain = encoding == "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._add(first[mark:])

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end."""
        while (size < 0 or len(self._buffer) < size) and not self._raw.closed:
            if chunk := self._next():
                self._add(chunk)
            else:
                self._add(b"", final=True)
                self._buffer += self._end
                self._raw.close()
        taken = bytes(self._buffer if size < 0 else self._buffer[:size])
        del self._buffer[: len(taken)]
        return taken

    def readinto(self, target: bytearray) -> int:  # type: ignore[override]
        """Fill a buffer, as io.BufferedReader asks for."""
        taken = self.read(len(target))
        target[: len(taken)] = taken
        return len(taken)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
        super().close()

    def _next(self) -> bytes:
        chunk = self._raw.read(CHUNK)
        self._size += len(chunk)
        if self._size > self._directives.max_bytes:
            raise too_large(self._file, self._directives)
        return chunk

    def _add(self, chunk: bytes, final: bool = False) -> None:
        if self._plain and chunk.isascii() and not self._decoder.getstate()[0]:  # most chunks of most files
            self._buffer += chunk
            return
        text = self._decoder.decode(chunk, final)
        self.broken += text.count(BROKEN)
        self._buffer += text.encode("utf-8", errors="replace")


def encoding_of(start: bytes, given: str) -> tuple[str, int]:
    """(encoding, bytes of the byte-order mark) of a file that begins so; `given` where the file does not tell, since a
    source has one for all files.

    UTF-16 without a mark shows in the zero byte of every letter of the header.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    pairs = start[:64]
    if len(pairs) >= 8 and not any(pairs[1::2]) and all(pairs[::2]):
        return "utf-16-le", 0
    if len(pairs) >= 8 and not any(pairs[::2]) and all(pairs[1::2]):
        return "utf-16-be", 0
    encoding = codecs.lookup(given).name
    return ("utf-8" if encoding != "utf-8" and _is_utf8(start) else encoding), 0


def _is_utf8(start: bytes) -> bool:
    """Whether bytes hold letters beyond ASCII that are UTF-8, which text of another encoding is not by chance."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return not start.isascii()


@dataclass(frozen=True)
class Dialect:
    """How the fields of a delimited file are written, and its header."""

    delimiter: str
    quote: str
    """Empty where quotes are letters like others."""
    escape: str
    """Empty where nothing is escaped but a quote, which is doubled."""
    header: tuple[str, ...]
    """The column names as they stand there."""
    header_lines: int
    """Lines up to the end of the header, empty ones and a `sep=` line included."""

    def rows(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """The fields of each row."""
        return _rows(lines, self.delimiter, self.quote, self.escape)


def _rows(lines: Iterable[str], delimiter: str, quote: str, escape: str) -> Reader:
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=quote or None,
        escapechar=escape or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
    )


def text_lines(stream: Utf8Stream) -> io.TextIOWrapper:
    """The lines of a stream, with their ends as they are."""
    return io.TextIOWrapper(cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream), CHUNK)), "utf-8", newline="")


def dialect_of(file: RawFile, directives: Directives) -> Dialect:
    """Read the first lines of a delimited file.

    Raises UserError where it is empty or its header cannot be found within HEADER_LINES.
    """
    with text_lines(Utf8Stream(file, directives)) as text:
        lines = iter(lambda: text.readline(LONGEST_ROW), "")
        given = directives.delimiter or ("\t" if file.kind == "tsv" else "")
        skipped = 0
        for line in lines:
            bare = line.strip("\ufeff \t\r\n")
            found = SEPARATOR_LINE.fullmatch(line.strip("\ufeff \r\n"))
            if found and found[1] not in (directives.quote, directives.escape):
                given = directives.delimiter or found[1]
            elif bare.strip(given or DELIMITERS):
                break
            skipped += 1
            if skipped > HEADER_LINES:
                raise UserError(f"the raw file {file.name} begins with more than {HEADER_LINES} empty lines")
        else:
            raise UserError(f"the raw file {file.name} is empty, without even a header line; deliver it again")
        delimiter = given or _delimiter_of(line)
        rows = _rows(chain([line], lines), delimiter, directives.quote, directives.escape)
        names = directives.header or next(rows)
        header_lines = skipped + rows.line_num
        if rows.line_num > HEADER_LINES:
            raise UserError(f"the raw file {file.name} has a quote in its header that is not closed")
        try:
            first = list(islice(rows, FIRST_ROWS))
        except csv.Error:  # which the reader of the rows will name
            first = []
        names = _with_unnamed(names, first)
        return Dialect(delimiter, directives.quote, directives.escape, tuple(names), header_lines)


def _with_unnamed(names: list[str], rows: list[list[str]]) -> list[str]:
    """The names, with an empty one for a column that the header leaves out: rows that all end with a delimiter, or that
    begin with their number, as R writes them."""
    if not rows or any(len(row) != len(names) + 1 for row in rows):
        return names
    if not any(row[-1] for row in rows):
        return [*names, ""]
    numbered = all(row[0] == str(number) for number, row in enumerate(rows, start=1))
    return ["", *names] if numbered else names


def _delimiter_of(header: str) -> str:
    """The character that a header without a directive has most often outside its quotes."""
    outside = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=outside.count)


def column_names(file: RawFile, header: tuple[str, ...]) -> tuple[str, ...]:
    """Column names that a SELECT can use: trimmed, and `column_3` for a third one without a name.

    Raises UserError where they are no text, or two cannot be distinguished.
    """
    names = tuple(name.strip() or f"column_{place}" for place, name in enumerate(header, start=1))
    if broken := [name for name in names if any(ord(letter) < 32 or ord(letter) == 127 for letter in name)]:
        raise UserError(
            f"the raw file {file.name} has no header of text: it begins {clean(broken[0])[:40]!r}; deliver it again as "
            "text with a header line"
        )
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            raise UserError(
                f"the raw file {file.name} has the column {clean(name)[:40]!r} more than once, in capitals or not; "
                "name each one differently"
            )
        seen[name.casefold()] = name
    return names
