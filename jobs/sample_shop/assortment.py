"""Draws products in proportion to their demand of a day, and changes prices and stock from day to day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.sample_shop.draws import Bools, Floats, Ints, Stream, generator, hashed
from jobs.sample_shop.world import World

NOVELTY = 1.5
NOVELTY_DAYS = 14.0
TREND = 0.5


@dataclass(frozen=True)
class DayAssortment:
    """The live products of a day, sorted by group. A slot is a place in that order; S slots."""

    product: Ints
    """(S,) product of each slot."""
    cell: Ints
    """(S,) group of each slot, ascending."""
    start: Ints
    """(G + 1,) first slot of each group."""
    demand: Floats
    """(S + 1,) cumulative demand, from 0."""
    group_demand: Floats
    """(G,) seasonal demand of each group."""
    level: Floats
    """(S,) price level inside the group."""
    brand: Ints
    """(S,) brand number."""
    slot: Ints
    """(S,) slot of each product."""
    available: Bools
    """(P, M) stock of the day, by product."""

    def anything(self, uniform: Floats) -> Ints:
        """Slots in proportion to popularity over the whole shop."""
        return self._at(uniform * self.demand[-1])

    def within(self, cell: Ints, uniform: Floats) -> Ints:
        """Slots inside the given groups, in proportion to popularity."""
        low, high = self.demand[self.start[cell]], self.demand[self.start[cell + 1]]
        # Rounding may step over a group's edge by one slot.
        return np.clip(self._at(low + uniform * (high - low)), self.start[cell], self.start[cell + 1] - 1)

    def after(self, slot: Ints, steps: Ints) -> Ints:
        """Slots `steps` places further in the same group, round its end: the order of the category page."""
        first = self.start[self.cell[slot]]
        length = self.start[self.cell[slot] + 1] - first
        return first + (slot - first + steps) % length

    def liked(self, cell: Ints, level: Floats, brand: Ints, rng: np.random.Generator) -> Ints:
        """Slots inside the groups: the better of two popular ones for a price level and a favourite brand."""
        one, two = self.within(cell, rng.random(len(cell))), self.within(cell, rng.random(len(cell)))
        better = self.distance(two, level, brand) < self.distance(one, level, brand)
        return np.where(better, two, one)

    def distance(self, slot: Ints, level: Floats, brand: Ints) -> Floats:
        """How far slots are from a price level and a brand; 0 is a perfect match."""
        return np.asarray(np.abs(self.level[slot] - level) + 0.3 * (self.brand[slot] != brand))

    def stocked(self, slot: Ints, market: Ints) -> Bools:
        """Whether the market can buy the slot's product today."""
        return self.available[self.product[slot], market]

    def _at(self, demand: Floats) -> Ints:
        return np.minimum(np.searchsorted(self.demand, demand, side="right") - 1, len(self.product) - 1)


def assortment_of(world: World, stock: StockDay) -> DayAssortment:
    """The assortment of one day; its demand is lasting appeal, this week's trend, novelty and season."""
    live = np.arange(stock.live)
    age = stock.day - world.launch_day[: stock.live]
    trend = TREND * (hashed(world.size.seed, Stream.TREND, live, stock.day // 7) * 2 - 1)
    season = world.cells.season(world.size.date_of(stock.day)) * world.cells.weight
    novelty = 1 + NOVELTY * np.exp(-age / NOVELTY_DAYS)
    order = np.argsort(world.cell[: stock.live], kind="stable")
    cell = world.cell[order]
    demand = (world.appeal[: stock.live] * np.exp(trend) * novelty)[order] * season[cell]
    return DayAssortment(
        product=order,
        cell=cell,
        start=np.searchsorted(cell, np.arange(len(season) + 1)),
        demand=np.concatenate([[0.0], np.cumsum(demand)]),
        group_demand=season,
        level=world.level[order],
        brand=world.brand[order],
        slot=np.argsort(order),
        available=stock.available,
    )


# Prices, and the stock of each market.

PRICE_CHANGES = 0.004
MARKDOWNS = (0.7, 0.8, 0.9, 1.0)
SELL_OUT = 0.002
RETURN = 0.08


@dataclass(frozen=True)
class StockDay:
    """One day's stock. `price` and `available` are overwritten by the next day: read them before asking for it."""

    day: int
    live: int
    """Products launched by this day: the first `live` ones."""
    price: Floats
    """(P,) price of the day."""
    available: Bools
    """(P, M) whether the market can buy the product on this day."""
    products: Ints
    """Products that are new or have another price today."""
    pair_product: Ints
    """Product of each (product, market) whose availability is new or changed today."""
    pair_market: Ints
    """Market of the same."""


def stock_by_day(world: World) -> Iterator[StockDay]:
    """Every day's stock from day 0 on, without end; a day's draws do not depend on later launches."""
    price = world.price.copy()
    available = np.zeros_like(world.carried)
    before, day = 0, 0
    while True:
        live = world.live(day)
        rng = generator(world.size.seed, Stream.STOCK, day)
        repriced = np.unique(rng.integers(0, max(before, 1), round(before * PRICE_CHANGES)))
        asked = np.round(world.price[repriced] * rng.choice(MARKDOWNS, len(repriced)), 2)
        repriced, asked = repriced[asked != price[repriced]], asked[asked != price[repriced]]
        price[repriced] = asked
        moved = _move(world.carried[:before], available[:before], rng)
        available[before:live] = world.carried[before:live]
        new_product, new_market = np.nonzero(world.carried[before:live])
        yield StockDay(
            day,
            live,
            price,
            available,
            products=np.concatenate([repriced, np.arange(before, live)]),
            pair_product=np.concatenate([moved[0], new_product + before]),
            pair_market=np.concatenate([moved[1], new_market]),
        )
        before, day = live, day + 1


def _move(carried: Bools, available: Bools, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Sell some pairs out and bring some back, in place; returns the pairs that changed."""
    absent = np.flatnonzero(carried & ~available)
    back = absent[rng.random(len(absent)) < RETURN]
    tried = np.unique(rng.integers(0, max(carried.size, 1), round(carried.size * SELL_OUT)))
    out = tried[available.ravel()[tried]]
    moved = np.sort(np.concatenate([back, out]))
    product, market = np.divmod(moved, max(carried.shape[1], 1))
    available[product, market] ^= True
    return product, market
