"""Compiles the policy of a night into the arrays of `models.rulebook`.

Legend: P products, C categories, D departments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from jobs.policy import FIRST, Policy
from jobs.policy_rules import ANY, KINDS, Rule
from jobs.reading import clean
from jobs.standing import StandingRules
from jobs.tables import RECOMMENDED_FOR_YOU
from jobs.variants import Variant
from models.rulebook import BRAND_CAP, CATEGORY_CAP, GUARD, PRICE, Attributes, Rulebook, RuleNumbers
from models.top_n import BoolMask, Rows
from models.vocabulary import Vocabulary

NONE = -1
KEPT = 64
"""Compiled parts that are kept: markets without rules of their own share one, and memory stays bounded."""


@dataclass(frozen=True)
class Names:
    """What the numbers in `Attributes` stand for."""

    products: Vocabulary
    """[P], in the order of the attributes' arrays."""
    brands: Vocabulary
    categories: Vocabulary
    departments: Vocabulary

    def of(self, attribute: str) -> Vocabulary:
        """The values of an attribute as the table policy calls it."""
        return {"product_id": self.products, "brand": self.brands, "category": self.categories,
                "department": self.departments}[attribute]  # fmt: skip

    def numbers(self, attribute: str, values: Iterable[str]) -> dict[str, int]:
        """Value -> its number; -1 where no product has it."""
        asked = list(values)
        return dict(zip(asked, self.of(attribute).encode(asked, missing="negative").tolist(), strict=True))


