"""From rows as people gave them to checked rules: every mistake is found, and said in one error."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.policy.rules import ANY, COLUMNS, KINDS, MOST_RULES, TOUCH_POINTS, Rule
from jobs.text import INVISIBLE
from models.assembly.rulebook import STANDING

NUMBERS, DAYS = ("amount", "low", "high"), ("starts_on", "ends_on")
TEXTS = tuple(column for column in COLUMNS if column not in NUMBERS + DAYS)
BY_KIND = ("attribute", "value", "shown", *NUMBERS)
"""Columns that a kind either needs or must leave empty."""
LONGEST_ID = 100
GREATEST_SHARE = 1000.0


def rules_of(
    rows: Sequence[Mapping[str, Any]], variants: Sequence[str] | None = None, lines: Sequence[int] | None = None
) -> list[Rule]:
    """The rows as rules, in their order.

    Numbers and dates may be text, as in a csv file. `variants` are the names that a rule may give
    (None: any); `lines` are the rows' lines in their file, for the messages.
    Raises UserError with every mistake of every row.
    """
    if len(rows) > MOST_RULES:
        raise UserError(f"the policy has {len(rows)} rules; at most {MOST_RULES} are allowed")
    mistakes: list[str] = []
    checks = [
        _Row(row, f"row {number}" if lines is None else f"line {lines[number - 1]}", mistakes)
        for number, row in enumerate(rows, start=1)
    ]
    rules = [check.rule(variants) for check in checks]
    _check_names(checks)
    _check_includes([(check, rule) for check, rule in zip(checks, rules, strict=True) if rule is not None])
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError("\n  ".join([f"the policy has {count}; no rule was taken from it:", *mistakes]))
    return [rule for rule in rules if rule is not None]


def unknown_variants(rules: Sequence[Rule], variants: Sequence[str]) -> list[str]:
    """One mistake a rule that names a variant which is not there."""
    return [
        f"rule {rule.rule_id}: {_variant_text(rule.variant, variants)}"
        for rule in rules if rule.variant is not None and rule.variant not in variants
    ]  # fmt: skip


def _variant_text(variant: str, variants: Sequence[str]) -> str:
    return f"variant = {_shown(variant)} is not one of tonight's variants {', '.join(variants)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class _Row:
    """One row while it is checked; `mistakes` is shared by all rows."""

    def __init__(self, row: Mapping[str, Any], place: str, mistakes: list[str]) -> None:
        self.place = place
        self.mistakes = mistakes
        self.given = {column: row.get(column) for column in COLUMNS if row.get(column) not in (None, "")}
        self.rule_id = self.given.get("rule_id")
        self.good: dict[str, Any] = {}

    def mistake(self, text: str) -> None:
        """Remember a mistake, with the row and the rule it is in."""
        name = f", rule {_shown(self.rule_id)}" if self.rule_id is not None else ""
        self.mistakes.append(f"{self.place}{name}: {text}")

    def rule(self, variants: Sequence[str] | None) -> Rule | None:
        """The checked rule; None where there is any mistake."""
        before = len(self.mistakes)
        for column, value in self.given.items():
            read = self._text if column in TEXTS else self._number if column in NUMBERS else self._day
            if (checked := read(column, value)) is not None:
                self.good[column] = checked
        self._check_rule_id()
        self._check_kind()
        self._check_scope(variants)
        return Rule(**self.good) if len(self.mistakes) == before else None

    # --- values

    def _text(self, column: str, value: Any) -> str | None:
        if not isinstance(value, str):
            self.mistake(f"{column} = {_shown(value)} is no text")
        elif not value.strip():
            self.mistake(f"{column} = {_shown(value)} is blank; write something or leave it empty")
        elif value != value.strip():
            self.mistake(f"{column} = {_shown(value)} begins or ends with a blank; remove it")
        elif "\0" in value or any(unicodedata.category(letter) == "Cs" for letter in value):
            self.mistake(f"{column} = {_shown(value)} has a character that is no text; write it again")
        else:
            return value
        return None

    def _number(self, column: str, value: Any) -> float | None:
        written = isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,300}(\.\d{1,300})?", value, re.ASCII)
        # The comparison keeps out NaN, infinities and whole numbers that no float can hold.
        if written or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300):
            return float(value)
        self.mistake(f"{column} = {_shown(value)} is no finite number; write it as 3 or 0.5")
        return None

    def _day(self, column: str, value: Any) -> date | None:
        if type(value) is date:
            return value
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            try:
                return date.fromisoformat(value)
            except ValueError:  # 2026-02-30
                pass
        self.mistake(f"{column} = {_shown(value)} is no date; write it as 2026-04-06")
        return None

    # --- columns

    def _check_rule_id(self) -> None:
        name = self.good.get("rule_id")
        if "rule_id" not in self.given:
            self.mistake("rule_id is empty; give every rule a name of its own")
        if name is None:
            return
        if len(name) > LONGEST_ID:
            self.mistake(f"rule_id has {len(name)} characters; at most {LONGEST_ID} are allowed")
        if any(unicodedata.category(letter) in INVISIBLE for letter in name):
            self.mistake(f"rule_id = {_shown(name)} has an invisible or control character; write it with others")
        if name.casefold() in STANDING:
            self.mistake(f"rule_id = {_shown(name)} is the name of a standing rule, as are {', '.join(STANDING)}; "
                         "choose another")  # fmt: skip

    def _check_kind(self) -> None:
        kind = self.good.get("kind")
        if kind not in KINDS:
            if "kind" not in self.given:
                self.mistake(f"kind is empty; it must be one of {', '.join(KINDS)}")
            elif kind is not None:
                self.mistake(f"kind = {_shown(kind)} is unknown; it must be one of {', '.join(KINDS)}")
            return
        needs = self._needs(kind)
        for column in BY_KIND:
            if column in self.given and column not in needs:
                self.mistake(f"{column} = {_shown(self.given[column])} means nothing to {kind}; leave it empty")
            elif column in KINDS[kind].uses and column not in self.given:
                self.mistake(f"{column} is empty; {kind} needs it: {needs[column]}")
        self._check_attribute(kind)
        self._check_amount(kind)
        if kind == "price_window":
            self._check_window()

    def _needs(self, kind: str) -> dict[str, str]:
        """Column -> what a kind takes in it."""
        spec = KINDS[kind]
        texts = {"attribute": " or ".join(spec.attributes), "value": "the attribute's value", "amount": ""}
        if "amount" in spec.uses:
            texts["amount"] = f"a whole number from {spec.amount[0]} to {spec.amount[1]} ({spec.unit})"
        if kind == "mix_departments":
            texts["value"] = f"department of the product whose list it is, or {ANY}"
            texts["shown"] = f"department that its list may show, or {ANY}"
        if kind == "price_window":
            return {"low": "least price as a share", "high": "greatest price as a share"}
        return {column: texts[column] for column in spec.uses}

    def _check_attribute(self, kind: str) -> None:
        attribute, allowed = self.good.get("attribute"), KINDS[kind].attributes
        if allowed and attribute is not None and attribute not in allowed:
            self.mistake(f"attribute = {_shown(attribute)} is not for {kind}; it must be {' or '.join(allowed)}")

    def _check_amount(self, kind: str) -> None:
        spec, amount = KINDS[kind], self.good.get("amount")
        if amount is None or "amount" not in spec.uses:
            return
        if not (spec.amount[0] <= amount <= spec.amount[1] and amount.is_integer()):
            self.mistake(f"amount = {amount:g} is not allowed; {kind} needs {self._needs(kind)['amount']}")

    def _check_window(self) -> None:
        if "low" not in self.given and "high" not in self.given:
            self.mistake("low and high are empty; price_window needs one of them, or both, as shares of the price of "
                         "the product whose list it is, such as 0.5 and 2")  # fmt: skip
        low, high = self.good.get("low"), self.good.get("high")
        if low is not None and not 0 <= low <= GREATEST_SHARE:
            self.mistake(f"low = {low:g} is no share; it must be from 0 to {GREATEST_SHARE:g}")
        if high is not None and not 0 < high <= GREATEST_SHARE:
            self.mistake(f"high = {high:g} is no share; it must be above 0 and at most {GREATEST_SHARE:g}")
        if low is not None and high is not None and low > high:
            self.mistake(f"low = {low:g} is above high = {high:g}; exchange them")

    def _check_scope(self, variants: Sequence[str] | None) -> None:
        touch_point, kind = self.good.get("touch_point"), KINDS.get(self.good.get("kind", ""))
        if touch_point is not None and touch_point not in TOUCH_POINTS:
            self.mistake(f"touch_point = {_shown(touch_point)} is unknown; it must be one of {', '.join(TOUCH_POINTS)}"
                         ", or empty for each that the kind can hold for")  # fmt: skip
        elif touch_point is not None and kind is not None and touch_point not in kind.touch_points:
            self.mistake(f"touch_point = {_shown(touch_point)} cannot have {self.good['kind']}: {kind.why}; "
                         f"it must be {' or '.join(kind.touch_points)}, or empty")  # fmt: skip
        variant = self.good.get("variant")
        if variant is not None and variants is not None and variant not in variants:
            self.mistake(_variant_text(variant, variants) + "; correct it or leave it empty")
        starts, ends = self.good.get("starts_on"), self.good.get("ends_on")
        if starts is not None and ends is not None and starts > ends:
            self.mistake(f"starts_on = {starts} is after ends_on = {ends}; exchange them")


def _check_names(checks: Sequence[_Row]) -> None:
    first: dict[str, _Row] = {}
    for check in checks:
        name = check.good.get("rule_id")
        if name is not None and first.setdefault(name, check) is not check:
            check.mistake(f"rule_id = {_shown(name)} is that of {first[name].place} as well; rename one of them")


def _check_includes(checked: Sequence[tuple[_Row, Rule]]) -> None:
    """Two products cannot stand in one place of one list, and one product cannot stand in two."""
    seen: dict[tuple[str, Any], dict[str | None, list[tuple[_Row, Rule]]]] = {}
    for check, rule in checked:
        if rule.kind != "include":
            continue
        for column, value, taken in (("amount", rule.amount, "this place"), ("value", rule.value, "this product")):
            others = seen.setdefault((column, value), {})
            # Rules of two markets never meet, so that a policy with much in each market is checked fast.
            markets = list(others) if rule.market is None else [None, rule.market]
            near = (found for market in markets for found in others.get(market, ()))
            rival = next(((other, earlier) for other, earlier in near if rule.meets(earlier)), None)
            if rival is not None:
                text = f"{value:g}" if column == "amount" else _shown(value)
                check.mistake(f"{column} = {text}: rule {_shown(rival[1].rule_id)} ({rival[0].place}) includes {taken} "
                              "in the same lists; change one, or let their scopes or dates differ")  # fmt: skip
            others.setdefault(rule.market, []).append((check, rule))


# A policy as people write it: a csv file of one rule a line, read strictly.

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
