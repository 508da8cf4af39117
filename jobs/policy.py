"""The merchandisers' rules that hold on a night, read from the table policy and checked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import pyarrow as pa

from jobs.errors import UserError
from jobs.lake import Lake
from jobs.policy_checks import rules_of, unknown_variants
from jobs.policy_rules import COLUMNS, TOUCH_POINTS, Rule
from jobs.tables import POLICY
from jobs.variants import Variant
from models.rulebook import STANDING

FIRST = len(STANDING)
"""Number of a policy's first rule."""


@dataclass(frozen=True)
class Policy:
    """The rules of one night; `jobs.policy_rulebooks` compiles them for a night's products."""

    as_of: date
    rules: tuple[Rule, ...] = ()
    """Those that hold on the night, by rule_id; the number of the i-th is FIRST + i."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Rule number -> name, as `Rulebook.names`: the same for every touch point, market and variant."""
        return (*STANDING, *(rule.rule_id for rule in self.rules))

    def rule(self, number: int) -> Rule:
        """The rule of a number from FIRST on."""
        return self.rules[number - FIRST]

    def holding(self, touch_point: str, market: str, variant: Variant) -> tuple[int, ...]:
        """Numbers of the rules for the lists of a touch point, market and variant, rising."""
        assert touch_point in TOUCH_POINTS, touch_point
        if not variant.policy:
            return ()
        return tuple(
            number for number, rule in enumerate(self.rules, start=FIRST)
            if rule.within(touch_point, market, variant.name)
        )  # fmt: skip

    def as_json(self, name: str) -> str | None:
        """What the rule called `name` says, for the table rule_effects; None for a standing rule.

        Raises KeyError for a name that no rule of the night has.
        """
        return None if name in STANDING else self._by_name[name].as_json()

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
    remedy = "; load a checked file with `python -m jobs policy --file rules.csv`"
    try:
        return rules_of(lake.arrow(POLICY, COLUMNS).to_pylist())
    except (UserError, pa.ArrowException) as error:
        raise UserError(f"the table policy cannot be used: {error}{remedy}") from None


def read_policy(lake: Lake, as_of: date, variants: Sequence[Variant] | None = None) -> Policy:
    """The rules that hold on a night.

    Raises UserError where the table has mistakes, or a rule of the night names none of `variants`
    (None: not checked); a rule that is over may name a variant that is gone.
    """
    policy = policy_on(stored_rules(lake), as_of)
    if variants is not None and (unknown := unknown_variants(policy.rules, [variant.name for variant in variants])):
        raise UserError("\n  ".join(["the policy does not fit the variants; end these rules, or correct either:",
                                     *unknown]))  # fmt: skip
    return policy
