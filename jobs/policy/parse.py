"""Reads merchandisers' rules from a CSV file or the table policy, and names every mistake in them in one error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from jobs.errors import UserError
from jobs.policy.rules import COLUMNS, KINDS, MOST_RULES, AnyRule, Rule

Cells = Mapping[str, object]
"""Column -> what a row has there."""
Line = list[str] | str
"""The cells of a line of a file, without outer blanks, or why it has none."""
NO_KIND = ("union_tag_invalid", "union_tag_not_found")
"""Pydantic's errors of a row whose kind is unknown or empty."""
EVERY_KIND = ("rule_id", "touch_point", "market", "variant", "starts_on", "ends_on", "reason")
"""Columns that rules of every kind may have."""
_RULE = TypeAdapter[Rule](Annotated[AnyRule, Field(discriminator="kind")])


def rules_of(
    rows: Sequence[Cells | str], variants: Sequence[str] | None = None, lines: Sequence[int] | None = None
) -> list[Rule]:
    """The rows as rules, in their order.

    Numbers and dates may be text, as in a CSV file; a row that could not be read is its mistake in words. `variants`
    are the names that a rule may give (None: any); `lines` are the rows' lines in their file, for the messages.
    Raises UserError with every mistake of every row.
    """
    if len(rows) > MOST_RULES:
        raise UserError(f"the policy has {len(rows)} rules; at most {MOST_RULES} are allowed")
    mistakes: list[str] = []
    rules: dict[str, Rule] = {}
    names: dict[object, str] = {}
    for number, row in enumerate(rows, start=1):
        place = f"row {number}" if lines is None else f"line {lines[number - 1]}"
        if isinstance(row, str):
            mistakes.append(f"{place}: {row}")
            continue
        given = {column: row.get(column) for column in COLUMNS if row.get(column) not in (None, "")}
        name = given.get("rule_id")
        start = place if name is None else f"{place}, rule {_shown(name)}"
        try:
            rules[place] = _RULE.validate_python(given, context=variants)
        except ValidationError as error:
            mistakes += [f"{start}: {_mistake(each, given)}" for each in _errors(error, given, variants)]
        if isinstance(name, str) and names.setdefault(name, place) != place:
            mistakes.append(f"{start}: rule_id = {_shown(name)} is that of {names[name]} as well; rename one of them")
    mistakes += _colliding_includes(rules)
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError("\n  ".join([f"the policy has {count}; no rule was taken from it:", *mistakes]))
    return list(rules.values())


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _errors(found: ValidationError, given: Cells, variants: Sequence[str] | None) -> list[ErrorDetails]:
    """The mistakes of a row; where its kind is one, also those in the columns that every kind has."""
    errors = found.errors(include_url=False)
    if errors[0]["type"] not in NO_KIND:
        return errors
    try:
        Rule.model_validate(
            {name: given[name] for name in EVERY_KIND if name in given} | {"kind": ""}, context=variants
        )
    except ValidationError as others:
        errors += others.errors(include_url=False)
    return errors


def _mistake(error: ErrorDetails, given: Cells) -> str:
    """One mistake in words: the column, its value and the remedy."""
    kind = str(given.get("kind"))
    who = kind if kind in KINDS else "a rule"
    column = str(error["loc"][-1]) if error["type"] not in NO_KIND else "kind"
    value = f"{column} = {_shown(given[column])}" if column in given else column
    if column == "kind":
        return f"{value} is {'unknown' if column in given else 'empty'}; it must be one of {', '.join(KINDS)}"
    if error["type"] == "value_error":
        return f"{value} {error['ctx']['error']}"
    needed = KINDS.get(kind, Rule).model_fields[column].description
    if error["type"] == "missing":
        return f"{column} is empty; {who} needs it" + (f": {needed}" if needed else "")
    if needed:
        return f"{value} is not allowed; {who} needs {needed}"
    return f"{value} is not allowed; {error['msg'].replace('Input should be', 'it must be')}"


def _colliding_includes(rules: Mapping[str, Rule]) -> Iterator[str]:
    """A mistake for each include whose place, or whose product, another include of the same lists has; `rules` by
    their places in the file."""
    seen: dict[tuple[str, object], dict[str | None, list[tuple[str, Rule]]]] = {}
    for place, rule in rules.items():
        if rule.kind != "include":
            continue
        for column, value, taken in (("amount", rule.amount, "this place"), ("value", rule.value, "this product")):
            others = seen.setdefault((column, value), {})
            # Rules of two markets never meet, so that a policy with much in each market is checked fast.
            markets = list(others) if rule.market is None else [None, rule.market]
            near = (found for market in markets for found in others.get(market, ()))
            for other, earlier in near:
                if rule.meets(earlier):
                    text = f"{value:g}" if column == "amount" else _shown(value)
                    yield (
                        f"{place}, rule {_shown(rule.rule_id)}: {column} = {text}: rule {_shown(earlier.rule_id)} "
                        f"({other}) includes {taken} in the same lists; change one, or let their scopes or dates differ"
                    )
                    break
            others.setdefault(rule.market, []).append((place, rule))


# The CSV file.


def read_rules(path: Path, variants: list[str] | None = None) -> list[Rule]:
    """The checked rules of a CSV file of one rule a line, in its order.

    Raises UserError where it is no text or has no header, or else with every mistake in its rules.
    """
    lines = _lines(path)
    first, cells = next(lines, (1, [""]))
    if isinstance(cells, str):
        raise UserError(f"{path}, line {first}: the header {cells}")
    header = _header(path, cells)
    rows = [(line, cells) for line, cells in lines if any(cells)]
    return rules_of([_row(header, cells) for _, cells in rows], variants, [line for line, _ in rows])


def _row(header: list[str], cells: Line) -> Cells | str:
    if isinstance(cells, str):
        return cells
    if len(cells) != len(header):
        count = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
        return f"has {count}, and the header has {len(header)}; put a text with commas in double quotes"
    return dict(zip(header, cells, strict=True))


def _lines(path: Path) -> Iterator[tuple[int, Line]]:
    """(line on which it begins, its cells) of each row."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"the rules {path} cannot be read: {error.strerror}; give a csv file of rules") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise UserError(f"{path}, line {line}: byte 0x{byte:02x} is no UTF-8; save the file as CSV UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: the file has a NUL character; save it as CSV UTF-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # the reader goes on with the next line
            yield start, f"is no csv: {error}; check its double quotes"
        else:
            yield start, [cell.strip() for cell in cells]
        start = reader.line_num + 1


def _header(path: Path, cells: list[str]) -> list[str]:
    known = f"the first line must name columns among {', '.join(COLUMNS)}"
    if not any(cells):
        raise UserError(f"{path} has no header; {known}")
    if len(cells) == 1 and (";" in cells[0] or "\t" in cells[0]):
        raise UserError(f"{path}: the fields of the first line are not separated by commas; save it as CSV with commas")
    if unknown := [cell for cell in cells if cell not in COLUMNS]:
        raise UserError(f"{path}: the header has unknown columns {', '.join(map(repr, unknown))}; {known}")
    if twice := sorted({cell for cell in cells if cells.count(cell) > 1}):
        raise UserError(f"{path}: the header has {', '.join(twice)} more than once; keep one of each")
    if missing := [name for name in ("rule_id", "kind") if name not in cells]:
        raise UserError(f"{path}: the header has no column {' and no column '.join(missing)}; {known}")
    return cells
