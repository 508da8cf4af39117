"""Describes the tables of what customers were shown, and of what came of it."""

from __future__ import annotations

from jobs.tables.table import Table

SHOWN = """
impression_id STRING     identity of the impression: a digest of its fields
customer_id   STRING     the customer or visitor
touch_point   STRING     table of the lists of the place where it was shown: you_might_also_like, ..
market        STRING     market; null where unknown
variant       STRING     A/B variant that the customer was assigned to; null where unknown
list_id       STRING     the list, as the client names it (docs/serving.md); null where the page did not log it
owner         STRING     the product, or category page, whose list it was; null for a customer's own or a whole bag's
product_id    STRING     the product shown
place         BIGINT     its place in the list, 1 being the first; null where unknown
shown_at      TIMESTAMP  time at which it was shown, UTC
shown_date    DATE       the UTC day of shown_at
"""

IMPRESSIONS = Table(
    "impressions",
    "Products that customers were shown in a list; as_of is the night that first read the row.",
    ("impression_id",),
    SHOWN
    + """
counted    BOOLEAN    false for a customer whom no person can be, by the number of impressions; in no figure
""",
    ("shown_date",),
)

OUTCOMES = Table(
    "outcomes",
    "What came of each counted impression within seven days; as_of is the night that computed its day anew. An event "
    "follows every impression of its product to its customer in the seven days before it (any touch), and the last one "
    "of these alone is its last touch.",
    ("impression_id",),
    SHOWN
    + """
source     STRING     source of the product in that list (docs/tables.md), or exploration; null where that is not known
rule       STRING     the rule that moved the product in that list; null where none did, or that is not known
clicked    STRING     narrowest window with a click: visit (30 minutes), day (24 hours), week; null: none in seven days
saved      STRING     the same of saves
bagged     STRING     the same of bag-adds
bought     STRING     the same of purchases
last_clicked BOOLEAN  whether it is the last touch of a click
last_saved   BOOLEAN  whether it is the last touch of a save
last_bagged  BOOLEAN  whether it is the last touch of a bag-add
last_bought  BOOLEAN  whether it is the last touch of a purchase
revenue      DOUBLE   price times quantity of the purchases in seven days; null where there is none with a price
last_revenue DOUBLE   the same of the purchases whose last touch it is
""",
    ("shown_date",),
)

WINDOWS = {"visit": 30 * 60, "day": 24 * 3600, "week": 7 * 24 * 3600}
"""Window after an impression -> its seconds, the narrowest first; an event at its very end is within it."""
