"""Combines the lists of the products in a bag into one list of add-ons, A Little Something Extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PRICE_SHARE = 0.5
"""Most that an extra may cost, as a share of the whole bag's price."""
COUNTED = 2
"""A candidate's score is the mean over the COUNTED lists that score it highest. The mean over a large bag's lists
favours best-sellers, which go a little with everything; two products that agree are evidence enough."""


@dataclass(frozen=True)
class BagList:
    """The published list of one product in the bag; empty for a product without one."""

    product: str
    """The product in the bag."""
    products: Sequence[str]
    """[n], the candidates, best first."""
    scores: Sequence[float]
    """[n], probabilities of co-purchase: finite, 0 or more, comparable between lists."""
    categories: Sequence[str | None]
    """[n], category of each candidate; None or empty where the catalogue has none."""
    prices: Sequence[float | None] | None = None
    """[n], price of each candidate, None where unknown; None: no price is known."""

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.products, self.scores, self.categories, self.prices) if column}
        if len(lengths) > 1 or len(self.products) != len(self.scores) or len(self.products) != len(self.categories):
            raise ValueError(f"the list of {self.product} has columns of different lengths: {sorted(lengths)}")


def combine(
    lists: Sequence[BagList],
    bag_categories: Sequence[str | None],
    n: int,
    bag_total: float | None = None,
    price_share: float = PRICE_SHARE,
) -> list[tuple[str, float]]:
    """The n best extras for a bag as (product, score), best first; fewer where there are no more.

    A candidate's score is the mean of its two highest scores in the lists of the distinct products in the bag, with 0
    for a list without it; in a bag of one product it is its score there. Left out are products in the bag, those of a
    category in the bag and, where its price and `bag_total` are known, one that costs more than `price_share` of the
    bag. Of each category only the best is taken; candidates without a category are not limited. Equal scores go by
    first appearance: the bag's order, then the place in the list.
    """
    bag = {part.product: part for part in reversed(lists)}  # of a product that is in the bag twice, its first list
    found: dict[str, tuple[float, float]] = {}
    category_of: dict[str, str | None] = {}
    for name in dict.fromkeys(part.product for part in lists):
        part = bag[name]
        prices = part.prices or [None] * len(part.products)
        for product, score, category, price in zip(part.products, part.scores, part.categories, prices, strict=True):
            if bag_total is None or price is None or price <= price_share * bag_total:
                best, second = found.get(product, (0.0, 0.0))
                found[product] = (max(best, score), max(min(best, score), second))
                category_of.setdefault(product, category)
    means = {product: sum(two) / min(COUNTED, len(bag)) for product, two in found.items()}
    taken = {category for category in bag_categories if category}
    chosen: list[tuple[str, float]] = []
    for product, mean in sorted(means.items(), key=lambda item: -item[1]):  # stable: ties stay as they appeared
        category = category_of[product]
        if len(chosen) < n and product not in bag and category not in taken:
            chosen.append((product, mean))
            if category:
                taken.add(category)
    return chosen
