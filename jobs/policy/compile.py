"""Reads the merchandisers' rules of a night, and compiles them for one market."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.policy.parse import rules_of
from jobs.policy.rules import ANY, ATTRIBUTES, COLUMNS, EVERYWHERE, KINDS, Rule
from jobs.policy.variants import DefaultRules, Variant
from jobs.tables.shop import POLICY, RECOMMENDED_FOR_YOU
from jobs.text import clean
from models.arrays import BoolMask, Rows
from models.assembly.rulebook import (
    BRAND_CAP,
    CATEGORY_CAP,
    DEFAULT_RULES,
    GUARD,
    PRICE,
    SIZE_RUN,
    Attributes,
    Rulebook,
    RuleNumbers,
)
from models.vocabulary import Vocabulary

FIRST = len(DEFAULT_RULES)
"""Number of a policy's first rule."""


@dataclass(frozen=True)
class Policy:
    """The rules of one night."""

    as_of: date
    rules: tuple[Rule, ...] = ()
    """Those that hold on the night, by rule_id; the number of the i-th is FIRST + i."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Rule number -> name, the same for every touch point, market and variant."""
        return (*DEFAULT_RULES, *(rule.rule_id for rule in self.rules))

    def rule(self, number: int) -> Rule:
        """The rule of a number from FIRST on."""
        return self.rules[number - FIRST]

    def holding(self, touch_point: str, market: str, variant: Variant) -> tuple[int, ...]:
        """Numbers of the rules for the lists of a touch point, market and variant, rising."""
        assert touch_point in EVERYWHERE, touch_point
        if not variant.policy:
            return ()
        return tuple(
            number
            for number, rule in enumerate(self.rules, start=FIRST)
            if rule.within(touch_point, market, variant.name)
        )

    def repeat_purchase_days(self, categories: Vocabulary, market: str, variant: Variant) -> npt.NDArray[np.float32]:
        """[C], days after a purchase from which a customer's list may show the product again; infinity: never."""
        days = np.full(len(categories), np.inf, dtype=np.float32)
        holding = (self.rule(number) for number in self.holding(RECOMMENDED_FOR_YOU.name, market, variant))
        rules = [rule for rule in holding if rule.kind == "repeat_purchase"]
        for rule in sorted(rules, key=lambda rule: rule.rank, reverse=True):  # the rule that wins comes last
            number = categories.encode([str(rule.value)], missing="negative")[0]
            if number >= 0:
                days[number] = rule.amount
        return days

    def as_json(self, name: str) -> str | None:
        """The rule of that name as JSON, for the table rule_effects; None for a default rule.

        Raises KeyError for a name that no rule of the night has.
        """
        return None if name in DEFAULT_RULES else self._by_name[name].as_json()

    @cached_property
    def _by_name(self) -> dict[str, Rule]:
        return {rule.rule_id: rule for rule in self.rules}


def policy_on(rules: Sequence[Rule], as_of: date) -> Policy:
    """The policy of one night: those of the checked rules that hold then."""
    return Policy(as_of, tuple(sorted((rule for rule in rules if rule.on(as_of)), key=lambda rule: rule.rule_id)))


def stored_rules(lake: Lake) -> list[Rule]:
    """Every rule of the table policy; none where the table is not there.

    Raises UserError where the rows are no rules: other tools may write the table.
    """
    if not lake.exists(POLICY):
        return []
    try:
        return rules_of(lake.arrow(POLICY, COLUMNS).to_pylist())
    except (UserError, pa.ArrowException) as error:
        raise UserError(
            f"the table policy cannot be used: {error}; load a checked file with `python -m jobs policy --file "
            "rules.csv`"
        ) from None


def read_policy(lake: Lake, as_of: date, variants: Sequence[Variant] | None = None) -> Policy:
    """The rules that hold on a night.

    Raises UserError where the table has mistakes, or a rule of the night names none of `variants`
    (None: not checked); a rule that is over may name a variant that is gone.
    """
    policy = policy_on(stored_rules(lake), as_of)
    if variants is not None:
        known = [variant.name for variant in variants]
        unknown = [f"{rule.rule_id} ({rule.variant})" for rule in policy.rules if rule.variant not in (None, *known)]
        if unknown:
            raise UserError(
                f"rules name variants that are not among tonight's {', '.join(known)}: {', '.join(unknown)}; end these "
                "rules, or correct either"
            )
    return policy


