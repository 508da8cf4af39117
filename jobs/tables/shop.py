"""Every table's name, key, columns and comments: the contract with analysts and services.

Inert on purpose: DAGs, feature definitions and tests may import it for nothing.
"""

from __future__ import annotations

from jobs.tables.records import (
    CHAMPIONS,
    CORRECTED,
    EVALUATIONS,
    FORGOTTEN,
    GATES,
    INPUTS,
    MODELS,
    PUBLISHED,
    RAW_FILES,
    REJECTED,
    RUNS,
)
from jobs.tables.table import Table

SINCE = "since        DATE     the last night before, or this one, that has a row of every customer\n"
ENDED = "gone         BOOLEAN  true where the list of the night before is there no more; null otherwise\n"
OF_CHANGES = (
    "A night holds the lists that differ from the night before; its row of a key is the newest one from `since` to it, "
    "and there is none where that row is gone."
)
OF_PRODUCT = ("product_id", "market", "variant")
LIST = """
product_ids  ARRAY<STRING>  the products to show, best first
scores       ARRAY<FLOAT>   the score of each position as its source gave it; falls within one source
sources      ARRAY<STRING>  why each position is there (README, Why a product is shown)
rules        ARRAY<STRING>  what moved each position: a rule_id of policy, a standing rule's name, '' where nothing did
variant      STRING         A/B variant the list belongs to
short_reason STRING         why the list has fewer products than asked for; null for a full list
model_id     STRING         the model whose vectors found the list
"""


EVENTS = Table(
    "events",
    "Valid interactions of customers with products, as ingested; as_of is the night that first read the row.",
    ("event_id",),
    """
event_id    STRING     identity of the event, unique in the table; equal timestamps sort by it
customer_id STRING     who acted
product_id  STRING     on what
event_type  STRING     click, save, bag or purchase
event_ts    TIMESTAMP  when, UTC
market      STRING     the market the shop served it in
basket_id   STRING     the order a purchase belongs to; null for other events
quantity    BIGINT     pieces, at least 1
price       DOUBLE     price of one piece in the market's currency; null where the source has none
event_date  DATE       the UTC day of event_ts
""",
    ("event_date",),
)

CATALOGUE = Table(
    "catalogue",
    "One row a product and night: what the shop sells.",
    ("product_id",),
    """
product_id  STRING  identity of the product
name        STRING  the name as the shop writes it; escape it before showing it in HTML
brand       STRING  brand
category    STRING  the category alternatives come from
department  STRING  women, men, children, ..
colour      STRING  main colour
price       DOUBLE  list price of one piece
currency    STRING  of the price
launched_at DATE    first day on sale
image_url   STRING  picture, relative to the shop's image server
""",
    ("as_of",),
)

AVAILABILITY = Table(
    "availability",
    "Which product can be bought in which market on a night; a pair that is not there is not available.",
    ("product_id", "market"),
    """
product_id STRING   identity of the product
market     STRING   market
available  BOOLEAN  whether it can be bought there
""",
    ("as_of",),
)

CUSTOMER_SEQUENCES = Table(
    "customer_sequences",
    "Each customer's most recent events before the night, oldest first; the first three arrays and event_ids are "
    "parallel. A night holds the customers whose events changed; its row of a customer is the newest one from `since` "
    "to it.",
    ("customer_id",),
    """
customer_id      STRING            identity of the customer
product_ids      ARRAY<STRING>     products, most recent last, at most 100
event_types      ARRAY<STRING>     click, save, bag or purchase
event_timestamps ARRAY<TIMESTAMP>  UTC
last_event_at    TIMESTAMP         time of the most recent event
market           STRING            market of the most recent event
event_ids        ARRAY<STRING>     identity of each event
bought           ARRAY<STRING>     every product the customer ever bought, in order of product_id
bought_at        ARRAY<TIMESTAMP>  when each of them was last bought, UTC
events_version   BIGINT            Delta version of events that the night's rows know
max_length       BIGINT            most recent events kept per customer
"""
    + SINCE,
    ("as_of",),
    ("customer_id",),
)

CUSTOMER_EMBEDDINGS = Table(
    "customer_embeddings",
    "Each customer's vector; its inner product with a product's vector of the same model_id is the score. A night "
    "holds the customers encoded that night; its row of a customer is the newest one from `since` to it.",
    ("customer_id",),
    """
customer_id STRING        identity of the customer
vector      ARRAY<FLOAT>  d numbers and a constant 1 that takes the product's bias
model_id    STRING        the model that encoded it
"""
    + SINCE,
    ("as_of",),
    ("customer_id",),
)

PRODUCT_EMBEDDINGS = Table(
    "product_embeddings",
    "Each product's vector; only vectors of one model_id may be compared.",
    ("product_id",),
    """
product_id STRING        identity of the product
vector     ARRAY<FLOAT>  d numbers and the product's bias
model_id   STRING        the model that made it
cold       BOOLEAN       true where the model was not trained on it: the vector comes from the catalogue alone
""",
    ("as_of",),
)

