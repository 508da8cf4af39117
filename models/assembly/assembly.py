"""Lists from candidates: what may be shown, in which order, and what fills the places a model leaves open.

Legend: Q lists, N places, P products, K candidates of a list.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Rows
from models.assembly.arrays import (
    AVAILABLE,
    BRAND,
    CATEGORY,
    DEPARTMENT,
    EXCLUDED,
    PLACES,
    PRICE,
    YOUNG,
    Book,
    Offers,
    Pool,
    Stock,
)
from models.assembly.rulebook import Attributes, Rulebook, RuleNumbers
from models.contract import FloatMatrix

PARTS = 8
"""Parts that a call is divided into; threads take them one after the other."""
PRICE_STEPS = 24
ROUNDING = 1.0001
"""By which a price bound is taken too high where only what is surely too dear may be skipped."""
Labels = npt.NDArray[np.int8]
"""[Q, N], number of the source of each position; -1 for an empty place."""


@dataclass(frozen=True)
class Candidates:
    """What a model offers, best first, each array [Q, K]; -1 in `rows` ends a list. A product stands once in it."""

    rows: Rows
    scores: FloatMatrix
    labels: Labels
    of: Rows | None = None
    """[Q], the row of each list where lists share rows or stand in another order; None: row q is list q's."""

    def __getitem__(self, chosen: Rows) -> Candidates:
        """Those of some lists."""
        rows = chosen if self.of is None else self.of[chosen]
        return Candidates(self.rows[rows], self.scores[rows], self.labels[rows])

    def reordered(self, order: Rows) -> Candidates:
        """Each list [Q, any] of its own places in another order."""
        rows, labels = np.take_along_axis(self.rows, order, axis=1), np.take_along_axis(self.labels, order, axis=1)
        return Candidates(rows, np.take_along_axis(self.scores, order, axis=1), labels)

    @staticmethod
    def none(lists: int) -> Candidates:
        """Lists that are filled from their tiers alone."""
        return Candidates(
            np.empty((lists, 0), np.int64), np.empty((lists, 0), np.float32), np.empty((lists, 0), np.int8)
        )


@dataclass(frozen=True)
class Owners:
    """Whose the lists are."""

    products: Rows
    """[Q], the product a list belongs to, which it never shows; -1 where it belongs to none."""
    bought_offsets: Rows
    """[Q + 1]: list q must not show `bought[bought_offsets[q] : bought_offsets[q + 1]]`."""
    bought: Rows
    beside: Rows
    """[Q, any], what the page shows beside the list, which must not stand in it; -1 pads."""

    @staticmethod
    def of_products(products: Rows, beside: Rows | None = None) -> Owners:
        """Lists of products."""
        empty = np.empty((len(products), 0), np.int64)
        offsets = np.zeros(len(products) + 1, np.int64)
        return Owners(products, offsets, np.empty(0, np.int64), empty if beside is None else beside)

    @staticmethod
    def of_customers(bought_offsets: Rows, bought: Rows) -> Owners:
        """Lists of customers with what each bought."""
        lists = len(bought_offsets) - 1
        return Owners(np.full(lists, -1), bought_offsets, bought, np.empty((lists, 0), np.int64))


@dataclass(frozen=True)
class Tiers:
    """What fills places that candidates leave open: tier after tier, each with its own ranking and source."""

    of: Rows
    """[Q, tiers], the ranking each list takes in each tier; -1: none."""
    offsets: Rows
    """[rankings + 1]: ranking g is `rows[offsets[g] : offsets[g + 1]]`, best first."""
    rows: Rows
    scores: npt.NDArray[np.float32]
    labels: Labels
    """[tiers], the source of each tier."""


