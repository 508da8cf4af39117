"""How much the shop window holds, and the contexts that others compute for it."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import UserError


@dataclass(frozen=True)
class ShopWindowConfig:
    """How much the page holds; what does not fit is left out, and the page says so."""

    products: int = 5_000
    """Products with lists, the most wanted of late first; others that stand in a list are shown in it."""
    places: int = 12
    """Places of each list."""
    bag_places: int = 24
    """Places of the lists that a bag combines: as many as they have, or the combination is not the service's."""
    markets: int = 60
    """Markets, the busiest first, if `positions` has room for them."""
    positions: int = 1_200_000
    """Places of products' lists in all markets and variants together; each takes about 4 bytes of the page."""
    customers: int = 200
    """Customers with a long history, of different markets."""
    history: int = 40
    """Most recent events of each customer."""

    def __post_init__(self) -> None:
        for name in ("products", "places", "bag_places", "markets", "positions", "customers", "history"):
            if getattr(self, name) < 1:
                raise UserError(f"shop window: {name} = {getattr(self, name)}; use at least 1")


@dataclass(frozen=True)
class ContextSide:
    """What one customer is offered beside a product."""

    customer_id: str
    list: tuple[tuple[str, float], ...]
    """(product_id, score), best first."""


@dataclass(frozen=True)
class ContextPair:
    """One product in a market, in two customers' contexts."""

    product: str
    market: str
    sides: tuple[ContextSide, ContextSide]
    model_id: str = ""
