"""Generates a day's clean events: visits, baskets, times, ids and prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from jobs.sample_shop.assortment import DayAssortment, StockDay, assortment_of
from jobs.sample_shop.draws import Bools, Floats, Ints, Stream, generator, pick
from jobs.sample_shop.interests import HANDFUL, Interests, Shelf
from jobs.sample_shop.world import Cells, World

EVENTS_PER_VISIT = 5.05
WEEKDAYS = (0.95, 0.92, 0.93, 0.97, 1.03, 1.12, 1.08)
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 7, 6, 6, 6, 7, 8, 9, 10, 9, 6, 3], dtype=np.float64)
MEAN_GAP_MS = 35_000.0
PAYING_MS = 60_000
DAY_MS = 86_400_000
TWO_PIECES = 0.05


def events_of(world: World, interests: Interests, shelf: Shelf, stock: StockDay) -> pl.DataFrame:
    """The clean events of one day, in time order, without event_id.

    Columns customer_id, product_id, event_type, ms (since midnight UTC), market, basket_id (null unless a purchase),
    quantity and price (null for clicks and saves). All purchases of one basket share customer, market and time.
    """
    rng = generator(world.size.seed, Stream.EVENTS, stock.day)
    date = world.size.date_of(stock.day)
    assortment = assortment_of(world, stock)
    mean = world.size.daily_events * WEEKDAYS[date.weekday()] / EVENTS_PER_VISIT
    visits = start_visits(interests, shelf, assortment, stock.day, int(rng.poisson(mean)), rng)
    browsed, bagged, company = browse(visits, assortment, world.cells, rng)
    bought = buy(visits, bagged, company, shelf, assortment, world.cells, rng)
    actions = together([browsed, bought])
    actions = actions.chosen(np.lexsort((actions.turn, actions.visit)))
    ms = _times(actions, len(visits.customer), rng)
    order = np.lexsort((actions.turn, actions.visit, ms))
    ms, actions = ms[order], actions.chosen(order)
    visit, kind, product = actions.visit, actions.kind, assortment.product[actions.slot]
    pieces = 1 + (rng.random(len(product)) < TWO_PIECES)
    frame = pl.DataFrame(
        {
            "customer_id": interests.customers.ids.gather(visits.customer[visit]),
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
MORE_STEPS = 0.715
MOST_STEPS = 30
OPENS_WITH_KNOWN, KNOWN = 0.6, 0.21
"""Chances that a visit's first look, and any later one, goes to one of the interest's own products."""
ALWAYS_BUYS = 0.85
"""The same for what the customer buys again and again."""
LOOKS_BACK = 0.10
"""Chance of a second look at the product before the last."""
NEXT_ON_PAGE = 0.5
ASTRAY = 0.08
OTHER_STYLE = 0.10
MOVES_ON = 0.08
TRIES = 4
AFRESH, ANYTHING = -1, -2
SAVES = 0.12
BAGS = 0.24
LOOKS_ONLY, REPLENISHES = 0.15, 4.0
"""How much more often than at a typical look the interest's own products are bagged before the customer has decided,
and what the customer always buys."""


@dataclass(frozen=True)
class Visits:
    """V visits of one day; a visit's intent is a group and changes while it lasts."""

    customer: Ints
    market: Ints
    level: Floats
    """(V,) price level of the visit."""
    usual: Floats
    """(V,) price level of the customer."""
    brand: Ints
    cell: Ints
    """(V,) intent at the start."""
    steps: Ints
    """(V,) how many products are looked at, if all of them are in stock."""
    company: Ints
    """(V,) group that the customer was interested in before."""
    known: Ints
    """(V, HANDFUL) slots of the products that the customer comes back to, -1 without an interest."""
    staple: Bools
    """(V,) whether the customer comes to buy again what they always buy."""
    decided: Bools
    """(V,) whether the customer is ready to buy these products."""


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
    interests: Interests, shelf: Shelf, assortment: DayAssortment, day: int, count: int, rng: np.random.Generator
) -> Visits:
    """Visits with their intents: mostly an interest of the customer, else a favourite or a seasonal group."""
    customers = interests.customers
    customer = interests.visitors(day, count, rng)
    aims = interests.aims(customer, day, rng, pick(assortment.group_demand, rng.random(count)))
    handful = shelf.handful(aims, customers, customer)
    home = customers.market[customer].astype(np.int64)
    away = rng.integers(0, assortment.available.shape[1], count)
    steps = np.minimum(rng.geometric(1 - MORE_STEPS, count), MOST_STEPS)
    return Visits(
        customer=customer,
        market=np.where(rng.random(count) < ABROAD, away, home),
        level=aims.level,
        usual=customers.level[customer],
        brand=customers.brand[customer],
        cell=aims.cell,
        steps=np.where(customers.cold[customer], 1, steps),
        company=aims.company,
        known=np.where(handful >= 0, assortment.slot[np.maximum(handful, 0)], -1),
        staple=aims.staple,
        decided=aims.decided,
    )


