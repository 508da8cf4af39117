"""Assembles lists from candidates: applies rules, orders the products, and pads short lists.

Legend: Q lists, N places, P products, K candidates of a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Rows
from models.assembly.arrays import (
    FACTS,
    NO_SIZES,
    Book,
    Fit,
    Lists,
    Offers,
    Pool,
    Stock,
)
from models.assembly.rulebook import LAST, Attributes, Rulebook, RuleNumbers
from models.contract import FloatMatrix

PARTS = 8
"""Parts that a call is divided into; threads take them one after the other."""
PRICE_STEPS = 24
"""Steps of the greatest price for which `_skips` tells which products are too dear."""
ROUNDING = 1.0001
"""Factor on a price bound, so that rounding never skips a product that is just cheap enough."""
Labels = npt.NDArray[np.int8]
"""[Q, N], number of the source of each position; -1 for an empty place."""


@dataclass(frozen=True)
class Candidates:
    """What a model offers, best first, each array [Q, K]; -1 in `rows` ends a list. No list repeats a product."""

    rows: Rows
    scores: FloatMatrix
    labels: Labels
    of: Rows | None = None
    """[Q], the row of each list where lists share rows or are in another order; None: row q is list q's."""

    def __getitem__(self, chosen: Rows) -> Candidates:
        """Those of some lists."""
        rows = chosen if self.of is None else self.of[chosen]
        return Candidates(self.rows[rows], self.scores[rows], self.labels[rows])

    def reordered(self, order: Rows) -> Candidates:
        """Each list [Q, any] of its own places in another order."""
        rows, labels = np.take_along_axis(self.rows, order, axis=1), np.take_along_axis(self.labels, order, axis=1)
        return Candidates(rows, np.take_along_axis(self.scores, order, axis=1), labels)

    def put(self, lists: Rows, other: Candidates) -> None:
        """Replace some lists by `other`'s, cut to K where they are longer. Neither may have `of`."""
        width = min(self.rows.shape[1], other.rows.shape[1])
        for mine, theirs, empty in (
            (self.rows, other.rows, -1),
            (self.scores, other.scores, -np.inf),
            (self.labels, other.labels, -1),
        ):
            mine[lists] = empty
            mine[lists, :width] = theirs[:, :width]

    @staticmethod
    def empty(lists: int, width: int = 0) -> Candidates:
        """Lists without a candidate, with room for `width`."""
        shape = (lists, width)
        return Candidates(
            np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int8)
        )


@dataclass(frozen=True)
class Owners:
    """The product or customer that each list belongs to."""

    products: Rows
    """[Q], the product a list belongs to, which it never shows; -1 where it belongs to none."""
    bought_offsets: Rows
    """[Q + 1]: list q must not show `bought[bought_offsets[q] : bought_offsets[q + 1]]`."""
    bought: Rows
    beside: Rows
    """[Q, any], products that the page shows beside the list, which must not be in it; -1 pads."""
    fit: Fit | None = None
    """By what products that lack the owner's usual size are left out; None: there are no sizes."""

    @staticmethod
    def of_products(products: Rows, beside: Rows | None = None) -> Owners:
        """Lists of products."""
        empty = np.empty((len(products), 0), np.int64)
        offsets = np.zeros(len(products) + 1, np.int64)
        return Owners(products, offsets, np.empty(0, np.int64), empty if beside is None else beside)

    @staticmethod
    def of_customers(bought_offsets: Rows, bought: Rows, fit: Fit | None = None) -> Owners:
        """Lists of customers, without what each bought and what does not fit."""
        lists = len(bought_offsets) - 1
        return Owners(np.full(lists, -1), bought_offsets, bought, np.empty((lists, 0), np.int64), fit)


class Rankings(NamedTuple):
    """Ranking g is `rows[offsets[g] : offsets[g + 1]]`, best first."""

    offsets: Rows
    """[rankings + 1]."""
    rows: Rows
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tiers:
    """What pads short lists: tier after tier, each with its own ranking and source."""

    of: Rows
    """[Q, tiers], the ranking each list takes in each tier; -1: none."""
    rankings: Rankings
    labels: Labels
    """[tiers], the source of each tier."""

    @staticmethod
    def stacked(parts: Sequence[Rankings], of: Rows, labels: Sequence[int], scoreless: bool = False) -> Tiers:
        """Tiers over all rankings of `parts`, numbered one part after the other; `scoreless` sets their scores to 0."""
        ends = np.cumsum([0, *(len(part.rows) for part in parts)])
        offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
        rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)])
        scores = np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)])
        whole = Rankings(np.concatenate([*offsets, ends[-1:]]), rows, np.zeros_like(scores) if scoreless else scores)
        return Tiers(of, whole, np.array(labels, np.int8))

    @staticmethod
    def none(lists: int) -> Tiers:
        """Lists that are not padded."""
        return Tiers.stacked([], np.empty((lists, 0), np.int64), [])


