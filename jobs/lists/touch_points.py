"""Every carousel and ranked page of the shop: each is one instance, and one code path in `lists` makes them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jobs.index import ProductIndex
from jobs.policy.variants import DefaultRules
from jobs.tables.shop import (
    BAG_EXTRAS,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    SOURCES,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows
from models.assembly.assembly import Candidates
from models.copurchase.candidates import neighbours_through_index
from models.copurchase.model import Neighbours
from models.search import search

MODEL, CO_PURCHASE, OTHER_CATEGORY, CATEGORY, MARKET, COLD, GLOBAL, POLICY, CO_VIEW = range(len(SOURCES))
"""Positions in SOURCES: arrays store these, tables the texts."""

Find = Callable[[ProductIndex, int], Candidates]
"""The best `depth` of all products for each product of an index, never the product itself. Rows are the index's."""
FindIn = Callable[[ProductIndex, Rows, BoolMask, int], Candidates]
"""The best n among the allowed products for some products, searched exactly."""


@dataclass(frozen=True)
class TouchPoint:
    """A place where the shop shows products, and how its lists are made."""

    table: Table
    """Where its lists go; the first column of its key says whose they are."""
    standing: DefaultRules = field(default_factory=DefaultRules)
    """What it keeps to where no policy says otherwise."""
    places: int | None = None
    """Products per list; None: `ListsConfig.top_n`."""
    index: Table | None = None
    """The table that the index with its candidates is named after; for lists of products."""
    find: Find | None = None
    find_in: FindIn | None = None
    own_category_first: bool = False
    """Whether products of the owner's category stand first: an alternative to trainers is trainers."""
    other_category: bool = False
    """Whether products of the owner's category are left out."""
    beside: Table | None = None
    """The list of the same page whose first places it must not repeat."""
    comparable: bool = False
    """Whether scores of several lists are compared, so that places filled from popularity have the score 0."""


def own_category_first(found: Candidates, own: Rows, category: Rows) -> Candidates:
    """Lists [q, depth] with the products of their own category moved to the front, the others labelled so.

    `own` [q] is each list's category (-1: none, nothing moves), `category` [products] that of every product.
    """
    other = (category[found.rows] != own[:, None]) & (own[:, None] >= 0) & (found.rows >= 0)
    order = np.argsort(np.where(found.rows >= 0, other, 2), axis=1, kind="stable")
    labels = np.where(other, OTHER_CATEGORY, found.labels).astype(np.int8)
    return Candidates(found.rows, found.scores, labels).reordered(order)


def _similar(index: ProductIndex, depth: int) -> Candidates:
    vectors = index.tensors["vectors"]
    scores, rows = search.search(index.index, vectors, min(depth + 1, len(vectors)), index.compute)
    own = rows == np.arange(len(rows))[:, None]
    near = _without_own(Candidates(rows, scores, _labels(rows, MODEL)), own)
    return _by_views(index, np.arange(len(rows)), near, depth)


def _similar_in(index: ProductIndex, sources: Rows, allowed: BoolMask, n: int) -> Candidates:
    vectors = index.tensors["vectors"]
    scores, rows = search.exact_top_n(vectors[sources], index.vectors, n + 1, allowed)
    near = _without_own(Candidates(rows, scores, _labels(rows, MODEL)), rows == sources[:, None])
    return _by_views(index, sources, near, n)


def _by_views(index: ProductIndex, sources: Rows, near: Candidates, n: int) -> Candidates:
    """The nearest and what is looked at together, by the probability of that; the nearest alone without views.

    The vectors say what is like the product, the visits say which of it customers turn to.
    """
    model = index.co_views
    if model is None:
        return near
    viewed = model.has_baskets()[sources]
    best = neighbours_through_index(model, sources, near.rows, 2 * n)
    rows = np.where(viewed[:, None], best.products, -1)
    scores, labels = best.scores, _labels(rows, np.where(best.seen, CO_VIEW, MODEL))
    width, alone = near.rows.shape[1], ~viewed
    rows[alone, :width], scores[alone, :width], labels[alone, :width] = (
        near.rows[alone], near.scores[alone], near.labels[alone],
    )  # fmt: skip
    return Candidates(rows, np.where(rows >= 0, scores, -np.inf), labels)


def _without_own(found: Candidates, own: BoolMask) -> Candidates:
    """One place less: the product itself where it is there, else the last one."""
    return found.reordered(np.argsort(own, axis=1, kind="stable")[:, :-1])


def _bought(index: ProductIndex, depth: int) -> Candidates:
    model = index.co_purchase
    _, found = search.search(index.index, model.source_vectors(), min(depth + 1, len(index.vocabulary)), index.compute)
    sources = np.arange(len(found))
    return _co_purchased(index, sources, neighbours_through_index(model, sources, found, depth))


def _bought_in(index: ProductIndex, sources: Rows, allowed: BoolMask, n: int) -> Candidates:
    return _co_purchased(index, sources, index.co_purchase.neighbours(sources, n, allowed))


def _co_purchased(index: ProductIndex, sources: Rows, best: Neighbours) -> Candidates:
    # A product nobody bought has no vector of its own: its guesses would be mere popularity.
    rows = np.where(index.co_purchase.has_baskets()[sources][:, None], best.products, -1)
    return Candidates(rows, best.scores, _labels(rows, np.where(best.seen, CO_PURCHASE, MODEL)))


def _bag(index: ProductIndex, depth: int) -> Candidates:
    return _as_shares(_bought(index, depth))


def _bag_in(index: ProductIndex, sources: Rows, allowed: BoolMask, n: int) -> Candidates:
    return _as_shares(_bought_in(index, sources, allowed, n))


def _as_shares(found: Candidates) -> Candidates:
    """Log-probabilities as probabilities, which may be averaged over the products of a bag."""
    return Candidates(found.rows, np.exp(found.scores), found.labels)


def _labels(rows: Rows, label: Rows | int) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    return np.where(rows >= 0, label, -1).astype(np.int8)


ALTERNATIVES = TouchPoint(
    YOU_MIGHT_ALSO_LIKE, DefaultRules(guard=True, brand_cap=8, diversity=0.25, explore_place=12),
    index=YOU_MIGHT_ALSO_LIKE, find=_similar, find_in=_similar_in, own_category_first=True,
)  # fmt: skip
GOES_WITH = TouchPoint(
    PEOPLE_ALSO_BOUGHT, DefaultRules(guard=True, brand_cap=8), index=PEOPLE_ALSO_BOUGHT, find=_bought,
    find_in=_bought_in, beside=YOU_MIGHT_ALSO_LIKE,
)  # fmt: skip
SOMETHING_EXTRA = TouchPoint(
    BAG_EXTRAS, DefaultRules(guard=True, category_cap=1, price_high=0.5), places=12, index=PEOPLE_ALSO_BOUGHT,
    find=_bag, find_in=_bag_in, other_category=True, comparable=True,
)  # fmt: skip
FOR_YOU = TouchPoint(RECOMMENDED_FOR_YOU, DefaultRules(brand_cap=8, diversity=0.25, explore_place=12))
RANKED_PAGE = TouchPoint(MARKET_RANKING, places=500)
CAROUSELS = (ALTERNATIVES, GOES_WITH, SOMETHING_EXTRA)
"""Lists of products, each after the one that it stands beside."""
TOUCH_POINTS = (*CAROUSELS, FOR_YOU, RANKED_PAGE)