def browse(
    visits: Visits, assortment: DayAssortment, cells: Cells, rng: np.random.Generator
) -> tuple[Actions, Ints, Ints]:
    """Clicks, saves and bags of a day's visits, (V,) the last bagged slot of each, -1 for none, and (V,) its company.

    A step mostly goes to a product of the interest, to the next one of the page, or to a liked one of the same group;
    a few steps look back or wander off (to other styles, to anything), and now and then the intent itself moves on to
    a complement. So each step depends on those before.
    """
    current, before = np.full(len(visits.cell), AFRESH), np.full(len(visits.cell), -1)
    bagged = np.full(len(visits.cell), -1)
    intent, company = visits.cell.copy(), visits.company.copy()
    seen: list[Actions] = []
    for step in range(int(visits.steps.max(initial=0))):
        active = np.flatnonzero(visits.steps > step)
        moving = active[rng.random(len(active)) < (MOVES_ON if step else 0.0)]
        onward = cells.follow(intent[moving], company[moving], rng.random(len(moving)))
        company[moving], intent[moving] = intent[moving], onward
        current[moving] = AFRESH
        route = rng.random(len(active))
        wander = route < ASTRAY + OTHER_STYLE
        aim = np.where(wander, cells.siblings(intent[active], rng.random(len(active))), intent[active])
        last = np.where(route < ASTRAY, ANYTHING, np.where(wander, AFRESH, current[active]))
        slot = _look(visits, assortment, active, aim, last, step, rng)
        back = (rng.random(len(active)) < LOOKS_BACK) & (before[active] >= 0)
        slot = np.where(back, before[active], slot)
        found = slot >= 0
        active, slot, wander = active[found], slot[found], (wander & ~back)[found]
        before[active] = current[active]
        current[active[~wander]] = slot[~wander]
        match = 1 - assortment.distance(slot, visits.level[active], visits.brand[active])
        saves = rng.random(len(active)) < SAVES
        own = (visits.known[active] == slot[:, None]).any(axis=1)
        wanted = np.where(own & ~visits.decided[active], LOOKS_ONLY, np.clip(match, 0.1, 1.0) * 1.4)
        wanted = np.where(own & visits.staple[active] & visits.decided[active], REPLENISHES, wanted)
        bags = ~wander & (rng.random(len(active)) < BAGS * wanted)
        bagged[active[bags]] = slot[bags]
        for kind, done in ((CLICK, np.ones(len(active), dtype=np.bool_)), (SAVE, saves), (BAG, bags)):
            turn = np.full(int(done.sum()), step * 4 + kind)
            seen.append(Actions(active[done], turn, slot[done], np.full(len(turn), kind)))
    return together(seen), bagged, company


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
    returning = np.full(len(who), KNOWN if step else OPENS_WITH_KNOWN)
    returning[visits.staple[who]] = ALWAYS_BUYS

    def propose(part: Ints, attempt: int) -> Ints:
        mine, now = who[part], current[part]
        onward = (now >= 0) & (rng.random(len(part)) < NEXT_ON_PAGE)
        slot = assortment.after(np.maximum(now, 0), 1 + (rng.random(len(part)) < 0.3))
        favour = np.where(visits.staple[mine], 6.0, 1.6)
        known = visits.known[mine, (HANDFUL * rng.random(len(part)) ** favour).astype(np.int64)]
        comes_back = (known >= 0) & (visits.cell[mine] == intent[part]) & (rng.random(len(part)) < returning[part])
        slot = np.where(comes_back, known, slot)
        fresh = np.flatnonzero(~onward & ~comes_back)
        whom = mine[fresh]
        slot[fresh] = assortment.liked(intent[part][fresh], visits.level[whom], visits.brand[whom], rng)
        astray = np.flatnonzero(now == ANYTHING)
        slot[astray] = assortment.anything(rng.random(len(astray)))
        return slot

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
SAME_AGAIN = 0.8
"""Chance that one of what wears out is the product of its group that the customer always buys."""
CLICKED_FIRST = 0.7
BASKET_TURN = 4 * MOST_STEPS
PURCHASE_TURN = BASKET_TURN + 10


def buy(
    visits: Visits,
    bagged: Ints,
    company: Ints,
    shelf: Shelf,
    assortment: DayAssortment,
    cells: Cells,
    rng: np.random.Generator,
) -> Actions:
    """Purchases of a day's visits, with the clicks and bags of the products that were added at the end.

    `bagged` is the last bagged slot of each visit or -1; at most one basket a visit, without repeated products.
    """
    visit = np.flatnonzero((bagged >= 0) & (rng.random(len(bagged)) < BUYS))
    first = bagged[visit]
    extras = pick(EXTRAS, rng.random(len(visit)))
    chosen = [first]
    parts = [_actions(visit, first, PURCHASE_TURN, PURCHASE)]
    for k in range(1, len(EXTRAS)):
        slot = _extra(visits, visit, first, company[visit], shelf, assortment, cells, rng)
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
    visits: Visits,
    visit: Ints,
    first: Ints,
    company: Ints,
    shelf: Shelf,
    assortment: DayAssortment,
    cells: Cells,
    rng: np.random.Generator,
) -> Ints:
    """One further product for each basket, a slot, -1 where nothing suitable is in stock."""
    route = rng.random(len(visit))
    cell = assortment.cell[first]
    cell = np.where(route < COMPLEMENT, cells.follow(cell, company, rng.random(len(visit))), cell)
    own = shelf.own(cell, visits.customer[visit], 0, visits.usual[visit], visits.brand[visit])
    same_again = (cells.lasts[cell] > 0) & (own >= 0) & (rng.random(len(visit)) < SAME_AGAIN)

    def propose(part: Ints, attempt: int) -> Ints:
        mine = visit[part]
        liked = assortment.liked(cell[part], visits.level[mine], visits.brand[mine], rng)
        if attempt == 0:
            liked = np.where(same_again[part], assortment.slot[own[part]], liked)
        return np.where(route[part] < COMPLEMENT + ALTERNATIVE, liked, assortment.anything(rng.random(len(part))))

    return in_stock(assortment, visits.market[visit], propose)


def _actions(visit: Ints, slot: Ints, turn: int, kind: int) -> Actions:
    return Actions(visit, np.full(len(visit), turn), slot, np.full(len(visit), kind))
