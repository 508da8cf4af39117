"""Gives the shop sizes: what each market has in stock, and what each customer wears and buys."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from jobs.sample_shop.assortment import StockDay
from jobs.sample_shop.config import ShopSize
from jobs.sample_shop.draws import Bools, Ints, Stream, hashed
from jobs.sample_shop.world import CATEGORIES, World

KINDS = {
    "letters": ("XS", "S", "M", "L", "XL", "XXL"),
    "waists": ("W28", "W30", "W32", "W34", "W36", "W38"),
    "shoes": ("36", "37", "38", "39", "40", "41", "42", "43", "44", "45"),
    "none": (),
}
"""Kind of sizes -> the sizes, smallest first."""
PRODUCTS_AT_ONCE = 2_000
MOST = max(len(sizes) for sizes in KINDS.values())
SOLD_OUT = 0.2
"""Share of the sizes of a product on sale that a market has not."""
REFILL_DAYS = 28
"""A market's stock of a size is drawn anew every so many days, of each size on another day."""
OWN = 0.9
"""Share of purchases in the customer's own size; of the others most are a size beside it."""
GIFT = 0.03


def sizes_of(category: Ints) -> Ints:
    """How many sizes products of each category have."""
    return np.array([len(KINDS[one.sizes]) for one in CATEGORIES])[category]


def own_size(seed: int, customer: Ints, category: Ints) -> Ints:
    """The size that each customer wears, numbered in its kind; the middle ones are most frequent. Customers are numbers
    from 1 on; one wears the same size in all categories of a kind.
    """
    kind = np.array([list(KINDS).index(one.sizes) for one in CATEGORIES])[category]
    one, two = (hashed(seed, Stream.SIZES, customer, 2 * kind + draw) for draw in range(2))
    return np.minimum(((one + two) / 2 * sizes_of(category)).astype(np.int64), np.maximum(sizes_of(category) - 1, 0))


def with_sizes(world: World, events: pl.DataFrame) -> pl.DataFrame:
    """A day's clean events with the size of what went into the bag; a customer buys a product in one size."""
    seed = world.size.seed
    customer, product = (events[name].str.slice(1).cast(pl.Int64).to_numpy() for name in ("customer_id", "product_id"))
    category = world.cells.category[world.cell[product - 1]]
    many, own = sizes_of(category), own_size(seed, customer, category)
    chance, which = (hashed(seed, Stream.SIZES, customer + 10**9, 2 * product + draw) for draw in range(2))
    beside = np.clip(own + np.where(which < 0.5, -1, 1), 0, np.maximum(many - 1, 0))
    size = np.select([chance < OWN, chance < 1 - GIFT], [own, beside], (which * many).astype(np.int64))
    bagged = events["event_type"].is_in(["bag", "purchase"]).to_numpy() & (many > 0)
    return events.with_columns(_named(category, np.where(bagged, size, -1)))


def stocked(world: World, product: Ints, day: int) -> Bools:
    """(products, M, MOST) whether a market has a size of a product that it sells on a day; each has at least one."""
    market, size = np.indices((len(world.markets), MOST))
    many = sizes_of(world.cells.category[world.cell[product]])[:, None, None]
    where = product[:, None, None] * len(world.markets) + market
    size = np.broadcast_to(size, where.shape)
    phase = (hashed(world.size.seed, Stream.SIZE_STOCK, where, size) * REFILL_DAYS).astype(np.int64)
    turn = (day + phase) // REFILL_DAYS
    held = hashed(world.size.seed, Stream.SIZE_STOCK, where, MOST * (turn + 2) + size) >= SOLD_OUT
    held &= size < many
    none = ~held.any(axis=2, keepdims=True)
    return np.asarray(held | (none & (size == many // 2) & (many > 0)))


def size_rows(world: World, stock: StockDay) -> Iterator[pl.DataFrame]:
    """Availability that is new or changed on a day, a row a size: product_id, market, size and available.

    A product without sizes has one row a market, without a size.
    """
    new = np.zeros((stock.live, len(world.markets)), bool)
    new[stock.pair_product, stock.pair_market] = True
    for first in range(0, stock.live, PRODUCTS_AT_ONCE):
        product = np.arange(first, min(first + PRODUCTS_AT_ONCE, stock.live))
        yield _rows_of(world, stock, product, new[product])


def _rows_of(world: World, stock: StockDay, product: Ints, new: Bools) -> pl.DataFrame:
    """The rows of some products; `new` (products, M): all sizes are told."""
    held, before = (stocked(world, product, day) for day in (stock.day, stock.day - 1))
    many = sizes_of(world.cells.category[world.cell[product]])[:, None, None]
    told = (new[:, :, None] | ((held != before) & world.carried[product, :, None])) & (np.arange(MOST) < many)
    held &= stock.available[product, :, None]
    # Where there are no sizes, the first place stands for the product.
    told[:, :, 0] |= new & (many[:, :, 0] == 0)
    held[:, :, 0] |= stock.available[product] & (many[:, :, 0] == 0)
    row, market, size = np.nonzero(told)
    category = world.cells.category[world.cell[product[row]]]
    return pl.DataFrame(
        {
            "product_id": world.catalogue["product_id"].gather(product[row]),
            "market": pl.Series(world.markets).gather(market),
            "size": _named(category, np.where(sizes_of(category) > 0, size, -1)),
            "available": held[row, market, size],
        }
    )


def true_sizes(size: ShopSize) -> pl.DataFrame:
    """customer_id, category and size: what every customer wears in every category that has sizes."""
    sized = np.flatnonzero(sizes_of(np.arange(size.categories)) > 0)
    customer, category = (part.ravel() for part in np.meshgrid(np.arange(size.customers) + 1, sized, indexing="ij"))
    return pl.DataFrame(
        {
            "customer_id": pl.select(pl.format("C{}", pl.Series(customer).cast(pl.String).str.zfill(7))).to_series(),
            "category": pl.Series([one.name for one in CATEGORIES]).gather(category),
            "size": _named(category, own_size(size.seed, customer, category)),
        }
    )


def _named(category: Ints, size: Ints) -> pl.Series:
    """The names of sizes by their numbers; null for -1."""
    names = np.array([[*KINDS[one.sizes], *[""] * (MOST - len(KINDS[one.sizes]))] for one in CATEGORIES])
    texts = pl.Series("size", names[category, np.maximum(size, 0)])
    return texts.set(pl.Series(size < 0), None)
