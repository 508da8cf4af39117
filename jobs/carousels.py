"""The product-page carousels: each is one instance, and one code path in `lists` serves them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jobs.index import ProductIndex
from jobs.tables import PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE, Table
from models import search
from models.contract import FloatMatrix
from models.copurchase_candidates import neighbours_through_index
from models.fallback import Labels
from models.top_n import BoolMask, Rows

SOURCES = ("model", "co-purchase", "model, other category", "category popularity", "market popularity")
"""Why a product stands in a list; lists store the text, arrays the position."""
MODEL, CO_PURCHASE, OTHER_CATEGORY, CATEGORY, MARKET = range(5)

Found = tuple[Rows, FloatMatrix, Labels]
"""(rows, scores, labels), each [q, depth], best first, -1 past the last."""


@dataclass(frozen=True)
class Carousel:
    """How one product-page carousel finds candidates. Rows are rows of its index."""

    table: Table
    """Where its lists go; its index directory has the same name."""
    find: Callable[[ProductIndex, int], Found]
    """The best `depth` of all products for each product of the index, never the product itself."""
    exact: Callable[[ProductIndex, Rows, BoolMask, int], tuple[FloatMatrix, Rows]]
    """The best n among allowed products for some products: (scores, rows)."""
    own_category: bool
    """Whether products of the same category stand first: an alternative to trainers is trainers."""


def own_category_first(found: Found, own: Rows, category: Rows) -> Found:
    """Lists [q, depth] with the products of their own category moved to the front, the others labelled so.

    `own` [q] is each list's category (-1: none, nothing moves), `category` [products] that of every product.
    """
    rows, scores, labels = found
    other = (category[rows] != own[:, None]) & (own[:, None] >= 0) & (rows >= 0)
    order = np.argsort(np.where(rows >= 0, other, 2), axis=1, kind="stable")
    labels = np.where(other, OTHER_CATEGORY, labels).astype(np.int8)
    return tuple(np.take_along_axis(values, order, axis=1) for values in (rows, scores, labels))  # type: ignore[return-value]


def _similar(index: ProductIndex, depth: int) -> Found:
    vectors = index.tensors["vectors"]
    scores, rows = search.search(index.index, vectors, min(depth + 1, len(vectors)))
    rows = np.where(rows == np.arange(len(rows))[:, None], -1, rows)
    return rows, np.where(rows >= 0, scores, -np.inf), np.where(rows >= 0, MODEL, -1).astype(np.int8)


def _similar_exact(index: ProductIndex, sources: Rows, allowed: BoolMask, n: int) -> tuple[FloatMatrix, Rows]:
    vectors = index.tensors["vectors"]
    scores, rows = search.exact_top_n(vectors[sources], vectors, n + 1, allowed)
    own = rows == sources[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :n]  # the product itself last, then cut off
    rows = np.take_along_axis(np.where(own, -1, rows), order, axis=1)
    return np.where(rows >= 0, np.take_along_axis(scores, order, axis=1), -np.inf), rows


def _bought(index: ProductIndex, depth: int) -> Found:
    model = index.co_purchase
    _, found = search.search(index.index, model.source_vectors(), min(depth + 1, len(index.vocabulary)))
    best = neighbours_through_index(model, np.arange(len(found)), found, depth)
    # A product nobody bought has no vector of its own: its guesses would be mere popularity.
    rows = np.where(model.has_baskets()[:, None], best.products, -1)
    labels = np.where(best.seen, CO_PURCHASE, MODEL)
    return rows, np.where(rows >= 0, best.scores, -np.inf), np.where(rows >= 0, labels, -1).astype(np.int8)


def _bought_exact(index: ProductIndex, sources: Rows, allowed: BoolMask, n: int) -> tuple[FloatMatrix, Rows]:
    model = index.co_purchase
    best = model.neighbours(sources, n, allowed)
    known = model.has_baskets()[sources][:, None]
    return np.where(known, best.scores, -np.inf), np.where(known, best.products, -1)


ALTERNATIVES = Carousel(YOU_MIGHT_ALSO_LIKE, _similar, _similar_exact, own_category=True)
GOES_WITH = Carousel(PEOPLE_ALSO_BOUGHT, _bought, _bought_exact, own_category=False)
CAROUSELS = (ALTERNATIVES, GOES_WITH)
