"""Compiled looks through lists: one pass, whatever is asked of each place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]


@njit(nogil=True, cache=True)
def look_through(
    offsets: Ints,
    places: npt.NDArray[np.int32],
    market: npt.NDArray[np.int32],
    own: npt.NDArray[np.int32],
    there: npt.NDArray[np.bool_],
    available: npt.NDArray[np.bool_],
    shown: npt.NDArray[np.int32],
) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """(lists with a product twice, lists that show their `own` product, places that the market does not sell).

    List q has the products `places[offsets[q]:offsets[q + 1]]`, -1 for one nobody knows, and is shown in `market[q]`,
    -1 for one nobody knows; `own` is -1 where it is no product's. Counts every place in `shown` [markets, products];
    `available` is [markets, products]. Lists that are not `there` are not looked at.
    """
    twice, selves, unavailable = 0, 0, 0
    last = np.full(available.shape[1], -1, np.int64)
    for row in range(len(market)):
        if not there[row]:
            continue
        repeated, itself = False, False
        for at in range(offsets[row], offsets[row + 1]):
            product = places[at]
            if product < 0 or market[row] < 0:
                unavailable += 1
            else:
                shown[market[row], product] += 1
                unavailable += not available[market[row], product]
            if product >= 0:
                repeated |= last[product] == row
                last[product] = row
                itself |= product == own[row]
        twice += repeated
        selves += itself
    return twice, selves, unavailable


@njit(nogil=True, cache=True)
def fewer_than(
    n: int, rows: npt.NDArray[np.integer], of: Ints, available: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:  # pragma: no cover - compiled
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
def lacking(
    then_at: Ints, then: npt.NDArray[np.int32], now_at: Ints, now: npt.NDArray[np.int32], products: int
) -> Ints:  # pragma: no cover - compiled
    """[Q], how many places of list q of `then` hold a product that list q of `now` has not.

    List q has the products `then[then_at[q]:then_at[q + 1]]`, all of them in [0, products).
    """
    gone, last = np.zeros(len(then_at) - 1, np.int64), np.full(products, -1, np.int64)
    for q in range(len(gone)):
        for at in range(now_at[q], now_at[q + 1]):
            last[now[at]] = q
        for at in range(then_at[q], then_at[q + 1]):
            gone[q] += last[then[at]] != q
    return gone