# Notes on valid rules that can have no effect tonight.


def unknown_names(rules: Iterable[Rule], names: Names, markets: Vocabulary | None = None) -> list[str]:
    """A note for each name that no product, or no market, of the night has; `markets` None: not checked.

    These are no errors: a product may come back, and a market may open.
    """
    known = {attribute: set(names.of(attribute).ids.to_pylist()) for attribute in ATTRIBUTES}
    if markets is not None:
        known["market"] = set(markets.ids.to_pylist())
    return [
        f"{clean(rule.rule_id)}: no {what} {clean(value)!r} tonight{_nearest(what, value, known[what])}"
        for rule in rules
        for what, value in [*rule.selects, *([("market", rule.market)] if rule.market else [])]
        if what in known and value not in known[what]
    ]


def _nearest(what: str, value: str, known: set[str]) -> str:
    if what in ("product_id", "market"):  # codes that look alike have nothing in common
        return ""
    spelt = {name.casefold(): name for name in sorted(known)}
    close = get_close_matches(value.casefold(), spelt, n=1)
    return f", but {clean(spelt[close[0]])!r}" if close else ""


def note(rules: int, notes: Sequence[str], shown: int = 3) -> str:
    """One line for the ledger: the number of rules, and the first of the notes on them."""
    counted = f"{rules} rule" + ("" if rules == 1 else "s")
    if not notes:
        return counted
    said = "1 note" if len(notes) == 1 else f"{len(notes)} notes"
    return f"{counted}; {said}: {_some(notes, shown, '; ')}"


def _some(texts: Sequence[str], shown: int, between: str = ", ") -> str:
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return between.join(texts[:shown]) + more


# Rulebooks. Legend: P products, C categories, D departments.

NONE = -1
KEPT = 64
"""Compiled parts that are cached: markets without rules of their own share one, and memory stays bounded."""


@dataclass(frozen=True)
class Names:
    """The vocabularies behind the numbers in `Attributes`."""

    products: Vocabulary
    """[P], in the order of the attributes' arrays."""
    brands: Vocabulary
    categories: Vocabulary
    departments: Vocabulary

    def of(self, attribute: str) -> Vocabulary:
        """The values of an attribute as the table policy calls it."""
        vocabularies = (self.products, self.brands, self.categories, self.departments)
        return vocabularies[ATTRIBUTES.index(attribute)]


