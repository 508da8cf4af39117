"""Generates a day's clean events: visits, baskets, times, ids and prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from jobs.sample_shop.assortment import DayAssortment, StockDay, assortment_of
from jobs.sample_shop.customers import FAVOURITE_WEIGHTS, Customers
from jobs.sample_shop.draws import Floats, Ints, Stream, generator, pick
from jobs.sample_shop.world import Cells, World

EVENTS_PER_VISIT = 8.0
WEEKDAYS = (0.95, 0.92, 0.93, 0.97, 1.03, 1.12, 1.08)
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 7, 6, 6, 6, 7, 8, 9, 10, 9, 6, 3], dtype=np.float64)
MEAN_GAP_MS = 35_000.0
PAYING_MS = 60_000
DAY_MS = 86_400_000
TWO_PIECES = 0.05


def events_of(world: World, customers: Customers, stock: StockDay) -> pl.DataFrame:
    """The clean events of one day, in time order, without event_id.

    Columns customer_id, product_id, event_type, ms (since midnight UTC), market, basket_id (null unless a purchase),
    quantity and price (null for clicks and saves). All purchases of one basket share customer, market and time.
    """
    rng = generator(world.size.seed, Stream.EVENTS, stock.day)
    date = world.size.date_of(stock.day)
    assortment = assortment_of(world, stock)
    mean = world.size.daily_events * WEEKDAYS[date.weekday()] / EVENTS_PER_VISIT
    visits = start_visits(customers, assortment, stock.day, int(rng.poisson(mean)), rng)
    browsed, bagged = browse(visits, assortment, world.cells, rng)
    bought = buy(visits, bagged, assortment, world.cells, rng)
    actions = together([browsed, bought])
    actions = actions.chosen(np.lexsort((actions.turn, actions.visit)))
    ms = _times(actions, len(visits.customer), rng)
    order = np.lexsort((actions.turn, actions.visit, ms))
    ms, actions = ms[order], actions.chosen(order)
    visit, kind, product = actions.visit, actions.kind, assortment.product[actions.slot]
    pieces = 1 + (rng.random(len(product)) < TWO_PIECES)
    frame = pl.DataFrame(
        {
            "customer_id": customers.ids.gather(visits.customer[visit]),
            "product_id": world.catalogue["product_id"].gather(product),
            "event_type": pl.Series(EVENT_TYPES).gather(kind),
            "ms": ms,
            "market": pl.Series(world.markets).gather(visits.market[visit]),
            "basket_id": visit,
            "quantity": pieces,
            "price": stock.price[product],
            "kind": kind,
        }
    )
    basket = pl.format("B{}-{}", pl.lit(f"{date:%Y%m%d}"), pl.col("basket_id").cast(pl.String).str.zfill(7))
    return frame.with_columns(
        pl.when(pl.col("kind") == PURCHASE).then(basket).alias("basket_id"),
        pl.when(pl.col("kind") >= BAG).then("quantity").alias("quantity"),
        pl.when(pl.col("kind") >= BAG).then("price").alias("price"),
    ).drop("kind")


def _times(actions: Actions, visits: int, rng: np.random.Generator) -> Ints:
    """Milliseconds since midnight of actions that are sorted by visit and turn; no visit crosses midnight."""
    count = len(actions.visit)
    gap = 1_000 + rng.exponential(MEAN_GAP_MS, count).astype(np.int64)
    gap[actions.turn == PURCHASE_TURN] = PAYING_MS
    gap[actions.turn > PURCHASE_TURN] = 0  # a basket is paid at once
    opens = np.diff(actions.visit, prepend=-1) > 0
    gap[opens] = 0
    passed = np.cumsum(gap)
    since = passed - passed[opens][np.cumsum(opens) - 1]
    length = np.zeros(visits, dtype=np.int64)
    np.maximum.at(length, actions.visit, since)
    hour = rng.choice(24, visits, p=HOURS / HOURS.sum())
    start = hour * 3_600_000 + rng.integers(0, 3_600_000, visits)
    start = np.minimum(start, DAY_MS - 1 - length)
    return np.asarray(start[actions.visit] + since, dtype=np.int64)


# Visits: their customers and intents, and the products that they look at, save and put in the bag.

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

    def chosen(self, rows: Ints) -> Actions:
        """The actions at these positions, in their order."""
        return Actions(self.visit[rows], self.turn[rows], self.slot[rows], self.kind[rows])


def start_visits(
    customers: Customers, assortment: DayAssortment, day: int, count: int, rng: np.random.Generator
) -> Visits:
    """Visits with their intents: mostly the focus of the week, else another favourite, else a seasonal group."""
    customer = customers.visitors(day, count, rng)
    focus, product = customers.week_focus(customer, day)
    route = rng.random(count)
    favourite = customers.favourites[customer, pick(FAVOURITE_WEIGHTS, rng.random(count))].astype(np.int64)
    seasonal = pick(assortment.group_demand, rng.random(count))
    cell = np.where(route < FOCUSED, focus, np.where(route < 1 - EXPLORING, favourite, seasonal))
    home = customers.market[customer].astype(np.int64)
    away = rng.integers(0, assortment.available.shape[1], count)
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


def browse(visits: Visits, assortment: DayAssortment, cells: Cells, rng: np.random.Generator) -> tuple[Actions, Ints]:
    """Clicks, saves and bags of a day's visits, and (V,) the last bagged slot of each, -1 for none.

    A step mostly goes to the next product of the page or to a liked one of the same group; a few steps wander off
    (to other styles, to anything), and now and then the intent itself moves on to a complement. So each step
    depends on the one before.
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
        slot = _look(visits, assortment, active, aim, last, step, rng)
        found = slot >= 0
        active, slot, wander = active[found], slot[found], wander[found]
        current[active[~wander]] = slot[~wander]
        match = 1 - assortment.distance(slot, visits.level[active], visits.brand[active])
        saves = rng.random(len(active)) < SAVES
        bags = ~wander & (rng.random(len(active)) < BAGS * np.clip(match, 0.1, 1.0) * 1.4)
        bagged[active[bags]] = slot[bags]
        for kind, done in ((CLICK, np.ones(len(active), dtype=np.bool_)), (SAVE, saves), (BAG, bags)):
            turn = np.full(int(done.sum()), step * 4 + kind)
            seen.append(Actions(active[done], turn, slot[done], np.full(len(turn), kind)))
    return together(seen), bagged


