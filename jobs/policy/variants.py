"""Defines the A/B variants of the lists, and assigns customers to them by their ids alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from jobs.errors import UserError
from jobs.settings import StepSettings
from models.settings import Share


@dataclass(frozen=True)
class DefaultRules(StepSettings):
    """Settings of one touch point; `policy` rows of the same kind go before them in their scope."""

    guard: bool = False
    """Whether a list of a product shows its own department only, and products without a department."""
    brand_cap: NonNegativeInt = 0
    """Most products of one brand in a list; 0: any number."""
    category_cap: NonNegativeInt = 0
    """Most products of one category in a list; 0: any number."""
    price_low: NonNegativeFloat = 0.0
    """Least price, as a share of the price of the product whose list it is."""
    price_high: NonNegativeFloat = float("inf")
    """Greatest price, as such a share."""
    diversity: NonNegativeFloat = 0.0
    """Places that a product loses for each product of its brand that is shown before it."""
    explore_place: NonNegativeInt = 0
    """Place (1 being the first) kept for a product younger than `ListsConfig.young_days`; 0: none."""
    size_run: Share = 0.5
    """Share of the sizes it is made in below which a product steps back behind all others; 0: none does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.price_low > self.price_high:
            raise UserError(f"price_low = {self.price_low} must not exceed price_high = {self.price_high}")


DEFAULT = "default"
BUCKETS = 10_000


@dataclass(frozen=True)
class Variant(StepSettings):
    """One side of an A/B test; the one variant of a shop that tests nothing is `default`."""

    name: Annotated[str, Field(pattern=r"^[^\W\d]\w*$")] = DEFAULT
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the customers who see it; the shares of all variants add up to 1."""
    policy: bool = True
    """Whether the rules of the table policy hold."""
    standing: dict[str, DefaultRules] = field(default_factory=dict)
    """Default rules by touch point, in place of the touch point's own."""


def check_variants(variants: Sequence[Variant]) -> None:
    """Raise UserError unless names differ and shares add up to 1."""
    names = [variant.name for variant in variants]
    if len(set(names)) < len(names):
        raise UserError(f"two variants have one name: {', '.join(names)}")
    if abs(sum(variant.share for variant in variants) - 1) > 1e-9:
        raise UserError(f"the shares of {', '.join(names)} add up to {sum(v.share for v in variants):g}, must be 1")


def bucket(customer_id: str, experiment: str) -> int:
    """0 .. BUCKETS - 1, from the first 8 hex digits of sha256("EXPERIMENT:CUSTOMER").

    In SQL: `conv(substr(sha2(concat('EXPERIMENT:', customer_id), 256), 1, 8), 16, 10) % 10000`.
    """
    digits = hashlib.sha256(f"{experiment}:{customer_id}".encode()).hexdigest()[:8]
    return int(digits, 16) % BUCKETS


def variant_of(customer_id: str, experiment: str, variants: Sequence[Variant]) -> str:
    """The variant that a customer sees: buckets are given out in the order of `variants`."""
    if len(variants) == 1:
        return variants[0].name
    place, end = bucket(customer_id, experiment), 0.0
    for variant in variants:
        end += variant.share * BUCKETS
        if place < round(end):
            return variant.name
    return variants[-1].name
