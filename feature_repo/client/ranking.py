"""Orders candidate products for a customer by their vectors and the market's orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COUNTS, PSEUDO_COUNT = 0.1, 5.0
"""A model's score gains COUNTS * log(weight + PSEUDO_COUNT); tuned on the week before the sample shop's test week
(`tests.benchmarks.touch_points`)."""
ALL_PRODUCTS = "*"
"""The category whose market ranking holds all products; no category's own page has this name (`page_of`)."""
MODEL, CATEGORY_ORDER, MARKET_ORDER, GIVEN_ORDER = "model", "category order", "market order", "given order"
"""What decided a candidate's place."""
Vector = tuple["npt.NDArray[np.float32]", str]
"""(vector, id of the model that computed it)"""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One candidate in its place."""

    product_id: str
    score: float | None
    """Higher is better, comparable within one source; None for GIVEN_ORDER."""
    source: str
    """MODEL, CATEGORY_ORDER, MARKET_ORDER or GIVEN_ORDER."""


def page_of(category: str) -> str:
    """The name of a category's page: the category, and for one that is called `*` that with a backslash before it.

    So is `\\*` called `\\\\*`: two categories never share a page.
    """
    return f"\\{category}" if category.lstrip("\\") == ALL_PRODUCTS else category


def inner_products(
    customer: Vector | None, products: Sequence[str], vectors: Sequence[Vector | None]
) -> dict[str, float]:
    """Product -> inner product with the customer's vector, in the given order, where both are of one model.

    Empty for a customer without a vector, or whose vector is 0 but for its last number: that is the constant which
    takes a product's bias, so the model read none of their events.
    """
    import numpy as np

    if customer is None or not customer[0][:-1].any():
        return {}
    same = [(row, vector[0]) for row, vector in enumerate(vectors) if vector is not None and vector[1] == customer[1]]
    if not same:
        return {}
    matrix = np.concatenate([vector for _, vector in same]).reshape(len(same), -1)
    # Row by row and not as a matrix product, so that equal vectors have equal scores wherever they are.
    scores = (matrix * customer[0]).sum(axis=1).tolist()
    return {products[row]: score for (row, _), score in zip(same, scores, strict=True)}


def with_popularity(scores: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """A model's scores on a page of alternatives, raised by the market's weights of the products."""
    import numpy as np

    return np.asarray(scores + COUNTS * np.log(weights + PSEUDO_COUNT), dtype=np.float64)


def in_order(
    wanted: Sequence[str],
    scores: Mapping[str, float],
    category: str | None,
    order: Callable[[str], Mapping[str, float]],
) -> list[Ranked]:
    """The candidates, best first.

    Those with a score come first; on the page of a `category` the market's weights raise it (`with_popularity`). The
    others follow by the market's order of `category`, then by its order of all products, then as they were given.
    `order(category)` is product -> weight in the market's order, empty where there is none; it is called only for the
    orders needed. Equal scores keep the given order.
    """
    import numpy as np

    own = None if category == ALL_PRODUCTS else category
    if scores and own:
        weights = order(own)
        raised = with_popularity(np.array([*scores.values()]), np.array([weights.get(p, 0.0) for p in scores]))
        scores = dict(zip(scores, raised.tolist(), strict=True))
    ranked = [Ranked(product, scores[product], MODEL) for product in sorted(scores, key=lambda p: -scores[p])]
    left = {product for product in wanted if product not in scores}
    for name, source in ((own, CATEGORY_ORDER), (ALL_PRODUCTS, MARKET_ORDER)):
        if name and left:
            ranked += [Ranked(product, score, source) for product, score in order(name).items() if product in left]
            left -= {place.product_id for place in ranked}
    return [*ranked, *(Ranked(product, None, GIVEN_ORDER) for product in wanted if product in left)]
