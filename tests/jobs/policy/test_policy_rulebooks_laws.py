"""What rules become: the law that each rule keeps to its scope and dates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.policy.parse import rules_of
from jobs.policy.rules import Rule
from jobs.policy.variants import DefaultRules, Variant
from models.assembly.rulebook import BRAND_CAP
from tests.support.policy_shop import ATTRIBUTES, NIGHT, RFY, YMAL, book, books, equal, on

SCOPE = st.fixed_dictionaries(
    {
        "touch_point": st.sampled_from((None, YMAL, RFY)),
        "market": st.sampled_from((None, "GB")),
        "variant": st.sampled_from((None, "a", "b")),
        "starts_on": st.sampled_from((None, date(2026, 4, 5), NIGHT, date(2026, 4, 7))),
        "ends_on": st.sampled_from((None, date(2026, 4, 7), date(2026, 4, 8))),
    }
)
SELECTING = st.builds(
    lambda kind, pair, amount, scope: on(*pair, kind, amount=None if kind == "exclude" else amount, **scope),
    st.sampled_from(("exclude", "boost", "bury")),
    st.sampled_from((("brand", "Acme"), ("category", "socks"), ("product_id", "P2"), ("department", "men"))),
    st.integers(1, 9),
    SCOPE,
)
CAPPING = st.builds(lambda n, scope: {"kind": "brand_cap", "amount": n, **scope}, st.integers(0, 9), SCOPE)


def has(rule: Rule, product: int) -> bool:
    """Whether the rule selects the product, without any of the code under test."""
    if rule.attribute == "product_id":
        return f"P{product}" == rule.value
    column = {"brand": ("Acme", "Best"), "category": ("hats", "socks"), "department": ("children", "men", "women")}
    number = getattr(ATTRIBUTES, str(rule.attribute))[product]
    return bool(number >= 0 and column[str(rule.attribute)][number] == rule.value)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(SELECTING | CAPPING, max_size=6),
    st.sampled_from((YMAL, RFY)),
    st.sampled_from(("GB", "FR")),
    st.sampled_from("ab"),
)
def test_every_product_gets_what_the_rules_in_scope_say(
    rows: list[dict[str, Any]], at: str, market: str, variant: str
) -> None:
    rules = books(*rows)
    made = rules.rulebook(at, market, Variant(variant), DefaultRules(brand_cap=99))
    scope = {"touch_point": at, "market": market, "variant": variant}
    valid = [
        rule
        for rule in rules_of([{"rule_id": f"r{i}"} | row for i, row in enumerate(rows)])
        if (rule.starts_on or NIGHT) <= NIGHT <= (rule.ends_on or NIGHT)
        and all(getattr(rule, column) in (None, value) for column, value in scope.items())
    ]
    for product in range(5):
        taking = [rule.rule_id for rule in valid if rule.kind == "exclude" and has(rule, product)]
        number = int(made.excluded[product])
        assert (made.names[number] if number >= 0 else None) == (min(taking) if taking else None)
        signed = [
            (rule.rule_id, (1 if rule.kind == "boost" else -1) * int(rule.amount or 0))
            for rule in valid
            if rule.kind in ("boost", "bury") and has(rule, product)
        ]
        assert made.places[product] == sum(places for _, places in signed)
        if made.places[product]:
            farthest = max(abs(places) for _, places in signed)
            assert made.names[made.mover[product]] == min(n for n, places in signed if abs(places) == farthest)
        else:
            assert made.mover[product] == -1
    caps = [rule for rule in valid if rule.kind == "brand_cap"]
    if caps:

        def named(rule: Rule) -> list[bool]:
            return [getattr(rule, column) is not None for column in ("market", "touch_point", "variant")]

        narrowest = max(named(rule) for rule in caps)
        winner = min((rule for rule in caps if named(rule) == narrowest), key=lambda rule: rule.rule_id)
        assert (made.names[made.brand_cap_rule], made.brand_cap) == (winner.rule_id, winner.amount)
    else:
        assert (made.brand_cap, made.brand_cap_rule) == (99, BRAND_CAP)


@settings(max_examples=50, deadline=None)
@given(st.lists(SELECTING | CAPPING, max_size=5), st.randoms())
def test_the_order_of_the_rows_changes_nothing(rows: list[dict[str, Any]], random: Any) -> None:
    named = [{"rule_id": f"r{i}"} | row for i, row in enumerate(rows)]
    shuffled = list(named)
    random.shuffle(shuffled)
    assert equal(book(*named), book(*shuffled))


def test_equal_means_equal() -> None:
    one = book(on("brand", "Acme", "exclude"))
    assert equal(one, replace(one))
    assert not equal(one, book())
