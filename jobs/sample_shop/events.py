"""A day's clean event rows: times, ids and prices for what the visits did."""

from __future__ import annotations

import numpy as np
import polars as pl

from jobs.sample_shop.baskets import PURCHASE_TURN, buy
from jobs.sample_shop.customers import Customers
from jobs.sample_shop.draws import Ints, Stream, generator
from jobs.sample_shop.shelf import shelf_of
from jobs.sample_shop.stock import StockDay
from jobs.sample_shop.visits import BAG, EVENT_TYPES, PURCHASE, Actions, browse, start_visits, together
from jobs.sample_shop.world import World

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
    shelf = shelf_of(world, stock)
    mean = world.size.daily_events * WEEKDAYS[date.weekday()] / EVENTS_PER_VISIT
    visits = start_visits(customers, shelf, stock.day, int(rng.poisson(mean)), rng)
    browsed, bagged = browse(visits, shelf, world.cells, rng)
    bought = buy(visits, bagged, shelf, world.cells, rng)
    actions = _sorted(together([browsed, bought]))
    ms = _times(actions, len(visits.customer), rng)
    order = np.lexsort((actions.turn, actions.visit, ms))
    ms, visit, slot, kind = ms[order], actions.visit[order], actions.slot[order], actions.kind[order]
    product = shelf.product[slot]
    pieces = 1 + (rng.random(len(product)) < TWO_PIECES)
    frame = pl.DataFrame({
        "customer_id": customers.ids.gather(visits.customer[visit]),
        "product_id": world.catalogue["product_id"].gather(product),
        "event_type": pl.Series(EVENT_TYPES).gather(kind),
        "ms": ms,
        "market": pl.Series(world.markets).gather(visits.market[visit]),
        "basket_id": visit,
        "quantity": pieces,
        "price": stock.price[product],
        "kind": kind,
    })  # fmt: skip
    basket = pl.format("B{}-{}", pl.lit(f"{date:%Y%m%d}"), pl.col("basket_id").cast(pl.String).str.zfill(7))
    return frame.with_columns(
        pl.when(pl.col("kind") == PURCHASE).then(basket).alias("basket_id"),
        pl.when(pl.col("kind") >= BAG).then("quantity").alias("quantity"),
        pl.when(pl.col("kind") >= BAG).then("price").alias("price"),
    ).drop("kind")


def _sorted(actions: Actions) -> Actions:
    order = np.lexsort((actions.turn, actions.visit))
    return Actions(actions.visit[order], actions.turn[order], actions.slot[order], actions.kind[order])


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
