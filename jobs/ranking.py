"""Ranking on demand: candidates of a category or search page in a customer's own order, from the online store alone."""

from __future__ import annotations

from collections.abc import Sequence

from feature_repo.client.ranking import ALL_PRODUCTS as ALL_PRODUCTS
from feature_repo.client.ranking import MOST as MOST
from feature_repo.client.ranking import Ranked as Ranked
from feature_repo.client.ranking import TooManyError, Vector, distinct, in_order, inner_products
from jobs.errors import UserError
from jobs.online import OnlineStore
from jobs.variants import DEFAULT


def rank(
    store: OnlineStore, customer_id: str, market: str, variant: str, candidates: Sequence[str],
    category: str | None = None,
) -> list[Ranked]:  # fmt: skip
    """The candidates, best first; every distinct non-empty id of `candidates` once.

    A customer with a vector gets them by its inner product with theirs, on the page of a `category` with what the
    market's interest in them adds (`models.popularity`); candidates without a vector of the same model
    stand after those, and a customer whom the model does not know gets all of them so: by the market's order of
    `category` (where it is given), then by its order of all products, then as they were given. Equal scores stand as
    they were given. Services rank by the same functions (`feature_repo.client`), at less cost.

    Raises UserError for more than MOST candidates.
    """
    try:
        wanted = distinct(candidates)
    except TooManyError as error:
        raise UserError(str(error)) from None
    scores = _scores(store, customer_id, wanted) if wanted else {}
    return in_order(wanted, scores, category, lambda name: _market_ranking(store, market, name, variant))


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
    customer = store.read("customer_vector_v1", [{"customer_id": customer_id}])[0]
    if customer["vector"] is None:
        return {}
    found = store.columns("product_vector_v1", {"product_id": products})
    vectors: list[Vector | None] = [
        None if vector is None else (vector, made_by)
        for vector, made_by in zip(found["vector"], found["model_id"], strict=True)
    ]
    return inner_products((customer["vector"], customer["model_id"]), products, vectors)


def _market_ranking(store: OnlineStore, market: str, category: str, variant: str) -> dict[str, float]:
    """Product -> score in the market's order; empty where it is not online."""
    key = {"market": market, "category": category, "variant": variant}
    found = store.read("category_page_v1", [key])[0]
    return dict(zip(found["product_ids"] or [], found["scores"] or [], strict=True))
