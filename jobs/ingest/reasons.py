"""Explains to a person why rows or values were not used: what was met, what is read, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.text import clean

SHOWN = 3
"""Values of a reason that are shown, the most frequent first."""
LONGEST_VALUE = 60
TIMES = (
    "2026-04-05, 2026-04-05 10:00, 2026-04-05T10:00:00.123Z or 2026-04-05 10:00:00 +0200 is read (UTC where no zone is "
    "named)"
)
OTHER_TIMES = (
    "to_timestamp(t, 'd/M/yyyy H:mm') reads another order, timestamp_seconds(CAST(t AS BIGINT)) and "
    "timestamp_millis(..) seconds and milliseconds since 1970"
)
PRICES = "12.95, 12 or 1.2e3 is read (of a product not below 0)"
OTHER_PRICES = "CAST(replace(regexp_replace(price, '[^0-9,]', ''), ',', '.') AS DOUBLE) reads 12,95 EUR"
ENCODING = 'name the file\'s encoding in the source, such as --! encoding = "windows-1252"'
EXCLUDE = "or leave such rows out on purpose: CASE WHEN .. THEN 'why' END AS excluded"


@dataclass(frozen=True)
class Remedy:
    """What a person needs to know about a reason."""

    column: str | None
    """The column whose values show the fault; None where only the whole row does, which may name a customer."""
    text: str


NOT_READ = " not read"
"""Behind the name of an optional column: the reason of its values that were not used."""
BROKEN_TEXT = "text with bytes of another encoding than the source names"
"""Reason of texts in which bytes were replaced; their rows are kept."""
REJECTED = {
    "missing customer": Remedy(
        "customer_id",
        "empty, or a word such as nan that stands for nothing (missing = [..] in the source); "
        f"take it from the order's other lines, max(customer) OVER (PARTITION BY order_no), {EXCLUDE}",
    ),
    "missing product": Remedy("product_id", f"take it from another column, {EXCLUDE}"),
    "missing market": Remedy("market", "give a constant where the shop has one market, 'DE' AS market"),
    "unknown event type": Remedy(
        "event_type",
        "click, save, bag and purchase are read; "
        "CASE event_type WHEN 'view' THEN 'click' WHEN 'cart' THEN 'bag' .. END",
    ),
    "unparseable timestamp": Remedy("event_ts", f"{TIMES}; {OTHER_TIMES}"),
    "timestamp before 1990": Remedy("event_ts", OTHER_TIMES),
    "future timestamp": Remedy(
        "event_ts",
        "the day in a file's name says that it holds events up to that day; take the day out of the name if it is the "
        "day of the export: the file is then read every night, up to the night's midnight",
    ),
    "late": Remedy(
        "event_ts",
        "the day in a file's name says that it brings that day's events; for a history take the day out of the name, "
        "or raise late_days in the source",
    ),
    "unknown product": Remedy(
        "product_id",
        "the SELECT for catalogue does not give it: check that both write ids alike, or leave that SELECT out, so that "
        "every product with an event is one",
    ),
    "quantity below 1": Remedy(
        "quantity", "a return or cancellation? CASE WHEN quantity < 1 THEN 'return' END AS excluded says so"
    ),
    "negative price": Remedy(
        "price",
        "a refund or correction? CASE WHEN price < 0 THEN 'refund' END AS excluded says so; "
        "CASE WHEN price >= 0 THEN price END AS price keeps the row without its price",
    ),
    "duplicate event": Remedy(
        "product_id",
        "lines that are equal in every column count as one event; if each is a piece of its own, yield an event_id "
        "(order and line number) or count them as quantity (GROUP BY .., count(*) AS quantity)",
    ),
    "duplicate impression": Remedy(
        "product_id", "lines that are equal in every column are one impression; log each with its place and time"
    ),
    "missing touch point": Remedy(None, "give the list_id that the answer had, or the touch_point"),
    "unknown touch point": Remedy(
        "touch_point",
        "you_might_also_like, people_also_bought, bag_extras, outfits, recommended_for_you, market_ranking are read; "
        "CASE touch_point WHEN 'home' THEN 'recommended_for_you' .. END",
    ),
    "availability is neither true nor false": Remedy(
        "available", "true, t, yes, y, 1 and false, f, no, n, 0 are read; stock > 0 AS available"
    ),
    "too many fields": Remedy(None, "correct the row, or set delimiter, quote or escape in the source"),
    "too few fields": Remedy(None, "correct the row, or set delimiter, quote or escape in the source"),
    "no JSON object": Remedy(None, "correct the line; JSON lines hold one object a line"),
    "broken encoding in": Remedy(None, ENCODING),
    BROKEN_TEXT: Remedy(None, ENCODING),
    "malformed": Remedy(None, "an id has at most 200 characters and no control character; correct the SELECT"),
}
"""Reason (or its beginning) -> explanation of rows that were rejected."""

UNREAD = {
    "price": f"{PRICES}; {OTHER_PRICES}",
    "quantity": "a whole number is read; 1 was taken",
    "launched_at": f"{TIMES}; {OTHER_TIMES}",
    "updated_at": f"{TIMES}; {OTHER_TIMES}",
    "market": "at most 200 characters of text are read",
    "basket_id": "at most 200 characters of text are read",
    "variant": "at most 200 characters of text are read",
    "owner": "at most 200 characters of text are read",
    "list_id": "a list_id as an answer of the client or the HTTP API has it is read, whole",
    "place": "a whole number from 1 on is read",
    "event_id": "at most 200 characters of text are read; the row's content was taken",
}
"""Optional column -> explanation of values that were not used, whose rows were."""


def remedy_of(reason: str) -> Remedy:
    """The explanation of a reason for which rows were rejected."""
    if reason.endswith(NOT_READ):
        return Remedy(None, UNREAD.get(reason.removesuffix(NOT_READ), "correct the SELECT"))
    if found := re.fullmatch("(broken encoding in|malformed) (.+)", reason):
        return Remedy(found[2], REJECTED[found[1]].text)
    for known, explanation in REJECTED.items():
        if reason.startswith(known) or (known == "late" and reason.endswith("days late")):
            return explanation
    return Remedy(None, "correct the raw files or the SELECT")


def explained(counts: Mapping[str, int], values: Mapping[str, Sequence[str]]) -> str:
    """A clause for each reason, the most frequent first: rows, values met, and what to do."""
    clauses = (f"{counted(reason, n, values)}: {remedy_of(reason).text}" for reason, n in by_count(counts))
    return "; ".join(clauses)


def summed_up(counts: Mapping[str, int], values: Mapping[str, Sequence[str]]) -> str:
    """The same without what to do, in few words."""
    return ", ".join(counted(reason, n, {reason: values.get(reason, ())[:1]}) for reason, n in by_count(counts))


def by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons and their rows, the most frequent first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def counted(reason: str, count: int, values: Mapping[str, Sequence[str]]) -> str:
    """A reason, its rows, and the values met."""
    shown = ", ".join(repr(shortened(value)) for value in values.get(reason, ())[:SHOWN])
    return f"{reason} ({count:,}{shown and f': {shown}'})"


def shortened(value: str) -> str:
    """A value as one short visible text."""
    text = clean(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 2] + ".."
