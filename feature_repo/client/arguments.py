"""Checks what a service asks for, so that a mistake is named and never looks like an unknown customer or product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LONGEST = 1_000
"""Characters of an id or name; those of a night are far shorter, and a cache keeps what it was asked for."""
MOST = 500
"""Products of one request: the most that a page loads at once."""


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
