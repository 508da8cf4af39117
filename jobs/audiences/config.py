"""Defines the settings of the step audiences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from jobs.errors import UserError
from jobs.lists.config import PopularConfig
from jobs.settings import StepSettings
from jobs.tables.audiences import TRIGGERS

Days = Annotated[int, Field(ge=1, le=90)]
"""As long as `clean` keeps what was sent, at least."""


@dataclass(frozen=True)
class AffinityConfig(StepSettings):
    """How it is computed what a customer turns to."""

    places: PositiveInt = 10
    """Most brands, categories and colours of a customer."""
    event_weights: dict[str, float] = field(default_factory=lambda: PopularConfig().event_weights)
    """Weight of each event."""
    half_life_days: PositiveFloat = 30
    """Days back from a customer's last event in which the weight of an event halves."""
    prior: PositiveFloat = 5
    """Weighted events that draw a lift to 1: with fewer of their own, customers are mostly taken for usual ones."""
    settle_nights: PositiveInt = 7
    """Nights for which lifts are relative to the same shares; then all customers are computed anew."""


@dataclass(frozen=True)
class CampaignConfig(StepSettings):
    """Whom a night writes to, and how often."""

    triggers: tuple[str, ...] = tuple(TRIGGERS)
    """The triggers in use; a customer gets the first one that has something to say."""
    products: PositiveInt = 6
    """Most products of a message."""
    weekly: PositiveInt = 2
    """Most messages that a customer gets within seven days; at most one a night."""
    trigger_days: Days = 7
    """Days from a message to the customer's next one of the same trigger, at least."""
    product_days: Days = 30
    """Days for which a trigger shows a customer no product twice."""
    quiet_days: PositiveInt = 60
    """Customers without an event for so many days are left alone."""
    interest_days: PositiveInt = 28
    """Days for which a product that a customer looked at is of interest."""
    least_fall: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Least fall of a price since the night before, as a share of it."""
    least_lift: PositiveFloat = 1.5
    """Least lift of a brand whose new products are told."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.triggers if name not in TRIGGERS]:
            raise UserError(f"triggers: {unknown[0]!r} is not one of {', '.join(TRIGGERS)}")


@dataclass(frozen=True)
class AudiencesConfig(StepSettings):
    """Settings of the step audiences."""

    affinities: AffinityConfig = field(default_factory=AffinityConfig)
    campaigns: CampaignConfig = field(default_factory=CampaignConfig)
    batch_customers: PositiveInt = 100_000
    """Customers held in memory at once."""
