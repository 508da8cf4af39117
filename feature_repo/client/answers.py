"""What a service is answered, with the night it is of, how fresh that is, and where its lists come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from feature_repo.client.ranking import Ranked

OWN, DEFAULT_VARIANT, MARKET_ORDER, NOTHING = "own list", "default variant", "market order", "nothing"
"""Where a list comes from: it was asked for; it is the variant `default`'s, since the one asked for has none; the
market's most wanted products, since there is no list; nobody knows the market either, so it is empty."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Which night an answer is of, and how it was come by."""

    night: str
    """as_of of the night, as ISO date; empty where nothing was ever published."""
    publication: int
    """Number of the publication: all of an answer is of this one."""
    published_at: datetime
    """UTC."""
    cached: bool
    """Whether the store was not asked for anything."""
    away: bool
    """Whether the store does not answer: what is not in this process's cache is missing, and fallbacks stand for it."""
    age_seconds: float
    """Since the store last said that this night is live."""


@dataclass(frozen=True, slots=True)
class ProductList:
    """Products to show, best first; the columns are parallel."""

    product_ids: tuple[str, ...]
    scores: tuple[float, ...]
    """As the source of each position gave it."""
    sources: tuple[str, ...]
    """Why each is there (README, Why a product is shown); empty for a bag's combined list."""
    origin: str
    """OWN, DEFAULT_VARIANT, MARKET_ORDER or NOTHING."""
    categories: tuple[str, ...] = ()
    """Of add-ons to a bag alone."""


EMPTY = ProductList((), (), (), NOTHING)


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
class BagPage:
    """Add-ons to a bag."""

    shown: Shown
    list: ProductList


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates in a customer's order."""

    shown: Shown
    places: tuple[Ranked, ...]


@dataclass(frozen=True, slots=True)
class History:
    """A customer's recent events, most recent last; the tuples are parallel, and empty for somebody unknown."""

    shown: Shown
    known: bool
    product_ids: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    event_seconds: tuple[int, ...] = ()
    """Unix seconds."""
    market: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """A product's name and attributes; text is empty where the catalogue has none, and all of it where not `known`."""

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
