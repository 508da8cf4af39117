"""Reads a source file: the SELECTs that turn a shop's raw files into tables, and directives about those files."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from jobs.errors import UserError
from jobs.settings import StepSettings
from jobs.text import clean
from models.settings import Share

if TYPE_CHECKING:
    from sqlglot.expressions import Expr

DIALECT = "spark"
STATEMENTS = ("events", "catalogue", "availability", "impressions")
MISSING = (
    *("nan", "NaN", "NAN", "null", "Null", "NULL", "none", "None", "NONE", "<NA>", "<null>", "\\N", "undefined"),
    *("n/a", "N/A", "#N/A", "#NULL!", "(not set)", "(none)"),
)
"""Values that people and programs write where there is none; NA is not among them, since it is Namibia."""
DIRECTIVE = re.compile(r"\s*--(?:!|\s+!(?=\s*\w+\s*=))(.*)")
"""A line with a directive; with a blank before the mark only where `name =` follows, since it may be a comment."""
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


@dataclass(frozen=True)
class Directives(StepSettings):
    """The `--! name = value` lines of a source (TOML)."""

    format: Literal["", "csv", "jsonl", "parquet"] = ""
    """Read only files of this format: csv (any delimited text), jsonl or parquet; by default all, by their suffixes."""
    delimiter: str = ""
    """Between the fields of delimited text; by default the one that the header shows, a tab in .tsv."""
    quote: str = '"'
    """Around fields that hold a delimiter or a line end; empty where quotes are letters like others."""
    escape: str = ""
    """Before a quote or delimiter that is a letter, such as a backslash; by default a quote in a field is doubled."""
    header: list[str] = field(default_factory=list)
    """Column names of delimited text that has no header line; by default its first line has them."""
    encoding: str = "utf-8"
    """Of delimited text that is not UTF-8, such as windows-1252; bytes that are no such text become U+FFFD."""
    missing: list[str] = field(default_factory=lambda: list(MISSING))
    """Values that stand for a missing one, exactly as written."""
    max_rejected_share: Share = 0.05
    """A larger share of unexpected rejections among a statement's rows stops the night."""
    closed_weekdays: list[Weekday] = field(default_factory=list)
    """Days on which the shop does not trade, so that a missing or empty file is no accident."""
    late_days: NonNegativeInt = 30
    """Days by which an event may come after the files of its day; a later one is rejected."""
    live_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    """Without an availability SELECT: a product is live where it had an event in so many days."""
    bot_impressions_minute: PositiveInt = 600
    """A customer with more impressions in a minute is no person: none of that day count."""
    bot_impressions_day: PositiveInt = 10_000
    """The same of a day."""
    max_file_mb: Annotated[int, Field(ge=1, le=1 << 20)] = 1024
    """Most MiB that one raw file may hold when it is unpacked: the engine has a night's new rows in memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, example in (("delimiter", "',' or ';'"), ("quote", "'\"'"), ("escape", r"'\\'")):
            value = getattr(self, name)
            if value and (len(value) != 1 or value in "\r\n\0" or not value.isascii()):
                raise UserError(f"{name} = {value!r} is not one ASCII character, such as {example}")
        if len({self.delimiter, self.quote, self.escape} - {""}) < sum(
            map(bool, (self.delimiter, self.quote, self.escape))
        ):
            raise UserError("delimiter, quote and escape are not three different characters; correct them")
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            raise UserError(
                f"encoding = {self.encoding!r} is none that Python knows; use one such as utf-8 or windows-1252"
            ) from None

    @property
    def max_bytes(self) -> int:
        """The same as `max_file_mb` in bytes."""
        return self.max_file_mb << 20


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
    for label, statement in _statements(path, text):
        if label in statements:
            raise UserError(f"{path} has two SELECTs for {label}; introduce each by a line `-- events`, .. of its own")
        if fault := not_a_plain_select(statement):
            raise UserError(
                f"{path}: the statement for {label} {fault}; a source is one SELECT over the raw files' views, and "
                "neither writes nor reads anything else"
            )
        statements[label] = statement
    if "events" not in statements:
        raise UserError(f"{path} has no SELECT for events; it needs one that yields the columns of the table events")
    return Source(path, _directives(path, text), statements)


def _statements(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """(label, text) of each statement; the label is a comment line before or in it, `events` where there is none."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(text, read=DIALECT)
    except SqlglotError as error:
        raise UserError(f"{path} is no SQL: {first_line(error)}") from None
    end = 0
    for semicolon, group in groupby(tokens, lambda token: token.token_type == sqlglot.TokenType.SEMICOLON):
        found = list(group)
        start, end = end, found[-1].end + 1
        if not semicolon:
            comments = text[start:end]
            labels = [name for name in STATEMENTS if re.search(rf"^--\s*{name}\s*$", comments, re.MULTILINE)]
            yield labels[0] if labels else "events", text[found[0].start : end]


