"""What a merchandiser's rule is: its kinds, what each needs, where it can hold, and one checked rule."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date

from jobs.tables import shop
from jobs.tables.shop import POLICY, RECOMMENDED_FOR_YOU

PRODUCT_LISTS = tuple(table.name for table in shop.PRODUCT_LISTS)
"""Touch points whose lists belong to a product, which has a department and a price to compare with."""
TOUCH_POINTS = tuple(table.name for table in shop.TOUCH_POINTS)
ATTRIBUTES = ("product_id", "brand", "category", "department")
COLUMNS = tuple(name for name in POLICY.names if name not in ("as_of", "run_id"))
"""What people give; the command adds the day and the run."""
ANY = "*"
"""In mix_departments: every department."""
MOST_RULES = 5_000
"""Rule numbers are 16 bits wide; and nobody can answer for more rules than that."""


@dataclass(frozen=True)
class Kind:
    """One kind of rule: what it needs and where it can hold."""

    uses: tuple[str, ...]
    """Columns that it must have, beside those that every rule has; all others stay empty."""
    attributes: tuple[str, ...] = ()
    """What `attribute` may be."""
    amount: tuple[int, int] = (0, 0)
    """Least and greatest `amount`, a whole number."""
    unit: str = ""
    """What `amount` counts."""
    touch_points: tuple[str, ...] = TOUCH_POINTS
    why: str = ""
    """Why it cannot hold for the other touch points."""


_OF_A_PRODUCT = "only lists that belong to a product have a department and a price to compare with"
KINDS = {
    "exclude": Kind(("attribute", "value"), ATTRIBUTES),
    "include": Kind(
        ("attribute", "value", "amount"), ("product_id",), (1, 1000), "place, 1 being the first",
        TOUCH_POINTS[:-1], "a ranking orders the products of a page and adds none; boost the product there",
    ),
    "boost": Kind(("attribute", "value", "amount"), ATTRIBUTES, (1, 1000), "places up"),
    "bury": Kind(("attribute", "value", "amount"), ATTRIBUTES, (1, 1000), "places down"),
    "brand_cap": Kind(("amount",), (), (0, 1000), "most of one brand in a list, 0 for any number"),
    "category_cap": Kind(
        ("amount",), (), (0, 1000), "most of one category in a list, 0 for any number",
        TOUCH_POINTS[:-1], "a category page has one category, and would lose all but its first products",
    ),
    "mix_departments": Kind(("value", "shown"), touch_points=PRODUCT_LISTS, why=_OF_A_PRODUCT),
    "price_window": Kind((), touch_points=PRODUCT_LISTS, why=_OF_A_PRODUCT),
    "repeat_purchase": Kind(
        ("attribute", "value", "amount"), ("category",), (0, 36_500), "days since the purchase",
        (RECOMMENDED_FOR_YOU.name,), "only a customer's own list knows what the customer bought",
    ),
}  # fmt: skip
"""By name; price_window uses `low` or `high` or both, which no other kind does."""


@dataclass(frozen=True)
class Rule:
    """One row of the table policy whose every column was checked; described in `jobs.tables.shop.POLICY`."""

    rule_id: str
    kind: str
    touch_point: str | None = None
    market: str | None = None
    variant: str | None = None
    attribute: str | None = None
    value: str | None = None
    shown: str | None = None
    amount: float | None = None
    low: float | None = None
    high: float | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    reason: str | None = None

    def on(self, as_of: date) -> bool:
        """Whether it holds on a night; both ends count."""
        return (self.starts_on or date.min) <= as_of <= (self.ends_on or date.max)

    def within(self, touch_point: str, market: str, variant: str) -> bool:
        """Whether it holds for the lists of a touch point, market and variant."""
        return (
            self.touch_point in (None, touch_point)
            and self.market in (None, market)
            and self.variant in (None, variant)
            and touch_point in KINDS[self.kind].touch_points
        )

    def meets(self, other: Rule) -> bool:
        """Whether there is a list for which both hold on one night; for two rules of one kind."""
        if max(self.starts_on or date.min, other.starts_on or date.min) > min(
            self.ends_on or date.max, other.ends_on or date.max
        ):
            return False
        scopes = ((self.touch_point, other.touch_point), (self.market, other.market), (self.variant, other.variant))
        return all(one is None or two is None or one == two for one, two in scopes)

    @property
    def rank(self) -> tuple[bool, bool, bool, str]:
        """The least rank wins where one rule must: a market named, a touch point named, a variant, then the name."""
        return self.market is None, self.touch_point is None, self.variant is None, self.rule_id

    @property
    def selects(self) -> list[tuple[str, str]]:
        """(attribute, value) of the products it speaks of; not those of all departments."""
        if self.kind == "mix_departments":
            return [("department", value) for value in (self.value, self.shown) if value is not None and value != ANY]
        return [] if self.attribute is None or self.value is None else [(self.attribute, self.value)]

    def as_json(self) -> str:
        """What the rule says, as one JSON object without empty columns."""
        given = {column: value for column, value in asdict(self).items() if value is not None}
        return json.dumps(given, ensure_ascii=False, sort_keys=True, default=str)
