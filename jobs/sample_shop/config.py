"""Defines the sizes of the synthetic shop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from models.settings import Settings

MONDAY = 0


@dataclass(frozen=True)
class ShopSize(Settings):
    """One synthetic shop. Two sizes that differ only in `days` agree, byte for byte, on the days they share.

    Raises ValueError at construction when a number cannot make a shop.
    """

    name: str
    """Name of the size; written into SYNTHETIC.txt."""
    seed: int
    """Root of every random stream; equal seeds and sizes give byte-equal files."""
    first_day: date
    """Day of the first files, UTC; a Monday, because weekly launches are counted from it."""
    days: PositiveInt
    """How many daily files `write_shop` writes."""
    products: PositiveInt
    """Products already launched on the first day."""
    weekly_launches: NonNegativeInt
    """Products launched in each later week, on random days from Monday to Friday."""
    brands: PositiveInt
    """Invented brands."""
    categories: Annotated[int, Field(ge=2, le=40)]
    """How many of the fashion categories, in their fixed order, the shop carries."""
    departments_per_category: Annotated[int, Field(ge=1, le=3)]
    """At most how many departments (women, men, children) carry one category."""
    styles: Annotated[int, Field(ge=1, le=8)]
    """Styles of the whole shop (outdoor, street, ..), arranged as a ring: neighbours go together."""
    styles_per_category: PositiveInt
    """How many of those styles one category has; category x department x style is a group of alternatives."""
    markets: PositiveInt
    """Markets, the first ones with real country codes, those beyond invented."""
    customers: PositiveInt
    """Customers, including those who join later and those who never come."""
    daily_events: PositiveInt
    """Mean clean events a day; a day differs by weekday and by chance."""
    dirty_share: Annotated[float, Field(ge=0, le=0.2)] = 0.005
    """Dirty rows added per clean row, in the event files and in the product files."""
    sized: bool = False
    """Whether bag-adds, purchases and availability have sizes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first_day.weekday() != MONDAY:
            raise ValueError(f"first_day must be a Monday, but {self.first_day} is a {self.first_day:%A}")
        if self.styles_per_category > self.styles:
            raise ValueError(f"styles_per_category = {self.styles_per_category} exceeds styles = {self.styles}")

    @property
    def last_day(self) -> date:
        """The day of the last files."""
        return self.first_day + timedelta(days=self.days - 1)

    @property
    def as_of(self) -> date:
        """The night that uses all events: the day after the last one."""
        return self.first_day + timedelta(days=self.days)

    def date_of(self, day: int) -> date:
        """Calendar date of day number `day`, 0 being the first day; it may lie beyond the last day."""
        return self.first_day + timedelta(days=day)


_SEED = 20260406
TINY = ShopSize(
    name="tiny",
    seed=_SEED,
    first_day=date(2026, 3, 9),
    days=28,
    products=150,
    weekly_launches=3,
    brands=24,
    categories=12,
    departments_per_category=1,
    styles=4,
    styles_per_category=1,
    markets=3,
    customers=300,
    daily_events=215,
)
SAMPLE = ShopSize(
    name="sample",
    seed=_SEED,
    first_day=date(2026, 1, 12),
    days=84,
    products=1_760,
    weekly_launches=20,
    brands=120,
    categories=24,
    departments_per_category=2,
    styles=6,
    styles_per_category=2,
    markets=12,
    customers=8_000,
    daily_events=4_800,
)
MILLION = ShopSize(
    name="million",
    seed=_SEED,
    first_day=date(2026, 1, 12),
    days=84,
    products=46_400,
    weekly_launches=300,
    brands=900,
    categories=40,
    departments_per_category=3,
    styles=8,
    styles_per_category=8,
    markets=200,
    customers=1_000_000,
    daily_events=239_000,
)

SIZES = {size.name: size for size in (TINY, SAMPLE, MILLION)}
