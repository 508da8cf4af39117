"""A policy as people write it: a csv file of one rule a line, read strictly."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import UserError
from jobs.policy_checks import rules_of
from jobs.policy_rules import COLUMNS, Rule

NEEDED = ("rule_id", "kind")
"""Columns that a file must have; one that it lacks is empty in every rule."""


def read_rules(path: Path, variants: list[str] | None = None) -> list[Rule]:
    """The checked rules of a file, in its order.

    Raises UserError where it cannot be read as csv, or with every mistake in its rules.
    """
    lines = _lines(path)
    header = _header(path, next(lines, (1, []))[1])
    rows = [(line, cells) for line, cells in lines if any(cells)]
    if uneven := [f"line {line} has {len(cells)}" for line, cells in rows if len(cells) != len(header)]:
        raise UserError(f"{path}: the header has {len(header)} fields, but {', '.join(uneven)}; put a text with "
                        "commas in double quotes")  # fmt: skip
    given = [dict(zip(header, cells, strict=True)) for _, cells in rows]
    return rules_of(given, variants, [line for line, _ in rows])


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells without outer blanks) of each row."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    start = 1
    try:
        for cells in reader:
            yield start, [cell.strip() for cell in cells]
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}: what begins on line {start} is no csv: {error}; check its double quotes") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"the rules {path} cannot be read: {error.strerror}; give a csv file of rules") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: byte 0x{data[error.start]:02x} is no UTF-8; save the file as CSV "
                        "UTF-8") from None  # fmt: skip
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: the file has a NUL character; save it as CSV UTF-8")
    return text


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    known = f"the first line must name columns among {', '.join(COLUMNS)}"
    if not any(header):
        raise UserError(f"{path} has no header; {known}")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise UserError(f"{path}: the fields of the first line are not separated by commas; save it as CSV with commas")
    if unknown := [cell for cell in header if cell not in COLUMNS]:
        raise UserError(f"{path}: the header has unknown columns {', '.join(map(repr, unknown))}; {known}")
    if twice := sorted({cell for cell in header if header.count(cell) > 1}):
        raise UserError(f"{path}: the header has {', '.join(twice)} more than once; keep one of each")
    if missing := [name for name in NEEDED if name not in header]:
        raise UserError(f"{path}: the header has no column {' and no column '.join(missing)}; {known}")
    return header
