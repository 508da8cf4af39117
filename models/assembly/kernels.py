"""Assembles lists under all rules, compiled: list after list, each thread in its own working memory.

The candidates that a list may show form its pool, in the order of their sources; the pool is then put into places.
"""

from __future__ import annotations

import numpy as np

from models.assembly.arrays import NONE, Array, Book, Fit, Lists, Offers, Pool, Stock
from models.assembly.plain_kernels import ALLOWED, block, compiled, credit, enough, fits, inlined, plain_list, refusal
from models.assembly.rulebook import DIVERSITY, EXPLORATION


@inlined
def _is_young(product: int, anchor: int, stock: Stock, book: Book) -> bool:
    """Whether exploration may show the product in a list of `anchor`."""
    if not stock.young[product]:
        return False
    if not book.explore_own_category or anchor < 0 or stock.facts[anchor].category < 0:
        return True
    return bool(stock.facts[product].category == stock.facts[anchor].category)


@inlined
def _add(product: int, score: float, label: int, size: int, q: int, stock: Stock, pool: Pool) -> None:
    """Put a candidate at the end of the pool."""
    pool.product[size], pool.score[size], pool.label[size] = product, score, label
    pool.brand[size], pool.category[size] = stock.facts[product].brand, stock.facts[product].category
    pool.key[size] = size - stock.facts[product].places
    pool.dropped[size], pool.mark[size] = False, NONE
    pool.taken[product], pool.reason[product] = q, NONE


@compiled
def _gather(
    q: int, limit: int, offers: Offers, stock: Stock, book: Book, pool: Pool, out: Lists
) -> tuple[int, bool, int]:
    """Fill the pool with at most `limit` candidates and a young one for exploration.

    Returns (candidates in the pool, whether there are more, how many of the list's own were read; NONE where these did
    not suffice).
    """
    size, young, anchor, read = 0, book.explore_place < 0, offers.anchors[q], offers.rows.shape[1]
    row = offers.row_of[q]
    for at in range(offers.rows.shape[1]):
        product = offers.rows[row, at]
        if product < 0 or (size >= limit and young):
            read = at if young else NONE
            break
        if size >= limit and not _is_young(product, anchor, stock, book):
            continue
        no = refusal(product, anchor, q, stock, book, offers.fit, pool)
        if no == ALLOWED and not enough(stock.facts[product].category, book, pool):
            _add(product, offers.scores[row, at], offers.labels[row, at], size, q, stock, pool)
            pool.of_category[stock.facts[product].category] += 1
            size += 1
            young = young or _is_young(product, anchor, stock, book)
        elif no >= 0 and size < book.n:
            credit(no, q, pool, out)
    read = read if size >= limit else NONE
    for tier in range(offers.tier_of.shape[1]):
        group = offers.tier_of[q, tier]
        if group < 0:
            continue
        for at in range(offers.tier_offsets[group], offers.tier_offsets[group + 1]):
            if size >= limit:
                return size, True, read
            product = offers.tier_rows[at]
            no = refusal(product, anchor, q, stock, book, offers.fit, pool)
            if no == ALLOWED and not enough(stock.facts[product].category, book, pool):
                _add(product, offers.tier_scores[at], offers.tier_labels[tier], size, q, stock, pool)
                pool.of_category[stock.facts[product].category] += 1
                size += 1
            elif no >= 0 and size < book.n:
                credit(no, q, pool, out)
    return size, size >= limit, read


@inlined
def _first_by_place(first: int, size: int, book: Book, pool: Pool) -> int:
    """The candidate that comes first after boosts, buries and diversity; NONE where all are dropped."""
    best, cost = NONE, np.inf
    for i in range(first, size):
        if i - book.most_up >= cost:  # no later candidate can overtake it
            break
        if not pool.dropped[i]:
            here = pool.key[i]
            if pool.brand[i] >= 0:
                here += book.diversity * pool.of_brand[pool.brand[i]]
            if here < cost:
                best, cost = i, here
    return best


@compiled
def _pinned(pin: int, q: int, size: int, stock: Stock, book: Book, fit: Fit, pool: Pool) -> int:
    """The pinned product's place in the pool, `size` where it has to be added, NONE where it may not be shown."""
    product = book.pins[pin]
    brand, category = stock.facts[product].brand, stock.facts[product].category
    if not stock.available[product] or stock.facts[product].excluded >= 0 or not fits(product, q, stock, fit):
        return NONE
    if book.brand_cap > 0 and brand >= 0 and pool.of_brand[brand] >= book.brand_cap:
        return NONE
    if book.category_cap > 0 and category >= 0 and pool.of_category[category] >= book.category_cap:
        return NONE
    if pool.taken[product] != q:
        return size
    for i in range(size):
        if pool.product[i] == product:
            return NONE if pool.dropped[i] else i
    return NONE


