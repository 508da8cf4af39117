"""A source: the operator's own SELECTs over raw files, and what they say about those files."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from jobs.errors import UserError
from jobs.settings import Settings
from models.settings import Share

STATEMENTS = ("events", "catalogue", "availability")
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


@dataclass(frozen=True)
class Directives(Settings):
    """The `--! name = value` lines of a source (TOML)."""

    format: Literal["csv", "parquet"] = "csv"
    """csv or parquet; csv files may be gzipped."""
    delimiter: str = ","
    """Between the fields of a csv file."""
    max_rejected_share: Share = 0.05
    """A larger share of unexpected rejections among a statement's rows stops the night."""
    closed_weekdays: list[Weekday] = field(default_factory=list)
    """Days on which the shop does not trade, so that a missing or empty file is no accident."""
    late_days: NonNegativeInt = 30
    """Days by which an event may come after the files of its day; a later one is rejected."""
    live_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    """Without an availability SELECT: a product is live where it had an event in so many days."""

    max_file_mb: Annotated[int, Field(ge=1, le=1 << 20)] = 1024
    """Most MiB that one raw file may hold when it is unpacked: the engine has a night's new rows in memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0' or not self.delimiter.isascii():
            raise UserError(f"delimiter = {self.delimiter!r} cannot part fields; use one character, such as ',' or ';'")


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
    try:
        return Directives(**values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


# What a source's SELECT must not contain: read from its words, since the engines run whatever they are given.

TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<text>[rR]?'(?:[^'\\]|\\.|'')*' | [rR]?"(?:[^"\\]|\\.|"")*")
      | (?P<quoted>`(?:[^`]|``)*`)
      | (?P<word>[^\W\d]\w*)
      | (?P<number>\d\w*)
      | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
FORMATS = (
    "csv",
    "json",
    "text",
    "parquet",
    "orc",
    "avro",
    "xml",
    "delta",
    "iceberg",
    "binaryfile",
    "jdbc",
    "hudi",
    "libsvm",
)
"""`FORMAT.`PATH`` reads a file from anywhere."""
TABLE_FUNCTIONS = ("explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "inline_outer", "stack",
                   "range", "json_tuple", "unnest", "values")  # fmt: skip
"""What may stand in place of a view; others read files, tables and queues."""
CODE = ("reflect", "java_method", "try_reflect")
"""Functions that call into the engine's own process."""
ENDS_FROM = ("select", "where", "group", "order", "having", "limit", "window", "union", "intersect", "except", "minus",
             "on", "using", "sort", "cluster", "distribute", "qualify", "offset")  # fmt: skip
BEFORE_RELATION = ("from", "join", ",")


@dataclass
class _Level:
    """Within one pair of brackets."""

    selects: bool = False
    in_from: bool = False
    last: str = ""


def not_a_plain_select(body: str) -> str | None:
    """What keeps a statement from being one SELECT over views, in words; None where nothing does.

    Not a parser: the engine finds the mistakes of grammar. This finds a second statement, a WITH that does not lead
    to a SELECT, relations that are no plain names, and functions that run code.
    """
    tokens = list(_tokens(body))
    if ("sign", ";") in tokens:
        return "holds a semicolon: it is more than one statement"
    if any(kind == "sign" and text in "'\"`" for kind, text in tokens):
        return "has a quote that is not closed"
    if tokens[:1] == [("word", "with")] and (fault := _with_fault(tokens)):
        return fault
    return _relation_fault(tokens) or _code_fault(tokens)


def _tokens(body: str) -> Iterator[tuple[str, str]]:
    for found in TOKEN.finditer(body):
        kind = str(found.lastgroup)
        if kind != "space":
            yield kind, found.group().lower() if kind == "word" else found.group()


def _with_fault(tokens: list[tuple[str, str]]) -> str | None:
    """Whether anything but a SELECT follows the named queries of a WITH."""
    depth = 0
    for (_, before), (kind, text) in pairwise(tokens):
        if depth == 0 and before == ")" and kind == "word" and text not in ("as", "select"):
            return f"must be one SELECT, but its WITH leads to {text.upper()[:40]}"
        depth += {"(": 1, ")": -1}.get(text, 0) if kind == "sign" else 0
        if depth == 0 and (kind, text) == ("word", "select"):
            return None
    return "has a WITH without a SELECT behind it"


def _relation_fault(tokens: list[tuple[str, str]]) -> str | None:
    levels = [_Level()]
    for place, (kind, text) in enumerate(tokens):
        level = levels[-1]
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if level.in_from and level.last in BEFORE_RELATION and kind in ("word", "quoted", "text"):
            if kind == "text":
                return f"reads {text[:60]}, which is no view"
            if following == ".":
                return f"reads {text[:60]}. .., which is no view of the raw files"
            if following == "(" and text not in (*TABLE_FUNCTIONS, "lateral", "table"):
                return f"reads from the function {text[:60]}"
        if kind == "word" and text in FORMATS and following == "." and tokens[place + 2 : place + 3]:
            after = tokens[place + 2]
            if after[0] == "quoted":
                return f"reads the file {after[1][:60]}"
        if kind == "word":
            level.selects |= text == "select"
            if text == "from" and level.selects and level.last != "distinct":  # a IS DISTINCT FROM b
                level.in_from = True
            elif text in ENDS_FROM:
                level.in_from = False
        if (kind, text) == ("sign", "("):
            # A bracket in a list of relations holds relations: FROM (a, b).
            relations = level.in_from and level.last in BEFORE_RELATION
            levels.append(_Level(relations, relations, "from" if relations else ""))
        elif (kind, text) == ("sign", ")") and len(levels) > 1:
            levels.pop()
            levels[-1].last = text
        else:
            level.last = text if kind in ("word", "sign") else ""
    return None


def _code_fault(tokens: list[tuple[str, str]]) -> str | None:
    for (kind, text), (_, following) in pairwise(tokens):
        if kind == "word" and text in CODE and following == "(":
            return f"calls {text}"
    for (kind, text), (following, _) in pairwise(tokens):
        if (kind, text) == ("word", "using") and following == "text":
            return "starts a program with USING"
    return None
