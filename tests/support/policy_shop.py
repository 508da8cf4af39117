"""Five products and the rulebooks of rules about them."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from typing import Any

import numpy as np

from jobs.policy.compile import Names, Rulebooks, policy_on
from jobs.policy.parse import rules_of
from jobs.policy.rules import TOUCH_POINTS
from jobs.policy.variants import DefaultRules, Variant
from models.assembly.rulebook import Attributes, Rulebook
from models.vocabulary import Vocabulary

NIGHT = date(2026, 4, 6)
VARIANT = Variant("a")
YMAL, PAB, BAG, RFY, RANKING = TOUCH_POINTS[:5]
NAMES = Names(
    Vocabulary(["P0", "P1", "P2", "P3", "P4"]),
    Vocabulary(["Acme", "Best"]),
    Vocabulary(["hats", "socks"]),
    Vocabulary(["children", "men", "women"]),
)
ATTRIBUTES = Attributes(
    brand=np.array([0, 0, 1, 1, -1]),
    category=np.array([0, 1, 0, 1, -1]),
    department=np.array([2, 2, 1, 0, -1]),
    price=np.array([10, 20, 30, 40, np.nan], dtype=np.float32),
    young=np.zeros(5, dtype=bool),
)


def books(*rows: dict[str, Any]) -> Rulebooks:
    """The rulebooks of rows; a row that lacks a name is called by its place: r0, r1, .."""
    named = [{"rule_id": f"r{i}"} | row for i, row in enumerate(rows)]
    return Rulebooks(policy_on(rules_of(named), NIGHT), NAMES, ATTRIBUTES)


def book(
    *rows: dict[str, Any],
    at: str = YMAL,
    market: str = "GB",
    variant: Variant = VARIANT,
    standing: DefaultRules = DefaultRules(),
) -> Rulebook:
    """The rulebook of rows for one touch point, market and variant."""
    return books(*rows).rulebook(at, market, variant, standing)


def on(attribute: str, value: str, kind: str, **columns: Any) -> dict[str, Any]:
    """A row that selects products."""
    return {"kind": kind, "attribute": attribute, "value": value, **columns}


def equal(one: Rulebook, two: Rulebook) -> bool:
    """Whether two rulebooks say the same."""
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(Rulebook))
