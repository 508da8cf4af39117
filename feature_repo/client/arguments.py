"""Checks what a service asks for, so that a mistake is named and never looks like an unknown customer or product."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

LONGEST = 1_000
"""Characters of an id or name; those of a night are far shorter, and a cache keeps what it was asked for."""
MOST = 500
"""Products, or events, of one request: the most that a page loads at once."""
LATEST = 1 << 38
"""Unix seconds that no clock shows."""


class ArgumentError(ValueError):
    """An argument that cannot be answered; `argument` is its name, with which the message begins."""

    def __init__(self, argument: str, fault: str) -> None:
        super().__init__(f"{argument} {fault}")
        self.argument = argument


class TooManyError(ArgumentError):
    """More products than one request may have."""


def check(**texts: str) -> None:
    """Raise ArgumentError for the first of these arguments that is no text."""
    for name, text in texts.items():
        _check_text(name, text)


def visitor_id(customer_id: str | None, recent: Sequence[object]) -> str:
    """The customer's id; '' for a visitor without one, who has to be known by `recent` events.

    Raises ArgumentError for what is no text.
    """
    if customer_id is None and recent:
        return ""
    _check_text("customer_id", customer_id)
    return str(customer_id)


def check_count(name: str, count: int) -> None:
    """Raise ArgumentError where the argument of that name is no whole number, or below 0."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        fault = "below 0" if isinstance(count, int) and count < 0 else _shown(count)
        raise ArgumentError(name, f"is {fault}; give a whole number, 0 or more")


def distinct(name: str, products: Sequence[str]) -> list[str]:
    """Every non-empty id once, in the given order.

    Raises ArgumentError where it is no list of texts, and TooManyError for more than MOST.
    """
    if isinstance(products, (str, bytes)) or not isinstance(products, Iterable):
        raise ArgumentError(name, f"is {_shown(products)}; give a list of ids")
    wanted = []
    for place, product in enumerate(products):
        _check_text(f"{name}[{place}]", product)
        wanted.append(product)
    wanted = list(dict.fromkeys(product for product in wanted if product))
    if len(wanted) > MOST:
        raise TooManyError(
            name, f"has {len(wanted):,} products, more than {MOST}; give the first {MOST}, or ask page by page"
        )
    return wanted


EVENT_TYPES = ("click", "save", "bag", "purchase")
Recent = Sequence[tuple[str, str, "datetime | float"]]
"""(product, click | save | bag | purchase, time as a datetime with a time zone or in Unix seconds)"""


def checked_events(name: str, recent: Recent) -> list[tuple[str, str, int]]:
    """(product, type, Unix seconds) of each event.

    Raises ArgumentError where it is no list of such events, and TooManyError for more than MOST.
    """
    if isinstance(recent, (str, bytes)) or not isinstance(recent, Iterable):
        raise ArgumentError(name, f"is {_shown(recent)}; give a list of (product, event, time)")
    events = []
    for place, event in enumerate(recent):
        one = f"{name}[{place}]"
        if isinstance(event, (str, bytes)) or not isinstance(event, Sequence) or len(event) != 3:
            raise ArgumentError(one, "is no (product, event, time)")
        product, kind, at = event
        _check_text(one, product)
        if kind not in EVENT_TYPES:
            raise ArgumentError(one, f"has an event that is none of {', '.join(EVENT_TYPES)}")
        events.append((product, kind, _seconds(one, at)))
    if len(events) > MOST:
        raise TooManyError(name, f"has {len(events):,} events, more than {MOST}; give the last {MOST}")
    return events


def _seconds(name: str, at: object) -> int:
    if isinstance(at, datetime) and at.tzinfo is not None:
        return int(at.timestamp())
    if isinstance(at, (int, float)) and not isinstance(at, bool) and math.isfinite(at) and 0 <= at < LATEST:
        return int(at)
    fault = "without a time zone" if isinstance(at, datetime) else "that is neither a datetime nor Unix seconds"
    raise ArgumentError(name, f"has a time {fault}")


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise ArgumentError(name, f"is {_shown(text)}; give a text")
    if len(text) > LONGEST:
        raise ArgumentError(name, f"has {len(text):,} characters; at most {LONGEST:,} are allowed")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ArgumentError(name, "has half of a character (a lone surrogate); give UTF-8") from None


def _shown(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
