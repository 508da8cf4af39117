"""Gives customers interests that begin and fade at times of their own: each a group, a price level, some products.

Nothing is stored from day to day: whatever holds on a day is a function of (seed, customer, day).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jobs.sample_shop.customers import Customers
from jobs.sample_shop.draws import Bools, Floats, Ints, Stream, hashed
from jobs.sample_shop.world import Cells, World

Narrow = npt.NDArray[np.float32]

SLOTS = 3
"""Interests that a customer may have at once."""
HAS_SLOT = (1.0, 0.6, 0.35)
"""Shares of the customers who ever have a first, second and third interest at once."""
SHORTEST, LONGEST = 7.0, 70.0
"""Days from the begin of one interest to that of the next in the same slot; each customer's slot has its own."""
BEGINS_WITHIN = 0.35
"""An interest begins in this first part of its time, .."""
LASTS = (0.3, 1.0)
""".. and lasts this share, from and to, of what is left of it."""
FADES = 2.5
"""How often an interest loses the factor e while it lasts."""
CHAIN = 8
"""Every so many interests a customer starts anew from a favourite; those between come from the one before."""
RETURNS, GOES_WITH = 0.64, 0.22
"""Shares of interests that return to a favourite, and that complement the last; the rest change only the style."""
DECIDING_DAYS = 1.0
"""For so long a customer is ready to buy the products of an interest, or to replenish; else they look at them."""
LEVEL_SPREAD = 0.25
"""At most so far is an interest's price level from the customer's own."""

HAS_STAPLE = 0.85
"""Share of the customers who buy one kind of thing again and again."""
STAPLE_DAYS = 3
"""For so many days a customer may come to buy it again."""
STAPLE_PACE = (0.5, 1.3)
"""How a customer's interval differs from the typical one: from and to."""
STAPLE_STRENGTH = 1.2
"""Strength of the wish to buy it again; an interest has at most 1."""

FAR = 1 << 20
"""More days, and more interests of a customer, than any shop runs to."""
IDLE = 0.10
"""Strength of coming without any interest."""
LOOKS_AROUND = 0.3
"""Share of these visits that go to a group of the season; the others go to a favourite one."""
MOST = 1.6
"""Interests add up to so much at most: nobody comes any more often."""
DRAWS = 8
BEGIN, LENGTH, STRENGTH, LEVEL, NEXT, WHICH, FOLLOWER, DECIDES = range(DRAWS)


@dataclass(frozen=True)
class Aims:
    """What N visits are about."""

    cell: Ints
    """(N,) group."""
    company: Ints
    """(N,) group of the interest before it, itself for none."""
    level: Floats
    """(N,) price level."""
    begins: Ints
    """(N,) day number on which it began."""
    key: Ints
    """(N,) names the interest, -1 for a visit without one: visits of one interest share it, and so its products."""
    staple: Bools
    """(N,) whether it is a repeat purchase."""
    decided: Bools
    """(N,) whether the customer is ready to buy the interest's own products, and not only to look at them."""


