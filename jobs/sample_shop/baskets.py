"""What is bought together: a basket opens with a bagged product and takes in what goes with it, and some noise."""

from __future__ import annotations

import numpy as np

from jobs.sample_shop.draws import Ints, pick
from jobs.sample_shop.shelf import Shelf
from jobs.sample_shop.visits import BAG, CLICK, MOST_STEPS, PURCHASE, Actions, Visits, follow, in_stock, together
from jobs.sample_shop.world import Cells

BUYS = 0.85
EXTRAS = np.array([0.16, 0.30, 0.30, 0.24])
"""Chances of 0, 1, 2 and 3 further products in a basket."""
COMPLEMENT, ALTERNATIVE = 0.82, 0.07
"""Chances that a further product goes with the first one, or is another of its kind; the rest is noise."""
CLICKED_FIRST = 0.7
BASKET_TURN = 4 * MOST_STEPS
PURCHASE_TURN = BASKET_TURN + 10


def buy(visits: Visits, bagged: Ints, shelf: Shelf, cells: Cells, rng: np.random.Generator) -> Actions:
    """Purchases of a day's visits, with the looking and bagging of what was added at the end.

    `bagged` is the last bagged slot of each visit or -1; at most one basket a visit, without repeated products.
    """
    visit = np.flatnonzero((bagged >= 0) & (rng.random(len(bagged)) < BUYS))
    first = bagged[visit]
    extras = pick(EXTRAS, rng.random(len(visit)))
    chosen = [first]
    parts = [_purchase(visit, first, 0)]
    for k in range(1, len(EXTRAS)):
        slot = _extra(visits, visit, first, shelf, cells, rng)
        # Nobody needs two belts for one pair of trousers: a further group appears once.
        repeated = np.any([shelf.cell[slot] == shelf.cell[other] for other in chosen[1:]] + [slot == first], axis=0)
        slot = np.where((extras >= k) & ~repeated, slot, -1)
        chosen.append(slot)
        taken = slot >= 0
        who, what = visit[taken], slot[taken]
        clicked = rng.random(len(who)) < CLICKED_FIRST
        parts.append(_actions(who[clicked], what[clicked], BASKET_TURN + 2 * k, CLICK))
        parts.append(_actions(who, what, BASKET_TURN + 2 * k + 1, BAG))
        parts.append(_purchase(who, what, k))
    return together(parts)


def _extra(visits: Visits, visit: Ints, first: Ints, shelf: Shelf, cells: Cells, rng: np.random.Generator) -> Ints:
    """One further product for each basket, a slot, -1 where nothing suitable is in stock."""
    route = rng.random(len(visit))
    cell = shelf.cell[first]
    cell = np.where(route < COMPLEMENT, follow(cells, cell, rng), cell)

    def propose(part: Ints, attempt: int) -> Ints:
        mine = visit[part]
        liked = shelf.liked(cell[part], visits.level[mine], visits.brand[mine], rng)
        return np.where(route[part] < COMPLEMENT + ALTERNATIVE, liked, shelf.anything(rng.random(len(part))))

    return in_stock(shelf, visits.market[visit], propose)


def _purchase(visit: Ints, slot: Ints, place: int) -> Actions:
    return _actions(visit, slot, PURCHASE_TURN + place, PURCHASE)


def _actions(visit: Ints, slot: Ints, turn: int, kind: int) -> Actions:
    return Actions(visit, np.full(len(visit), turn), slot, np.full(len(visit), kind))
