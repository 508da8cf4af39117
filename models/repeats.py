"""Estimates when a customer buys a product again, from how long others and the customer took so far.

A spell begins with each purchase of a pair of customer and product and ends with its next one, or is still open today.
Legend: N purchases, M pairs, P products.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.arrays import Rows

Floats = npt.NDArray[np.float64]
DAYS = np.array([0.5, 3, 7, 14, 21, 28, 42, 56, 84, 126, 182, 273, 400])
"""Ends of the bins in which a first spell has one rate; later nothing is known, and nothing is expected."""
SHARES = np.array([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5])
"""The same for later spells, as multiples of the customer's own mean interval with the product."""
KNOWN_DAYS = 2_000.0
"""A category's rate counts as much as the whole shop's, and a product's as its category's, from so many days of spells
on; equally a later spell's after so many intervals divided by their usual length."""
KNOWN_SHARES = 20.0


def repeat_chances(
    pair: Rows, day: Rows, product: Rows, category: Rows, today: int, horizon: int
) -> npt.NDArray[np.float32]:
    """[M], the chance that each pair has another purchase within `horizon` days from `today` on.

    `pair` [N] numbers the pairs 0 .. M - 1, rising; `day` [N] rises within a pair. `product` [M] and `category` [P], -1
    for none. After one purchase the chance follows from the life table (Kaplan and Meier 1958) of the product, drawn
    towards its category's and that towards the shop's; after several from that of all pairs with as many, in multiples
    of the pair's own mean interval.
    """
    pairs = len(product)
    if not pairs:
        return np.empty(0, np.float32)
    opens = np.diff(pair, prepend=-1) > 0
    first = np.flatnonzero(opens)
    number = np.arange(len(pair)) - first[pair]
    ended = np.append(~opens[1:], False)
    length = np.where(ended, np.append(day[1:], 0), today) - day
    own = np.maximum(day - day[first][pair], 1) / np.maximum(number, 1)
    last = np.append(first[1:], len(pair)) - 1
    age, interval, spells = today - day[last], own[last], number[last]
    chance = np.empty(pairs)
    once = number == 0
    which = product[pair][once]
    expected = _first_spells(length[once], ended[once], which, category)
    alone = np.flatnonzero(spells == 0)
    chance[alone] = _gained(expected, DAYS, product[alone], age[alone], age[alone] + horizon)
    for later, mine in ((number == 1, spells == 1), (number > 1, spells > 1)):
        share, nobody = length[later] / own[later], np.zeros(int(later.sum()), np.int64)
        rates = _rates(share, ended[later], nobody, 1, SHARES, np.zeros((1, len(SHARES) - 1)), KNOWN_SHARES)
        at, some = age[mine] / interval[mine], np.zeros(int(mine.sum()), np.int64)
        chance[mine] = _gained(rates, SHARES, some, at, at + horizon / interval[mine])
    return (1 - np.exp(-chance)).astype(np.float32)


def _first_spells(length: Floats, ended: npt.NDArray[np.bool_], product: Rows, category: Rows) -> Floats:
    """[P, bins], rates of the products' first spells."""
    bins = len(DAYS) - 1
    shop = _rates(length, ended, np.zeros(len(length), np.int64), 1, DAYS, np.zeros((1, bins)), KNOWN_DAYS)
    groups = int(category.max(initial=-1)) + 2  # the last one is of products without a category
    kind = np.where(category < 0, groups - 1, category)
    alike = _rates(length, ended, kind[product], groups, DAYS, shop, KNOWN_DAYS)
    return _rates(length, ended, product, len(category), DAYS, alike[kind], KNOWN_DAYS)


def _rates(
    length: Floats,
    ended: npt.NDArray[np.bool_],
    group: Rows,
    groups: int,
    bounds: Floats,
    prior: Floats,
    known: float,
) -> Floats:
    """[groups, bins], ends of spells per unit of their length, drawn towards the rates `prior`."""
    found = np.empty((groups, len(bounds) - 1))
    for place, (low, high) in enumerate(pairwise(bounds.tolist())):
        within = ended & (length > low) & (length <= high)
        ends = np.bincount(group[within], minlength=groups)
        spent = np.bincount(group, np.clip(length - low, 0, high - low), minlength=groups)
        found[:, place] = (ends + known * prior[:, place]) / (spent + known)
    return found


def _gained(rates: Floats, bounds: Floats, group: Rows, start: Floats, end: Floats) -> Floats:
    """Ends expected between two lengths of open spells, at the rates of their groups."""
    total = np.zeros(len(group))
    for place, (low, high) in enumerate(pairwise(bounds.tolist())):
        total += rates[group, place] * np.maximum(np.minimum(end, high) - np.maximum(start, low), 0)
    return total