def _look(
    visits: Visits,
    assortment: DayAssortment,
    who: Ints,
    intent: Ints,
    current: Ints,
    step: int,
    rng: np.random.Generator,
) -> Ints:
    """The slot each visit looks at; `current` is its last slot in the group, AFRESH or ANYTHING (in the shop)."""

    def propose(part: Ints, attempt: int) -> Ints:
        mine, now = who[part], current[part]
        liked = assortment.liked(intent[part], visits.level[mine], visits.brand[mine], rng)
        onward = (now >= 0) & (rng.random(len(part)) < NEXT_ON_PAGE)
        further = assortment.after(np.maximum(now, 0), 1 + (rng.random(len(part)) < 0.3))
        slot = np.where(onward, further, liked)
        if step == 0 and attempt == 0:
            resumed = visits.resumed[mine]
            slot = np.where(resumed >= 0, assortment.within(intent[part], np.maximum(resumed, 0.0)), slot)
        return np.where(now == ANYTHING, assortment.anything(rng.random(len(part))), slot)

    return in_stock(assortment, visits.market[who], propose)


def in_stock(assortment: DayAssortment, market: Ints, propose: Callable[[Ints, int], Ints]) -> Ints:
    """Ask for a slot for every market until it is in stock there, a few times; -1 where it never was.

    `propose` gets the positions still without a slot and the number of the attempt, and gives a slot for each.
    """
    slot = np.full(len(market), -1)
    pending = np.arange(len(market))
    for attempt in range(TRIES):
        asked = propose(pending, attempt)
        fine = assortment.stocked(asked, market[pending])
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


# Baskets: each opens with a bagged product, and takes in complements and some noise.

BUYS = 0.85
EXTRAS = np.array([0.16, 0.30, 0.30, 0.24])
"""Chances of 0, 1, 2 and 3 further products in a basket."""
COMPLEMENT, ALTERNATIVE = 0.82, 0.07
"""Chances that a further product goes with the first one, or is another of its kind; the rest is noise."""
CLICKED_FIRST = 0.7
BASKET_TURN = 4 * MOST_STEPS
PURCHASE_TURN = BASKET_TURN + 10


def buy(visits: Visits, bagged: Ints, assortment: DayAssortment, cells: Cells, rng: np.random.Generator) -> Actions:
    """Purchases of a day's visits, with the clicks and bags of the products that were added at the end.

    `bagged` is the last bagged slot of each visit or -1; at most one basket a visit, without repeated products.
    """
    visit = np.flatnonzero((bagged >= 0) & (rng.random(len(bagged)) < BUYS))
    first = bagged[visit]
    extras = pick(EXTRAS, rng.random(len(visit)))
    chosen = [first]
    parts = [_actions(visit, first, PURCHASE_TURN, PURCHASE)]
    for k in range(1, len(EXTRAS)):
        slot = _extra(visits, visit, first, assortment, cells, rng)
        # Nobody needs two belts for one pair of trousers: a further group appears once.
        repeated = np.any(
            [assortment.cell[slot] == assortment.cell[other] for other in chosen[1:]] + [slot == first], axis=0
        )
        slot = np.where((extras >= k) & ~repeated, slot, -1)
        chosen.append(slot)
        taken = slot >= 0
        who, what = visit[taken], slot[taken]
        clicked = rng.random(len(who)) < CLICKED_FIRST
        parts.append(_actions(who[clicked], what[clicked], BASKET_TURN + 2 * k, CLICK))
        parts.append(_actions(who, what, BASKET_TURN + 2 * k + 1, BAG))
        parts.append(_actions(who, what, PURCHASE_TURN + k, PURCHASE))
    return together(parts)


def _extra(
    visits: Visits, visit: Ints, first: Ints, assortment: DayAssortment, cells: Cells, rng: np.random.Generator
) -> Ints:
    """One further product for each basket, a slot, -1 where nothing suitable is in stock."""
    route = rng.random(len(visit))
    cell = assortment.cell[first]
    cell = np.where(route < COMPLEMENT, follow(cells, cell, rng), cell)

    def propose(part: Ints, attempt: int) -> Ints:
        mine = visit[part]
        liked = assortment.liked(cell[part], visits.level[mine], visits.brand[mine], rng)
        return np.where(route[part] < COMPLEMENT + ALTERNATIVE, liked, assortment.anything(rng.random(len(part))))

    return in_stock(assortment, visits.market[visit], propose)


def _actions(visit: Ints, slot: Ints, turn: int, kind: int) -> Actions:
    return Actions(visit, np.full(len(visit), turn), slot, np.full(len(visit), kind))
