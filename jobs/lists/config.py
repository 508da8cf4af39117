"""Settings of the step lists."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import PositiveInt

from jobs.policy.variants import DEFAULT, Variant, check_variants
from jobs.settings import Settings


@dataclass(frozen=True)
class PopularConfig(Settings):
    """What makes a product popular."""

    days: PositiveInt = 28
    """Days of events that count."""
    event_weights: dict[str, float] = field(
        default_factory=lambda: {"click": 1.0, "save": 2.0, "bag": 3.0, "purchase": 5.0}
    )
    """What each event counts."""
    refill_days: PositiveInt = 7
    """What fills lists serves so many nights before it follows the events again; category pages do every night."""


@dataclass(frozen=True)
class ListsConfig(Settings):
    """How long lists are and what fills the places a model leaves open."""

    top_n: PositiveInt = 24
    """Products per list, where the touch point does not say otherwise."""
    search_depth: PositiveInt = 4
    """Neighbours searched over all products, as a multiple of the list, before a market's own are searched exactly."""
    popular: PopularConfig = field(default_factory=PopularConfig)
    """What makes a product popular in a market."""
    young_days: int = 14
    """Products launched in so many days before the night are young: exploration keeps a place for them."""
    beside_places: int = 12
    """Places of a list that the other lists of its page do not repeat."""
    batch_customers: PositiveInt = 200_000
    """Customers held in memory at once; each market's products are made ready anew for every batch."""
    device: str = "auto"
    """Where nearest products are searched: auto (CUDA where there is one, else CPU), cpu or cuda. The lists are the
    same to the bit."""
    experiment: str = "lists"
    """Salt of the buckets: another name deals the customers anew."""
    variants: tuple[Variant, ...] = (Variant(DEFAULT),)
    """What is tested against what."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variants(self.variants)
