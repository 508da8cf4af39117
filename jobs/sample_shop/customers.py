"""Generates customers: the long-term style of each, and the products that each looks for in a week."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from jobs.sample_shop.config import ShopSize
from jobs.sample_shop.draws import Floats, Ints, Stream, generator, hashed, pareto, pick
from jobs.sample_shop.world import DEPARTMENT_WEIGHT, World, pick_brands, ring

FAVOURITES = 4
FAVOURITE_WEIGHTS = np.array([0.42, 0.27, 0.18, 0.13])
JOINED_BEFORE = 0.6
JOIN_DAYS = 60.0
NEVER = 0.05
COLD = 0.12
COLD_ACTIVITY = 0.06
GIFTS = 0.12
BUSY_WEEKS = 0.35


@dataclass(frozen=True)
class Customers:
    """C customers; nothing here depends on how many days the shop runs."""

    seed: int
    ids: pl.Series
    """(C,) customer ids."""
    market: npt.NDArray[np.int32]
    """(C,) home market."""
    favourites: npt.NDArray[np.int16]
    """(C, 4) groups that the customer likes, the best first."""
    level: Floats
    """(C,) price level the customer looks for, 0 to 1."""
    brand: Ints
    """(C,) number of the favourite brand."""
    activity: Floats
    """(C,) how often the customer comes, relative; 0 never."""
    cold: npt.NDArray[np.bool_]
    """(C,) customers whose rare visits are one or two events."""
    joined: npt.NDArray[np.int32]
    """(C,) day number of the first possible visit, 0 for most."""

    def visitors(self, day: int, count: int, rng: np.random.Generator) -> Ints:
        """`count` visiting customers of a day, with repetition; a customer has busy weeks and quiet ones."""
        everyone = np.arange(len(self.activity))
        busy = hashed(self.seed, Stream.TREND, everyone, day // 7) < BUSY_WEEKS
        weight = self.activity * np.where(busy, 2.3, 0.3) * (self.joined <= day)
        return pick(weight, rng.random(count))

    def week_focus(self, customer: Ints, day: int) -> tuple[Ints, Floats]:
        """Of each customer, the group of this week, and a number in [0, 1) that names a product in it."""
        week = 2 * (day // 7)
        which = pick(FAVOURITE_WEIGHTS, hashed(self.seed, Stream.FOCUS, customer, week))
        return self.favourites[customer, which].astype(np.int64), hashed(self.seed, Stream.FOCUS, customer, week + 1)


def build_customers(size: ShopSize, world: World) -> Customers:
    """All customers of the shop, drawn from personas (a department and a style: a hiker, a street dresser)."""
    rng = generator(size.seed, Stream.CUSTOMERS)
    count = size.customers
    letters = sorted(set(world.cells.department), key=list(DEPARTMENT_WEIGHT).index)
    persona = pick(np.repeat([DEPARTMENT_WEIGHT[d] for d in letters], size.styles), rng.random(count))
    favourites = np.zeros((count, FAVOURITES), dtype=np.int16)
    for p in range(len(letters) * size.styles):
        mine = persona == p
        liking = _liking(world, letters[p // size.styles], p % size.styles)
        favourites[mine] = pick(liking, rng.random((int(mine.sum()), FAVOURITES)))
    joined = np.where(rng.random(count) < JOINED_BEFORE, 0, rng.exponential(JOIN_DAYS, count))
    activity = pareto(rng, count, 0.4, 10.0) - 0.8
    cold = rng.random(count) < COLD
    activity[cold] = COLD_ACTIVITY
    activity[rng.random(count) < NEVER] = 0.0
    return Customers(
        seed=size.seed,
        ids=pl.select(pl.format("C{}", pl.int_range(1, count + 1).cast(pl.String).str.zfill(7))).to_series(),
        market=pick(1 / (np.arange(size.markets) + 1.0) ** 0.8, rng.random(count)).astype(np.int32),
        favourites=favourites,
        level=rng.beta(1.6, 1.6, count),
        brand=pick_brands(size, persona % size.styles, rng.random(count)),
        activity=activity,
        cold=cold,
        joined=joined.astype(np.int32),
    )


def _liking(world: World, department: str, style: int) -> Floats:
    """(G,) demand of one persona for each group."""
    near = np.array([ring(int(s), style, world.size.styles) for s in world.cells.style])
    mine = np.array([d == department for d in world.cells.department])
    return world.cells.weight * np.exp(-1.3 * near) * np.where(mine, 1.0, GIFTS)
