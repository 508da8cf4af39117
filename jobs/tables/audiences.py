"""Describes the tables of customers' affinities and of the campaigns of a night."""

from __future__ import annotations

from jobs.tables.table import Table

AFFINITIES = Table(
    "affinities",
    "What each customer turns to more than is usual in their market: lifts above 1, the highest first. A night stores "
    "only customers whose events changed: the current row of a customer is the newest one of the nights from `since` "
    "to the night.",
    ("customer_id",),
    """
customer_id    STRING         identity of the customer
brands         ARRAY<STRING>  brands, at most 10
brand_lifts    ARRAY<FLOAT>   how many times as much as usual the customer turns to each; drawn to 1 by few events
categories     ARRAY<STRING>  categories, likewise
category_lifts ARRAY<FLOAT>   lift of each category
colours        ARRAY<STRING>  main colours, likewise
colour_lifts   ARRAY<FLOAT>   lift of each colour
price_level    DOUBLE         mean place of the products' prices within their category, 0 the lowest, 1 the highest
since          DATE           the newest complete night, up to this one: it has a row for every key
""",
    ("as_of",),
    ("customer_id",),
)

AFFINITY_COLUMNS = {
    "brand": ("brands", "brand_lifts"),
    "category": ("categories", "category_lifts"),
    "colour": ("colours", "colour_lifts"),
}
"""Attribute of a product -> columns of a customer's values of it, and of their lifts."""

TRIGGERS = {
    "back_in_stock": "products that they looked at can be bought again",
    "price_fell": "products that they looked at cost less than the night before",
    "bag_left": "products in their bag were not bought",
    "looked_not_bought": "products that they looked at several times were not bought",
    "new_in_your_brands": "new products of brands that they turn to",
    "after_purchase": "products that go with their last purchase",
}
"""Trigger of a campaign -> what the message is about; the first has precedence."""

CAMPAIGNS = Table(
    "campaigns",
    "Whom the night writes to about what, at most one message a customer and night; for e-mail tools.",
    ("customer_id", "trigger"),
    """
customer_id   STRING         the customer
market        STRING         market of their last event, in which the products are in stock
trigger       STRING         back_in_stock, price_fell, bag_left, looked_not_bought, new_in_your_brands, after_purchase
about         STRING         the product that was bought, or the brand of the first new product; null otherwise
product_ids   ARRAY<STRING>  the products, best first
reason        STRING         why, in plain words: fixed words, numbers and dates alone
score         DOUBLE         strength of the first product's interest, lift or companionship; comparable in a trigger
event_at      TIMESTAMP      the customer's last event that the message follows, UTC; null for new products
last_event_at TIMESTAMP      the customer's last event, UTC
weekly        BIGINT         most messages of a customer within seven days, as it was set
trigger_days  BIGINT         least days between two messages of one trigger, as it was set
product_days  BIGINT         days for which a trigger told a customer no product twice, as it was set
""",
    ("as_of",),
)
