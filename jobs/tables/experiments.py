"""Describes the tables of experiments: their variants, what each customer did, and what came of it."""

from __future__ import annotations

from jobs.tables.table import Table

ALL_MARKETS = "*"
"""Value of `market` in rows over all markets."""

VARIANTS = Table(
    "variants",
    "The sides of the A/B test that a night's lists were built for; a night with one variant has no row.",
    ("experiment", "variant"),
    """
experiment STRING  name of the experiment (ListsConfig.experiment)
variant    STRING  name of the variant
position   BIGINT  its place among the variants; 0 is the control, with which the others are compared
share      DOUBLE  share of the customers who are meant to see it
starts_on  DATE    first day that counts; null: the day after the first night with these variants
ends_on    DATE    last day that counts; null: that of the last such night
""",
)

CUSTOMER_DAYS = Table(
    "customer_days",
    "What a customer was shown on a day, and what came of it: sums of `outcomes`, last touch within seven days.",
    ("customer_id", "market", "variant", "shown_date"),
    """
customer_id STRING  the customer or visitor
market      STRING  market of the impressions; null where unknown
variant     STRING  A/B variant of the impressions; null where unknown
shown_date  DATE    the UTC day of the impressions
impressions BIGINT  products shown, each place of each list
clicks      BIGINT  impressions that are the last touch of a click
saves       BIGINT  the same of a save
bags        BIGINT  the same of a bag-add
purchases   BIGINT  the same of a purchase
revenue     DOUBLE  price times quantity of these purchases; 0 where none has a price
""",
    ("shown_date",),
)

EXPERIMENTS = Table(
    "experiments",
    "How each variant of an experiment did up to the night, and by how much it differs from the control.",
    ("experiment", "variant", "market", "metric"),
    """
experiment     STRING  name of the experiment
variant        STRING  name of the variant
market         STRING  market; * for all
metric         STRING  clicks, saves, bag-adds or purchases per impression, or revenue per customer
control        STRING  the variant that it is compared with; its own name in the control's rows
customers      BIGINT  customers of the variant with an impression; who saw several variants is left out
value          DOUBLE  sum over all of these customers by the sum of impressions, or by their number
uplift         DOUBLE  value above the control's, as a fraction, after CUPED; null: too few events
low            DOUBLE  lower end of the 95 % interval of the uplift, for who looks once
high           DOUBLE  upper end of it
always_low     DOUBLE  lower end of the 95 % interval that holds on all days at once: it may be looked at every day
always_high    DOUBLE  upper end of it
days           BIGINT  days with impressions so far
mixed          BIGINT  customers who saw several variants and are left out
sample_ratio_p DOUBLE  probability of so uneven a split of customers; below 0.001 it is not chance
verdict        STRING  the result in words; null in the control's rows and in those of a single market
""",
)

TOUCH_POINT_DAYS = Table(
    "touch_point_days",
    "How each touch point did on a day, as a whole and in parts; as_of is the night that first counted the day.",
    ("shown_date", "touch_point", "dimension", "slice"),
    """
shown_date  DATE    the UTC day of the impressions
touch_point STRING  table of the lists
dimension   STRING  what tells the parts apart: all, place, source, rule, market, variant, product age or brand age
slice       STRING  the part: a place, a source, ..; all for the whole, unknown where it is null
impressions BIGINT  products shown
clicks      BIGINT  impressions that are the last touch of a click in the same visit
bags        BIGINT  the same of a bag-add
rate        DOUBLE  clicks by impressions
low         DOUBLE  lower end of the 95 % interval of the rate, customers being the unit; null under 30 clicks
high        DOUBLE  upper end of it
expected    DOUBLE  clicks that as many impressions at the same places of the touch point have: places differ most
""",
    ("shown_date",),
)

OFF_POLICY = Table(
    "off_policy",
    "How the night's lists would have done on the day before, when others were shown: estimated, in the same visit.",
    ("touch_point", "variant"),
    """
touch_point STRING  table of the lists
variant     STRING  variant of the night's lists
impressions BIGINT  products shown on the day at the pages and places that the night's lists have too
shown       DOUBLE  clicks by impression of what was shown
support     DOUBLE  share of these places where the night's product was shown too; elsewhere a model tells
robust      DOUBLE  clicks by impression of the night's lists, doubly robust
robust_low  DOUBLE  lower end of its 95 % interval, customers being the unit
robust_high DOUBLE  upper end of it
gained      DOUBLE  robust less shown
gained_low  DOUBLE  lower end of its 95 % interval
gained_high DOUBLE  upper end of it
weighted      DOUBLE  the same by inverse propensity, clipped and normalised, at the places with support alone
weighted_low  DOUBLE  lower end of its 95 % interval
weighted_high DOUBLE  upper end of it
""",
)