YOU_MIGHT_ALSO_LIKE = Table(
    "you_might_also_like",
    f"You Might Also Like, the alternatives to a product, per market. {OF_CHANGES}",
    OF_PRODUCT,
    "product_id STRING the product whose page it is\nmarket STRING market" + LIST + ENDED + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

PEOPLE_ALSO_BOUGHT = Table(
    "people_also_bought",
    f"People Also Bought, what goes with a product, per market; asymmetric. {OF_CHANGES}",
    OF_PRODUCT,
    "product_id STRING the product whose page it is\nmarket STRING market" + LIST + ENDED + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

BAG_EXTRAS = Table(
    "bag_extras",
    "A Little Something Extra: small add-ons to a bag with this product; for several products the lists are combined. "
    + OF_CHANGES,
    OF_PRODUCT,
    "product_id STRING the product in the bag\nmarket STRING market"
    + LIST
    + "categories ARRAY<STRING> category of each position; a bag shows one of each at most\n"
    + ENDED
    + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

MARKET_RANKING = Table(
    "market_ranking",
    "The order of a category page, or of all products, for a customer nobody knows; most wanted first.",
    ("market", "category", "variant"),
    "market STRING market\ncategory STRING category of the page, or * for all products" + LIST,
    ("as_of",),
)

RECOMMENDED_FOR_YOU = Table(
    "recommended_for_you",
    "Recommended for you, a customer's own list in their market; nothing they bought already. A night holds the lists "
    "made that night; its row of a customer is the newest one from `since` to it.",
    ("customer_id", "market"),
    "customer_id STRING identity of the customer\nmarket STRING the customer's market"
    + LIST
    + "reach FLOAT least score the list depends on: a product below it has no part in it; null: popularity has one\n"
    + SINCE,
    ("as_of",),
    ("customer_id",),
)

POLICY = Table(
    "policy",
    "The merchandisers' rules; `python -m jobs policy` checks and replaces it. as_of is the day it was loaded.",
    ("rule_id",),
    """
rule_id     STRING  name of the rule, shown on every position it moves
kind        STRING  what it does: one of the kinds in the README
touch_point STRING  table of the lists it holds for; null for every one it can hold for
market      STRING  market it holds in; null for all
variant     STRING  A/B variant it holds in; null for all
attribute   STRING  what it selects products by: product_id, brand, category or department; null where nothing is
value       STRING  the attribute's value
shown       STRING  mix_departments: department that products of department `value` may show
amount      DOUBLE  places (boost, bury), place (include), most per list (caps), days since purchase (repeat_purchase)
low         DOUBLE  price_window: least price as a share of the price of the product or bag; null for no bound
high        DOUBLE  price_window: greatest price as such a share; null for no bound
starts_on   DATE    first night it holds; null for always
ends_on     DATE    last night it holds; null for ever
reason      STRING  why, and who asked for it
""",
)

RULE_EFFECTS = Table(
    "rule_effects",
    "What every rule of the policy, and every standing rule, did in a night's lists.",
    ("rule_id", "touch_point", "variant"),
    """
rule_id     STRING  rule_id of policy, or a standing rule's name
touch_point STRING  table of the lists
variant     STRING  A/B variant
changed     BIGINT  lists made that night in which it filled or moved a position, or took one away that would be shown
rule        STRING  the rule as JSON, as it was that night; null for a standing rule
""",
)

PRODUCT_LISTS = (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, BAG_EXTRAS)
"""Touch points with a list of each product in each market."""
LISTS = (*PRODUCT_LISTS, RECOMMENDED_FOR_YOU)
TOUCH_POINTS = (*LISTS, MARKET_RANKING)
TITLES = {
    YOU_MIGHT_ALSO_LIKE.name: "You Might Also Like",
    PEOPLE_ALSO_BOUGHT.name: "People Also Bought",
    BAG_EXTRAS.name: "A Little Something Extra",
    RECOMMENDED_FOR_YOU.name: "Recommended for you",
    MARKET_RANKING.name: "Category pages",
}
"""Name of a touch point -> the heading that customers see."""
SOURCES = {
    "model": "its vector is among the nearest the model found",
    "co-purchase": "customers bought it together with the product",
    "model, other category": "its vector is near, but the product's own category had no more to offer",
    "category popularity": "it is popular in the category; the model had no more to offer",
    "market popularity": "it is popular in the market; the model had no more to offer",
    "cold-start vector": "its vector, made from the catalogue alone, is among the nearest; the model never saw it",
    "global popularity": "it is popular in other markets; this one had no more to offer",
    "policy": "the policy puts it there; no source offered it",
    "co-view": "customers looked at it in one visit with the product",
}
"""Texts of the column `sources` -> why the product is in the list. Arrays store a source's position here."""
ALL = (
    EVENTS, REJECTED, CORRECTED, RAW_FILES, INPUTS, FORGOTTEN, CATALOGUE, AVAILABILITY, CUSTOMER_SEQUENCES,
    CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS, *TOUCH_POINTS, POLICY, RULE_EFFECTS,
    MODELS, CHAMPIONS, EVALUATIONS, GATES, PUBLISHED, RUNS,
)  # fmt: skip