@dataclass(frozen=True)
class Assembled:
    """Q lists. Within one source scores fall, but for positions that a rule moved."""

    rows: Rows
    """[Q, N], best first, -1 past the end."""
    scores: FloatMatrix
    """[Q, N], -inf past the end; 0 where the policy put a product that no source offers."""
    labels: Labels
    rules: RuleNumbers
    """[Q, N], the rule that moved the position; -1 where none did."""
    effects: npt.NDArray[np.int64]
    """[rule names], lists in which each rule filled or moved a position, or took one away within the first N."""
    read: npt.NDArray[np.int32]
    """[Q], how many of its candidates a list depends on, the best ones: all others might be different. -1 where it
    depends on what there is beside them, as with places that tiers fill."""

    def chosen(self, lists: Rows, empty: int = 0) -> Assembled:
        """Some of the lists, and so many empty ones behind them; `effects` stay those of all."""
        parts = []
        for array, nothing in (
            (self.rows, -1), (self.scores, -np.inf), (self.labels, -1), (self.rules, -1), (self.read, -1)
        ):  # fmt: skip
            parts.append(np.concatenate([array[lists], np.full((empty, *array.shape[1:]), nothing, array.dtype)]))
        rows, scores, labels, rules, read = parts
        return Assembled(rows, scores, labels, rules, self.effects, read)


