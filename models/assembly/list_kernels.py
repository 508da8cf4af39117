"""Checks lists in one pass over their places, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.arrays import BoolMask, Rows
from models.assembly.arrays import Fit, FlatLists


@njit(nogil=True, cache=True)
def check_lists(
    lists: FlatLists,
    product_of: npt.NDArray[np.int32],
    sources: FlatLists,
    padding: BoolMask,
    counted: BoolMask,
    market: npt.NDArray[np.int32],
    own: npt.NDArray[np.int32],
    customer: Rows,
    bought: FlatLists,
    available: BoolMask,
    shown: npt.NDArray[np.int32],
    padded: npt.NDArray[np.int32],
    filled: Rows,
) -> tuple[int, int, int, int]:  # pragma: no cover - compiled
    """(lists with a product twice, lists that show their `own` product, places that the market does not sell, places
    that the customer bought).

    `lists` [Q] has codes of products, `product_of[code]` being -1 for an unknown one; `sources` [Q] has the codes of
    what filled the places, `padding[code]` tells which of them pad lists. List q is shown in `market[q]` (-1: unknown),
    belongs to product `own[q]` or to `customer[q]` (-1: none), and is skipped unless `counted[q]`. `bought` has each
    customer's products. Counts sources in `filled` [codes], every place in `shown` [markets, products], and in `padded`
    those that pad a list with as many sources as products; `available` is [markets, products].
    """
    twice, selves, unavailable, owned = 0, 0, 0, 0
    last, has = np.full(available.shape[1], -1, np.int32), np.full(available.shape[1], -1, np.int32)
    for q in range(len(market)):
        if not counted[q]:
            continue
        where, buyer = market[q], customer[q]
        if buyer >= 0:
            for at in range(bought.offsets[buyer], bought.offsets[buyer + 1]):
                has[bought.values[at]] = q
        start, stop, source = lists.offsets[q], lists.offsets[q + 1], sources.offsets[q]
        for at in range(source, sources.offsets[q + 1]):
            filled[sources.values[at]] += 1
        even = sources.offsets[q + 1] - source == stop - start
        repeated, itself = False, False
        for at in range(start, stop):
            product = product_of[lists.values[at]]
            if product < 0 or where < 0:
                unavailable += 1
            else:
                shown[where, product] += 1
                unavailable += not available[where, product]
                if even and padding[sources.values[source + at - start]]:
                    padded[where, product] += 1
            if product >= 0:
                repeated |= last[product] == q
                last[product] = q
                itself |= product == own[q]
                if buyer >= 0:
                    owned += has[product] == q
        twice += repeated
        selves += itself
    return twice, selves, unavailable, owned


@njit(nogil=True, cache=True)
def fewer_than(
    n: int, rows: npt.NDArray[np.integer], of: Rows, available: BoolMask
) -> BoolMask:  # pragma: no cover - compiled
    """[Q], whether fewer than `n` of the candidates `rows[of[q]]`, -1 for none, are available [P]."""
    found = np.full(len(of), n > 0)
    for q in range(len(of)):
        there = 0
        for at in range(rows.shape[1]):
            product = rows[of[q], at]
            there += product >= 0 and available[product]
            if there >= n:
                found[q] = False
                break
    return found


@njit(nogil=True, cache=True)
def lacking(then: FlatLists, now: FlatLists, products: int) -> Rows:  # pragma: no cover - compiled
    """[Q], how many places of list q of `then` hold a product that list q of `now` lacks; all in [0, products)."""
    found, last = np.zeros(len(then.offsets) - 1, np.int64), np.full(products, -1, np.int64)
    for q in range(len(found)):
        for at in range(now.offsets[q], now.offsets[q + 1]):
            last[now.values[at]] = q
        for at in range(then.offsets[q], then.offsets[q + 1]):
            found[q] += last[then.values[at]] != q
    return found


@njit(nogil=True, cache=True)
def first_fitting(
    n: int, top: int, rows: Rows, category: Rows, fit: Fit
) -> tuple[npt.NDArray[np.int32], BoolMask]:  # pragma: no cover - compiled
    """([Q, n] places in `rows` [Q, K] of the first n products that fit, -1 past the last; [Q] whether one that does not
    fit comes before the first `top` of them). `category` is [P].
    """
    places, left_out = np.full((len(rows), n), -1, np.int32), np.zeros(len(rows), np.bool_)
    for q in range(len(rows)):
        held = 0
        for at in range(rows.shape[1]):
            product = rows[q, at]
            if product < 0 or held == n:
                break
            if fit.in_stock[fit.run[product], fit.usual[q, category[product]]]:
                places[q, held] = at
                held += 1
            elif held < top:
                left_out[q] = True
    return places, left_out
