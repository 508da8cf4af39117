"""Gives several lists of a page together: each product once, in the list that comes first.

A list is asked for by its touch point and its owner, which are those of an impression: a product, a customer, or a
category. Customers' lists that are made from a market's (`reduced`, `new_in`) have the customer as their owner, or
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from feature_repo.client import views
from feature_repo.client.answers import (
    ALL_SHOWN,
    DEFAULT_VARIANT,
    EMPTY,
    MARKET_ORDER,
    NOTHING_THERE,
    OWN,
    ProductList,
)
from feature_repo.client.arguments import ArgumentError, check
from feature_repo.client.list_ids import of_variant
from feature_repo.client.ranking import ALL_PRODUCTS, Vector, inner_products
from feature_repo.client.views import Key

DEFAULT = "default"
"""The variant of a shop without experiments."""
MOST_LISTS = 20
PRODUCT, CUSTOMER, CATEGORY, ANYBODY = "product", "customer", "category", "customer, or nobody"
OWNERS = {
    views.ALTERNATIVES: PRODUCT,
    views.GOES_WITH: PRODUCT,
    views.INSTEAD: PRODUCT,
    views.HOME: CUSTOMER,
    views.AGAIN: CUSTOMER,
    views.VIEWED: CUSTOMER,
    views.ORDER: CATEGORY,
    views.TRENDING: CATEGORY,
    views.REDUCED: ANYBODY,
    views.NEW_IN: ANYBODY,
}
"""Touch point -> whose its lists are."""
Values = Mapping[Key, Any]


@dataclass(frozen=True)
class Asked:
    """One list of a page."""

    view: str
    owner: str
    market: str
    variant: str

    @property
    def own(self) -> list[Key]:
        """Keys of the list, the best first."""
        match OWNERS[self.view]:
            case "product":
                return [(self.view, (self.owner, self.market, one)) for one in variants_of(self.variant)]
            case "customer":
                return [(self.view, (self.owner, self.market))]
            case "category":
                return [(self.view, (self.market, self.owner, one)) for one in variants_of(self.variant)]
        return [(self.view, (self.market, ALL_PRODUCTS, one)) for one in variants_of(self.variant)]

    @property
    def keys(self) -> list[Key]:
        """All that the list is made from but the vectors of products."""
        if self.in_own_order:
            return [*self.own, (views.CUSTOMER_VECTOR, (self.owner,)), (views.HISTORY, (self.owner,))]
        if OWNERS[self.view] == PRODUCT:
            return [*self.own, (views.CATALOGUE, (self.owner,)), self._head]
        return [*self.own, self._head] if self.view == views.HOME else self.own

    @property
    def in_own_order(self) -> bool:
        """Whether a market's list is put in a customer's order."""
        return OWNERS[self.view] == ANYBODY and bool(self.owner)

    def candidates(self, values: Values) -> tuple[str, ...]:
        """Products whose vectors the list needs."""
        found = first_of([values[key] for key in self.own], self.variant) if self.in_own_order else None
        return found.product_ids if found else ()

    def made(self, values: Values, away: bool) -> ProductList | None:
        """The list, or the market's order for an unknown customer or product; None where the night has neither."""
        found = first_of([values[key] for key in self.own], self.variant)
        if found and self.in_own_order:
            return self._ordered(found, values)
        if found is None and self._head in self.keys:
            unknown = OWNERS[self.view] == CUSTOMER or (values[views.CATALOGUE, (self.owner,)] is None and not away)
            return values[self._head] if unknown else None
        if found is None and OWNERS[self.view] == CUSTOMER and not away:
            return replace(EMPTY, reason=NOTHING_THERE)
        return found

    @property
    def _head(self) -> Key:
        return views.HEAD, (self.market, DEFAULT)

    def _ordered(self, found: ProductList, values: Values) -> ProductList:
        """A market's list in the customer's order, without what they bought."""
        customer: Vector | None = values[views.CUSTOMER_VECTOR, (self.owner,)]
        history = values[views.HISTORY, (self.owner,)] or {}
        bought = set(history.get("bought") or ())
        place = {product: at for at, product in enumerate(found.product_ids) if product not in bought}
        vectors = [values[views.PRODUCT_VECTOR, (product,)] for product in place]
        scores = inner_products(customer, list(place), vectors)
        order = sorted(scores, key=lambda product: -scores[product]) if scores else list(place)
        at = [place[product] for product in order]
        return replace(
            found,
            product_ids=tuple(order),
            scores=tuple(scores[product] for product in order) if scores else tuple(found.scores[n] for n in at),
            sources=tuple(found.sources[n] for n in at),
            origin=OWN if scores else MARKET_ORDER,
            reason=found.reason if order else found.reason or NOTHING_THERE,
        )


def asked_of(market: str, wanted: Sequence[tuple[str, str]], variant: str) -> list[Asked]:
    """The lists that are wanted; raises ArgumentError for what is none."""
    check(market=market, variant=variant)
    if isinstance(wanted, (str, bytes)) or not isinstance(wanted, Sequence) or len(wanted) > MOST_LISTS:
        raise ArgumentError("lists", f"are no list of at most {MOST_LISTS} pairs of touch point and owner")
    asked = []
    for place, one in enumerate(wanted):
        if isinstance(one, (str, bytes)) or not isinstance(one, Sequence) or len(one) != 2:
            raise ArgumentError(f"lists[{place}]", "is no pair of touch point and owner")
        name, owner = one
        check(**{f"lists[{place}]": name, f"lists[{place}].owner": owner})
        if name not in OWNERS:
            raise ArgumentError(f"lists[{place}]", f"is of no touch point of a page; there are {', '.join(OWNERS)}")
        asked.append(Asked(name, owner, market, variant))
    return asked


def without_repeats(asked: Sequence[Asked], lists: Sequence[ProductList], places: int) -> list[ProductList]:
    """The first `places` of each list that no list before it shows, and that are not the page's own product."""
    shown = {one.owner for one in asked if OWNERS[one.view] == PRODUCT}
    left = []
    for one in lists:
        kept = [at for at, product in enumerate(one.product_ids) if product not in shown][:places]
        shown.update(one.product_ids[at] for at in kept)
        left.append(
            replace(
                one,
                product_ids=tuple(one.product_ids[at] for at in kept),
                scores=tuple(one.scores[at] for at in kept if one.scores),
                sources=tuple(one.sources[at] for at in kept if one.sources),
                reason=one.reason if kept else one.reason or ALL_SHOWN,
            )
        )
    return left


def variants_of(variant: str) -> tuple[str, ...]:
    """The variants whose lists are looked up, the best first."""
    return (variant,) if variant == DEFAULT else (variant, DEFAULT)


def first_of(found: Sequence[ProductList | None], variant: str) -> ProductList | None:
    """The list of the variant asked for, else that of the default variant, be it empty; None where there is neither."""
    place = next((place for place, one in enumerate(found) if one is not None), None)
    if place is None:
        return None
    one = found[place]
    return replace(one, origin=DEFAULT_VARIANT, list_id=of_variant(one.list_id, variant)) if one and place else one
