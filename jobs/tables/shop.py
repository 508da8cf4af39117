"""Describes every table of the lake: name, key, columns and comments, the contract with analysts and services.

It is inert data: DAGs, feature definitions and tests can import it at no cost.
"""

from __future__ import annotations

from jobs.tables.audiences import AFFINITIES, CAMPAIGNS
from jobs.tables.experiments import CUSTOMER_DAYS, EXPERIMENTS, OFF_POLICY, TOUCH_POINT_DAYS, VARIANTS
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from jobs.tables.networks import ASSORTMENTS, NETWORKS
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

SINCE = "since        DATE     the newest complete night, up to this one: it has a row for every key\n"
ENDED = "gone         BOOLEAN  true if the list was deleted; null otherwise\n"
OF_CHANGES = (
    "A night stores only lists that changed: the current list of a key is the newest row of the nights from `since` to "
    "the night; if that row is gone, the list was deleted."
)
OF_PRODUCT, OF_PAGE, OF_CUSTOMER = (
    ("product_id", "market", "variant"),
    ("market", "category", "variant"),
    ("customer_id", "market"),
)
PAGE = "market STRING market\ncategory STRING category of the page, or * for all products; a category * is escaped"
LIST = """
product_ids  ARRAY<STRING>  the recommended products, best first
scores       ARRAY<FLOAT>   score of each position by its source; only scores of one source can be compared
sources      ARRAY<STRING>  the source that each position comes from (docs/merchandisers.md)
rules        ARRAY<STRING>  the rule that moved each position: a rule_id of policy or a default rule; '' if none did
variant      STRING         A/B variant the list belongs to
short_reason STRING         why the list is shorter than the limit; null for one that is full or shows all there is
model_id     STRING         the model whose vectors the list was computed from
"""


EVENTS = Table(
    "events",
    "Valid interactions of customers with products; as_of is the night that first read the row.",
    ("event_id",),
    """
event_id    STRING     identity of the event, unique in the table; events of equal time are sorted by it
customer_id STRING     the customer
product_id  STRING     the product
event_type  STRING     click, save, bag or purchase
event_ts    TIMESTAMP  time of the event, UTC
market      STRING     the market in which it happened
basket_id   STRING     the order a purchase belongs to; null for other events
quantity    BIGINT     number of pieces, at least 1
price       DOUBLE     price of one piece in the market's currency; null if unknown
size        STRING     size of the piece, in the shop's own words; null if unknown
event_date  DATE       the UTC day of event_ts
""",
    ("event_date",),
)

CATALOGUE = Table(
    "catalogue",
    "The products of the shop, one row for each product and night.",
    ("product_id",),
    """
product_id  STRING  identity of the product
name        STRING  the shop's name of the product; escape it before showing it in HTML
brand       STRING  brand
category    STRING  category; alternatives to a product come from its category
department  STRING  women, men, children, ..
colour      STRING  main colour
price       DOUBLE  list price of one piece
currency    STRING  currency of the price
launched_at DATE    first day on sale
image_url   STRING  address of the picture, relative to the shop's image server
""",
    ("as_of",),
)

AVAILABILITY = Table(
    "availability",
    "Which product can be bought in which market on a night; a pair without a row is not available.",
    ("product_id", "market"),
    """
product_id STRING         identity of the product
market     STRING         market
available  BOOLEAN        whether it can be bought there, in any size
sizes      ARRAY<STRING>  sizes in stock there, sorted; null where no size is known
sizes_made ARRAY<STRING>  all sizes that the shop lists there, in stock or not, sorted; null where none is known
""",
    ("as_of",),
)

CUSTOMER_SEQUENCES = Table(
    "customer_sequences",
    "Each customer's most recent events before the night, oldest first; the first three arrays and event_ids are "
    "parallel. A night stores only customers whose events changed: the current row of a customer is the newest one of "
    "the nights from `since` to the night.",
    ("customer_id",),
    """
customer_id      STRING            identity of the customer
product_ids      ARRAY<STRING>     products, most recent last, at most 100
event_types      ARRAY<STRING>     click, save, bag or purchase
event_timestamps ARRAY<TIMESTAMP>  time of each event, UTC
last_event_at    TIMESTAMP         time of the most recent event
market           STRING            market of the most recent event
event_ids        ARRAY<STRING>     identity of each event
bought           ARRAY<STRING>     every product that the customer ever bought, sorted by product_id
bought_at        ARRAY<TIMESTAMP>  time of the last purchase of each, UTC
bought_sizes     ARRAY<STRING>     size of that purchase, null if unknown; no array where none is known
events_version   BIGINT            Delta version of events that the night was computed from
max_length       BIGINT            largest number of events kept for a customer
"""
    + SINCE,
    ("as_of",),
    ("customer_id",),
)