def _directives(path: Path, text: str) -> Directives:
    toml = "\n".join(found[1] for line in text.splitlines() if (found := DIRECTIVE.match(line)))
    known = {f.name for f in dataclasses.fields(Directives)}
    try:
        values = tomllib.loads(toml)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(
            f"{path}: the `--!` lines are not TOML: {error}; they read {clean(toml.strip())[:200]!r}, and a text needs "
            'quotes: --! delimiter = ";"'
        ) from None
    unknown = set(values) - known
    if unknown:
        near = [name for wrong in sorted(unknown) for name in get_close_matches(wrong, known, 1)]
        meant = f" (is {', '.join(near)} meant?)" if near else ""
        raise UserError(f"{path}: unknown directive {sorted(unknown)}{meant}; known are {', '.join(sorted(known))}")
    try:
        return Directives(**values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


TABLE_FUNCTIONS = re.compile(
    "(pos)?explode(_outer)?|inline(_outer)?|stack|range|json_tuple|unnest|values", re.IGNORECASE
)
"""Functions that may stand in place of a view; others read files, tables and queues."""
CODE = frozenset({"reflect", "java_method", "try_reflect"})
"""Functions that call into the engine's own process."""


def not_a_plain_select(statement: str) -> str | None:
    """Why a statement is not one SELECT over views, in words; None where it is one.

    The engines run any statement that they are given, so this finds statements that write, relations that are no
    views, and functions and programs that run code.
    """
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = _parsed(statement)
    except (SqlglotError, RecursionError) as error:
        return f"cannot be parsed: {first_line(error)}"
    if not isinstance(tree, exp.Query) or tree.find(exp.DDL, exp.DML, exp.Command, exp.Into):
        return f"must be one SELECT, but begins {statement[:40]!r}"
    if tree.find(exp.QueryTransform):
        return "starts a program with USING"
    if code := [call.name for call in tree.find_all(exp.Anonymous) if call.name.lower() in CODE]:
        return f"calls {code[0]}"
    own = {query.alias for query in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Func) and (
            table.db or (table.name not in own and not re.fullmatch(r"[^\W\d]\w*", table.name))
        ):
            return f"reads {table.sql(DIALECT)[:60]}, which is no view of the raw files"
    # Not of a LATERAL VIEW, which only takes functions that make rows of a row.
    for relation in tree.find_all(exp.Table, exp.Lateral):
        call = relation.this
        if isinstance(call, exp.Anonymous) and call.name.lower() == "table" and call.expressions:
            call = call.expressions[0]  # TABLE(range(3))
        name = call.name if isinstance(call, exp.Anonymous) else call.sql_name() if isinstance(call, exp.Func) else ""
        if name and not relation.args.get("view") and not TABLE_FUNCTIONS.fullmatch(name):
            return f"reads from the function {name[:60]}"
    return None


@cache
def relations(statement: str) -> frozenset[str]:
    """The names of the relations that a SELECT reads, in small letters: views, and its own queries (WITH)."""
    from sqlglot import exp

    tables = (table for table in _parsed(statement).find_all(exp.Table) if not isinstance(table.this, exp.Func))
    return frozenset(table.name.lower() for table in tables)


@cache
def own_queries(statement: str) -> frozenset[str]:
    """The names that a SELECT gives to queries of its own (WITH), in small letters."""
    from sqlglot import exp

    return frozenset(query.alias.lower() for query in _parsed(statement).find_all(exp.CTE))


@cache
def named_columns(statement: str) -> frozenset[str] | None:
    """The names of columns in a SELECT, in small letters; None where it takes all of some relation (`*`)."""
    from sqlglot import exp

    tree = _parsed(statement)
    if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
        return None
    return frozenset(column.name.lower() for column in tree.find_all(exp.Column))


@cache
def alternatives(statement: str) -> tuple[frozenset[str], ...]:
    """Columns of which a SELECT takes the first that is there, `coalesce(a, b)`, in small letters."""
    from sqlglot import exp

    calls = _parsed(statement).find_all(exp.Coalesce)
    return tuple(frozenset(column.name.lower() for column in call.find_all(exp.Column)) for call in calls)


@cache
def double_quoted(statement: str) -> frozenset[str]:
    """The texts in double quotes, which other databases take for names of columns."""
    import sqlglot

    tokens = sqlglot.tokenize(statement, read=DIALECT)
    texts = (token for token in tokens if token.token_type == sqlglot.TokenType.STRING)
    return frozenset(token.text for token in texts if statement[token.start] == '"')


def _parsed(statement: str) -> Expr:
    import sqlglot

    return sqlglot.parse_one(statement, read=DIALECT)


def first_line(error: Exception) -> str:
    """The first line of an error of an engine or library, or of its cause."""
    return (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0][:300]
