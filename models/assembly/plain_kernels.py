"""Assembles lists whose candidates keep their order, compiled: only caps leave some out.

The result equals that of the general loop, but each list stops reading candidates once it is full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

from models.assembly.arrays import NONE, Book, Fit, Lists, Offers, Pool, Stock
from models.assembly.rulebook import BOUGHT, PAGE

Compiled = TypeVar("Compiled", bound=Callable[..., object])
SPARE = 4
"""So many times its cap of a category is gathered."""
ALLOWED = -2
OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def compiled(function: Compiled) -> Compiled:
    """Compile without numba's counting of references: these functions allocate nothing, and counting references to
    arrays that threads share took six sevenths of the time.
    """
    made: Compiled = njit(**OPTIONS)(function)  # type: ignore[call-overload]
    return made


def inlined(function: Compiled) -> Compiled:
    """Compile a small function into its callers: handing over tuples of arrays took a third of the time."""
    made: Compiled = njit(**OPTIONS, inline="always")(function)  # type: ignore[call-overload]
    return made


@inlined
def fits(product: int, q: int, stock: Stock, fit: Fit) -> bool:
    """Whether the product is there in the usual size of list q's owner, as far as both are known."""
    if fit.usual.shape[0] == 0:
        return True
    return bool(fit.in_stock[fit.run[product], fit.usual[q, stock.facts[product].category]])


@inlined
def refusal(product: int, anchor: int, q: int, stock: Stock, book: Book, fit: Fit, pool: Pool) -> int:
    """ALLOWED, or the number of the rule that refuses the product, or NONE where it is refused without a rule."""
    if pool.taken[product] == q:
        return int(pool.reason[product])
    if not stock.available[product]:
        return NONE
    facts = stock.facts[product]
    if facts.excluded >= 0:
        return int(facts.excluded)
    if not fits(product, q, stock, fit):
        return NONE
    if anchor < 0:
        return ALLOWED
    own = stock.facts[anchor]
    if book.other_category and facts.category >= 0 and facts.category == own.category:
        return NONE
    if not book.mixes[own.department, facts.department]:
        return book.guard_rule
    if book.prices:
        share = stock.price[product] / stock.price[anchor]
        if share < book.low or share > book.high:  # false where a price is not known
            return book.price_rule
    return ALLOWED


@inlined
def enough(category: int, book: Book, pool: Pool) -> bool:
    """Whether the pool holds as much of a capped category as any choice among its products needs."""
    return book.category_cap > 0 and category >= 0 and pool.of_category[category] >= SPARE * book.category_cap


@inlined
def credit(rule: int, q: int, pool: Pool, out: Lists) -> None:
    """Count list q once for a rule that changed it."""
    if pool.credited[rule] != q:
        pool.credited[rule] = q
        out.effects[rule] += 1


@compiled
def block(q: int, offers: Offers, pool: Pool) -> None:
    """Note what list q must not show: its own product, what the customer bought, what the page shows beside it."""
    for at in range(offers.beside.shape[1]):
        if offers.beside[q, at] >= 0:
            pool.taken[offers.beside[q, at]], pool.reason[offers.beside[q, at]] = q, PAGE
    for at in range(offers.blocked_offsets[q], offers.blocked_offsets[q + 1]):
        pool.taken[offers.blocked_rows[at]], pool.reason[offers.blocked_rows[at]] = q, BOUGHT
    if offers.anchors[q] >= 0:
        pool.taken[offers.anchors[q]], pool.reason[offers.anchors[q]] = q, NONE


@inlined
def _over_cap(product: int, q: int, size: int, stock: Stock, book: Book, pool: Pool, out: Lists) -> bool:
    """Whether a product would exceed the cap of its brand or category; counts the rule where a place is lost."""
    brand, category = stock.facts[product].brand, stock.facts[product].category
    over_brand = book.brand_cap > 0 and brand >= 0 and pool.of_brand[brand] >= book.brand_cap
    over_category = book.category_cap > 0 and category >= 0 and pool.placed[category] >= book.category_cap
    if not (over_brand or over_category):
        return False
    if size < book.n:  # it would have had a place; the cap that was reached first took it away
        first = over_brand and not (over_category and pool.category_full[category] < pool.brand_full[brand])
        credit(book.brand_cap_rule if first else book.category_cap_rule, q, pool, out)
    return True


@inlined
def _count_placed(product: int, place: int, stock: Stock, book: Book, pool: Pool) -> None:
    """Count a placed product towards the caps of its brand and category."""
    brand, category = stock.facts[product].brand, stock.facts[product].category
    pool.of_brand[brand] += 1
    pool.placed[category] += 1
    if pool.of_brand[brand] == book.brand_cap:
        pool.brand_full[brand] = place
    if pool.placed[category] == book.category_cap:
        pool.category_full[category] = place


@inlined
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
def plain_list(q: int, offers: Offers, stock: Stock, book: Book, pool: Pool, out: Lists) -> None:
    """Assemble list q where candidates keep their order: each takes the next place as it is read."""
    block(q, offers, pool)
    n, size, held, anchor, row = book.n, 0, 0, offers.anchors[q], offers.row_of[q]
    out.read[q] = NONE
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
            no = refusal(product, anchor, q, stock, book, offers.fit, pool)
            category = stock.facts[product].category
            if no == ALLOWED and not enough(category, book, pool):
                pool.taken[product], pool.reason[product], pool.category[size] = q, NONE, category
                pool.of_category[category] += 1
                if not _over_cap(product, q, size, stock, book, pool, out):
                    out.rows[q, held] = product
                    out.scores[q, held] = offers.scores[row, at] if tier < 0 else offers.tier_scores[at]
                    out.labels[q, held] = offers.labels[row, at] if tier < 0 else offers.tier_labels[tier]
                    _count_placed(product, held, stock, book, pool)
                    held += 1
                size += 1
                if held == n and tier < 0:
                    out.read[q] = at + 1
            elif no >= 0 and size < n:
                credit(no, q, pool, out)
            at += 1
    for i in range(size):
        pool.of_category[pool.category[i]] = 0
    for k in range(held):
        pool.of_brand[stock.facts[out.rows[q, k]].brand] = 0
        pool.placed[stock.facts[out.rows[q, k]].category] = 0
