"""Assembles lists whose candidates keep their order, compiled: only caps leave some out.

It gives what the general loop gives, and reads no further than the list is long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

from models.assembly.arrays import (
    AVAILABLE,
    BRAND,
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
)
from models.assembly.rulebook import BOUGHT, PAGE

# What both loops of `models.assembly.assembly` ask of a candidate, compiled.

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


@compiled
def _offer(
    product: int, score: float, label: int, q: int, n: int, size: int, held: int, stock: Stock, book: Book, pool: Pool,
    rows: Array, scores: Array, labels: Array, effects: Array,
) -> int:  # fmt: skip
    """Give a product the next place unless a cap is reached; returns the places held."""
    brand, category = int(stock.facts[product, BRAND]), int(stock.facts[product, CATEGORY])
    pool.taken[product], pool.reason[product], pool.category[size] = q, NONE, category
    pool.of_category[category] += 1
    over_brand = book.brand_cap > 0 and brand >= 0 and pool.of_brand[brand] >= book.brand_cap
    over_category = book.category_cap > 0 and category >= 0 and pool.placed[category] >= book.category_cap
    if over_brand or over_category:
        if size < n:  # it would have had a place; the cap that was reached first took it away
            first = over_brand and not (over_category and pool.category_full[category] < pool.brand_full[brand])
            credit(book.brand_cap_rule if first else book.category_cap_rule, q, effects, pool)
        return held
    rows[q, held], scores[q, held], labels[q, held] = product, score, label
    pool.of_brand[brand] += 1
    pool.placed[category] += 1
    if pool.of_brand[brand] == book.brand_cap:
        pool.brand_full[brand] = held
    if pool.placed[category] == book.category_cap:
        pool.category_full[category] = held
    return held + 1


@compiled
def _quiet(q: int, offers: Offers, book: Book, pool: Pool) -> bool:
    """Whether no rule is left that could count list q for taking something away."""
    if book.excludes or offers.blocked_offsets[q] < offers.blocked_offsets[q + 1]:
        return False
    if offers.beside.shape[1] > 0 and pool.credited[PAGE] != q:
        return False
    if book.guards and pool.credited[book.guard_rule] != q:
        return False
    return not book.prices or pool.credited[book.price_rule] == q


@compiled
def plain_list(
    q: int, n: int, offers: Offers, stock: Stock, book: Book, pool: Pool, rows: Array, scores: Array, labels: Array,
    effects: Array, read: Array,
) -> None:  # fmt: skip
    """List q where candidates keep their order: each has its place as soon as it is met, and the rest is not read."""
    block(q, offers, pool)
    size, held, anchor, row = 0, 0, offers.anchors[q], offers.row_of[q]
    read[q] = NONE
    for tier in range(-1, offers.tier_of.shape[1]):
        at, stop = 0, offers.rows.shape[1]
        if tier >= 0:
            group = offers.tier_of[q, tier]
            if group < 0:
                continue
            at, stop = offers.tier_offsets[group], offers.tier_offsets[group + 1]
        while at < stop and held < n:
            if tier >= 0 and offers.skip_of[q] >= 0 and (size >= n or _quiet(q, offers, book, pool)):
                at = offers.skips[offers.skip_of[q], at]
                if at >= stop:
                    break
            product = offers.rows[row, at] if tier < 0 else offers.tier_rows[at]
            if product < 0:
                break
            no = refusal(product, anchor, q, stock, book, pool)
            if no == -2 and not enough(int(stock.facts[product, CATEGORY]), book, pool):
                score = offers.scores[row, at] if tier < 0 else offers.tier_scores[at]
                label = offers.labels[row, at] if tier < 0 else offers.tier_labels[tier]
                held = _offer(product, score, label, q, n, size, held, stock, book, pool, rows, scores, labels, effects)
                size += 1
                if held == n and tier < 0:
                    read[q] = at + 1
            elif no >= 0 and size < n:
                credit(no, q, effects, pool)
            at += 1
    for i in range(size):
        pool.of_category[pool.category[i]] = 0
    for k in range(held):
        pool.of_brand[int(stock.facts[rows[q, k], BRAND])] = 0
        pool.placed[int(stock.facts[rows[q, k], CATEGORY])] = 0
