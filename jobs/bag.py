"""What the online store has for a bag: each product's add-ons, and what the rules of a bag ask of the products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.errors import UserError
from jobs.online import OnlineStore
from jobs.variants import DEFAULT


@dataclass(frozen=True)
class Extras:
    """The add-ons to a bag with one product, best first; the three are parallel."""

    product_ids: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    """Empty where a product has none."""


@dataclass(frozen=True)
class BagLists:
    """Everything that the add-ons to one bag are combined from."""

    products: tuple[str, ...]
    """The bag, each product once."""
    lists: tuple[Extras, ...]
    """One a product of the bag; empty for a product that has none online."""
    categories: tuple[str, ...]
    """Category of each product of the bag; empty where it has none or is not in the live catalogue."""
    prices: dict[str, float]
    """Price of each product of the bag or of a list that has one."""
    night: str
    """The night the lists are of; empty where there is none."""


def bag_lists(store: OnlineStore, products: Sequence[str], market: str, variant: str = DEFAULT) -> BagLists:
    """The lists of a bag's products with categories and prices; raises UserError for a bag without a product."""
    bag = list(dict.fromkeys(product for product in products if product))
    if not bag:
        raise UserError("the bag is empty; name at least one product")
    keys = {"product_id": bag, "market": [market] * len(bag), "variant": [variant] * len(bag)}
    found = store.columns("bag_page_v1", keys)
    columns = (found[name] for name in ("product_ids", "scores", "categories"))
    lists = tuple(
        Extras(tuple(ids or ()), tuple(scores or ()), tuple(name or "" for name in categories or ()))
        for ids, scores, categories in zip(*columns, strict=True)
    )
    named = list(dict.fromkeys([*bag, *(product for extras in lists for product in extras.product_ids)]))
    details = store.columns("product_details_v1", {"product_id": named})
    prices = {
        product: price for product, price in zip(named, details["price"], strict=True) if price is not None
    }  # fmt: skip
    categories = tuple(name or "" for name in details["category"][: len(bag)])
    return BagLists(tuple(bag), lists, categories, prices, next((night for night in found["night"] if night), ""))
