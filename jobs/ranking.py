"""Ranking on demand: candidates of a category or search page in a customer's own order, from the online store alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.errors import UserError
from jobs.online import OnlineStore
from jobs.variants import DEFAULT
from models.popularity import with_popularity

MOST = 500
"""Candidates of one request: the most a page loads at once."""
ALL_PRODUCTS = "*"
"""The category whose market ranking holds all products."""
MODEL, CATEGORY_ORDER, MARKET_ORDER, GIVEN_ORDER = "model", "category order", "market order", "given order"


@dataclass(frozen=True)
class Ranked:
    """One candidate in its place."""

    product_id: str
    score: float | None
    """Higher is closer, falls within one source; null where the given order decided."""
    source: str
    """Who decided its place: the model's vectors, the market's order of the category or of all products, or nobody."""


def rank(
    store: OnlineStore, customer_id: str, market: str, variant: str, candidates: Sequence[str],
    category: str | None = None,
) -> list[Ranked]:  # fmt: skip
    """The candidates, best first; every distinct non-empty id of `candidates` once.

    A customer with a vector gets them by its inner product with theirs, on the page of a `category` with what the
    market's interest in them adds (`models.popularity`); candidates without a vector of the same model
    stand after those, and a customer whom the model does not know gets all of them so: by the market's order of
    `category` (where it is given), then by its order of all products, then as they were given. Equal scores stand as
    they were given. The plain reads that this takes are half the time of the service `ranking_v1`.

    Raises UserError for more than MOST candidates.
    """
    wanted = list(dict.fromkeys(product for product in candidates if product))
    if len(wanted) > MOST:
        raise UserError(f"{len(wanted):,} candidates are more than {MOST}; rank the first {MOST}, or ask page by page")
    scores = _scores(store, customer_id, wanted) if wanted else {}
    if scores and category and category != ALL_PRODUCTS:
        weights = _market_ranking(store, market, category, variant)
        lifted = with_popularity(np.array([*scores.values()]), np.array([weights.get(p, 0.0) for p in scores]))
        scores = dict(zip(scores, lifted.tolist(), strict=True))
    by_model = sorted(scores, key=lambda product: -scores[product])
    ranked = [Ranked(product, scores[product], MODEL) for product in by_model]
    return [*ranked, *_in_market_order(store, market, variant, category, [p for p in wanted if p not in scores])]


def page_of(store: OnlineStore, market: str, category: str, variant: str = DEFAULT) -> list[str]:
    """The products of a category page in the market's order; raises UserError where there is no such page online."""
    found = _market_ranking(store, market, category, variant)
    if not found:
        raise UserError(
            f"no ranking of category {category!r} in market {market!r}, variant {variant!r}, is online; categories are "
            f"those of the live catalogue, and {ALL_PRODUCTS} is all products"
        )
    return list(found)


def _scores(store: OnlineStore, customer_id: str, products: list[str]) -> dict[str, float]:
    """Product -> inner product with the customer's vector, in the given order, where both are of one model."""
    customer = store.read("customer_vector_v1", [{"customer_id": customer_id}])[0]
    reads = np.asarray(customer["vector"] or [0.0], dtype=np.float32)
    if not reads[:-1].any():  # only the constant that takes a product's bias: the model read nothing of theirs
        return {}
    found = store.columns("product_vector_v1", {"product_id": products})
    same = [row for row, made_by in enumerate(found["model_id"]) if made_by == customer["model_id"]]
    if not same:
        return {}
    vectors = np.asarray([found["vector"][row] for row in same], dtype=np.float32)
    # Row by row and not as a matrix product: equal vectors then have equal scores, wherever they stand.
    scores = (vectors * reads).sum(axis=1)
    return {products[row]: float(score) for row, score in zip(same, scores, strict=True)}


def _in_market_order(
    store: OnlineStore, market: str, variant: str, category: str | None, products: list[str]
) -> list[Ranked]:
    ranked: list[Ranked] = []
    own = None if category == ALL_PRODUCTS else category
    for name, source in ((own, CATEGORY_ORDER), (ALL_PRODUCTS, MARKET_ORDER)):
        left = set(products) - {place.product_id for place in ranked}
        if name and left:
            order = _market_ranking(store, market, name, variant)
            ranked += [Ranked(product, score, source) for product, score in order.items() if product in left]
    placed = {place.product_id for place in ranked}
    return [*ranked, *(Ranked(product, None, GIVEN_ORDER) for product in products if product not in placed)]


def _market_ranking(store: OnlineStore, market: str, category: str, variant: str) -> dict[str, float]:
    """Product -> score in the market's order; empty where it is not online."""
    key = {"market": market, "category": category, "variant": variant}
    found = store.read("category_page_v1", [key])[0]
    return dict(zip(found["product_ids"] or [], found["scores"] or [], strict=True))
