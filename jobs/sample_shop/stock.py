"""What changes in the shop from day to day: prices, and what is in stock in which market."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.sample_shop.draws import Bools, Floats, Ints, Stream, generator
from jobs.sample_shop.world import World

PRICE_CHANGES = 0.004
MARKDOWNS = (0.7, 0.8, 0.9, 1.0)
SELL_OUT = 0.002
RETURN = 0.08


@dataclass(frozen=True)
class StockDay:
    """One day's stock. `price` and `available` are shared with the next day: read them before asking for it."""

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
            day, live, price, available,
            products=np.concatenate([repriced, np.arange(before, live)]),
            pair_product=np.concatenate([moved[0], new_product + before]),
            pair_market=np.concatenate([moved[1], new_market]),
        )  # fmt: skip
        before, day = live, day + 1


def _move(carried: Bools, available: Bools, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Sell some pairs out and bring some back, in place; the pairs that moved."""
    absent = np.flatnonzero(carried & ~available)
    back = absent[rng.random(len(absent)) < RETURN]
    tried = np.unique(rng.integers(0, max(carried.size, 1), round(carried.size * SELL_OUT)))
    out = tried[available.ravel()[tried]]
    moved = np.sort(np.concatenate([back, out]))
    product, market = np.divmod(moved, max(carried.shape[1], 1))
    available[product, market] ^= True
    return product, market
