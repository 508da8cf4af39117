"""PLACEHOLDER until merged."""

from __future__ import annotations
import numpy as np
from dataclasses import dataclass
from models.rulebook import *
from jobs.standing import StandingRules


@dataclass(frozen=True)
class Names:
    products: object
    brands: object
    categories: object
    departments: object


class Policy:
    names = STANDING
    rules = ()

    def rulebook(self, touch_point, market, variant, standing, attributes, names):
        s = variant.standing.get(touch_point, standing)
        p = len(attributes.brand)
        d = len(names.departments)
        mixes = np.ones((d + 1, d + 1), bool)
        if s.guard:
            mixes[:d, :d] = np.eye(d, dtype=bool)
        none = np.full(p, -1, np.int16)
        e = np.empty(0, np.int64)
        return Rulebook(
            STANDING,
            none,
            np.zeros(p, np.int16),
            none,
            e,
            e,
            np.empty(0, np.int16),
            s.brand_cap,
            BRAND_CAP,
            s.category_cap,
            CATEGORY_CAP,
            mixes,
            GUARD,
            s.price_low,
            s.price_high,
            PRICE,
            s.diversity,
            s.explore_place - 1,
        )

    rule_ids = ()

    def as_json(self, r):
        return None

    def repeat_purchase_days(self, market, variant):
        return None


def read_policy(lake, as_of, variants):
    return Policy()
