"""Explains to a person why rows or values were not used: what was met, what is read, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
PRICES = "12.95, 12 or 1.2e3 is read"
OTHER_PRICES = "CAST(replace(regexp_replace(price, '[^0-9,]', ''), ',', '.') AS DOUBLE) reads 12,95 EUR"
ENCODING = 'name the file\'s encoding in the source, such as --! encoding = "windows-1252"'
EXCLUDE = "or leave such rows out on purpose: CASE WHEN .. THEN 'why' END AS excluded"


@dataclass(frozen=True)
class Explanation:
    """What a person needs to know about a reason."""

    column: str | None
    """The column whose values show the fault; None where the whole row does."""
    remedy: str


REJECTED = {
    "missing customer": Explanation(
        "customer_id",
        f"take it from the order's other lines, max(customer) OVER (PARTITION BY order_no), {EXCLUDE}",
    ),
    "missing product": Explanation("product_id", f"take it from another column, {EXCLUDE}"),
    "missing market": Explanation("market", "give a constant where the shop has one market, 'DE' AS market"),
    "unknown event type": Explanation(
        "event_type",
        "click, save, bag and purchase are read; "
        "CASE event_type WHEN 'view' THEN 'click' WHEN 'cart' THEN 'bag' .. END",
    ),
    "unparseable timestamp": Explanation("event_ts", f"{TIMES}; {OTHER_TIMES}"),
    "timestamp before 1990": Explanation("event_ts", OTHER_TIMES),
    "future timestamp": Explanation(
        "event_ts",
        "the day in a file's name says that it holds events up to that day; take the day out of the name if it is the "
        "day of the export: the file is then read every night, up to the night's midnight",
    ),
    "late": Explanation(
        "event_ts",
        "the day in a file's name says that it brings that day's events; for a history take the day out of the name, "
        "or raise late_days in the source",
    ),
    "unknown product": Explanation(
        "product_id",
        "the SELECT for catalogue does not give it: check that both write ids alike, or leave that SELECT out, so that "
        "every product with an event is one",
    ),
    "quantity below 1": Explanation(
        "quantity", "a return or cancellation? CASE WHEN quantity < 1 THEN 'return' END AS excluded says so"
    ),
    "duplicate event": Explanation(
        None,
        "lines that are equal in every column count as one event; if each is a piece of its own, yield an event_id "
        "(order and line number) or count them as quantity (GROUP BY .., count(*) AS quantity)",
    ),
    "availability is neither true nor false": Explanation(
        "available", "true, t, yes, y, 1 and false, f, no, n, 0 are read; stock > 0 AS available"
    ),
    "too many fields": Explanation(None, "correct the row, or set delimiter, quote or escape in the source"),
    "too few fields": Explanation(None, "correct the row, or set delimiter, quote or escape in the source"),
    "no JSON object": Explanation(None, "correct the line; JSON lines hold one object a line"),
    "broken encoding": Explanation(None, ENCODING),
    "malformed": Explanation(None, "an id has at most 200 characters and no control character; correct the SELECT"),
}
"""Reason (or its beginning) -> explanation of rows that were rejected."""

UNREAD = {
    "price": f"{PRICES}, not negative; {OTHER_PRICES}",
    "quantity": "a whole number is read; 1 was taken",
    "launched_at": f"{TIMES}; {OTHER_TIMES}",
    "updated_at": f"{TIMES}; {OTHER_TIMES}",
    "market": "at most 200 characters of text are read",
    "basket_id": "at most 200 characters of text are read",
    "event_id": "at most 200 characters of text are read; the row's content was taken",
}
"""Optional column -> explanation of values that were not used, whose rows were."""
BROKEN_TEXT = f"some bytes are no UTF-8 and were replaced; {ENCODING}"


def explanation_of(reason: str) -> Explanation:
    """The explanation of a reason for which rows were rejected."""
    for known, explanation in REJECTED.items():
        if reason.startswith(known) or (known == "late" and reason.endswith("days late")):
            return explanation
    return Explanation(None, "correct the raw files or the SELECT")


def told_rejected(counts: Mapping[str, int], values: Mapping[str, Sequence[str]]) -> str:
    """A clause for each reason, the most frequent first: rows, values met, and what to do."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(
        f"{reason} ({count:,}{_met(values.get(reason, ()))}: {explanation_of(reason).remedy})"
        for reason, count in ordered
    )


def told_unread(column: str, count: int, values: Sequence[str], broken: bool = False) -> str:
    """A clause about values of an optional column that were not used, or in part not read."""
    what = "was not read in full" if broken else "was not read"
    remedy = BROKEN_TEXT if broken else UNREAD.get(column, "correct the SELECT")
    return f"{column} {what} in {count:,} rows{_met(values)}: {remedy}"


def _met(values: Iterable[str]) -> str:
    shown = [repr(clean(value)[:LONGEST_VALUE]) for value in list(values)[:SHOWN]]
    return f", such as {', '.join(shown)}" if shown else ""
