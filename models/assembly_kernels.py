"""The inner loop of `models.assembly`, compiled: list after list, with working memory of a thread alone.

A list's candidates that may be shown form its pool, in the order of their sources; the pool is then put into places.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from models.assembly_arrays import NONE, Array, Book, Offers, Pool, Stock
from models.rulebook import BOUGHT, DIVERSITY, EXPLORATION, PAGE

SPARE = 4
"""So many times its cap of a category is gathered."""


@njit(cache=True, nogil=True, error_model="numpy")
def _refusal(product: int, anchor: int, q: int, stock: Stock, book: Book, pool: Pool) -> int:
    """-2 where the product may be shown, the rule that says no, or NONE where no rule is needed to say it."""
    if pool.taken[product] == q:
        return int(pool.reason[product])
    if not stock.available[product]:
        return NONE
    if book.excluded[product] >= 0:
        return int(book.excluded[product])
    if anchor < 0:
        return -2
    category = stock.category[product]
    if book.other_category and category >= 0 and category == stock.category[anchor]:
        return NONE
    if not book.mixes[stock.department[anchor], stock.department[product]]:
        return book.guard_rule
    share = stock.price[product] / stock.price[anchor]
    if share < book.low or share > book.high:  # false where a price is not known
        return book.price_rule
    return -2


@njit(cache=True, nogil=True)
def _add(product: int, score: float, label: int, size: int, q: int, stock: Stock, book: Book, pool: Pool) -> None:
    pool.product[size], pool.score[size], pool.label[size] = product, score, label
    pool.brand[size], pool.category[size] = stock.brand[product], stock.category[product]
    pool.key[size] = size - book.places[product]
    pool.gone[size], pool.mark[size] = False, NONE
    pool.taken[product], pool.reason[product] = q, NONE


@njit(cache=True, nogil=True)
def _enough(category: int, book: Book, pool: Pool) -> bool:
    """Whether the pool has all of a capped category that places and diversity can make a choice of."""
    return book.category_cap > 0 and category >= 0 and pool.of_category[category] >= SPARE * book.category_cap


@njit(cache=True, nogil=True)
def _credit(rule: int, q: int, effects: Array, pool: Pool) -> None:
    """Count list q once for a rule that changed it."""
    if pool.credited[rule] != q:
        pool.credited[rule] = q
        effects[rule] += 1


@njit(cache=True, nogil=True)
def _block(q: int, offers: Offers, pool: Pool) -> None:
    """Note what list q must not show: its own product, what the customer bought, what stands beside it."""
    for at in range(offers.beside.shape[1]):
        if offers.beside[q, at] >= 0:
            pool.taken[offers.beside[q, at]], pool.reason[offers.beside[q, at]] = q, PAGE
    for at in range(offers.blocked_offsets[q], offers.blocked_offsets[q + 1]):
        pool.taken[offers.blocked_rows[at]], pool.reason[offers.blocked_rows[at]] = q, BOUGHT
    if offers.anchors[q] >= 0:
        pool.taken[offers.anchors[q]], pool.reason[offers.anchors[q]] = q, NONE


@njit(cache=True, nogil=True)
def _gather(
    q: int, n: int, limit: int, offers: Offers, stock: Stock, book: Book, pool: Pool, effects: Array
) -> tuple[int, bool]:
    """(candidates in the pool, whether there are more): at most `limit` and a young one for exploration."""
    size, young, anchor = 0, book.explore_place < 0, offers.anchors[q]
    for at in range(offers.rows.shape[1]):
        product = offers.rows[q, at]
        if product < 0 or (size >= limit and young):
            break
        if size >= limit and not stock.young[product]:
            continue
        refusal = _refusal(product, anchor, q, stock, book, pool)
        if refusal == -2 and not _enough(stock.category[product], book, pool):
            _add(product, offers.scores[q, at], offers.labels[q, at], size, q, stock, book, pool)
            pool.of_category[stock.category[product]] += 1
            size += 1
            young = young or stock.young[product]
        elif refusal >= 0 and size < n:
            _credit(refusal, q, effects, pool)
    for tier in range(offers.tier_of.shape[1]):
        group = offers.tier_of[q, tier]
        if group < 0:
            continue
        for at in range(offers.tier_offsets[group], offers.tier_offsets[group + 1]):
            if size >= limit:
                return size, True
            product = offers.tier_rows[at]
            refusal = _refusal(product, anchor, q, stock, book, pool)
            if refusal == -2 and not _enough(stock.category[product], book, pool):
                _add(product, offers.tier_scores[at], offers.tier_labels[tier], size, q, stock, book, pool)
                pool.of_category[stock.category[product]] += 1
                size += 1
            elif refusal >= 0 and size < n:
                _credit(refusal, q, effects, pool)
    return size, size >= limit


@njit(cache=True, nogil=True)
def _first_by_place(first: int, size: int, book: Book, pool: Pool) -> int:
    """The candidate that stands first when boosts, buries and diversity are counted; NONE where all are gone."""
    best, cost = NONE, np.inf
    for i in range(first, size):
        if i - book.most_up >= cost:  # nothing behind it can stand before it
            break
        if not pool.gone[i]:
            here = pool.key[i]
            if pool.brand[i] >= 0:
                here += book.diversity * pool.of_brand[pool.brand[i]]
            if here < cost:
                best, cost = i, here
    return best


@njit(cache=True, nogil=True)
def _pinned(pin: int, q: int, size: int, stock: Stock, book: Book, pool: Pool) -> int:
    """Where the pinned product stands in the pool, `size` where it has to be added, NONE where it may not be shown."""
    product = book.pins[pin]
    brand, category = stock.brand[product], stock.category[product]
    if not stock.available[product] or book.excluded[product] >= 0:
        return NONE
    if book.brand_cap > 0 and brand >= 0 and pool.of_brand[brand] >= book.brand_cap:
        return NONE
    if book.category_cap > 0 and category >= 0 and pool.of_category[category] >= book.category_cap:
        return NONE
    if pool.taken[product] != q:
        return size
    for i in range(size):
        if pool.product[i] == product:
            return NONE if pool.gone[i] else i
    return NONE


@njit(cache=True, nogil=True)
def _cap(group: int, groups: Array, cap: int, counts: Array, rule: int, first: int, size: int, pool: Pool) -> None:
    """Count one more of a brand or category; where that reaches the cap, the rest of it is gone."""
    if group < 0:
        return
    counts[group] += 1
    if cap > 0 and counts[group] == cap:
        for i in range(first, size):
            if not pool.gone[i] and groups[i] == group:
                pool.gone[i] = True
                if pool.mark[i] < 0:
                    pool.mark[i] = rule


@njit(cache=True, nogil=True)
def _next(held: int, first: int, size: int, young_shown: bool, stock: Stock, book: Book, pool: Pool) -> tuple[int, int]:
    """(place in the pool, rule) of what stands next; marks what it overtakes, unless itself was moved up."""
    if held == book.explore_place and not young_shown:
        for i in range(first, size):
            if not pool.gone[i] and stock.young[pool.product[i]]:
                return i, EXPLORATION if i > first else pool.mark[i]
    chosen = _first_by_place(first, size, book, pool)
    if chosen <= first:
        return chosen, pool.mark[chosen] if chosen >= 0 else NONE
    product = pool.product[chosen]
    if book.places[product] > 0:
        return chosen, book.mover[product]
    for i in range(first, chosen):
        if not pool.gone[i] and pool.mark[i] < 0:
            behind = book.places[pool.product[i]] < 0
            pool.mark[i] = book.mover[pool.product[i]] if behind else DIVERSITY
    return chosen, pool.mark[chosen]


@njit(cache=True, nogil=True)
def _place(
    q: int, n: int, size: int, pin_label: int, stock: Stock, book: Book, pool: Pool,
    rows: Array, scores: Array, labels: Array, rules: Array,
) -> int:  # fmt: skip
    """Put the pool into the n places of list q; returns how many were filled."""
    for i in range(size):  # counted while the pool was gathered
        pool.of_category[pool.category[i]] = 0
    held, first, young_shown, pin, end = 0, 0, False, 0, size
    while held < n:
        while pin < len(book.pins) and book.pin_places[pin] < held:
            pin += 1
        chosen, rule = NONE, NONE
        if pin < len(book.pins) and book.pin_places[pin] == held:
            chosen, rule = _pinned(pin, q, end, stock, book, pool), book.pin_rules[pin]
            if chosen == end:
                _add(book.pins[pin], 0.0, pin_label, end, q, stock, book, pool)
                end += 1
        if chosen < 0:
            chosen, rule = _next(held, first, size, young_shown, stock, book, pool)
        if chosen < 0:
            break
        product = pool.product[chosen]
        rows[q, held], scores[q, held], labels[q, held] = product, pool.score[chosen], pool.label[chosen]
        rules[q, held] = rule
        pool.gone[chosen], pool.mark[chosen] = True, NONE
        held += 1
        young_shown = young_shown or stock.young[product]
        while first < size and pool.gone[first]:
            first += 1
        _cap(stock.brand[product], pool.brand, book.brand_cap, pool.of_brand, book.brand_cap_rule, first, size, pool)
        _cap(stock.category[product], pool.category, book.category_cap, pool.of_category, book.category_cap_rule, first,
             size, pool)  # fmt: skip
    for k in range(held):
        pool.of_brand[stock.brand[rows[q, k]]] = 0
        pool.of_category[stock.category[rows[q, k]]] = 0
    return held


@njit(cache=True, nogil=True)
def _one_list(
    q: int, n: int, most: int, pin_label: int, offers: Offers, stock: Stock, book: Book, pool: Pool,
    rows: Array, scores: Array, labels: Array, rules: Array, effects: Array,
) -> None:  # fmt: skip
    limit = (8 if book.category_cap > 0 else 2) * n + len(book.pins)
    before = effects.copy()
    while True:
        _block(q, offers, pool)
        size, more = _gather(q, n, limit, offers, stock, book, pool, effects)
        held = _place(q, n, size, pin_label, stock, book, pool, rows, scores, labels, rules)
        if held == n or not more or limit >= most:
            break
        # Caps took what was gathered: once again, deeper.
        for i in range(size + len(book.pins)):
            pool.taken[pool.product[i]] = NONE
        effects[:], pool.credited[:] = before, NONE
        limit = min(4 * limit, most)
    for k in range(held):
        if rules[q, k] >= 0:
            _credit(rules[q, k], q, effects, pool)
    for i in range(min(n, size)):
        if pool.mark[i] >= 0:  # it would have had a place
            _credit(pool.mark[i], q, effects, pool)


@njit(cache=True, nogil=True)
def assemble_range(
    start: int, stop: int, n: int, most: int, pin_label: int, names: int, offers: Offers, stock: Stock, book: Book,
    rows: Array, scores: Array, labels: Array, rules: Array,
) -> Array:  # fmt: skip
    """Write lists start .. stop - 1 of `models.assembly.assemble`; returns how many of them each rule changed."""
    room, products = most + len(book.pins) + 1, len(stock.available)
    effects = np.zeros(names, np.int64)
    pool = Pool(
        np.zeros(room, np.int32), np.empty(room, np.float32), np.empty(room, np.int8), np.empty(room, np.int32),
        np.empty(room, np.int32), np.empty(room, np.float32), np.zeros(room, np.bool_), np.empty(room, np.int16),
        np.full(products, NONE, np.int32), np.full(products, NONE, np.int16), np.zeros(stock.brands + 1, np.int32),
        np.zeros(stock.categories + 1, np.int32), np.full(names, NONE, np.int32),
    )  # fmt: skip
    for q in range(start, stop):
        _one_list(q, n, most, pin_label, offers, stock, book, pool, rows, scores, labels, rules, effects)
    return effects
