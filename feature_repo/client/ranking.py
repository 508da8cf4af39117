"""The order of candidates for a customer, from vectors and the market's orders: one rule for services and for jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

COUNTS, PSEUDO_COUNT = 0.1, 5.0
"""A model's score gains so many times the log of the weight plus so many; chosen on the week before the sample shop's
test week (`tests.benchmarks.touch_points`)."""


def with_popularity(scores: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """A model's scores on a page of alternatives, with what the market's weights of the products add to them."""
    return np.asarray(scores + COUNTS * np.log(weights + PSEUDO_COUNT), dtype=np.float64)


MOST = 500
"""Candidates of one request: the most a page loads at once."""
ALL_PRODUCTS = "*"
"""The category whose market ranking holds all products."""
MODEL, CATEGORY_ORDER, MARKET_ORDER, GIVEN_ORDER = "model", "category order", "market order", "given order"
Vector = tuple[Any, str]
"""(float32 array or list, the model that made it)"""


class TooManyError(ValueError):
    """More candidates than one request may have."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One candidate in its place."""

    product_id: str
    score: float | None
    """Higher is closer, falls within one source; null where the given order decided."""
    source: str
    """Who decided its place: the model's vectors, the market's order of the category or of all products, or nobody."""


def distinct(candidates: Sequence[str]) -> list[str]:
    """Every non-empty id once, in the given order; raises TooManyError for more than MOST."""
    wanted = list(dict.fromkeys(product for product in candidates if product))
    if len(wanted) > MOST:
        raise TooManyError(
            f"{len(wanted):,} candidates are more than {MOST}; rank the first {MOST}, or ask page by page"
        )
    return wanted


def inner_products(
    customer: Vector | None, products: Sequence[str], vectors: Sequence[Vector | None]
) -> dict[str, float]:
    """Product -> inner product with the customer's vector, in the given order, where both are of one model.

    Empty for a customer without a vector, or of whom the model read nothing: then only the last number of the vector,
    the constant that takes a product's bias, is not 0.
    """
    import numpy as np

    if customer is None or not len(customer[0]):
        return {}
    reads = np.asarray(customer[0], dtype=np.float32)
    if not reads[:-1].any():
        return {}
    same = [row for row, vector in enumerate(vectors) if vector is not None and vector[1] == customer[1]]
    if not same:
        return {}
    flat = np.concatenate([vectors[row][0] for row in same], dtype=np.float32)  # type: ignore[index]
    matrix = flat.reshape(len(same), -1)
    # Row by row and not as a matrix product: equal vectors then have equal scores, wherever they stand.
    scores = (matrix * reads).sum(axis=1).tolist()
    return {products[row]: score for row, score in zip(same, scores, strict=True)}


def in_order(
    wanted: Sequence[str], scores: Mapping[str, float], category: str | None,
    order: Callable[[str], Mapping[str, float]],
) -> list[Ranked]:  # fmt: skip
    """The candidates, best first.

    Those with a score go by it, on the page of a `category` with what the market's interest in them adds
    (`models.popularity`). The others stand after them: by the market's order of `category`, then by its order of all
    products, then as they were given. `order(category)` is product -> score in the market's order, empty where there is
    none; it is asked only for what is needed. Equal scores stand as they were given.
    """
    own = None if category == ALL_PRODUCTS else category
    if scores and own:
        import numpy as np

        weights = order(own)
        lifted = with_popularity(np.array([*scores.values()]), np.array([weights.get(p, 0.0) for p in scores]))
        scores = dict(zip(scores, lifted.tolist(), strict=True))
    ranked = [Ranked(product, scores[product], MODEL) for product in sorted(scores, key=lambda p: -scores[p])]
    left = {product for product in wanted if product not in scores}
    for name, source in ((own, CATEGORY_ORDER), (ALL_PRODUCTS, MARKET_ORDER)):
        if name and left:
            ranked += [Ranked(product, score, source) for product, score in order(name).items() if product in left]
            left -= {place.product_id for place in ranked}
    return [*ranked, *(Ranked(product, None, GIVEN_ORDER) for product in wanted if product in left)]