@dataclass(frozen=True)
class Assembled:
    """Q lists. Within one source scores fall, except at positions that a rule moved."""

    rows: Rows
    """[Q, N], best first, -1 past the end."""
    scores: FloatMatrix
    """[Q, N], -inf past the end; 0 for a pinned product that no source offers."""
    labels: Labels
    rules: RuleNumbers
    """[Q, N], the rule that moved the position; -1 where none did."""
    effects: npt.NDArray[np.int64]
    """[rule names], lists in which each rule filled or moved a position, or removed one of the first N products."""
    read: npt.NDArray[np.int32]
    """[Q], how many of its best candidates a list depends on: another candidate after them would change nothing. -1
    where the list depends on more than its candidates, as a padded one does."""

    def chosen(self, lists: Rows, empty: int = 0) -> Assembled:
        """Some of the lists, then `empty` empty ones; `effects` stay those of all."""

        def part(array: npt.NDArray[Any], nothing: float) -> npt.NDArray[Any]:
            return np.concatenate([array[lists], np.full((empty, *array.shape[1:]), nothing, array.dtype)])

        return Assembled(
            part(self.rows, -1),
            part(self.scores, -np.inf),
            part(self.labels, -1),
            part(self.rules, -1),
            self.effects,
            part(self.read, -1),
        )


@dataclass(frozen=True)
class ListShape:
    """How the lists of one touch point are laid out."""

    places: int
    pin_label: int
    """The source of a product that only a pin puts into a list."""
    other_category: bool = False
    """Whether products of the owner's category are left out."""
    explore_own_category: bool = False
    """Whether exploration shows products of the owner's category alone."""