@inlined
def _cap(group: int, groups: Array, cap: int, counts: Array, rule: int, first: int, size: int, pool: Pool) -> None:
    """Count one more of a brand or category; where that reaches the cap, drop the rest of it."""
    if group < 0:
        return
    counts[group] += 1
    if cap > 0 and counts[group] == cap:
        for i in range(first, size):
            if not pool.dropped[i] and groups[i] == group:
                pool.dropped[i] = True
                if pool.mark[i] < 0:
                    pool.mark[i] = rule


@inlined
def _next(
    held: int, first: int, size: int, anchor: int, young_shown: bool, stock: Stock, book: Book, pool: Pool
) -> tuple[int, int]:
    """(place in the pool, rule) of the next candidate; marks those it overtakes, unless a boost moved it."""
    if held == book.explore_place and not young_shown:
        for i in range(first, size):
            if not pool.dropped[i] and _is_young(pool.product[i], anchor, stock, book):
                return i, EXPLORATION if i > first else pool.mark[i]
    chosen = _first_by_place(first, size, book, pool)
    if chosen <= first:
        return chosen, pool.mark[chosen] if chosen >= 0 else NONE
    product = pool.product[chosen]
    if stock.facts[product].places > 0:
        return chosen, book.mover[product]
    for i in range(first, chosen):
        if not pool.dropped[i] and pool.mark[i] < 0:
            behind = stock.facts[pool.product[i]].places < 0
            pool.mark[i] = book.mover[pool.product[i]] if behind else DIVERSITY
    return chosen, pool.mark[chosen]


@compiled
def _place(q: int, size: int, anchor: int, stock: Stock, book: Book, fit: Fit, pool: Pool, out: Lists) -> int:
    """Put the pool into the places of list q; returns how many were filled."""
    for i in range(size):  # counted while the pool was gathered
        pool.of_category[pool.category[i]] = 0
    held, first, young_shown, pin, end = 0, 0, False, 0, size
    while held < book.n:
        while pin < len(book.pins) and book.pin_places[pin] < held:
            pin += 1
        chosen, rule = NONE, NONE
        if pin < len(book.pins) and book.pin_places[pin] == held:
            chosen, rule = _pinned(pin, q, end, stock, book, fit, pool), book.pin_rules[pin]
            if chosen == end:
                _add(book.pins[pin], 0.0, book.pin_label, end, q, stock, pool)
                end += 1
        if chosen < 0:
            chosen, rule = _next(held, first, size, anchor, young_shown, stock, book, pool)
        if chosen < 0:
            break
        product = pool.product[chosen]
        out.rows[q, held], out.scores[q, held] = product, pool.score[chosen]
        out.labels[q, held], out.rules[q, held] = pool.label[chosen], rule
        pool.dropped[chosen], pool.mark[chosen] = True, NONE
        held += 1
        young_shown = young_shown or _is_young(product, anchor, stock, book)
        while first < size and pool.dropped[first]:
            first += 1
        brand, category = stock.facts[product].brand, stock.facts[product].category
        _cap(brand, pool.brand, book.brand_cap, pool.of_brand, book.brand_cap_rule, first, size, pool)
        _cap(category, pool.category, book.category_cap, pool.of_category, book.category_cap_rule, first, size, pool)
    for k in range(held):
        pool.of_brand[stock.facts[out.rows[q, k]].brand] = 0
        pool.of_category[stock.facts[out.rows[q, k]].category] = 0
    return held


@compiled
def _one_list(q: int, offers: Offers, stock: Stock, book: Book, pool: Pool, out: Lists) -> None:
    """Assemble list q; gathers more candidates where caps took too many of the first ones."""
    n, most, effects = book.n, offers.most, out.effects
    limit = most if book.category_cap > 0 else 2 * n + len(book.pins)
    for rule in range(len(effects)):
        pool.before[rule] = effects[rule]
    while True:
        block(q, offers, pool)
        size, more, out.read[q] = _gather(q, limit, offers, stock, book, pool, out)
        held = _place(q, size, offers.anchors[q], stock, book, offers.fit, pool, out)
        if held == n or not more or limit >= most:
            break
        for i in range(size + len(book.pins)):
            pool.taken[pool.product[i]] = NONE
        for rule in range(len(effects)):
            effects[rule], pool.credited[rule] = pool.before[rule], NONE
        limit = min(4 * limit, most)
    for k in range(held):
        if out.rules[q, k] >= 0:
            credit(out.rules[q, k], q, pool, out)
    for i in range(min(n, size)):
        if pool.mark[i] >= 0:  # it would have had a place
            credit(pool.mark[i], q, pool, out)


@compiled
def assemble_range(start: int, stop: int, offers: Offers, stock: Stock, book: Book, pool: Pool, out: Lists) -> None:
    """Write lists start .. stop - 1 of `models.assembly.assembly.assemble`, and how many of them each rule changed."""
    for q in range(start, stop):
        if book.plain:
            plain_list(q, offers, stock, book, pool, out)
        else:
            _one_list(q, offers, stock, book, pool, out)
