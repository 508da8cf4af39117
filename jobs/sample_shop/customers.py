"""Generates customers: who they are, how their style drifts over months, and who comes on a day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from jobs.sample_shop.config import ShopSize
from jobs.sample_shop.draws import Floats, Ints, Stream, generator, hashed, pareto, pick
from jobs.sample_shop.world import DEPARTMENT_WEIGHT, World, pick_brands, ring

FAVOURITES = 4
FAVOURITE_WEIGHTS = np.array([0.6, 0.25, 0.1, 0.05])
JOINED_BEFORE = 0.6
JOIN_DAYS = 60.0
NEVER = 0.05
COLD = 0.12
COLD_ACTIVITY = 0.06
GIFTS = 0.12
NEAR = 1.3
"""How fast liking falls with each place that a group's style is away on the ring."""
DRIFT = 1.2
"""At most so many places on the ring of styles does a customer's style move to either side."""
DRIFT_DAYS = (180.0, 540.0)
"""Shortest and longest time in which a style drifts there and back."""


@dataclass(frozen=True)
class Taste:
    """How much each kind of customer, a department and a style, likes each of G groups."""

    styles: int
    cumulative: Floats
    """(departments x styles x G,) cumulative shares; row r goes from r to r + 1."""
    groups: int

    def pick(self, department: Ints, style: Ints, uniform: Floats) -> Ints:
        """A group for each customer in proportion to liking, by a number in [0, 1)."""
        row = department * self.styles + style
        place = np.searchsorted(self.cumulative, row + uniform, side="right")
        return np.asarray(np.clip(place - row * self.groups, 0, self.groups - 1))


@dataclass(frozen=True)
class Customers:
    """C customers; nothing here depends on how many days the shop runs."""

    seed: int
    ids: pl.Series
    """(C,) customer ids."""
    market: npt.NDArray[np.int32]
    """(C,) home market."""
    department: Ints
    """(C,) the department the customer buys for, a number."""
    style: Floats
    """(C,) place on the ring of styles round which the customer's style drifts."""
    taste: Taste
    """Liking of all groups."""
    staples: Taste
    """Liking of the groups that are bought again and again."""
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

    def style_on(self, customer: Ints, day: Ints) -> Ints:
        """The style of each customer on a day: it drifts to and fro at a pace of their own."""
        width, pace, phase = (hashed(self.seed, Stream.DRIFT, customer, draw) for draw in range(3))
        turns = day / (DRIFT_DAYS[0] + pace * (DRIFT_DAYS[1] - DRIFT_DAYS[0])) + phase
        place = self.style[customer] + DRIFT * width * np.sin(2 * np.pi * turns)
        return np.asarray(np.floor(place), dtype=np.int64) % self.taste.styles

    def favourite(self, customer: Ints, uniform: Floats, day: Ints) -> Ints:
        """One of the few groups that each customer likes; they change as the style drifts."""
        which = pick(FAVOURITE_WEIGHTS, uniform)
        liked = hashed(self.seed, Stream.TASTES, customer, which)
        return self.taste.pick(self.department[customer], self.style_on(customer, day), liked)


def build_customers(size: ShopSize, world: World) -> Customers:
    """All customers of the shop, drawn from personas (a department and a style: a hiker, a street dresser)."""
    rng = generator(size.seed, Stream.CUSTOMERS)
    count = size.customers
    letters = sorted(set(world.cells.department), key=list(DEPARTMENT_WEIGHT).index)
    persona = pick(np.repeat([DEPARTMENT_WEIGHT[d] for d in letters], size.styles), rng.random(count))
    activity = pareto(rng, count, 0.4, 10.0) - 0.8
    cold = rng.random(count) < COLD
    activity[cold] = COLD_ACTIVITY
    activity[rng.random(count) < NEVER] = 0.0
    joined = np.where(rng.random(count) < JOINED_BEFORE, 0, rng.exponential(JOIN_DAYS, count))
    return Customers(
        seed=size.seed,
        ids=pl.select(pl.format("C{}", pl.int_range(1, count + 1).cast(pl.String).str.zfill(7))).to_series(),
        market=pick(1 / (np.arange(size.markets) + 1.0) ** 0.8, rng.random(count)).astype(np.int32),
        department=persona // size.styles,
        style=persona % size.styles + rng.random(count),
        taste=_taste(world, letters, np.ones(len(world.cells.style))),
        staples=_taste(world, letters, (world.cells.lasts > 0).astype(np.float64)),
        level=rng.beta(1.6, 1.6, count),
        brand=pick_brands(size, persona % size.styles, rng.random(count)),
        activity=activity,
        cold=cold,
        joined=joined.astype(np.int32),
    )


def _taste(world: World, letters: list[str], weight: Floats) -> Taste:
    """The liking of every kind of customer; `weight` (G,) multiplies the demand for each group."""
    cells, styles = world.cells, world.size.styles
    rows = []
    for letter in letters:
        mine = np.where([d == letter for d in cells.department], 1.0, GIFTS)
        for style in range(styles):
            near = np.array([ring(int(s), style, styles) for s in cells.style])
            liking = np.cumsum(cells.weight * weight * np.exp(-NEAR * near) * mine)
            rows.append(liking / max(liking[-1], 1e-300))
    return Taste(styles, np.concatenate([i + row for i, row in enumerate(rows)]), len(cells.style))