def assemble(
    n: int, candidates: Candidates, owners: Owners, tiers: Tiers, available: BoolMask, attributes: Attributes,
    book: Rulebook, pin_label: int, other_category: bool = False, explore_own_category: bool = False,
) -> Assembled:  # fmt: skip
    """The lists of one touch point in one market.

    A list takes its candidates and then its tiers in order, without what is not available [P], what its owner has,
    and what the rules take away. Then, place by place: the pinned product if the place has one; a young product at
    the place of exploration; else the candidate that stands first once boosts, buries and diversity have moved it,
    unless its brand or category has reached its cap. Diversity is greedy as in Maximal Marginal Relevance (Carbonell
    and Goldstein 1998), counted in places: each product of a brand that is shown costs the next one some.
    `other_category` keeps products of the owner's category out, `explore_own_category` explores in it alone.
    Positions that the policy fills with a product that nothing offers have `pin_label`.
    """
    from models.assembly.kernels import assemble_range
    from models.search.search import threads

    of_rankings = np.diff(tiers.offsets).max(initial=0)
    most = candidates.rows.shape[1] + tiers.of.shape[1] * int(of_rankings)
    of = np.arange(len(candidates.rows)) if candidates.of is None else candidates.of
    lists, compiled = len(of), _book(book, other_category, explore_own_category)
    skip_of, skips = _skips(tiers, owners.products, attributes, book)
    offers = Offers(
        _int32(of), _int32(candidates.rows), _float32(candidates.scores),
        np.ascontiguousarray(candidates.labels, np.int8), _int32(owners.products),
        np.asarray(owners.bought_offsets, np.int64), _int32(owners.bought),
        _int32(owners.beside), _int32(tiers.of), np.asarray(tiers.offsets, np.int64), _int32(tiers.rows),
        _float32(tiers.scores), np.asarray(tiers.labels, np.int8),
        skip_of, skips,
    )  # fmt: skip
    stock = _stock(available, attributes, book)
    rows, labels = np.full((lists, n), -1, np.int32), np.full((lists, n), -1, np.int8)
    scores, rules = np.full((lists, n), -np.inf, np.float32), np.full((lists, n), -1, np.int16)
    read = np.full(lists, -1, np.int32)

    def work(bounds: tuple[int, int]) -> npt.NDArray[np.int64]:
        effects = np.zeros(len(book.names), np.int64)
        pool = _pool(most + len(book.pins) + 1, stock, len(book.names))
        assemble_range(
            *bounds, n, most, pin_label, offers, stock, compiled, pool, rows, scores, labels, rules, effects, read
        )
        return effects

    ends = [lists * part // PARTS for part in range(PARTS + 1)]
    with ThreadPoolExecutor(threads()) as pool:  # the compiled loop holds no lock
        effects = sum(pool.map(work, pairwise(ends)), np.zeros(len(book.names), np.int64))
    return Assembled(rows.astype(np.int64), scores, labels, rules, effects, read)


def rankings(
    weights: npt.NDArray[np.floating], allowed: BoolMask, group: Rows, groups: int
) -> tuple[Rows, Rows, npt.NDArray[np.float32]]:
    """(offsets [groups + 1], rows, scores): the allowed products of each group, the heaviest first, equal ones by row.

    `weights`, `allowed` and `group` are [P]; products of group -1 are in none.
    """
    rows = np.flatnonzero(allowed & (group >= 0))
    rows = rows[np.argsort(-weights[rows], kind="stable")]
    rows = rows[np.argsort(group[rows].astype(np.int32), kind="stable")]
    offsets = np.concatenate(([0], np.cumsum(np.bincount(group[rows], minlength=groups))))
    return offsets, rows, weights[rows].astype(np.float32)


def _skips(
    tiers: Tiers, owners: Rows, attributes: Attributes, book: Rulebook
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(skip_of, skips) of `Offers`: by the owner's department and by steps of the greatest price it allows."""
    ranked, lists = attributes.price[tiers.rows], len(owners)
    if not len(ranked) or not (owners >= 0).any():
        return np.full(lists, -1, np.int32), np.empty((0, len(ranked)), np.int32)
    prices = ranked[ranked > 0]
    bounded = np.isfinite(book.price_high) and len(prices)
    steps = np.quantile(prices, np.linspace(0, 1, PRICE_STEPS) ** 2) if bounded else np.empty(0)
    dear = np.stack([*(ranked > step for step in steps), np.zeros(len(ranked), bool)])
    shown = book.mixes[:, attributes.department[tiers.rows]][:, None] & ~dear[None]
    places = np.where(shown.reshape(-1, len(ranked)), np.arange(len(ranked)), len(ranked))
    skips = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    price = attributes.price[owners]
    most = np.where(price > 0, price * book.price_high, np.inf) * ROUNDING if bounded else np.full(lists, np.inf)
    step = np.searchsorted(steps, most)
    department = np.where(attributes.department[owners] < 0, len(book.mixes) - 1, attributes.department[owners])
    return _int32(np.where(owners >= 0, department * len(dear) + step, -1)), _int32(skips)


def _stock(available: BoolMask, attributes: Attributes, book: Rulebook) -> Stock:
    facts = np.empty((len(available), 8), dtype=np.float32)  # numbers up to 16 million are exact
    facts[:, AVAILABLE], facts[:, YOUNG], facts[:, EXCLUDED] = available, attributes.young, book.excluded
    facts[:, BRAND], facts[:, CATEGORY] = attributes.brand, attributes.category
    facts[:, DEPARTMENT], facts[:, PLACES] = attributes.department, book.places
    facts[:, PRICE] = np.where(attributes.price > 0, attributes.price, np.nan)
    return Stock(facts, int(attributes.brand.max(initial=-1)) + 1, int(attributes.category.max(initial=-1)) + 1)


def _pool(room: int, stock: Stock, rules: int) -> Pool:
    """Working memory of a thread for `room` candidates."""
    products = len(stock.facts)
    return Pool(
        np.zeros(room, np.int32), np.empty(room, np.float32), np.empty(room, np.int8), np.empty(room, np.int32),
        np.empty(room, np.int32), np.empty(room, np.float32), np.zeros(room, np.bool_), np.empty(room, np.int16),
        np.full(products, -1, np.int32), np.full(products, -1, np.int16), np.zeros(stock.brands + 1, np.int32),
        np.zeros(stock.categories + 1, np.int32), np.zeros(stock.categories + 1, np.int32),
        np.zeros(stock.brands + 1, np.int32), np.zeros(stock.categories + 1, np.int32),
        np.full(rules, -1, np.int32), np.zeros(rules, np.int64),
    )  # fmt: skip


def _book(book: Rulebook, other_category: bool, explore_own_category: bool) -> Book:
    return Book(
        np.asarray(book.mover, np.int16),
        _int32(book.pins), _int32(book.pin_places), np.asarray(book.pin_rules, np.int16), int(book.brand_cap),
        int(book.brand_cap_rule), int(book.category_cap), int(book.category_cap_rule),
        np.ascontiguousarray(book.mixes), int(book.guard_rule), float(book.price_low), float(book.price_high),
        int(book.price_rule), float(book.diversity), int(book.explore_place), bool(other_category),
        bool(explore_own_category), max(0, int(book.places.max(initial=0))),
        not (len(book.pins) or book.places.any() or book.diversity > 0 or book.explore_place >= 0),
        not book.mixes.all(), book.price_low > 0 or bool(np.isfinite(book.price_high)),
        bool((book.excluded >= 0).any()),
    )  # fmt: skip


def _int32(values: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(values, np.int32)


def _float32(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
