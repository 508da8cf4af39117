"""Holds the rules for the lists of one touch point in one market as arrays.

Legend: P products, D departments. Rule numbers point into `Rulebook.names`; -1 is no rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Rows

RuleNumbers = npt.NDArray[np.int16]
DEFAULT_RULES = (
    "department guard",
    "price window",
    "brand cap",
    "category cap",
    "diversity",
    "exploration",
    "page duplicates",
    "bought",
    "usual size",
    "size run",
)
"""Names of the default rules, in the order of their numbers; a policy's rules have the numbers after them."""
GUARD, PRICE, BRAND_CAP, CATEGORY_CAP, DIVERSITY, EXPLORATION, PAGE, BOUGHT, USUAL_SIZE, SIZE_RUN = range(
    len(DEFAULT_RULES)
)
LAST = -32_768
"""`Rulebook.places` of a product that steps back behind all others."""


@dataclass(frozen=True)
class Attributes:
    """The products of a night as rules see them."""

    brand: Rows
    """[P], number of the brand; -1 where the catalogue has none."""
    category: Rows
    """[P], the same for the category."""
    department: Rows
    """[P], the same for the department."""
    price: npt.NDArray[np.float32]
    """[P], list price; NaN where there is none, and then no price window holds."""
    young: BoolMask
    """[P], launched so recently that exploration may show it."""


@dataclass(frozen=True)
class Rulebook:
    """The rules of one touch point, market and variant."""

    names: tuple[str, ...]
    """Rule number -> name; begins with DEFAULT_RULES."""
    excluded: RuleNumbers
    """[P], the rule that excludes the product; -1 where none does."""
    places: npt.NDArray[np.int16]
    """[P], places that boosts (above 0) and buries (below 0) move it, summed; or LAST."""
    mover: RuleNumbers
    """[P], the rule that moves it farthest, which is named for the move; -1 where `places` is 0."""
    pins: Rows
    """[pins], products that must be in the list, each at most once, by rising place."""
    pin_places: Rows
    """[pins], 0 being the first place of a list; no place twice."""
    pin_rules: RuleNumbers
    """[pins]."""
    brand_cap: int
    """Most products of one brand in a list; 0: any number. Products without a brand are not counted."""
    brand_cap_rule: int
    category_cap: int
    """The same for categories."""
    category_cap_rule: int
    mixes: BoolMask
    """[D + 1, D + 1], whether a list that belongs to a product of the first department may show the second one;
    the last row and column stand for products without a department."""
    guard_rule: int
    price_low: float
    """Least price as a share of the price of the product (or bag) the list belongs to; 0: any."""
    price_high: float
    """Greatest price as such a share; infinity: any."""
    price_rule: int
    diversity: float
    """Places that a product moves down for each product of its brand shown before it; 0: off."""
    explore_place: int
    """Place (0 being the first) that a young product gets where no earlier place has one; -1: off."""

    def with_last(self, products: BoolMask, rule: int) -> Rulebook:
        """The same rules where `products` [P] step back behind all others, because of a rule."""
        places = np.where(products, np.int16(LAST), self.places)
        return replace(self, places=places, mover=np.where(products, np.int16(rule), self.mover))
