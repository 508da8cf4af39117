"""A source: the operator's own SELECTs over raw files, and what they say about those files."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from jobs.errors import UserError
from jobs.source_sql import not_a_plain_select

STATEMENTS = ("events", "catalogue", "availability")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

NAMED = {str: "text in quotes", float: "a number", int: "a whole number", list: "a list in brackets"}


@dataclass(frozen=True)
class Directives:
    """The `--! name = value` lines of a source (TOML)."""

    format: str = "csv"
    """csv or parquet; csv files may be gzipped."""
    delimiter: str = ","
    """Between the fields of a csv file."""
    max_rejected_share: float = 0.05
    """A larger share of unexpected rejections among a statement's rows stops the night."""
    closed_weekdays: list[str] = field(default_factory=list)
    """Days on which the shop does not trade, so that a missing or empty file is no accident."""
    late_days: int = 30
    """Days by which an event may come after the files of its day; a later one is rejected."""
    live_days: int = 90
    """Without an availability SELECT: a product is live where it had an event in so many days."""

    max_file_mb: int = 1024
    """Most MiB that one raw file may hold when it is unpacked: the engine has a night's new rows in memory."""

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0' or not self.delimiter.isascii():
            raise UserError(f"delimiter = {self.delimiter!r} cannot part fields; use one character, such as ',' or ';'")
        for name, most in (("live_days", 36_500), ("max_file_mb", 1 << 20)):
            if not 1 <= getattr(self, name) <= most:
                raise UserError(f"{name} = {str(getattr(self, name))[:40]} is not from 1 to {most:,}")
        if any(type(day) is not str for day in self.closed_weekdays):
            raise UserError(f"closed_weekdays = {self.closed_weekdays!r:.80} must be a list of text in quotes")
        if self.format not in ("csv", "parquet"):
            raise UserError(f"format = {self.format!r} is not read; use 'csv' (gzipped or not) or 'parquet'")
        if not 0 <= self.max_rejected_share <= 1:
            raise UserError(f"max_rejected_share = {self.max_rejected_share} is no share; use 0 to 1")
        if self.late_days < 0:
            raise UserError(f"late_days = {self.late_days} is no number of days; use 0 or more")
        unknown = set(self.closed_weekdays) - set(WEEKDAYS)
        if unknown:
            raise UserError(f"closed_weekdays has {sorted(unknown)}; use names among {', '.join(WEEKDAYS)}")


@dataclass(frozen=True)
class Source:
    """A parsed source file."""

    path: Path
    directives: Directives
    statements: dict[str, str]
    """SELECT text by what it yields; `events` is always there."""


def read_source(path: Path) -> Source:
    """Parse a source file; raises UserError naming the line or value that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the source {path} cannot be read: {error}") from None
    statements: dict[str, str] = {}
    for chunk in re.split(r";[ \t]*(?:\n|$)", text):
        labels = [name for name in STATEMENTS if re.search(rf"^--\s*{name}\s*$", chunk, re.MULTILINE)]
        body = "\n".join(line for line in chunk.splitlines() if not line.lstrip().startswith("--")).strip()
        if not body:
            continue
        label = labels[0] if labels else "events"
        if label in statements:
            raise UserError(f"{path} has two SELECTs for {label}; introduce each by a line `-- events`, .. of its own")
        if not re.match(r"(select|with)\b", body, re.IGNORECASE):
            raise UserError(f"{path}: the statement for {label} must be one SELECT, but begins {body[:40]!r}")
        if fault := not_a_plain_select(body):
            raise UserError(f"{path}: the statement for {label} {fault}; a source is one SELECT over the raw files' "
                            "views, and neither writes nor reads anything else")  # fmt: skip
        statements[label] = body
    if "events" not in statements:
        raise UserError(f"{path} has no SELECT for events; it needs one that yields the columns of the table events")
    return Source(path, _directives(path, text), statements)


def _directives(path: Path, text: str) -> Directives:
    toml = "\n".join(line.strip()[3:] for line in text.splitlines() if line.strip().startswith("--!"))
    known = {f.name for f in dataclasses.fields(Directives)}
    try:
        values = tomllib.loads(toml)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path}: the `--!` lines are not TOML: {error}") from None
    unknown = set(values) - known
    if unknown:
        raise UserError(f"{path}: unknown directive {sorted(unknown)}; known are {', '.join(sorted(known))}")
    for name, value in values.items():
        wanted = type(getattr(Directives(), name))
        if type(value) is not wanted and (wanted, type(value)) != (float, int):
            raise UserError(f"{path}: {name} = {value!r:.80} must be {NAMED[wanted]}")
    return Directives(**values)
