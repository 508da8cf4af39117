"""The rules that a touch point keeps without anybody asking; a policy may change them."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import UserError


@dataclass(frozen=True)
class StandingRules:
    """Settings of one touch point; `policy` rows of the same kind go before them in their scope."""

    guard: bool = False
    """Whether a list of a product shows its own department only, and products without a department."""
    brand_cap: int = 0
    """Most products of one brand in a list; 0: any number."""
    category_cap: int = 0
    """Most products of one category in a list; 0: any number."""
    price_low: float = 0.0
    """Least price, as a share of the price of the product whose list it is."""
    price_high: float = float("inf")
    """Greatest price, as such a share."""
    diversity: float = 0.0
    """Places that a product loses for each product of its brand that is shown before it."""
    explore_place: int = 0
    """Place (1 being the first) kept for a product younger than `ListsConfig.young_days`; 0: none."""

    def __post_init__(self) -> None:
        for name in ("brand_cap", "category_cap", "diversity", "explore_place", "price_low", "price_high"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} = {getattr(self, name)} must be at least 0")
        if self.price_low > self.price_high:
            raise UserError(f"price_low = {self.price_low} must not exceed price_high = {self.price_high}")
