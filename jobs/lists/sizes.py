"""Reads which sizes the markets have in stock, and finds the size that each customer usually buys in a category."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.model_inputs import list_offsets
from jobs.tables.shop import AVAILABILITY
from models.arrays import BoolMask, Digests, Rows
from models.assembly.arrays import Fit
from models.digests import begun, of_words
from models.ragged import Ragged, offsets_of, ranges
from models.vocabulary import Vocabulary

HALF_LIFE = 365 * 86_400.0
"""Seconds after which a purchase counts half as much as one of today."""
SIZE_COLUMNS = ("bought", "bought_at", "bought_sizes")
"""Columns of customer_sequences from which usual sizes follow."""
AT_ONCE = 262_144
"""Rows read at once."""
Seconds = npt.NDArray[np.float64]
BETWEEN = "\x1f"
"""Between the sizes of a run."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the products [P] in the markets [M] of a night.

    A run of sizes is what a market has in stock of a product, and what the product is made in; products and markets
    share runs. Run 0 is that of a product whose sizes are not known.
    """

    names: Vocabulary
    """[S]."""
    run: npt.NDArray[np.int32]
    """[M, P], the run of each product."""
    in_stock: BoolMask
    """[runs, S + 1], whether a run has a size in stock; true for run 0, and for size S: not known."""
    share: npt.NDArray[np.float32]
    """[runs], share of the sizes made that are in stock; 1 for run 0."""
    digests: Digests
    """[runs], of the sizes in stock by their names."""
    made: Digests
    """Digests of market, category and size, by their names, in which some product is made; rising."""

    def broken(self, market: int, least: float) -> BoolMask:
        """[P], products of which the market has less than a share of the sizes that they are made in."""
        return np.asarray((self.share < np.float32(least))[self.run[market]])

    def fit(self, market: int, usual: UsualSizes, categories: int) -> Fit:
        """What fits the customers of a market."""
        dense = np.full((len(usual), categories + 1), len(self.names), np.int32)
        dense[usual.owners, usual.categories] = usual.sizes
        return Fit(dense, self.run[market], self.in_stock)


KNOWN = pc.field("sizes_made").is_valid() & pc.field("available")
"""Rows of availability from which sizes are read."""


def has_sizes(lake: Lake, as_of: date) -> bool:
    """Whether the night knows a size; statistics of files answer that without their rows."""
    if not lake.exists(AVAILABILITY) or "sizes_made" not in lake.dataset(AVAILABILITY).schema.names:
        return False  # older code wrote the table
    of_night = KNOWN & (pc.field("as_of") == pa.scalar(as_of))
    return bool(lake.dataset(AVAILABILITY).head(1, columns=["sizes_made"], filter=of_night).num_rows)


def read_sizes(lake: Lake, as_of: date, products: Vocabulary, markets: Vocabulary, of: CategoryOf) -> Sizes | None:
    """The night's sizes; None for a shop that gives none."""
    if not has_sizes(lake, as_of):
        return None
    columns = ("product_id", "market", "sizes", "sizes_made")
    rows = pa.Table.from_batches(list(lake.batches(AVAILABILITY, columns, as_of, AT_ONCE, KNOWN))).combine_chunks()
    product = products.encode(rows["product_id"], missing="negative").astype(np.int64)
    market = markets.encode(rows["market"], missing="negative").astype(np.int64)
    texts = [pc.binary_join(rows[name], BETWEEN).combine_chunks() for name in columns[2:]]
    words = pc.binary_join_element_wise(*texts, "\n").dictionary_encode()
    code = np.asarray(words.indices).astype(np.int32)
    first = pa.array(np.unique(code, return_index=True)[1])  # a row of each run
    names = Vocabulary.build(pc.list_flatten(rows["sizes_made"]))
    in_stock, made = (_members(rows[name].take(first), names) for name in columns[2:])
    run, there = np.zeros((len(markets), len(products)), np.int32), (product >= 0) & (market >= 0)
    run[market[there], product[there]] = code[there] + 1
    share = in_stock.sum(axis=1) / np.maximum(made.sum(axis=1), 1)
    known_run = np.hstack([in_stock, np.ones((len(first), 1), bool)])
    return Sizes(
        names,
        run,
        np.concatenate([np.ones((1, len(names) + 1), bool), known_run]),
        np.append(np.float32(1), share.astype(np.float32)),
        np.append(np.uint64(0), of_words(texts[0].take(first).to_pylist())),
        _made(run, made, markets, of, names),
    )


def _made(
    run: npt.NDArray[np.int32], made: BoolMask, markets: Vocabulary, of: CategoryOf, names: Vocabulary
) -> Digests:
    """`Sizes.made`; `made` [runs, S] are the sizes of each run but the first."""
    of_markets, of_sizes = (of_words(words.ids.to_pylist()) for words in (markets, names))
    found = []
    for market in range(len(markets)):
        # Each category and run once: many products share them.
        sized = np.flatnonzero((run[market] > 0) & (of.number >= 0))
        pairs = np.unique(of.number[sized] * (len(made) + 1) + run[market][sized])
        at, size = np.nonzero(made[pairs % (len(made) + 1) - 1])
        category = pairs[at] // (len(made) + 1)
        found.append(_named(of_markets[np.full(len(at), market)], of.digests[category], of_sizes[size]))
    return np.unique(np.concatenate(found))


