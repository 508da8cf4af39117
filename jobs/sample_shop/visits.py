"""A day's visits: who comes, what they have in mind, and which products they look at, save and put in the bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jobs.sample_shop.customers import FAVOURITE_WEIGHTS, Customers
from jobs.sample_shop.draws import Bools, Floats, Ints, pick
from jobs.sample_shop.shelf import Shelf
from jobs.sample_shop.world import Cells

CLICK, SAVE, BAG, PURCHASE = range(4)
EVENT_TYPES = ("click", "save", "bag", "purchase")

ABROAD = 0.03
FOCUSED, EXPLORING = 0.65, 0.10
MORE_STEPS = 0.82
MOST_STEPS = 25
RESUMES = 0.5
NEXT_ON_PAGE = 0.5
ASTRAY = 0.08
OTHER_STYLE = 0.10
MOVES_ON = 0.06
TRIES = 4
AFRESH, ANYTHING = -1, -2
SAVES = 0.12
BAGS = 0.2


@dataclass(frozen=True)
class Visits:
    """V visits of one day; a visit's intent is a group and changes while it lasts."""

    customer: Ints
    market: Ints
    level: Floats
    brand: Ints
    cell: Ints
    """(V,) intent at the start."""
    steps: Ints
    """(V,) how many products are looked at, if all of them are in stock."""
    resumed: Floats
    """(V,) a number that names this week's product of the customer, negative where the visit starts afresh."""


@dataclass(frozen=True)
class Actions:
    """N actions of a day's visits, in no order but `turn` within the visit."""

    visit: Ints
    turn: Ints
    """Order inside the visit."""
    slot: Ints
    kind: Ints
    """CLICK, SAVE, BAG or PURCHASE."""

    def chosen(self, mask: Bools) -> Actions:
        """The actions where `mask` holds."""
        return Actions(self.visit[mask], self.turn[mask], self.slot[mask], self.kind[mask])


def start_visits(customers: Customers, shelf: Shelf, day: int, count: int, rng: np.random.Generator) -> Visits:
    """Who comes and why: mostly this week's focus, else another favourite, else whatever is in season."""
    customer = customers.visitors(day, count, rng)
    focus, product = customers.week_focus(customer, day)
    route = rng.random(count)
    favourite = customers.favourites[customer, pick(FAVOURITE_WEIGHTS, rng.random(count))].astype(np.int64)
    seasonal = pick(shelf.group_demand, rng.random(count))
    cell = np.where(route < FOCUSED, focus, np.where(route < 1 - EXPLORING, favourite, seasonal))
    home = customers.market[customer].astype(np.int64)
    away = rng.integers(0, shelf.available.shape[1], count)
    steps = np.minimum(rng.geometric(1 - MORE_STEPS, count), MOST_STEPS)
    return Visits(
        customer=customer,
        market=np.where(rng.random(count) < ABROAD, away, home),
        level=customers.level[customer],
        brand=customers.brand[customer],
        cell=cell,
        steps=np.where(customers.cold[customer], 1, steps),
        resumed=np.where((route < FOCUSED) & (rng.random(count) < RESUMES), product, -1.0),
    )


def browse(visits: Visits, shelf: Shelf, cells: Cells, rng: np.random.Generator) -> tuple[Actions, Ints]:
    """Looking, saving and bagging of a day's visits, and (V,) the last bagged slot of each, -1 for none.

    A step mostly goes to the next product of the page or to a liked one of the same group; a few steps wander off
    (to other styles, to anything), and now and then the intent itself moves on to what goes with it. So what comes
    next depends on what came last.
    """
    current, bagged = np.full(len(visits.cell), AFRESH), np.full(len(visits.cell), -1)
    intent = visits.cell.copy()
    seen: list[Actions] = []
    for step in range(int(visits.steps.max(initial=0))):
        active = np.flatnonzero(visits.steps > step)
        moving = active[rng.random(len(active)) < (MOVES_ON if step else 0.0)]
        intent[moving] = follow(cells, intent[moving], rng)
        current[moving] = AFRESH
        route = rng.random(len(active))
        wander = route < ASTRAY + OTHER_STYLE
        aim = np.where(wander, cells.siblings(intent[active], rng.random(len(active))), intent[active])
        last = np.where(route < ASTRAY, ANYTHING, np.where(wander, AFRESH, current[active]))
        slot = _look(visits, shelf, active, aim, last, step, rng)
        found = slot >= 0
        active, slot, wander = active[found], slot[found], wander[found]
        current[active[~wander]] = slot[~wander]
        match = 1 - shelf.distance(slot, visits.level[active], visits.brand[active])
        saves = rng.random(len(active)) < SAVES
        bags = ~wander & (rng.random(len(active)) < BAGS * np.clip(match, 0.1, 1.0) * 1.4)
        bagged[active[bags]] = slot[bags]
        for kind, done in ((CLICK, np.ones(len(active), dtype=np.bool_)), (SAVE, saves), (BAG, bags)):
            turn = np.full(int(done.sum()), step * 4 + kind)
            seen.append(Actions(active[done], turn, slot[done], np.full(len(turn), kind)))
    return together(seen), bagged


def _look(
    visits: Visits, shelf: Shelf, who: Ints, intent: Ints, current: Ints, step: int, rng: np.random.Generator
) -> Ints:
    """The slot each visit looks at; `current` is its last slot in the group, AFRESH or ANYTHING (in the shop)."""

    def propose(part: Ints, attempt: int) -> Ints:
        mine, now = who[part], current[part]
        liked = shelf.liked(intent[part], visits.level[mine], visits.brand[mine], rng)
        onward = (now >= 0) & (rng.random(len(part)) < NEXT_ON_PAGE)
        further = shelf.after(np.maximum(now, 0), 1 + (rng.random(len(part)) < 0.3))
        slot = np.where(onward, further, liked)
        if step == 0 and attempt == 0:
            resumed = visits.resumed[mine]
            slot = np.where(resumed >= 0, shelf.within(intent[part], np.maximum(resumed, 0.0)), slot)
        return np.where(now == ANYTHING, shelf.anything(rng.random(len(part))), slot)

    return in_stock(shelf, visits.market[who], propose)


def in_stock(shelf: Shelf, market: Ints, propose: Callable[[Ints, int], Ints]) -> Ints:
    """Ask for a slot for every market until it is in stock there, a few times; -1 where it never was.

    `propose` gets the positions still without a slot and the number of the attempt, and gives a slot for each.
    """
    slot = np.full(len(market), -1)
    pending = np.arange(len(market))
    for attempt in range(TRIES):
        asked = propose(pending, attempt)
        fine = shelf.stocked(asked, market[pending])
        slot[pending[fine]] = asked[fine]
        pending = pending[~fine]
    return slot


def follow(cells: Cells, cell: Ints, rng: np.random.Generator) -> Ints:
    """A group that follows each given one, the first of its targets most often; itself where nothing follows."""
    known = (cells.targets[cell] >= 0).sum(axis=1)
    which = np.minimum((rng.random(len(cell)) ** 1.4 * known).astype(np.int64), np.maximum(known - 1, 0))
    return np.where(known > 0, cells.targets[cell, which], cell)


def together(parts: list[Actions]) -> Actions:
    """All actions of the parts."""
    fields = [[getattr(part, name) for part in parts] for name in ("visit", "turn", "slot", "kind")]
    return Actions(*(np.concatenate(field) if field else np.zeros(0, dtype=np.int64) for field in fields))
