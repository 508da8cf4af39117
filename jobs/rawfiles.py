"""The drop zone: which raw files there are, of which day, and whether they can be read."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO, cast

from jobs.errors import UserError
from jobs.source import Source

SUFFIXES = {"csv": (".csv", ".csv.gz"), "parquet": (".parquet",)}
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
    files = []
    for path in sorted(raw.rglob("*")):
        name = path.relative_to(raw).as_posix()
        if path.name.startswith((".", "_")) or not path.name.endswith(SUFFIXES[source.directives.format]):
            continue
        parts = name.split("/")
        view = parts[0] if len(parts) > 1 else TOP_LEVEL
        files.append(RawFile(path, name, view, _day(name), path.stat().st_size))
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
        with _open(file.path) as stream:
            # An id that spells a byte-order mark would never match the SELECT's.
            header = next(
                csv.reader(io.TextIOWrapper(stream, "utf-8-sig", errors="replace"), delimiter=delimiter), None
            )
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise UserError(f"the raw file {file.name} cannot be read: {error}; deliver it again") from None
    if not header:
        raise UserError(f"the raw file {file.name} is empty, without even a header line; deliver it again")
    return tuple(header)


def unreadable(files: list[RawFile]) -> str | None:
    """The first file that does not decompress or read to its end, with why; None where all do."""
    for file in files:
        try:
            with _open(file.path) as stream:
                while stream.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error) as error:
            return f"{file.name}: {error}"
    return None


def _open(path: Path) -> BinaryIO:
    if path.name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")