@dataclass(frozen=True)
class Interests:
    """The interests of C customers at any time."""

    customers: Customers
    cells: Cells
    pace: Narrow
    """(C, SLOTS) days from the begin of one interest to that of the next in each slot; infinite for no interest."""
    phase: Narrow
    """(C, SLOTS) where in the time of its first interest each slot is on day 0, 0 to 1."""
    staple: Ints
    """(C,) the group that each customer replenishes."""
    interval: Narrow
    """(C,) days after which they do so; infinite for never."""
    start: Narrow
    """(C,) where in the first interval day 0 lies, 0 to 1."""

    def visitors(self, day: int, count: int, rng: np.random.Generator) -> Ints:
        """`count` visiting customers of a day, with repetition: those come often who are interested in something."""
        often = np.cumsum(self.customers.activity)
        found: list[Ints] = [np.zeros(0, dtype=np.int64)]
        while (missing := count - sum(map(len, found))) > 0:
            uniform = rng.random(5 * missing + 64)
            order = np.argsort(uniform)  # neighbours in memory are looked up together: twice as fast for a million
            asked = np.searchsorted(often, uniform[order] * often[-1], side="right")
            asked = np.minimum(asked, len(often) - 1)
            strength = (self.strengths(asked, day).sum(axis=1) + IDLE) * (self.customers.joined[asked] <= day)
            back = np.argsort(order)
            asked, strength = asked[back], strength[back]
            comes = rng.random(len(asked)) * MOST < strength
            found.append(asked[comes][:missing])
        return np.concatenate(found)

    def strengths(self, customer: Ints, day: int) -> Floats:
        """(N, SLOTS + 1) how strong each interest of each customer is on a day; the last is the wish to replenish."""
        columns = [self._strength(customer, np.full(len(customer), slot), day) for slot in range(SLOTS)]
        return np.column_stack([*columns, np.where(self._since(customer, day) < STAPLE_DAYS, STAPLE_STRENGTH, 0.0)])

    def aims(self, customer: Ints, day: int, rng: np.random.Generator, seasonal: Ints) -> Aims:
        """What each visit of a day is about: one of the customer's interests, the staple, or nothing in particular.

        `seasonal` (N,) are the groups for those who just look around; others of these look at a favourite group.
        """
        strengths = np.column_stack([self.strengths(customer, day), np.full(len(customer), IDLE)])
        share = np.cumsum(strengths, axis=1)
        slot = (rng.random(len(customer))[:, None] * share[:, -1:] >= share).sum(axis=1)
        today = np.full(len(customer), day)
        favourite = self.customers.favourite(customer, rng.random(len(customer)), today)
        cell = np.where(rng.random(len(customer)) < LOOKS_AROUND, seasonal, favourite)
        staple = slot == SLOTS
        cell[staple] = self.staple[customer[staple]]
        company, level, begins = cell.copy(), self.customers.level[customer], np.where(staple, 0, today)
        key = np.where(staple, _name(customer, slot) * FAR, -1)
        decided = self._since(customer, day) < DECIDING_DAYS
        mine = np.flatnonzero(slot < SLOTS)
        who, which = customer[mine], slot[mine]
        number = self._number(who, which, day)
        begins[mine] = self._begin(who, which, number)
        cell[mine], company[mine] = self._chain(who, which, number)
        key[mine] = _name(who, which) * FAR + number
        decided[mine] = self._decides(who, which, number, day)
        decided &= _first(key)
        level[mine] = np.clip(level[mine] + LEVEL_SPREAD * (2 * self._drawn(who, which, number, LEVEL) - 1), 0, 1)
        return Aims(cell, company, level, begins, key, staple, decided)

    def _drawn(self, customer: Ints, slot: Ints, number: Ints, draw: int) -> Floats:
        return hashed(self.customers.seed, Stream.INTERESTS, _name(customer, slot), number * DRAWS + draw)

    def _number(self, customer: Ints, slot: Ints, day: int) -> Ints:
        """The number of the interest in whose time the day lies."""
        return np.floor(day / self.pace[customer, slot] + self.phase[customer, slot]).astype(np.int64)

    def _span(self, customer: Ints, slot: Ints, number: Ints) -> tuple[Floats, Floats]:
        """When the interest begins, a day number with its fraction, perhaps negative, and how many days it lasts."""
        pace, phase = self.pace[customer, slot].astype(np.float64), self.phase[customer, slot]
        late = BEGINS_WITHIN * self._drawn(customer, slot, number, BEGIN)
        lasts = LASTS[0] + (LASTS[1] - LASTS[0]) * self._drawn(customer, slot, number, LENGTH)
        return (number + late - phase) * pace, (1 - late) * lasts * pace

    def _begin(self, customer: Ints, slot: Ints, number: Ints) -> Ints:
        return np.asarray(np.ceil(self._span(customer, slot, number)[0]), dtype=np.int64)

    def _strength(self, customer: Ints, slot: Ints, day: int) -> Floats:
        """Strength of the slot's interest on the day: it rises within two days and fades until it ends."""
        strength = np.zeros(len(customer))
        has = np.flatnonzero(np.isfinite(self.pace[customer, slot]))
        customer, slot = customer[has], slot[has]
        number = self._number(customer, slot, day)
        begin, length = self._span(customer, slot, number)
        age = day - begin
        now = np.flatnonzero((age >= 0) & (age < length))
        most = 0.4 + 0.6 * self._drawn(customer[now], slot[now], number[now], STRENGTH)
        strength[has[now]] = most * np.minimum(1.0, (age[now] + 1) / 2) * np.exp(-FADES * age[now] / length[now])
        return strength

    def _decides(self, customer: Ints, slot: Ints, number: Ints, day: int) -> Bools:
        """Whether the day is one of those on which the customer makes up their mind about the interest's products."""
        begin, length = self._span(customer, slot, number)
        since = day - begin - 0.6 * length * self._drawn(customer, slot, number, DECIDES)
        return np.asarray((since >= 0) & (since < DECIDING_DAYS))

    def _chain(self, customer: Ints, slot: Ints, number: Ints) -> tuple[Ints, Ints]:
        """The group of each interest and that of the one before it in the slot.

        An interest returns to a favourite, or it comes from the one before: it complements it, or changes its style.
        """
        cell = self._favourite(customer, slot, number - number % CHAIN)
        company = cell.copy()
        for step in range(1, CHAIN):
            rows = np.flatnonzero(number % CHAIN >= step)
            who, which, at = customer[rows], slot[rows], (number - number % CHAIN)[rows] + step
            before = cell[rows]
            route, uniform = self._drawn(who, which, at, NEXT), self._drawn(who, which, at, FOLLOWER)
            side = (uniform < 0.5).astype(np.int64)
            follows = self.cells.follow(before, company[rows], uniform)
            onward = np.where(route < RETURNS + GOES_WITH, follows, self.cells.neighbours[before, side])
            back = np.flatnonzero(route < RETURNS)
            onward[back] = self._favourite(who[back], which[back], at[back])
            company[rows], cell[rows] = before, onward
        return cell, company

    def _favourite(self, customer: Ints, slot: Ints, number: Ints) -> Ints:
        begins = self._begin(customer, slot, number)
        return self.customers.favourite(customer, self._drawn(customer, slot, number, WHICH), begins)

    def _since(self, customer: Ints, day: int) -> Floats:
        """Days since each customer last wished to replenish; infinite for those who never do."""
        interval = self.interval[customer].astype(np.float64)
        turns = np.where(np.isfinite(interval), day / interval + self.start[customer], 0.5)
        return np.asarray((turns - np.floor(turns)) * interval)


