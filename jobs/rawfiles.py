"""The drop zone: which raw files there are, of which day, and whether they can be read."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from jobs import storage
from jobs.errors import UserError
from jobs.reading import clean
from jobs.source import Source

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
    """The files whose view a SELECT names; every file where it names none of them."""
    named = {f.view for f in files if re.search(rf"(?<!\w){re.escape(f.view)}(?!\w)", statement, re.IGNORECASE)}
    return [f for f in files if not named or f.view in named]


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