def _members(lists: pa.ChunkedArray, names: Vocabulary) -> BoolMask:
    """[lists, S], the sizes that each list has."""
    found = np.zeros((len(lists), len(names)), bool)
    owner = np.repeat(np.arange(len(lists)), np.diff(list_offsets(lists)))
    found[owner, names.encode(pc.list_flatten(lists))] = True
    return found


def _named(market: Digests, category: Digests, size: Digests) -> Digests:
    """Digests of market, category and size, each of which is given by its own digest."""
    from models.digest_kernels import add_values

    found = begun(len(market))
    for column in (market, category, size):
        add_values(found, column)
    return found


@dataclass(frozen=True)
class CategoryOf:
    """The category of each product [P]."""

    number: Rows
    """[P], -1 for none."""
    digests: Digests
    """[C], of the categories' names."""

    @staticmethod
    def named(number: Rows, categories: Vocabulary) -> CategoryOf:
        """By the numbers of names."""
        return CategoryOf(number, of_words(categories.ids.to_pylist()))

    @property
    def of_products(self) -> Digests:
        """[P], digests of the names; 0 for none."""
        return np.append(self.digests, np.uint64(0))[self.number]

    @staticmethod
    def digested(of_products: Digests) -> CategoryOf:
        """From what `of_products` gave; numbers are others."""
        digests, number = np.unique(of_products, return_inverse=True)
        return CategoryOf(np.where(of_products == 0, -1, number), digests)


@dataclass(frozen=True)
class UsualSizes(Ragged):
    """Customer i usually buys `sizes[at]` in `categories[at]`, at = offsets[i] .. offsets[i + 1] - 1."""

    categories: Rows
    """Numbers of categories, rising for each customer."""
    sizes: Rows
    """Numbers of sizes."""


def usual_sizes(
    rows: pa.RecordBatch | pa.Table, products: Vocabulary, categories: CategoryOf, names: Vocabulary, made: Digests
) -> UsualSizes:
    """The usual size of each customer in each category: the one bought most, a purchase counting half after HALF_LIFE.

    `rows` are rows of customer_sequences with market and SIZE_COLUMNS. Counted are sizes in which the customer's market
    has some product of the category (`Sizes.made`); of two that weigh the same, the last in text order. Weights are
    relative to the customer's last purchase, so that a night changes no size by itself.
    """
    owner, size, seconds = _sized_purchases(rows, names)
    bought = products.encode(pc.list_flatten(rows["bought"]), missing="negative").astype(np.int64)
    category = np.where(bought >= 0, categories.number[bought], -1)
    known = (size >= 0) & (category >= 0)
    owner, size, seconds, category = owner[known], size[known], seconds[known], category[known]
    markets = of_words(rows["market"].cast(pa.string()).to_pylist())
    digests = _named(markets[owner], categories.digests[category], of_words(names.ids.to_pylist())[size])
    known = np.isin(digests, made)
    owner, size, seconds, category = owner[known], size[known], seconds[known], category[known]
    latest = np.full(len(rows["bought"]), -np.inf)
    np.maximum.at(latest, owner, seconds)
    weight = np.exp2((seconds - latest[owner]) / HALF_LIFE)
    of, key = len(categories.digests), max(len(names), 1)
    group, inverse = np.unique((owner * of + category) * key + size, return_inverse=True)
    total = np.bincount(inverse, weights=weight, minlength=len(group))
    group, size = group // key, group % key
    best = np.lexsort((size, total, group))
    best = best[np.flatnonzero(np.diff(group[best], append=-1))]
    lengths = np.bincount(group[best] // of, minlength=len(rows["bought"])) if of else np.zeros(len(rows["bought"]))
    return UsualSizes(offsets_of(lengths.astype(np.int64)), group[best] % max(of, 1), size[best])


def _sized_purchases(rows: pa.RecordBatch | pa.Table, names: Vocabulary) -> tuple[Rows, Rows, Seconds]:
    """(customer, size, seconds since 1970) of each product that was bought; -1 for a size that is not among `names`."""
    offsets = list_offsets(rows["bought"])
    owner, size = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), np.full(offsets[-1], -1, np.int64)
    lengths = np.diff(list_offsets(rows["bought_sizes"]))
    at = ranges(offsets[:-1], lengths)[1]
    size[at] = names.encode(pc.list_flatten(rows["bought_sizes"]), missing="negative")
    return owner, size, np.asarray(pc.list_flatten(rows["bought_at"]).cast(pa.int64())) / 1e6