def interests_of(customers: Customers, cells: Cells) -> Interests:
    """The interests of a shop's customers."""
    everyone, seed = np.arange(len(customers.activity)), customers.seed
    name = _name(everyone[:, None], np.arange(SLOTS))
    has, pace, phase = (hashed(seed, Stream.SLOTS, name, draw) for draw in range(3))
    pace = np.where(has < HAS_SLOT, SHORTEST * (LONGEST / SHORTEST) ** pace, np.inf)
    which, often, start, buys = (hashed(seed, Stream.STAPLES, everyone, draw) for draw in range(4))
    styles = customers.style.astype(np.int64) % customers.taste.styles
    staple = customers.staples.pick(customers.department, styles, which)
    interval = cells.lasts[staple] * (STAPLE_PACE[0] + (STAPLE_PACE[1] - STAPLE_PACE[0]) * often)
    return Interests(
        customers=customers,
        cells=cells,
        pace=pace.astype(np.float32),
        phase=phase.astype(np.float32),
        staple=staple,
        interval=np.where((buys < HAS_STAPLE) & (interval > 0), interval, np.inf).astype(np.float32),
        start=start.astype(np.float32),
    )


def _first(key: Ints) -> Bools:
    """Whether each of a day's visits is the first of its interest on that day: nobody buys the same twice a day."""
    first = np.zeros(len(key), dtype=np.bool_)
    first[np.unique(key, return_index=True)[1]] = True
    return first


