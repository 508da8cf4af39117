"""Checks settings against the limits that their fields declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

from pydantic import BaseModel, Field, ValidationError, create_model

Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1, both included."""
Dropout = Annotated[float, Field(ge=0, lt=1)]
"""Share of numbers that are zeroed while training."""


class Settings:
    """Base of frozen dataclasses whose fields declare limits, such as `days: PositiveInt = 28`.

    Constructing one raises `error` with the class, the field, the value and the limit of every mistake. Values are
    checked, never converted, because the identity of a run hashes them.
    """

    error: ClassVar[type[ValueError]] = ValueError

    def __post_init__(self) -> None:
        try:
            _limits_of(type(self)).model_validate(vars(self), strict=True)  # type: ignore[arg-type]  # mypy: python/mypy#11470
        except ValidationError as found:
            mistakes = (
                f"{'.'.join(map(str, mistake['loc']))} = {mistake['input']!r:.80} {in_words(mistake['msg'])}"
                for mistake in found.errors()
            )
            raise self.error(f"{type(self).__name__}: {'; '.join(mistakes)}") from None


Chosen = TypeVar("Chosen", bound=Settings)


@cache
def _limits_of(settings: type[Settings]) -> type[BaseModel]:
    hints = get_type_hints(settings, include_extras=True)
    fields: dict[str, Any] = {field.name: (hints[field.name], ...) for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    return create_model(settings.__name__, **fields)


def in_words(message: str) -> str:
    """Pydantic's message as the rest of a sentence: "Input should be greater than 0" -> "must be greater than 0"."""
    return message.replace("Input should", "must", 1)


def settings_of(name: str, settings: type[Chosen], values: Mapping[str, Any]) -> Chosen:
    """`settings(**values)`; raises ValueError, naming `name`, for a value that is no field of it."""
    known = [field.name for field in dataclasses.fields(settings)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return settings(**values)
