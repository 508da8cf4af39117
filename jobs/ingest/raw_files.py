"""Lists the files of the raw folder, and registers them as SQL views, one a sub-folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from jobs.errors import UserError
from jobs.ingest.formats import RawFile, RawFormat, format_of
from jobs.ingest.source import Source, relations
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.text import clean

NOT_IN_NAMES = re.compile(r"[*?\[\]{}\\\x00-\x1f\x7f\ud800-\udfff]")
"""The engines take a path for a pattern: a file called `a[1].csv` would be skipped without a word."""
TOP_LEVEL = "raw"
"""The view of the files that lie in the raw folder itself; files in a sub-folder are a view of its name."""


def list_raw_files(raw: Path, source: Source) -> list[RawFile]:
    """Every file of the source's format below `raw`, by name; raises UserError where there is none."""
    if not raw.is_dir():
        raise UserError(f"the raw folder {raw} is not there; give the folder that holds the shop's raw files")
    _check_path(f"the raw folder {raw}", str(raw))
    suffixes = format_of(source).suffixes
    files = []
    for path, size in storage.files(raw):
        name = path.relative_to(raw).as_posix()
        if path.name.startswith((".", "_")) or not path.name.endswith(suffixes):
            continue
        if size is None:
            raise UserError(f"{clean(name)} in {raw} is no plain file; take it away")
        _check_path(f"the raw file {clean(name)!r}", name)
        parts = name.split("/")
        files.append(RawFile(path, name, parts[0] if len(parts) > 1 else TOP_LEVEL, _day(name), size))
    if not files:
        raise UserError(
            f"{raw} holds no file ending in {' or '.join(suffixes)}; {source.path} says format = "
            f"{source.directives.format!r}"
        )
    return files


def _check_path(what: str, path: str) -> None:
    if found := NOT_IN_NAMES.search(path):
        raise UserError(
            f"{what} has {found.group()!r} in its path, which the engines would read as a pattern; rename it"
        )


def _day(name: str) -> date | None:
    found = re.search(r"\d{4}-\d{2}-\d{2}", name)
    try:
        return date.fromisoformat(found.group()) if found else None
    except ValueError:
        return None


def check_views(files: Sequence[RawFile]) -> None:
    """Raise UserError where a raw folder's name cannot be that of a view."""
    for view in sorted({f.view for f in files}):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", view):
            raise UserError(f"the raw folder {view!r} cannot be a view's name; use letters, digits and underscores")


def read_by(statement: str, files: list[RawFile]) -> list[RawFile]:
    """The files whose view a SELECT reads; every file where it reads none of them."""
    names = relations(statement)
    return [f for f in files if f.view.lower() in names] or files


def register_views(lake: Lake, source: Source, every: Sequence[RawFile], files: Sequence[RawFile]) -> None:
    """One temporary view a folder of `every`; one without files of `files` is an empty view with its columns."""
    raw_format = format_of(source)
    for view in sorted({f.view for f in every}):
        first = next(f for f in every if f.view == view)
        read = [f for f in files if f.view == view]
        # Of files that are not read only the first tells the columns, so that a night's cost follows what it reads.
        columns = _same_columns([first, *(f for f in read if f != first)], raw_format)
        schema = ", ".join(f"`{name.replace('`', '``')}` STRING" for name in columns)
        if read:
            frame = raw_format.frame(lake.spark, [str(f.path) for f in read], schema)
        else:
            frame = lake.spark.createDataFrame([], schema)
        frame.createOrReplaceTempView(view)


def _same_columns(files: list[RawFile], raw_format: RawFormat) -> tuple[str, ...]:
    expected = raw_format.columns(files[0])
    for file in files[1:]:
        there = raw_format.columns(file)
        if there != expected:
            raise UserError(
                f"the raw file {file.name} has the columns {', '.join(there)}; expected as in {files[0].name}: "
                f"{', '.join(expected)} (missing: {sorted(set(expected) - set(there)) or 'none'}, "
                f"new: {sorted(set(there) - set(expected)) or 'none'}); correct the file and run the night again"
            )
    return expected