def _name(customer: Ints, slot: Ints) -> Ints:
    """A number for each customer's slot; the staple comes after the slots."""
    return customer * (SLOTS + 1) + slot


# The products of an interest.

HANDFUL = 5
"""Products that an interest comes back to."""
LASTING = 2
"""So many of them the customer comes back to in every interest in their group."""


@dataclass(frozen=True)
class Shelf:
    """All P products by group and launch, with their lasting appeal: the same on every day."""

    seed: int
    level: Floats
    brand: Ints
    product: Ints
    """(P,) products, sorted by group and launch."""
    launch: Ints
    """(P,) group x FAR + launch day of each of them, ascending."""
    appeal: Ints
    """(P + 1,) cumulative appeal of each of them, in whole numbers, so that sums do not depend on what comes later."""
    low: Ints
    """(G,) where the appeal of each group begins."""
    opening: Ints
    """(G,) where the appeal of its products launched by day 0 ends."""

    def handful(self, aims: Aims, customers: Customers, customer: Ints) -> Ints:
        """(N, HANDFUL) products of each visit's interest, of those launched when it began; -1 without an interest."""
        low = self.low[aims.cell]
        last = np.searchsorted(self.launch, aims.cell * FAR + np.maximum(aims.begins, 0), side="right")
        high = self.appeal[last]
        level, brand = customers.level[customer], customers.brand[customer]
        lasting = [self.own(aims.cell, customer, k, level, brand) for k in range(LASTING)]
        others = [self._liked(aims.key, k, (low, high), aims.level, brand) for k in range(LASTING, HANDFUL)]
        known = (aims.key >= 0) & (lasting[0] >= 0)
        return np.where(known[:, None], np.column_stack([*lasting, *others]), -1)

    def own(self, cell: Ints, customer: Ints, k: int, level: Floats, brand: Ints) -> Ints:
        """(N,) the k-th of the products of a group that each customer always comes back to; -1 where there is none."""
        low, high = self.low[cell], self.opening[cell]
        return np.where(high > low, self._liked(customer, k, (low, high), level, brand), -1)

    def _liked(self, key: Ints, k: int, between: tuple[Ints, Ints], level: Floats, brand: Ints) -> Ints:
        """The better of two popular products for a price level and a favourite brand, always the same for a key."""
        one, two = (self._product(key, 2 * k + i, *between) for i in range(2))
        return np.where(self._distance(two, level, brand) < self._distance(one, level, brand), two, one)

    def _product(self, key: Ints, draw: int, low: Ints, high: Ints) -> Ints:
        place = low + (hashed(self.seed, Stream.SHELF, key, draw) * (high - low)).astype(np.int64)
        return self.product[np.clip(np.searchsorted(self.appeal, place, side="right") - 1, 0, len(self.product) - 1)]

    def _distance(self, product: Ints, level: Floats, brand: Ints) -> Floats:
        return np.asarray(np.abs(self.level[product] - level) + 0.3 * (self.brand[product] != brand))


def shelf_of(world: World) -> Shelf:
    """The shelf of a shop."""
    order = np.lexsort((world.launch_day, world.cell))
    whole = np.round(world.appeal[order] * 1_000_000).astype(np.int64)
    launch = world.cell[order] * FAR + world.launch_day[order]
    appeal = np.concatenate([[0], np.cumsum(whole)])
    groups = np.arange(len(world.cells.style)) * FAR
    return Shelf(
        seed=world.size.seed,
        level=world.level,
        brand=world.brand,
        product=order,
        launch=launch,
        appeal=appeal,
        low=appeal[np.searchsorted(launch, groups - FAR // 2)],
        opening=appeal[np.searchsorted(launch, groups, side="right")],
    )
