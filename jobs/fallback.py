"""A list for everybody: a key that has none gets the market's order, and the answer says which it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.online import OnlineStore
from jobs.variants import DEFAULT

OWN, MARKET, NOTHING = "own", "market", "nothing"
"""What an answer is: the key's own list; the market's order; neither is online."""
ALL_PRODUCTS = "*"


@dataclass(frozen=True)
class Listed:
    """One list, and whose it is."""

    product_ids: tuple[str, ...]
    """Best first."""
    scores: tuple[float, ...]
    """Parallel to them."""
    answer: str
    """OWN, MARKET or NOTHING."""
    night: str
    """The night that is live, as ISO date; empty where none is."""


def list_of(
    store: OnlineStore, view: str, key: Sequence[str], market: str, variant: str = DEFAULT, hide: Sequence[str] = ()
) -> Listed:
    """The list of a key of a view (its key columns' values in their order), else the market's order of all products.

    Both are read in one round trip, of one night. `hide` leaves products out of the market's order: the one whose
    page it is, those in the bag.
    """
    found = store.reader.read([(view, key), ("market_ranking", (market, ALL_PRODUCTS, variant))])
    own, everybody = (row.features if row else {} for row in found.rows)
    if own.get("product_ids"):
        return Listed(tuple(own["product_ids"]), _scores(own), OWN, found.live.as_of)
    left = [
        (product, score)
        for product, score in zip(everybody.get("product_ids") or (), _scores(everybody), strict=True)
        if product not in set(hide)
    ]
    products, scores = tuple(product for product, _ in left), tuple(score for _, score in left)
    return Listed(products, scores, MARKET if left else NOTHING, found.live.as_of)


def _scores(features: dict[str, Any]) -> tuple[float, ...]:
    scores = features.get("scores")
    return () if scores is None else tuple(scores.tolist())
