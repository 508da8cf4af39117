from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated

import pytest
from pydantic import Field, PositiveInt

from jobs.errors import UserError
from jobs.settings import StepSettings
from models.settings import Settings, Share


@dataclass(frozen=True)
class Basket(Settings):
    places: PositiveInt = 3
    share: Share = 0.5
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SmallBasket(Basket):
    places: Annotated[int, Field(ge=1, le=4)] = 2


@dataclass(frozen=True)
class StepBasket(StepSettings):
    places: PositiveInt = 3


def test_values_are_checked_and_never_converted() -> None:
    names = ["a"]
    made = Basket(4, 1, names)
    assert made.names is names and asdict(made) == {"places": 4, "share": 1, "names": ["a"]}
    assert type(made.share) is int and replace(made, share=0.25).share == 0.25


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="^Basket: places = 0 must be greater than 0; share = nan must be ") as caught:
        Basket(places=0, share=float("nan"))
    assert not isinstance(caught.value, UserError)
    with pytest.raises(ValueError, match="SmallBasket: places = 5 must be less than or equal to 4"):
        replace(SmallBasket(), places=5)


@pytest.mark.parametrize("value", ["3", 3.5, True, None])
def test_a_value_of_another_type_is_a_mistake(value: object) -> None:
    with pytest.raises(ValueError, match=f"places = {value!r} must be a valid integer"):
        Basket(places=value)  # type: ignore[arg-type]


def test_a_mistake_in_the_settings_of_a_step_is_the_users() -> None:
    with pytest.raises(UserError, match="StepBasket: places = 0"):
        StepBasket(places=0)