class Rulebooks:
    """The rulebooks of a night: one policy over one night's products.

    Markets under the same rules get the same arrays, so nobody may write into them.
    """

    def __init__(self, policy: Policy, names: Names, attributes: Attributes) -> None:
        assert len(names.products) == len(attributes.brand), "names and attributes are of different products"
        self.policy = policy
        self.names = names
        self.attributes = attributes
        self._numbers = _numbers(policy.rules, names)
        selecting = [(n, r) for n, r in enumerate(policy.rules, FIRST) if r.kind in ("exclude", "boost", "bury")]
        self._rows = {number: self._selected(rule) for number, rule in selecting}
        self._compiled = lru_cache(KEPT)(self._compile)
        self._excluded = lru_cache(KEPT)(self._compile_excluded)
        self._moved = lru_cache(KEPT)(self._compile_moved)

    def rulebook(self, touch_point: str, market: str, variant: Variant, standing: StandingRules) -> Rulebook:
        """What the lists of a touch point, market and variant must keep to.

        `standing` is the touch point's own; the variant may replace it.
        """
        holding = self.policy.holding(touch_point, market, variant)
        return self._compiled(holding, variant.standing.get(touch_point, standing))

    def repeat_purchase_days(self, market: str, variant: Variant) -> npt.NDArray[np.float32]:
        """[C], days after a purchase from which a customer's list may show the product again; infinity: never."""
        days = np.full(len(self.names.categories), np.inf, dtype=np.float32)
        holding = self.policy.holding(RECOMMENDED_FOR_YOU.name, market, variant)
        rules = [rule for _, rule in self._of_kind(holding, "repeat_purchase")]
        for rule in sorted(rules, key=lambda rule: rule.rank, reverse=True):  # the rule that wins comes last
            if (number := self._number("category", rule.value)) >= 0:
                days[number] = rule.amount
        return days

    def hidden_includes(self) -> list[str]:
        """One text an include whose product another rule excludes, in some of its lists; exclusion wins."""
        shown_at = (None, *KINDS["include"].touch_points)
        excludes = [
            (number, rule) for number, rule in enumerate(self.policy.rules, FIRST)
            if rule.kind == "exclude" and rule.touch_point in shown_at
        ]  # fmt: skip
        return [
            f"{clean(rule.rule_id)}: {clean(rule.value)!r} is excluded by {clean(other.rule_id)}"
            for rule in self.policy.rules if rule.kind == "include"
            for number, other in excludes
            if rule.meets(other) and self._number("product_id", rule.value) in self._rows[number]
        ]  # fmt: skip

    # --- parts

    def _number(self, attribute: str, value: str | None) -> int:
        return self._numbers[attribute, str(value)]

    def _selected(self, rule: Rule) -> Rows:
        """Products with the rule's value, ascending."""
        attribute = str(rule.attribute)
        number = self._number(attribute, rule.value)
        if number < 0 or attribute == "product_id":
            return np.array([number] if number >= 0 else [], dtype=np.int64)
        return np.flatnonzero(getattr(self.attributes, attribute) == number)

    def _of_kind(self, holding: Sequence[int], *kinds: str) -> list[tuple[int, Rule]]:
        """(number, rule) of those kinds, by rising number."""
        return [(n, self.policy.rule(n)) for n in holding if self.policy.rule(n).kind in kinds]

    def _first(self, holding: Sequence[int], kind: str) -> tuple[int, Rule | None]:
        """The rule that wins among those of a kind of which one can hold; (-1, None) where there is none."""
        ranked = sorted(self._of_kind(holding, kind), key=lambda found: found[1].rank)
        return ranked[0] if ranked else (NONE, None)

    def _compile(self, holding: tuple[int, ...], standing: StandingRules) -> Rulebook:
        excluded = self._excluded(tuple(number for number, _ in self._of_kind(holding, "exclude")))
        places, mover = self._moved(tuple(number for number, _ in self._of_kind(holding, "boost", "bury")))
        pins, pin_places, pin_rules = self._pins(holding, excluded)
        mixes, guard_rule = self._mixes(holding, standing.guard)
        brand_cap, brand_rule = self._cap(holding, "brand_cap", standing.brand_cap, BRAND_CAP)
        category_cap, category_rule = self._cap(holding, "category_cap", standing.category_cap, CATEGORY_CAP)
        low, high, price_rule = self._window(holding, standing)
        return Rulebook(
            names=self.policy.names, excluded=excluded, places=places, mover=mover,
            pins=pins, pin_places=pin_places, pin_rules=pin_rules,
            brand_cap=brand_cap, brand_cap_rule=brand_rule,
            category_cap=category_cap, category_cap_rule=category_rule,
            mixes=mixes, guard_rule=guard_rule, price_low=low, price_high=high, price_rule=price_rule,
            diversity=standing.diversity, explore_place=standing.explore_place - 1,
        )  # fmt: skip

    def _compile_excluded(self, numbers: tuple[int, ...]) -> RuleNumbers:
        excluded = np.full(len(self.names.products), NONE, dtype=np.int16)
        for number in reversed(numbers):  # of several rules the one with the lowest number is named
            excluded[self._rows[number]] = number
        return excluded

    def _compile_moved(self, numbers: tuple[int, ...]) -> tuple[npt.NDArray[np.int16], RuleNumbers]:
        total = np.zeros(len(self.names.products), dtype=np.int64)
        mover = np.full(len(total), NONE, dtype=np.int16)
        # The farthest mover is written last, and of equally far ones the one with the lowest number.
        for number in sorted(numbers, key=lambda number: (self.policy.rule(number).amount, -number)):
            rule = self.policy.rule(number)
            total[self._rows[number]] += int(rule.amount or 0) * (1 if rule.kind == "boost" else -1)
            mover[self._rows[number]] = number
        mover[total == 0] = NONE
        return np.clip(total, -32_767, 32_767).astype(np.int16), mover

    def _pins(self, holding: Sequence[int], excluded: RuleNumbers) -> tuple[Rows, Rows, RuleNumbers]:
        """Included products of the catalogue by place; what another rule excludes is not shown at all."""
        pins = [
            (int(rule.amount or 0) - 1, row, number)
            for number, rule in self._of_kind(holding, "include")
            if (row := self._number("product_id", rule.value)) >= 0 and excluded[row] == NONE
        ]
        places, rows, numbers = zip(*sorted(pins), strict=True) if pins else ((), (), ())
        return np.array(rows, np.int64), np.array(places, np.int64), np.array(numbers, np.int16)

    def _cap(self, holding: Sequence[int], kind: str, standing: int, standing_rule: int) -> tuple[int, int]:
        number, rule = self._first(holding, kind)
        if rule is not None:
            return int(rule.amount or 0), number
        return standing, standing_rule if standing else NONE

    def _window(self, holding: Sequence[int], standing: StandingRules) -> tuple[float, float, int]:
        number, rule = self._first(holding, "price_window")
        if rule is not None:
            return rule.low or 0.0, float("inf") if rule.high is None else rule.high, number
        bounded = standing.price_low > 0 or standing.price_high < float("inf")
        return standing.price_low, standing.price_high, PRICE if bounded else NONE

    def _mixes(self, holding: Sequence[int], guard: bool) -> tuple[BoolMask, int]:
        """[D + 1, D + 1] and the rule to name for what is kept out.

        A department that rules speak of shows itself and what they name, whether or not there is
        a guard; any other follows the guard. Without a department everything mixes.
        """
        departments = len(self.names.departments)
        own, rules = np.eye(departments, dtype=bool), self._of_kind(holding, "mix_departments")
        allowed = np.zeros_like(own)
        spoken_of = np.zeros(departments, dtype=bool)
        for _, rule in rules:
            lists, shown = self._departments(rule.value), self._departments(rule.shown)
            spoken_of[lists] = True
            allowed[np.ix_(lists, shown)] = True
        mixes = np.ones((departments + 1, departments + 1), dtype=bool)
        mixes[:-1, :-1] = np.where(spoken_of[:, None], own | allowed, own | (not guard))
        if guard:
            return mixes, GUARD
        return mixes, rules[0][0] if rules and not mixes.all() else NONE

    def _departments(self, value: str | None) -> Rows:
        if value == ANY:
            return np.arange(len(self.names.departments))
        number = self._number("department", value)
        return np.array([number] * (number >= 0), np.int64)


def _numbers(rules: Sequence[Rule], names: Names) -> dict[tuple[str, str], int]:
    """(attribute, value) -> number of everything that rules select by; -1 where no product has it."""
    values: dict[str, set[str]] = {}
    for attribute, value in (pair for rule in rules for pair in rule.selects):
        values.setdefault(attribute, set()).add(value)
    return {
        (attribute, value): number
        for attribute, asked in values.items()
        for value, number in names.numbers(attribute, asked).items()
    }