CUSTOMER_EMBEDDINGS = Table(
    "customer_embeddings",
    "Each customer's vector; its inner product with a product's vector of the same model_id is the score. A night "
    "stores only the customers encoded that night: the current row of a customer is the newest one of the nights from "
    "`since` to the night.",
    ("customer_id",),
    """
customer_id STRING        identity of the customer
vector      ARRAY<FLOAT>  d numbers, and a constant 1 that multiplies the product's bias
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
model_id   STRING        the model that computed it
cold       BOOLEAN       true if the model was not trained on the product: its vector follows from the catalogue
""",
    ("as_of",),
)

YOU_MIGHT_ALSO_LIKE = Table(
    "you_might_also_like",
    f"You Might Also Like, the alternatives to a product, per market. {OF_CHANGES}",
    OF_PRODUCT,
    "product_id STRING the product on whose page the list is shown\nmarket STRING market" + LIST + ENDED + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

PEOPLE_ALSO_BOUGHT = Table(
    "people_also_bought",
    f"People Also Bought, the complements of a product, per market; asymmetric. {OF_CHANGES}",
    OF_PRODUCT,
    "product_id STRING the product on whose page the list is shown\nmarket STRING market" + LIST + ENDED + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

BAG_EXTRAS = Table(
    "bag_extras",
    "A Little Something Extra, small add-ons to a bag with this product; the lists of its products are combined. "
    + OF_CHANGES,
    OF_PRODUCT,
    "product_id STRING the product in the bag\nmarket STRING market"
    + LIST
    + "categories ARRAY<STRING> category of each position; a bag shows at most one product of each\n"
    + ENDED
    + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

OUTFITS = Table(
    "outfits",
    "Outfits of a product: looks of products of other roles that go together and with it, and the markets that show "
    "each look. A product that no look goes with has no row.",
    ("product_id", "variant"),
    """
product_id  STRING         the product that every look goes with
product_ids ARRAY<STRING>  the products of all looks, look by look
scores      ARRAY<FLOAT>   log-linear score of each with product_id; 0 in an editor's set
sources     ARRAY<STRING>  the source that each position comes from (docs/tables.md)
rules       ARRAY<STRING>  the rule of an editor's set; '' where there is none
looks       ARRAY<STRING>  the look that each position belongs to: 1, 2, ..; an editor's sets come first
roles       ARRAY<STRING>  role of each position: top, bottom, shoes, ..; '' where an editor chose a product without one
shown_in    ARRAY<STRING>  each look with each market that shows it, such as 1:GB; a market shows the first it sells
variant     STRING         A/B variant that the outfits belong to
model_id    STRING         the co-purchase model that the scores were computed from
""",
    ("as_of",),
)

MARKET_RANKING = Table(
    "market_ranking",
    "The order of a category page, or of all products, for an unknown customer; most popular first.",
    OF_PAGE,
    PAGE + LIST,
    ("as_of",),
)

RECOMMENDED_FOR_YOU = Table(
    "recommended_for_you",
    "Recommended for you, a customer's own list in their market, without products they bought. A night stores only "
    "lists computed that night: the current list of a customer is the newest row of the nights from `since` to the "
    "night.",
    OF_CUSTOMER,
    "customer_id STRING identity of the customer\nmarket STRING the customer's market"
    + LIST
    + "reach FLOAT cutoff score: products below it cannot change the list; null if popular products fill the list\n"
    + SINCE,
    ("as_of",),
    ("customer_id",),
)

SOLD_OUT_ALTERNATIVES = Table(
    "sold_out_alternatives",
    "Alternatives to a product in a market that does not sell it but asks for it, for its page and for links to it. "
    + OF_CHANGES,
    OF_PRODUCT,
    "product_id STRING the product that the market does not sell\nmarket STRING market" + LIST + ENDED + SINCE,
    ("as_of",),
    OF_PRODUCT,
)

TRENDING = Table(
    "trending",
    "What grows in a market, by category and in all: events of the last days over those of some weeks, shrunk where "
    "they are few; fastest first.",
    OF_PAGE,
    PAGE + LIST,
    ("as_of",),
)
REDUCED = Table(
    "reduced",
    "Products of a market whose price fell within some weeks, by category and in all; most popular first. Services put "
    "them in a customer's own order.",
    OF_PAGE,
    PAGE + LIST,
    ("as_of",),
)
NEW_IN = Table(
    "new_in",
    "Products of a market that were launched within some weeks, by category and in all; newest first. Services put "
    "them in a customer's own order.",
    OF_PAGE,
    PAGE + LIST,
    ("as_of",),
)

BUY_AGAIN = Table(
    "buy_again",
    "What a customer is likely to buy again soon; a score is the probability. Customers without such a product have no "
    "row, but that a night has at least one.",
    OF_CUSTOMER,
    "customer_id STRING identity of the customer\nmarket STRING the customer's market" + LIST,
    ("as_of",),
)
RECENTLY_VIEWED = Table(
    "recently_viewed",
    "What a customer last looked at and did not buy, newest first; a score is the days since then, below 0. Customers "
    "without such a product have no row, but that a night has at least one.",
    OF_CUSTOMER,
    "customer_id STRING identity of the customer\nmarket STRING the customer's market" + LIST,
    ("as_of",),
)

POLICY = Table(
    "policy",
    "The merchandisers' rules; `python -m jobs policy` checks and replaces them. as_of is the day they were loaded.",
    ("rule_id",),
    """
rule_id     STRING  name of the rule; positions that it moved carry it
kind        STRING  kind of rule (docs/merchandisers.md)
touch_point STRING  table of the lists it applies to; null for all that the kind can apply to
market      STRING  market it applies to; null for all
variant     STRING  A/B variant it applies to; null for all
attribute   STRING  attribute that selects products: product_id, brand, category or department; null for none
value       STRING  value of the attribute
shown       STRING  mix_departments: department that lists of department `value` may show
amount      DOUBLE  places (boost, bury), place (include), most (caps), days (repeat_purchase), share (size_run)
low         DOUBLE  price_window: least price as a share of the price of the product or bag; null for no bound
high        DOUBLE  price_window: greatest price as such a share; null for no bound
starts_on   DATE    first night it applies; null for no start
ends_on     DATE    last night it applies; null for no end
reason      STRING  why it exists, and who asked for it
""",
)

RULE_EFFECTS = Table(
    "rule_effects",
    "The effect of every rule of the policy, and of every default rule, on a night's lists.",
    ("rule_id", "touch_point", "variant"),
    """
rule_id     STRING  rule_id of policy, or the name of a default rule
touch_point STRING  table of the lists
variant     STRING  A/B variant
changed     BIGINT  lists computed that night in which it filled, moved or removed a position
rule        STRING  the rule as it was that night, as JSON; null for a default rule
""",
)

PRODUCT_LISTS = (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, BAG_EXTRAS)
"""Touch points with a list of each product in each market."""
LISTS = (*PRODUCT_LISTS, RECOMMENDED_FOR_YOU)
PAGE_LISTS = (TRENDING, REDUCED, NEW_IN)
"""Standing lists of each market and category."""
STANDING = (SOLD_OUT_ALTERNATIVES, *PAGE_LISTS, BUY_AGAIN, RECENTLY_VIEWED)
"""Touch points with lists where there is something to show alone: never padded, and as short as they are."""
CUSTOMER_LISTS = (RECOMMENDED_FOR_YOU, BUY_AGAIN, RECENTLY_VIEWED)
TOUCH_POINTS = (*LISTS, MARKET_RANKING, *STANDING)
TITLES = {
    YOU_MIGHT_ALSO_LIKE.name: "You Might Also Like",
    PEOPLE_ALSO_BOUGHT.name: "People Also Bought",
    BAG_EXTRAS.name: "A Little Something Extra",
    RECOMMENDED_FOR_YOU.name: "Recommended for you",
    MARKET_RANKING.name: "Category pages",
    SOLD_OUT_ALTERNATIVES.name: "Instead of what is sold out",
    TRENDING.name: "Trending now",
    REDUCED.name: "Reduced for you",
    NEW_IN.name: "New in for you",
    BUY_AGAIN.name: "Buy it again",
    RECENTLY_VIEWED.name: "Recently viewed",
    OUTFITS.name: "Complete the look",
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
STANDING_SOURCES = {
    "trend": "events with it grow faster than with others",
    "price fell": "its price fell within the last weeks",
    "new": "it was launched within the last weeks",
    "bought before": "the customer bought it before, and it is due again",
    "viewed": "the customer looked at it lately and did not buy it",
}
"""The same of standing lists, each of which has one; their positions follow on those of SOURCES."""
ALL = (
    EVENTS,
    IMPRESSIONS,
    OUTCOMES,
    VARIANTS,
    CUSTOMER_DAYS,
    EXPERIMENTS,
    TOUCH_POINT_DAYS,
    OFF_POLICY,
    REJECTED,
    CORRECTED,
    RAW_FILES,
    INPUTS,
    FORGOTTEN,
    CATALOGUE,
    AVAILABILITY,
    CUSTOMER_SEQUENCES,
    CUSTOMER_EMBEDDINGS,
    PRODUCT_EMBEDDINGS,
    NETWORKS,
    *TOUCH_POINTS,
    ASSORTMENTS,
    AFFINITIES,
    CAMPAIGNS,
    OUTFITS,
    POLICY,
    RULE_EFFECTS,
    MODELS,
    CHAMPIONS,
    EVALUATIONS,
    GATES,
    PUBLISHED,
    RUNS,
)
