"""Lists the served tables, columns and services as inert data; `definitions` turns them into Feast objects."""

from __future__ import annotations

from feature_repo.online.layout import DOUBLE, FLOATS, SECONDS, TEXT, WORD, WORDS, Feature
from jobs.tables.audiences import AFFINITIES
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from jobs.tables.shop import (
    BAG_EXTRAS,
    BUY_AGAIN,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    NEW_IN,
    OUTFITS,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_EMBEDDINGS,
    RECENTLY_VIEWED,
    RECOMMENDED_FOR_YOU,
    REDUCED,
    SOLD_OUT_ALTERNATIVES,
    STANDING,
    TRENDING,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table

NIGHT = "night"
"""Feature with the live night as ISO date, so that a service can see which night it reads."""
TIMESTAMP = "event_timestamp"
"""Feast's event timestamp: the time of publication, so that a rollback is newer than the rows it replaces."""

LIST = ("product_ids", "scores", "sources")
ONLINE: dict[Table, tuple[str, ...]] = {
    CATALOGUE: ("name", "brand", "category", "department", "colour", "price", "currency", "image_url"),
    CUSTOMER_SEQUENCES: ("product_ids", "event_types", "event_timestamps", "market", "bought"),
    PRODUCT_EMBEDDINGS: ("vector", "model_id"),
    CUSTOMER_EMBEDDINGS: ("vector", "model_id"),
    NETWORKS: ("settings", "product_ids", "brands", "categories", "numbers", "model_id"),
    ASSORTMENTS: ("settings", "products"),
    MARKET_RANKING: LIST,
    YOU_MIGHT_ALSO_LIKE: LIST,
    PEOPLE_ALSO_BOUGHT: LIST,
    BAG_EXTRAS: (*LIST, "categories"),
    OUTFITS: (*LIST, "looks", "roles", "shown_in"),
    RECOMMENDED_FOR_YOU: LIST,
    **dict.fromkeys(STANDING, LIST),
    AFFINITIES: ("brands", "brand_lifts", "categories", "category_lifts", "colours", "colour_lifts", "price_level"),
}
"""Table -> columns that are served online beside NIGHT; published in this order, so that products come before lists."""
OWNER = "recommendations"
SERVICES: dict[str, tuple[str, tuple[Table, ...]]] = {
    "product_page_v2": (
        "Product page: alternatives to a product and products that go with it, by product_id, market and variant. "
        "It replaces product_page_v1, whose key had no variant.",
        (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT),
    ),
    "bag_page_v1": (
        "Bag page: small add-ons to a bag with a product, by product_id, market and variant.",
        (BAG_EXTRAS,),
    ),
    "outfits_v1": (
        "Outfits of a product: looks of products that go together and with it, and which market shows which, by "
        "product_id and variant.",
        (OUTFITS,),
    ),
    "home_v1": ("Home page: the customer's own list, by customer_id and market.", (RECOMMENDED_FOR_YOU,)),
    "category_page_v1": (
        "Category page: the order for an unknown customer, by market, category (* for all products) and variant.",
        (MARKET_RANKING,),
    ),
    "standing_pages_v1": (
        "What grows, what was reduced and what is new, by market, category (* for all products) and variant.",
        (TRENDING, REDUCED, NEW_IN),
    ),
    "standing_home_v1": (
        "What a customer may buy again and looked at last, by customer_id and market; nulls where there is nothing.",
        (BUY_AGAIN, RECENTLY_VIEWED),
    ),
    "sold_out_page_v1": (
        "Alternatives to a product that the market does not sell, by product_id, market and variant.",
        (SOLD_OUT_ALTERNATIVES,),
    ),
    "customer_history_v1": ("A customer's recent events, by customer_id.", (CUSTOMER_SEQUENCES,)),
    "customer_affinities_v1": (
        "What a customer turns to more than is usual, with lifts, and their price level, by customer_id.",
        (AFFINITIES,),
    ),
    "product_details_v1": ("A product's name and attributes, by product_id.", (CATALOGUE,)),
    "customer_vector_v1": (
        "A customer's vector; its inner product with a product's of the same model_id is the score.",
        (CUSTOMER_EMBEDDINGS,),
    ),
    "product_vector_v1": ("A product's vector; only vectors of one model_id may be compared.", (PRODUCT_EMBEDDINGS,)),
}
"""Service -> its description, and the tables whose views it returns whole."""
RANKING, RANKING_VIEW = "ranking_v1", "ranking"

STORED = {"STRING": WORD, "DOUBLE": DOUBLE, "ARRAY<STRING>": WORDS, "ARRAY<FLOAT>": FLOATS, "ARRAY<TIMESTAMP>": SECONDS}
"""Column type -> type in the online store."""
TEXTS = ("name", "image_url", "settings", "products")
"""Columns without a word list, since nearly every row has another value."""
WORD_LISTS = {
    "product_ids": "product_id",
    "bought": "product_id",
    "categories": "category",
    "brands": "brand",
    "colours": "colour",
}
"""Column -> word list that it shares; other columns have one of their own name."""


def stored_view(table: Table) -> tuple[tuple[str, ...], int, tuple[Feature, ...]]:
    """(key columns, how many of them make the stored key, features) of a table's view in the online store.

    The stored key has the columns that identify a row across nights: a customer's list has the customer alone, whatever
    its market.
    """
    types = {column.name: STORED[column.type] for column in table.columns if column.name in ONLINE[table]}

    def feature(name: str) -> Feature:
        if name in TEXTS:
            return Feature(name, TEXT)
        return Feature(name, types[name], WORD_LISTS.get(name, name) if types[name] in (WORD, WORDS) else "")

    own = 1 if table.key[0] == "customer_id" else len(table.key)
    return table.key, own, tuple(feature(name) for name in ONLINE[table])
