"""Defines the settings of the step lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from jobs.errors import UserError
from jobs.policy.variants import DEFAULT, Variant, check_variants
from jobs.settings import StepSettings


@dataclass(frozen=True)
class PopularConfig(StepSettings):
    """How the popularity of a product is computed."""

    days: PositiveInt = 28
    """Days of events that count."""
    event_weights: dict[str, float] = field(
        default_factory=lambda: {"click": 1.0, "save": 2.0, "bag": 3.0, "purchase": 5.0}
    )
    """Weight of each event."""
    refill_days: PositiveInt = 7
    """Nights for which one snapshot of popularity pads short lists; category pages follow the events every night."""


Role = Literal["top", "bottom", "dress", "shoes", "outer layer", "bag", "accessory", "none"]


@dataclass(frozen=True)
class OutfitsConfig(StepSettings):
    """How outfits are made of a product and others; weights were chosen on held-out baskets where they could be
    (`tests.benchmarks.outfits`).
    """

    roles: dict[str, Role] = field(default_factory=dict)
    """Category -> what its products are in an outfit; other categories go by their words."""
    looks: Annotated[int, Field(ge=1, le=10)] = 2
    """Most looks of a product in a market."""
    choices: Annotated[int, Field(ge=1, le=50)] = 12
    """Most looks of a product over all markets, which sell different products."""
    pieces: Annotated[int, Field(ge=2, le=5)] = 4
    """Most products of a look beside the one it belongs to."""
    depth: PositiveInt = 24
    """Candidates of each role for a product, over all markets."""
    bought_weight: NonNegativeFloat = 0.25
    """Weight of the log-probability to be bought together."""
    viewed_weight: NonNegativeFloat = 1.0
    """The same of being looked at in one visit."""
    colour_weight: NonNegativeFloat = 0.15
    """What two colours that do not go together cost."""
    level_weight: NonNegativeFloat = 0.3
    """What a price level costs that is e times as high in its category as the other one's."""
    season_weight: NonNegativeFloat = 0.05
    """What a launch 90 days apart costs."""
    stock_weight: NonNegativeFloat = 0.4
    """Weight of the log of the share of markets that sell a piece, of those that still lack a look; twice it for the
    second look, and so on."""


@dataclass(frozen=True)
class ListsConfig(StepSettings):
    """How long lists are, and how the places that a model leaves open are padded."""

    top_n: PositiveInt = 24
    """Products per list, where the touch point does not say otherwise."""
    search_depth: PositiveInt = 4
    """Neighbours searched over all products, as a multiple of the list; a market that sells too few of them is then
    searched exactly."""
    popular: PopularConfig = field(default_factory=PopularConfig)
    """Popularity of a product in a market."""
    young_days: int = 14
    """Products launched within so many days before the night are young: exploration keeps a place for them."""
    beside_places: int = 12
    """First places of a list that the other lists of its page do not repeat."""
    batch_customers: PositiveInt = 100_000
    """Customers held in memory at once; each market's products are prepared again for every batch."""
    outfits: OutfitsConfig = field(default_factory=OutfitsConfig)
    """Sets of products that go together."""
    device: str = "auto"
    """Where nearest products are searched: auto (CUDA if available, else CPU), cpu or cuda. The lists are equal bit for
    bit."""
    experiment: str = "lists"
    """Name of the running A/B test, and salt of its buckets: another name assigns the customers to variants anew."""
    variants: tuple[Variant, ...] = (Variant(DEFAULT),)
    """Variants of the running A/B test; the first is the control, with which the others are compared."""
    starts_on: date | None = None
    """First day whose impressions count in its results; None: the one after the first night with these variants."""
    ends_on: date | None = None
    """Last such day; None: that of the last such night. Lists keep their variants until the settings change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_variants(self.variants)
        if self.starts_on and self.ends_on and self.starts_on > self.ends_on:
            raise UserError(f"starts_on = {self.starts_on} must not be after ends_on = {self.ends_on}")
