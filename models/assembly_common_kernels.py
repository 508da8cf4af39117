"""What both loops of `models.assembly` ask of a candidate, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

from models.assembly_arrays import (
    AVAILABLE,
    CATEGORY,
    DEPARTMENT,
    EXCLUDED,
    NONE,
    PRICE,
    Array,
    Book,
    Offers,
    Pool,
    Stock,
)  # fmt: skip
from models.rulebook import BOUGHT, PAGE

Compiled = TypeVar("Compiled", bound=Callable[..., object])
SPARE = 4
"""So many times its cap of a category is gathered."""


def compiled(function: Compiled) -> Compiled:
    """Compile without numba's counting of references: nothing is allocated here, and counting those of arrays that
    threads share took six sevenths of the time.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
    made: Compiled = njit(**options)(function)
    return made


@compiled
def refusal(product: int, anchor: int, q: int, stock: Stock, book: Book, pool: Pool) -> int:
    """-2 where the product may be shown, the rule that says no, or NONE where no rule is needed to say it."""
    if pool.taken[product] == q:
        return int(pool.reason[product])
    facts = stock.facts
    if facts[product, AVAILABLE] == 0:
        return NONE
    if facts[product, EXCLUDED] >= 0:
        return int(facts[product, EXCLUDED])
    if anchor < 0:
        return -2
    category = facts[product, CATEGORY]
    if book.other_category and category >= 0 and category == facts[anchor, CATEGORY]:
        return NONE
    if not book.mixes[int(facts[anchor, DEPARTMENT]), int(facts[product, DEPARTMENT])]:
        return book.guard_rule
    share = facts[product, PRICE] / facts[anchor, PRICE]
    if share < book.low or share > book.high:  # false where a price is not known
        return book.price_rule
    return -2


@compiled
def enough(category: int, book: Book, pool: Pool) -> bool:
    """Whether the pool has all of a capped category that places and diversity can make a choice of."""
    return book.category_cap > 0 and category >= 0 and pool.of_category[category] >= SPARE * book.category_cap


@compiled
def credit(rule: int, q: int, effects: Array, pool: Pool) -> None:
    """Count list q once for a rule that changed it."""
    if pool.credited[rule] != q:
        pool.credited[rule] = q
        effects[rule] += 1


@compiled
def block(q: int, offers: Offers, pool: Pool) -> None:
    """Note what list q must not show: its own product, what the customer bought, what stands beside it."""
    for at in range(offers.beside.shape[1]):
        if offers.beside[q, at] >= 0:
            pool.taken[offers.beside[q, at]], pool.reason[offers.beside[q, at]] = q, PAGE
    for at in range(offers.blocked_offsets[q], offers.blocked_offsets[q + 1]):
        pool.taken[offers.blocked_rows[at]], pool.reason[offers.blocked_rows[at]] = q, BOUGHT
    if offers.anchors[q] >= 0:
        pool.taken[offers.anchors[q]], pool.reason[offers.anchors[q]] = q, NONE
