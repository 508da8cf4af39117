"""Defines every carousel and ranked page of the shop as one `TouchPoint`; one code path builds the lists of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from jobs.index import ProductIndex
from jobs.policy.variants import DefaultRules
from jobs.tables.shop import (
    BAG_EXTRAS,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    SOLD_OUT_ALTERNATIVES,
    SOURCES,
    STANDING_SOURCES,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows
from models.assembly.assembly import Candidates
from models.copurchase.candidates import neighbours_through_index
from models.search import search

MODEL, CO_PURCHASE, OTHER_CATEGORY, CATEGORY, MARKET, COLD, GLOBAL, POLICY, CO_VIEW = range(len(SOURCES))
TREND, FELL, NEW, AGAIN, VIEWED = range(len(SOURCES), len(SOURCES) + len(STANDING_SOURCES))
"""Positions in SOURCES and STANDING_SOURCES: arrays store these, tables the texts."""

Some = tuple[Rows, BoolMask]
"""(products whose candidates are searched, [products of the index] which ones they may be)."""
Find = Callable[[ProductIndex, int, Some | None], Candidates]
"""The best n candidates of every product of an index, never the product itself; with `Some`, of some products among the
allowed ones, searched exactly. Rows are the index's."""


@dataclass(frozen=True)
class TouchPoint:
    """A place where the shop shows products, and how its lists are built."""

    table: Table
    """The table of its lists; the first column of its key is the owner of a list."""
    default_rules: DefaultRules = field(default_factory=DefaultRules)
    """Rules that hold unless a policy changes them."""
    places: int | None = None
    """Products per list; None: `ListsConfig.top_n`."""
    index: Table | None = None
    """The table that names the index of its candidates; for lists of products."""
    find: Find | None = None
    own_category_first: bool = False
    """Whether products of the owner's category come first: an alternative to trainers is trainers."""
    other_category: bool = False
    """Whether products of the owner's category are left out."""
    beside: Table | None = None
    """The list on the same page whose first places it must not repeat."""
    sold_out: bool = False
    """Whether lists belong to the products that a market does not sell but asks for, and not to those that it sells."""
    nothing: str = ""
    """Why a list is empty; of lists that are not padded, and as long as what there is to show."""
    comparable: bool = False
    """Whether a client compares scores of several lists; then places padded from popularity have the score 0."""


def own_category_first(found: Candidates, own: Rows, category: Rows) -> Candidates:
    """Move the products of a list's own category to its front, and label the others OTHER_CATEGORY.

    `own` [q] is each list's category (-1: none, nothing moves), `category` [products] that of every product.
    """
    other = (category[found.rows] != own[:, None]) & (own[:, None] >= 0) & (found.rows >= 0)
    order = np.argsort(np.where(found.rows >= 0, other, 2), axis=1, kind="stable")
    labels = np.where(other, OTHER_CATEGORY, found.labels).astype(np.int8)
    return Candidates(found.rows, found.scores, labels).reordered(order)


def _similar(index: ProductIndex, n: int, some: Some | None) -> Candidates:
    vectors = index.tensors["vectors"]
    if some is None:
        sources = np.arange(len(vectors))
        scores, rows = index.nearest(min(n + 1, len(vectors)))
    else:
        sources, allowed = some
        scores, rows = search.exact_top_n(vectors[sources], index.vectors, n + 1, allowed)
    # A vector of zeros tells nothing: what is nearest to it would be chance.
    rows = np.where((vectors != 0).any(axis=1)[sources, None], rows, -1)
    # Drops one place: the product itself where it was found, else the last one.
    others = np.argsort(rows == sources[:, None], axis=1, kind="stable")[:, :-1]
    near = Candidates(rows, np.where(rows >= 0, scores, -np.inf), _labels(rows, MODEL)).reordered(others)
    return _by_views(index, sources, near, n)


def _by_views(index: ProductIndex, sources: Rows, near: Candidates, n: int) -> Candidates:
    """The nearest products and those viewed in the same visits, ordered by the probability of being viewed together.

    Vectors find similar products; visits tell which of them customers turn to. A product without views keeps the
    nearest ones.
    """
    model = index.co_views
    if model is None:
        return near
    viewed = model.has_baskets()[sources]
    best = neighbours_through_index(model, sources, near.rows, 2 * n)
    rows = np.where(viewed[:, None], best.products, -1)
    labels = _labels(rows, np.where(best.seen, CO_VIEW, MODEL))
    found = Candidates(rows, np.where(rows >= 0, best.scores, -np.inf), labels)
    alone = np.flatnonzero(~viewed)
    found.put(alone, near[alone])
    return found


def _bought(index: ProductIndex, n: int, some: Some | None) -> Candidates:
    model = index.co_purchase
    if some is None:
        sources = np.arange(len(index.vocabulary))
        _, found = search.search(index.index, model.source_vectors(), min(n + 1, len(sources)), index.compute)
        best = neighbours_through_index(model, sources, found, n)
    else:
        sources, allowed = some
        best = model.neighbours(sources, n, allowed)
    # A product without purchases has no vector of its own: its neighbours would be mere popularity.
    rows = np.where(model.has_baskets()[sources][:, None], best.products, -1)
    return Candidates(rows, best.scores, _labels(rows, np.where(best.seen, CO_PURCHASE, MODEL)))


def _bag(index: ProductIndex, n: int, some: Some | None) -> Candidates:
    """`_bought` with probabilities for log-probabilities: a client averages them over the products of a bag."""
    found = _bought(index, n, some)
    return Candidates(found.rows, np.exp(found.scores), found.labels)


def _labels(rows: Rows, label: Rows | int) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    return np.where(rows >= 0, label, -1).astype(np.int8)


ALTERNATIVES = TouchPoint(
    YOU_MIGHT_ALSO_LIKE,
    DefaultRules(guard=True, brand_cap=8, diversity=0.25, explore_place=12),
    index=YOU_MIGHT_ALSO_LIKE,
    find=_similar,
    own_category_first=True,
)
GOES_WITH = TouchPoint(
    PEOPLE_ALSO_BOUGHT,
    DefaultRules(guard=True, brand_cap=8),
    index=PEOPLE_ALSO_BOUGHT,
    find=_bought,
    beside=YOU_MIGHT_ALSO_LIKE,
)
SOMETHING_EXTRA = TouchPoint(
    BAG_EXTRAS,
    DefaultRules(guard=True, category_cap=1, price_high=0.5),
    places=12,
    index=PEOPLE_ALSO_BOUGHT,
    find=_bag,
    other_category=True,
    comparable=True,
)
INSTEAD = replace(ALTERNATIVES, table=SOLD_OUT_ALTERNATIVES, sold_out=True)
FOR_YOU = TouchPoint(RECOMMENDED_FOR_YOU, DefaultRules(brand_cap=8, diversity=0.25, explore_place=12))
RANKED_PAGE = TouchPoint(MARKET_RANKING, places=500)
CAROUSELS = (ALTERNATIVES, GOES_WITH, SOMETHING_EXTRA, INSTEAD)
"""Touch points with lists of products; one that must not repeat another's places comes after it."""
