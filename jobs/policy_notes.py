"""What a person should know about rules that are right in themselves: names that nothing has tonight."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from jobs.policy_rulebooks import Names
from jobs.policy_rules import ATTRIBUTES, Rule
from jobs.reading import clean
from models.vocabulary import Vocabulary


def names_nobody_has(rules: Iterable[Rule], names: Names, markets: Vocabulary | None = None) -> list[str]:
    """One text a name that no product, or no market, of the night has; `markets` None: not looked at.

    No error: a product may come back, and a market may open.
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


def note(rules: int, unmatched: list[str], shown: int = 3) -> str:
    """One line for the ledger: how many rules hold, and the first of the names that nothing has."""
    counted = f"{rules} rule" + ("" if rules == 1 else "s")
    if not unmatched:
        return counted
    more = f" and {len(unmatched) - shown} more" if len(unmatched) > shown else ""
    return f"{counted}; {len(unmatched)} of their names fit nothing: {'; '.join(unmatched[:shown])}{more}"
