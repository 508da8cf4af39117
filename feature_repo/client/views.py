"""Names the views that the client reads and converts their rows."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from feature_repo.client.answers import LEFT_EMPTY, MARKET_ORDER, NOTHING_NOW, OWN, ProductList
from feature_repo.client.list_ids import PLACES, list_id
from feature_repo.client.outfits import market_looks
from feature_repo.client.ranking import ALL_PRODUCTS

if TYPE_CHECKING:  # it imports NumPy
    import numpy as np
    import numpy.typing as npt

    from feature_repo.online.reader import OnlineRow

Assortment = tuple["npt.NDArray[np.bool_]", int, int, int]
"""(which products of the network a market's lists may show, their places, most of a brand or 0, and of a category)"""

Key = tuple[str, tuple[str, ...]]
"""(view, values of its key columns)"""

CATALOGUE, HISTORY, HOME = "catalogue", "customer_sequences", "recommended_for_you"
PRODUCT_VECTOR, CUSTOMER_VECTOR = "product_embeddings", "customer_embeddings"
NETWORKS, ASSORTMENTS = "networks", "assortments"
ALTERNATIVES, GOES_WITH, EXTRAS, ORDER = "you_might_also_like", "people_also_bought", "bag_extras", "market_ranking"
OUTFITS = "outfits"
INSTEAD, AGAIN, VIEWED = "sold_out_alternatives", "buy_again", "recently_viewed"
TRENDING, REDUCED, NEW_IN = "trending", "reduced", "new_in"
CODES = {table: code for code, table in PLACES.items() if code != "rank"}
"""View of lists -> code of its place in a list_id."""
STANDING_PAGES = frozenset((TRENDING, REDUCED, NEW_IN))
OF_PAGES = STANDING_PAGES | {ORDER}
HEAD = "head"
"""Not a view: the first HEAD_PLACES of a market's order of all products, by (market, variant); for the unknown."""
HEAD_PLACES = 24

CACHED = frozenset(
    (CATALOGUE, PRODUCT_VECTOR, ALTERNATIVES, GOES_WITH, EXTRAS, INSTEAD, ASSORTMENTS, OUTFITS, *OF_PAGES)
)
"""Views whose rows a process caches; customers are too many."""


def read_for(key: Key) -> Key:
    """The row to read for a key."""
    if key[0] != HEAD:
        return key
    market, variant = key[1]
    return ORDER, (market, ALL_PRODUCTS, variant)


def name_of(key: Key, published_at: datetime) -> str:
    """The list_id of a key's list in a publication; a customer's own does not say of which variant it is."""
    match key:
        case (view, (market, category, variant)) if view in OF_PAGES:
            return list_id(published_at, CODES[view], market, variant, category)
        case (view, (product, market, variant)):
            return list_id(published_at, CODES[view], market, variant, product)
        case (view, (first, second)):
            return list_id(published_at, CODES.get(view, "home"), first if view == HEAD else second, "")
    raise AssertionError(f"{key} is no list's")


def made_of(key: Key, row: OnlineRow | None, published_at: datetime) -> Any:
    """The value of a row: a ProductList, MarketLooks, a Vector, an Assortment, or the features; None without a row."""
    if row is None:
        return None
    view, features = key[0], row.features
    if view in (PRODUCT_VECTOR, CUSTOMER_VECTOR):
        return None if features["vector"] is None else (features["vector"], features["model_id"] or "")
    if view == OUTFITS:
        return market_looks(features)
    if view in (CATALOGUE, HISTORY, NETWORKS):
        return features if features.get("product_ids", ()) is not None else None
    if view == ASSORTMENTS:
        return _assortment(features)
    places, origin = (HEAD_PLACES, MARKET_ORDER) if view == HEAD else (None, OWN)
    why_empty = NOTHING_NOW if view in STANDING_PAGES else LEFT_EMPTY
    return _list(features, places, origin, name_of(key, published_at), why_empty)


def _list(
    features: Mapping[str, Any], places: int | None, origin: str, name: str, why_empty: str
) -> ProductList | None:
    if features["product_ids"] is None:  # Feast's own writes store a missing list as nulls
        return None
    scores, categories = features["scores"], features.get("categories") or ()
    return ProductList(
        tuple(features["product_ids"][:places]),
        tuple(scores[:places].tolist() if scores is not None else ()),
        tuple((features["sources"] or ())[:places]),
        origin,
        tuple(categories[:places]),
        "" if len(features["product_ids"]) else why_empty,
        name,
    )


def _assortment(features: Mapping[str, Any]) -> Assortment:
    import numpy as np

    allowed = np.unpackbits(np.frombuffer(b64decode(features["products"]), np.uint8)).astype(bool)
    settings = json.loads(features["settings"])
    return allowed, settings["places"], settings["brand_cap"], settings["category_cap"]
