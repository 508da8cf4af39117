"""Shops without rules, and one list made in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from models.assembly.assembly import Assembled, Candidates, ListShape, Owners, Rankings, Tiers, assemble
from models.assembly.rulebook import BRAND_CAP, CATEGORY_CAP, DEFAULT_RULES, GUARD, PRICE, Attributes, Rulebook

MODEL, POPULAR, PINNED = 0, 1, 2
NAMES = (*DEFAULT_RULES, "boosted", "buried", "excluded", "pinned")
BOOSTED, BURIED, EXCLUDED, PIN = range(len(DEFAULT_RULES), len(NAMES))


def no_rules(products: int, departments: int = 2) -> Rulebook:
    """A rulebook in which nothing holds."""
    none = np.full(products, -1, np.int16)
    empty = np.empty(0, np.int64)
    return Rulebook(
        NAMES, none, np.zeros(products, np.int16), none, empty, empty, empty.astype(np.int16), 0, BRAND_CAP, 0,
        CATEGORY_CAP, np.ones((departments + 1, departments + 1), bool), GUARD, 0.0, float("inf"), PRICE, 0.0, -1,
    )  # fmt: skip


def plain(products: int, **changes: Any) -> Attributes:
    """Products without brand, category, department or price, none of them young."""
    unknown = np.full(products, -1, np.int64)
    nothing = Attributes(unknown, unknown, unknown, np.full(products, np.nan, np.float32), np.zeros(products, bool))
    return replace(nothing, **changes)


def one_list(
    candidates: list[int], n: int, attributes: Attributes, book: Rulebook, *, owner: int = -1,
    popular: tuple[int, ...] = (),
    bought: tuple[int, ...] = (), beside: tuple[int, ...] = (), sold: list[bool] | None = None,
    other_category: bool = False, explore_own: bool = False,
) -> Assembled:  # fmt: skip
    """One list; candidates have the scores 100, 99, .. and `popular` is the only tier."""
    offered = Candidates(
        np.array([candidates], np.int64).reshape(1, -1),
        100 - np.arange(len(candidates), dtype=np.float32)[None],
        np.full((1, len(candidates)), MODEL, np.int8),
    )
    owners = Owners(
        np.array([owner]),
        np.array([0, len(bought)]),
        np.array(bought, np.int64),
        np.array([beside], np.int64).reshape(1, -1),
    )
    ranking = Rankings(
        np.array([0, len(popular)]), np.array(popular, np.int64), 9 - np.arange(len(popular), dtype=np.float32)
    )
    tiers = Tiers(np.zeros((1, 1), np.int64), ranking, np.array([POPULAR], np.int8))
    available = np.ones(len(attributes.brand), bool) if sold is None else np.array(sold)
    shape = ListShape(n, PINNED, other_category, explore_own)
    return assemble(shape, offered, owners, tiers, available, attributes, book)


def shown(made: Assembled) -> list[int]:
    return [int(row) for row in made.rows[0] if row >= 0]


def rules(made: Assembled) -> list[str]:
    return [NAMES[r] if r >= 0 else "" for r, row in zip(made.rules[0], made.rows[0], strict=True) if row >= 0]


def changed(made: Assembled) -> dict[str, int]:
    return {name: int(count) for name, count in zip(NAMES, made.effects, strict=True) if count}
