"""Defines the answers to services: each names its night, its freshness and the origin of its lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from feature_repo.client.ranking import Ranked

OWN, DEFAULT_VARIANT, MARKET_ORDER, NOTHING = "own list", "default variant", "market order", "nothing"
FRESH = "fresh session"
"""Origin of a list: the list asked for; that of the variant `default`, where the one asked for has none; the market's
most popular products, for an unknown customer or product; an empty list, where there is none of these; the one made now
of what the visitor has done since the night."""
LEFT_EMPTY = "the rules of this place leave no product of the market"
NO_LIST = "the night has no list here"
NOTHING_NOW = "nothing in the market is such a product now"
"""Of a standing list of a market."""
NO_ADD_ON = "nothing of another category, and at most half as dear as the bag, goes with it"
EMPTY_BAG = "the bag is empty"
NOTHING_THERE = "there is nothing to show to this customer here"
ALL_SHOWN = "the lists before it on the page show all its products"
STORE_AWAY = "the store is away, and this process has not cached the list"
"""Reasons of an empty list."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The night of an answer, and how the client got it."""

    night: str
    """ISO date; empty where nothing was ever published."""
    publication: int
    """Number of the publication that all of the answer is of."""
    published_at: datetime
    """UTC."""
    cached: bool
    """Whether the answer took no request to the store."""
    away: bool
    """Whether the store does not answer: lists that this process has not cached are replaced by fallbacks."""
    age_seconds: float
    """Seconds since the store last said that this night is live."""


@dataclass(frozen=True, slots=True)
class ProductList:
    """Products to show, best first; the columns are parallel."""

    product_ids: tuple[str, ...]
    scores: tuple[float, ...]
    """As each product's source gave them."""
    sources: tuple[str, ...]
    """Source of each product, such as `model` or `co-view`; empty for a bag's combined list."""
    origin: str
    """OWN, DEFAULT_VARIANT, MARKET_ORDER, NOTHING or FRESH."""
    categories: tuple[str, ...] = ()
    """Only of add-ons to a bag."""
    reason: str = ""
    """Why there are no products: LEFT_EMPTY, NO_LIST, NOTHING_NOW, NO_ADD_ON, EMPTY_BAG, NOTHING_THERE, ALL_SHOWN or
    STORE_AWAY; empty where there are."""
    list_id: str = ""
    """Name of the list, to be logged with what a page shows of it (`feature_repo.client.list_ids`); empty where there
    is no list."""


EMPTY = ProductList((), (), (), NOTHING, (), NO_LIST)


@dataclass(frozen=True, slots=True)
class ProductPage:
    """Both carousels of a product page."""

    shown: Shown
    you_might_also_like: ProductList
    people_also_bought: ProductList


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page with one list: home, or a category."""

    shown: Shown
    list: ProductList


@dataclass(frozen=True, slots=True)
class Page:
    """Several lists, no product twice, in the order in which they were asked for."""

    shown: Shown
    lists: tuple[ProductList, ...]


@dataclass(frozen=True, slots=True)
class BagPage:
    """Add-ons to a bag."""

    shown: Shown
    list: ProductList


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates in a customer's order."""

    shown: Shown
    places: tuple[Ranked, ...]
    list_id: str = ""
    """Name of the list, to be logged with what a page shows of it."""


@dataclass(frozen=True, slots=True)
class History:
    """A customer's recent events, most recent last; the tuples are parallel, and empty where not `known`."""

    shown: Shown
    known: bool
    product_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    event_seconds: tuple[int, ...] = ()
    """Unix seconds."""
    market: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """A product's name and attributes; a text is empty where the catalogue has none, and all are where not `known`."""

    shown: Shown
    known: bool
    name: str = ""
    brand: str = ""
    category: str = ""
    department: str = ""
    colour: str = ""
    price: float | None = None
    currency: str = ""
    image_url: str = ""
