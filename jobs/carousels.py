"""The product-page carousels: each is one instance, and one code path in `lists` serves them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jobs.index import ProductIndex
from jobs.tables import PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE, Table
from models import search
from models.contract import FloatMatrix
from models.copurchase import CoPurchase
from models.copurchase_candidates import neighbours_through_index
from models.fallback import Labels
from models.top_n import BoolMask, Rows

SOURCES = ("model", "co-purchase", "category popularity", "market popularity")
"""Why a product stands in a list; lists store the text, arrays the position."""
MODEL, CO_PURCHASE, CATEGORY, MARKET = range(4)

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
    category_first: bool
    """Whether places left open are filled from the product's own category before the whole market."""


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
    model = _co_purchase(index)
    _, found = search.search(index.index, model.source_vectors(), min(depth + 1, len(index.vocabulary)))
    best = neighbours_through_index(model, np.arange(len(found)), found, depth)
    # A product nobody bought has no vector of its own: its guesses would be mere popularity.
    rows = np.where(model.has_baskets()[:, None], best.products, -1)
    labels = np.where(best.seen, CO_PURCHASE, MODEL)
    return rows, np.where(rows >= 0, best.scores, -np.inf), np.where(rows >= 0, labels, -1).astype(np.int8)


def _bought_exact(index: ProductIndex, sources: Rows, allowed: BoolMask, n: int) -> tuple[FloatMatrix, Rows]:
    model = _co_purchase(index)
    best = model.neighbours(sources, n, allowed)
    known = model.has_baskets()[sources][:, None]
    return np.where(known, best.scores, -np.inf), np.where(known, best.products, -1)


def _co_purchase(index: ProductIndex) -> CoPurchase:
    return CoPurchase.restore(index.manifest["config"], index.tensors)


ALTERNATIVES = Carousel(YOU_MIGHT_ALSO_LIKE, _similar, _similar_exact, category_first=True)
GOES_WITH = Carousel(PEOPLE_ALSO_BOUGHT, _bought, _bought_exact, category_first=False)
CAROUSELS = (ALTERNATIVES, GOES_WITH)