class Rulebooks:
    """The rulebooks of a night: one policy over one night's products.

    Markets under the same rules share their arrays, which must not be written to.
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

    def rulebook(self, touch_point: str, market: str, variant: Variant, defaults: DefaultRules) -> Rulebook:
        """The rules for the lists of a touch point, market and variant.

        `defaults` are the touch point's own rules; the variant may replace them.
        """
        holding = self.policy.holding(touch_point, market, variant)
        return self._compiled(holding, variant.standing.get(touch_point, defaults))

    def size_run(self, touch_point: str, market: str, variant: Variant, defaults: DefaultRules) -> tuple[float, int]:
        """(least share of its sizes that a product must have in stock, the rule that says so) for such lists; one with
        less steps back.
        """
        number, rule = self._first(self.policy.holding(touch_point, market, variant), "size_run")
        if rule is not None:
            return float(rule.amount or 0), number
        return variant.standing.get(touch_point, defaults).size_run, SIZE_RUN

    def notes(self, markets: Vocabulary | None = None, available: BoolMask | None = None) -> list[str]:
        """Notes on rules that can have no effect tonight, or not everywhere: names that nothing has, products that the
        rule's market does not sell, and includes that an exclusion wins over.

        `available` [M, P] is what the `markets` sell; without both, markets are not looked at.
        """
        found = unknown_names(self.policy.rules, self.names, markets)
        if markets is not None and available is not None:
            found += self._unsold(markets, available)
        return found + self.hidden_includes()

    def _unsold(self, markets: Vocabulary, available: BoolMask) -> Iterator[str]:
        """A note for each value of a rule of whose products the rule's market sells none; an include is looked at in
        every market.
        """
        for rule in self.policy.rules:
            row = -1 if rule.market is None else markets.encode([rule.market], missing="negative")[0]
            if rule.market is not None and row < 0:
                continue  # noted as unknown
            rows = np.arange(len(markets)) if rule.market is None else np.array([row])
            for attribute, value in rule.selects:
                selected = self._having(attribute, value)
                lacking = rows[~available[np.ix_(rows, selected)].any(axis=1)]
                if len(selected) and (len(lacking) == len(rows) or (rule.kind == "include" and len(lacking))):
                    where = markets.decode(lacking).to_pylist()
                    everywhere = rule.market is None and len(lacking) == len(rows)
                    place = "any market" if everywhere else _some([clean(name) for name in where], 3)
                    what = (
                        repr(clean(value)) if attribute == "product_id" else f"nothing of {attribute} {clean(value)!r}"
                    )
                    unsold = "is not sold in" if attribute == "product_id" else "is sold in"
                    yield f"{clean(rule.rule_id)}: {what} {unsold} {place} tonight"

    def hidden_includes(self) -> list[str]:
        """A note for each include whose product another rule excludes in some of its lists; exclusion wins."""
        shown_at = (None, *KINDS["include"].touch_points)
        excludes = [
            (number, rule)
            for number, rule in enumerate(self.policy.rules, FIRST)
            if rule.kind == "exclude" and rule.touch_point in shown_at
        ]
        return [
            f"{clean(rule.rule_id)}: {clean(rule.value)!r} is excluded by {clean(other.rule_id)}"
            for rule in self.policy.rules
            if rule.kind == "include"
            for number, other in excludes
            if rule.meets(other) and self._number("product_id", rule.value) in self._rows[number]
        ]

    def _number(self, attribute: str, value: str | None) -> int:
        return self._numbers[attribute, str(value)]

    def _selected(self, rule: Rule) -> Rows:
        """Products with the rule's value, ascending."""
        return self._having(str(rule.attribute), rule.value)

    def _having(self, attribute: str, value: str | None) -> Rows:
        """Products with a value of an attribute, ascending."""
        number = self._number(attribute, value)
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

    def _compile(self, holding: tuple[int, ...], defaults: DefaultRules) -> Rulebook:
        excluded = self._excluded(tuple(number for number, _ in self._of_kind(holding, "exclude")))
        places, mover = self._moved(tuple(number for number, _ in self._of_kind(holding, "boost", "bury")))
        pins, pin_places, pin_rules = self._pins(holding, excluded)
        mixes, guard_rule = self._mixes(holding, defaults.guard)
        brand_cap, brand_rule = self._cap(holding, "brand_cap", defaults.brand_cap, BRAND_CAP)
        category_cap, category_rule = self._cap(holding, "category_cap", defaults.category_cap, CATEGORY_CAP)
        low, high, price_rule = self._window(holding, defaults)
        return Rulebook(
            names=self.policy.names,
            excluded=excluded,
            places=places,
            mover=mover,
            pins=pins,
            pin_places=pin_places,
            pin_rules=pin_rules,
            brand_cap=brand_cap,
            brand_cap_rule=brand_rule,
            category_cap=category_cap,
            category_cap_rule=category_rule,
            mixes=mixes,
            guard_rule=guard_rule,
            price_low=low,
            price_high=high,
            price_rule=price_rule,
            diversity=defaults.diversity,
            explore_place=defaults.explore_place - 1,
        )

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

    def _cap(self, holding: Sequence[int], kind: str, default: int, default_rule: int) -> tuple[int, int]:
        number, rule = self._first(holding, kind)
        if rule is not None:
            return int(rule.amount or 0), number
        return default, default_rule if default else NONE

    def _window(self, holding: Sequence[int], defaults: DefaultRules) -> tuple[float, float, int]:
        number, rule = self._first(holding, "price_window")
        if rule is not None:
            return rule.low or 0.0, float("inf") if rule.high is None else rule.high, number
        bounded = defaults.price_low > 0 or defaults.price_high < float("inf")
        return defaults.price_low, defaults.price_high, PRICE if bounded else NONE

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
    found: dict[tuple[str, str], int] = {}
    for attribute in ATTRIBUTES:
        values = sorted({value for rule in rules for each, value in rule.selects if each == attribute})
        numbers = names.of(attribute).encode(values, missing="negative").tolist()
        found |= {(attribute, value): number for value, number in zip(values, numbers, strict=True)}
    return found