def assemble(
    shape: ListShape,
    candidates: Candidates,
    owners: Owners,
    tiers: Tiers,
    available: BoolMask,
    attributes: Attributes,
    book: Rulebook,
) -> Assembled:
    """The lists of one touch point in one market.

    A list takes its candidates and then its tiers in order, without products that are not available [P], that the
    owner has, that lack the owner's size, or that the rules exclude. Then, place by place: the pinned product if the
    place has one; a young product at the place of exploration; else the candidate that comes first once boosts, buries
    and diversity have moved it, unless its brand or category has reached its cap. Diversity is greedy as in Maximal
    Marginal Relevance (Carbonell and Goldstein 1998), counted in places: each product of a brand that is shown costs
    the next one some.
    """
    from models.assembly.kernels import assemble_range
    from models.search.search import threads

    compiled, stock = _book(shape, book), _stock(available, attributes, book)
    offers = _offers(candidates, owners, tiers, *_skips(tiers, owners.products, attributes, book))
    lists, size = len(offers.row_of), (len(offers.row_of), shape.places)
    out = Lists(
        np.full(size, -1, np.int32),
        np.full(size, -np.inf, np.float32),
        np.full(size, -1, np.int8),
        np.full(size, -1, np.int16),
        np.zeros(len(book.names), np.int64),
        np.full(lists, -1, np.int32),
    )

    def work(bounds: tuple[int, int]) -> npt.NDArray[np.int64]:
        own = out._replace(effects=np.zeros_like(out.effects))
        pool = _pool(offers.most + len(book.pins) + 1, stock, len(book.names))
        assemble_range(*bounds, offers, stock, compiled, pool, own)
        return own.effects

    ends = [lists * part // PARTS for part in range(PARTS + 1)]
    with ThreadPoolExecutor(threads()) as pool:  # the compiled loop does not hold Python's lock
        effects = sum(pool.map(work, pairwise(ends)), out.effects)
    return Assembled(out.rows.astype(np.int64), out.scores, out.labels, out.rules, effects, out.read)


def rankings(weights: npt.NDArray[np.floating], allowed: BoolMask, group: Rows, groups: int) -> Rankings:
    """The allowed products of each group by falling weight, equal ones by row.

    `weights`, `allowed` and `group` are [P]; products of group -1 are in no ranking.
    """
    rows = np.flatnonzero(allowed & (group >= 0))
    rows = rows[np.argsort(-weights[rows], kind="stable")]
    rows = rows[np.argsort(group[rows].astype(np.min_scalar_type(groups)), kind="stable")]  # few groups: a radix sort
    offsets = np.concatenate(([0], np.cumsum(np.bincount(group[rows], minlength=groups))))
    return Rankings(offsets, rows, weights[rows].astype(np.float32))


def _offers(candidates: Candidates, owners: Owners, tiers: Tiers, skip_of: Rows, skips: Rows) -> Offers:
    longest = int(np.diff(tiers.rankings.offsets).max(initial=0))
    return Offers(
        candidates.rows.shape[1] + tiers.of.shape[1] * longest,
        _int32(np.arange(len(candidates.rows)) if candidates.of is None else candidates.of),
        _int32(candidates.rows),
        np.ascontiguousarray(candidates.scores, np.float32),
        np.ascontiguousarray(candidates.labels, np.int8),
        _int32(owners.products),
        np.asarray(owners.bought_offsets, np.int64),
        _int32(owners.bought),
        _int32(owners.beside),
        _int32(tiers.of),
        np.asarray(tiers.rankings.offsets, np.int64),
        _int32(tiers.rankings.rows),
        np.ascontiguousarray(tiers.rankings.scores, np.float32),
        np.asarray(tiers.labels, np.int8),
        _int32(skip_of),
        owners.fit or NO_SIZES,
        _int32(skips),
    )


def _skips(tiers: Tiers, owners: Rows, attributes: Attributes, book: Rulebook) -> tuple[Rows, Rows]:
    """(skip_of, skips) of `Offers`: by the owner's department and by steps of the greatest price it allows."""
    rows, lists = tiers.rankings.rows, len(owners)
    if not len(rows) or not (owners >= 0).any():
        return np.full(lists, -1), np.empty((0, len(rows)), np.int64)
    ranked = attributes.price[rows]
    prices = ranked[ranked > 0]
    bounded = np.isfinite(book.price_high) and len(prices)
    steps = np.quantile(prices, np.linspace(0, 1, PRICE_STEPS) ** 2) if bounded else np.empty(0)
    dear = np.stack([*(ranked > step for step in steps), np.zeros(len(ranked), bool)])
    shown = book.mixes[:, attributes.department[rows]][:, None] & ~dear[None]
    places = np.where(shown.reshape(-1, len(ranked)), np.arange(len(ranked)), len(ranked))
    skips = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    price = attributes.price[owners]
    most = np.where(price > 0, price * book.price_high, np.inf) * ROUNDING if bounded else np.full(lists, np.inf)
    step = np.searchsorted(steps, most)
    department = np.where(attributes.department[owners] < 0, len(book.mixes) - 1, attributes.department[owners])
    return np.where(owners >= 0, department * len(dear) + step, -1), skips


def _stock(available: BoolMask, attributes: Attributes, book: Rulebook) -> Stock:
    facts = np.empty(len(available), FACTS)
    facts["brand"], facts["category"], facts["department"] = (
        attributes.brand,
        attributes.category,
        attributes.department,
    )
    facts["excluded"], facts["places"] = book.excluded, book.places
    young = attributes.young & (book.places > LAST)
    price = np.where(attributes.price > 0, attributes.price, np.float32(np.nan))
    brands, categories = int(attributes.brand.max(initial=-1)) + 1, int(attributes.category.max(initial=-1)) + 1
    return Stock(np.ascontiguousarray(available), young, facts, price, brands, categories)


def _pool(room: int, stock: Stock, rules: int) -> Pool:
    """Working memory of a thread for `room` candidates."""
    products, brands, categories = len(stock.facts), stock.brands + 1, stock.categories + 1
    return Pool(
        product=np.zeros(room, np.int32),
        score=np.empty(room, np.float32),
        label=np.empty(room, np.int8),
        brand=np.empty(room, np.int32),
        category=np.empty(room, np.int32),
        key=np.empty(room, np.float32),
        dropped=np.zeros(room, np.bool_),
        mark=np.empty(room, np.int16),
        taken=np.full(products, -1, np.int32),
        reason=np.full(products, -1, np.int16),
        of_brand=np.zeros(brands, np.int32),
        of_category=np.zeros(categories, np.int32),
        placed=np.zeros(categories, np.int32),
        brand_full=np.zeros(brands, np.int32),
        category_full=np.zeros(categories, np.int32),
        credited=np.full(rules, -1, np.int32),
        before=np.zeros(rules, np.int64),
    )


def _book(shape: ListShape, book: Rulebook) -> Book:
    moves = len(book.pins) or book.places.any() or book.diversity > 0 or book.explore_place >= 0
    return Book(
        n=shape.places,
        pin_label=shape.pin_label,
        mover=np.asarray(book.mover, np.int16),
        pins=_int32(book.pins),
        pin_places=_int32(book.pin_places),
        pin_rules=np.asarray(book.pin_rules, np.int16),
        brand_cap=int(book.brand_cap),
        brand_cap_rule=int(book.brand_cap_rule),
        category_cap=int(book.category_cap),
        category_cap_rule=int(book.category_cap_rule),
        mixes=np.ascontiguousarray(book.mixes),
        guard_rule=int(book.guard_rule),
        low=float(book.price_low),
        high=float(book.price_high),
        price_rule=int(book.price_rule),
        diversity=float(book.diversity),
        explore_place=int(book.explore_place),
        other_category=bool(shape.other_category),
        explore_own_category=bool(shape.explore_own_category),
        most_up=max(0, int(book.places.max(initial=0))),
        plain=not moves,
        guards=not book.mixes.all(),
        prices=book.price_low > 0 or bool(np.isfinite(book.price_high)),
        excludes=bool((book.excluded >= 0).any()),
    )


def _int32(values: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(values, np.int32)
