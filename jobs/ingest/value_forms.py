"""Tells how a column of texts writes times and numbers, and gives the SQL that reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOSTLY = 0.9
"""Share of a column's values that must look alike for a guess."""


@dataclass(frozen=True)
class Instant:
    """How a column writes times."""

    what: str
    """In words, for a comment."""
    sql: str
    """The instant or its text, with {} for the column."""
    unsure: str = ""
    """What a person has to decide."""


EPOCHS = (
    (10, "seconds", "timestamp_seconds"),
    (13, "milliseconds", "timestamp_millis"),
    (16, "microseconds", "timestamp_micros"),
)
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
PARTS = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:,?[ T]+(\d{1,2}:\d{2})(:\d{2})?([.,]\d+)?( ?[AaPp][Mm])?)?")
MONTHS = (
    (re.compile(r"[A-Z][a-z]{2} \d{1,2}, \d{4}( \d{1,2}:\d{2})?( ?[AP]M)?"), "MMM d, yyyy"),
    (re.compile(r"\d{1,2} [A-Z][a-z]{2} \d{4}( \d{1,2}:\d{2})?"), "d MMM yyyy"),
    (re.compile(r"\d{1,2}-[A-Z][a-z]{2}-\d{4}( \d{1,2}:\d{2})?"), "d-MMM-yyyy"),
)


def instant_of(values: Sequence[str]) -> Instant | None:
    """How these values write a time; None where they are none."""
    if not values:
        return None
    if mostly(values, ISO.fullmatch):
        return Instant("times", "{}")
    others = [value for value in values if not ISO.fullmatch(value)]
    if len(others) < len(values):
        other = instant_of(others)
        return other and Instant(
            f"times, and {other.what}",
            f"coalesce(try_cast({{0}} AS TIMESTAMP), {other.sql.replace('{}', '{0}')})",
            other.unsure,
        )
    if mostly(values, re.compile(r"\d{10}(\d{3}|\d{6})?(\.\d+)?").fullmatch):
        digits = Counter(len(value.split(".")[0]) for value in values).most_common(1)[0][0]
        unit, function = next((unit, function) for most, unit, function in EPOCHS if most == digits)
        kind = "DOUBLE" if any("." in value for value in values) else "BIGINT"
        return Instant(f"{unit} since 1970", f"{function}(try_cast({{}} AS {kind}))")
    if mostly(values, re.compile(r"(19|20)\d{2}[01]\d[0-3]\d(\d{6})?").fullmatch):
        long = any(len(value) == 14 for value in values)
        pattern = "yyyyMMddHHmmss" if long else "yyyyMMdd"
        return Instant(f"times as {pattern}", f"try_to_timestamp({{}}, '{pattern}')")
    if mostly(values, PARTS.fullmatch):
        return _with_parts(values)
    for shape, pattern in MONTHS:
        if mostly(values, shape.fullmatch):
            found = shape.fullmatch(next(value for value in values if shape.fullmatch(value)))
            time = "" if found is None or not found[1] else " h:mm a" if found.re.groups > 1 and found[2] else " H:mm"
            return Instant(f"times as {pattern}{time}", f"try_to_timestamp({{}}, '{pattern}{time}')")
    return None


def _with_parts(values: Sequence[str]) -> Instant:
    """Times of three numbers: which of them is the day."""
    found = [match for match in map(PARTS.fullmatch, values) if match]
    first, third = (max(int(match[place]) for match in found) for place in (1, 4))
    second = max(int(match[3]) for match in found)
    sign = found[0][2]
    unsure = ""
    if any(len(match[1]) == 4 for match in found):
        order = "yyyy M d"
    else:
        year = "yyyy" if third > 99 else "yy"
        order = f"M d {year}" if second > 12 or (first <= 12 and sign == "-") else f"d M {year}"
        if first <= 12 and second <= 12 and sign != ".":
            other = f"M d {year}" if order.startswith("d") else f"d M {year}"
            unsure = (
                f"no value tells day from month: {order.replace(' ', sign)} was taken, not {other.replace(' ', sign)}"
            )
    pattern = order.replace(" ", sign)
    timed = next((match for match in found if match[5]), None)
    if timed:
        hour, half = ("h", " a" if timed[8][0] == " " else "a") if timed[8] else ("H", "")
        comma = "," if "," in timed[0][: timed.start(5)] else ""
        between = "'T'" if "T" in timed[0][: timed.start(5)] else " "
        pattern += f"{comma}{between}{hour}:mm{':ss' if timed[6] else ''}{half}"
    quoted = pattern.replace("'", "''")
    return Instant(f"times as {pattern}", f"try_to_timestamp({{}}, '{quoted}')", unsure)


def mostly(values: Sequence[str], test: Callable[[str], object], share: float = MOSTLY) -> bool:
    """Whether so large a share of the values passes; false where there are none."""
    return bool(values) and sum(bool(test(value)) for value in values) >= share * len(values)


PLAIN_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
MONEY = r"(?:[A-Z]{3}|[^\w\s.,-]{1,2}|kr\.?|zł|Kč|Ft|Rs\.?)?\s?"
DECIMAL_COMMA = re.compile(rf"{MONEY}-?\d{{1,3}}(\.?\d{{3}})*,(\d{{1,2}}|\d{{4,6}})\s?{MONEY}")
WITH_SIGNS = re.compile(rf"{MONEY}-?{MONEY}\d{{1,3}}(,?\d{{3}})*(\.\d+)?\s?{MONEY}")


def number_sql(values: Sequence[str]) -> str | None:
    """SQL that reads a column of numbers, with {} for it; None where the values are no numbers."""
    if mostly(values, PLAIN_NUMBER.fullmatch):
        return "{}"
    if mostly(values, DECIMAL_COMMA.fullmatch):
        return "replace(regexp_replace({}, '[^0-9,-]', ''), ',', '.')"
    if mostly(values, WITH_SIGNS.fullmatch):
        return "regexp_replace({}, '[^0-9.-]', '')"
    return None
