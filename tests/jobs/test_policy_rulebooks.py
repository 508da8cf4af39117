"""What rules become: arrays worked out by hand, and the law that each rule keeps to its scope and dates."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.policy import FIRST, policy_on
from jobs.policy_checks import rules_of
from jobs.policy_notes import names_nobody_has, note
from jobs.policy_rulebooks import Names, Rulebooks
from jobs.policy_rules import TOUCH_POINTS, Rule
from jobs.standing import StandingRules
from jobs.variants import Variant
from models.rulebook import BRAND_CAP, CATEGORY_CAP, GUARD, PRICE, STANDING, Attributes, Rulebook
from models.vocabulary import Vocabulary

NIGHT = date(2026, 4, 6)
VARIANT = Variant("a")
YMAL, PAB, BAG, RFY, RANKING = TOUCH_POINTS
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
    standing: StandingRules = StandingRules(),
) -> Rulebook:
    """The rulebook of rows for one touch point, market and variant."""
    return books(*rows).rulebook(at, market, variant, standing)


def on(attribute: str, value: str, kind: str, **columns: Any) -> dict[str, Any]:
    """A row that selects products."""
    return {"kind": kind, "attribute": attribute, "value": value, **columns}


def equal(one: Rulebook, two: Rulebook) -> bool:
    """Whether two rulebooks say the same."""
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(Rulebook))


def test_without_rules_the_standing_ones_hold() -> None:
    empty = book()
    assert empty.names == STANDING
    assert empty.excluded.tolist() == empty.mover.tolist() == [-1] * 5
    assert empty.places.tolist() == [0] * 5
    assert (len(empty.pins), len(empty.pin_places), len(empty.pin_rules)) == (0, 0, 0)
    assert (empty.brand_cap, empty.brand_cap_rule, empty.category_cap, empty.category_cap_rule) == (0, -1, 0, -1)
    assert (empty.price_low, empty.price_high, empty.price_rule) == (0, float("inf"), -1)
    assert empty.mixes.all() and empty.guard_rule == -1
    assert (empty.diversity, empty.explore_place) == (0, -1)
    standing = StandingRules(True, 3, 2, 0.5, 2.0, 1.5, 4)
    kept = book(standing=standing)
    assert (kept.brand_cap, kept.brand_cap_rule, kept.category_cap, kept.category_cap_rule) == (
        3, BRAND_CAP, 2, CATEGORY_CAP)  # fmt: skip
    assert (kept.price_low, kept.price_high, kept.price_rule) == (0.5, 2, PRICE)
    assert kept.guard_rule == GUARD
    assert (kept.diversity, kept.explore_place) == (1.5, 3)


def test_the_arrays_have_the_types_they_promise() -> None:
    full = book(on("brand", "Acme", "exclude"), on("brand", "Best", "boost", amount=2),
                on("product_id", "P3", "include", amount=1))  # fmt: skip
    types = {f.name: getattr(full, f.name).dtype for f in fields(Rulebook)
             if isinstance(getattr(full, f.name), np.ndarray)}  # fmt: skip
    assert {name for name, kind in types.items() if kind == np.int16} == {
        "excluded", "places", "mover", "pin_rules"}  # fmt: skip
    assert {name for name, kind in types.items() if kind == np.int64} == {"pins", "pin_places"}
    assert types["mixes"] == np.bool_


def test_of_several_exclusions_the_lowest_number_is_named() -> None:
    out = book(on("brand", "Best", "exclude"), on("category", "hats", "exclude"), on("product_id", "P3", "exclude"))
    assert out.names[FIRST:] == ("r0", "r1", "r2")
    assert out.excluded.tolist() == [FIRST + 1, -1, FIRST, FIRST, -1]


def test_rule_numbers_follow_the_names_not_the_rows() -> None:
    out = book(on("brand", "Best", "exclude", rule_id="z"), on("category", "hats", "exclude", rule_id="b"))
    assert out.names[FIRST:] == ("b", "z")
    assert out.excluded.tolist() == [FIRST, -1, FIRST, FIRST + 1, -1]


def test_places_add_up_and_the_farthest_mover_is_named() -> None:
    moved = book(
        on("brand", "Acme", "boost", amount=3), on("category", "hats", "bury", amount=3),
        on("category", "socks", "bury", amount=5), on("department", "women", "boost", amount=3),
    )  # fmt: skip
    assert moved.places.tolist() == [3, 1, -3, -5, 0]
    assert moved.mover.tolist() == [FIRST, FIRST + 2, FIRST + 1, FIRST + 2, -1]
    level = book(on("brand", "Acme", "boost", amount=3), on("brand", "Acme", "bury", amount=3))
    assert level.places.tolist() == [0] * 5 and level.mover.tolist() == [-1] * 5


def test_many_boosts_do_not_wrap_round() -> None:
    moved = book(*[on("brand", "Acme", "boost", amount=1000) for _ in range(40)])
    assert moved.places.tolist() == [32_767, 32_767, 0, 0, 0]


def test_includes_stand_by_place() -> None:
    pinned = book(on("product_id", "P3", "include", amount=7), on("product_id", "P1", "include", amount=1),
                  on("product_id", "P9", "include", amount=2))  # fmt: skip
    assert (pinned.pins.tolist(), pinned.pin_places.tolist()) == ([1, 3], [0, 6])
    assert pinned.pin_rules.tolist() == [FIRST + 1, FIRST]


def test_what_is_excluded_is_not_included() -> None:
    rules = books(on("product_id", "P0", "include", amount=1), on("brand", "Acme", "exclude", market="GB"))
    assert rules.rulebook(YMAL, "GB", VARIANT, StandingRules()).pins.tolist() == []
    assert rules.rulebook(YMAL, "FR", VARIANT, StandingRules()).pins.tolist() == [0]
    assert rules.hidden_includes() == ["r0: 'P0' is excluded by r1"]
    apart = books(on("product_id", "P0", "include", amount=1), on("brand", "Acme", "exclude", touch_point=RANKING))
    assert apart.hidden_includes() == []


def test_a_rule_for_every_touch_point_holds_where_its_kind_can() -> None:
    rows = [on("product_id", "P0", "include", amount=1), {"kind": "category_cap", "amount": 2},
            {"kind": "price_window", "low": 0.5}, mix("men", "men"), {"kind": "brand_cap", "amount": 4}]  # fmt: skip
    found = {
        at: (len(made.pins), made.category_cap, made.price_low, made.mixes.all(), made.brand_cap)
        for at in TOUCH_POINTS
        if (made := book(*rows, at=at))
    }
    product_list = (1, 2, 0.5, False, 4)
    assert found == {YMAL: product_list, PAB: product_list, BAG: product_list, RFY: (1, 2, 0, True, 4),
                     RANKING: (0, 0, 0, True, 4)}  # fmt: skip


def test_a_cap_of_the_policy_goes_before_the_standing_one() -> None:
    standing = StandingRules(brand_cap=5, category_cap=5)
    capped = book({"kind": "brand_cap", "amount": 2}, {"kind": "category_cap", "amount": 0}, standing=standing)
    assert (capped.brand_cap, capped.brand_cap_rule) == (2, FIRST)
    assert (capped.category_cap, capped.category_cap_rule) == (0, FIRST + 1)


SCOPES = ({"market": "GB"}, {"touch_point": YMAL}, {"variant": "a"}, {})


@pytest.mark.parametrize("winner", range(len(SCOPES)))
def test_the_more_specific_scope_wins(winner: int) -> None:
    # The names run against the scopes, so that they decide nothing here.
    rows = [{"kind": "brand_cap", "amount": i + 1, "rule_id": f"r{9 - i}", **scope} for i, scope in enumerate(SCOPES)]
    capped = book(*rows[winner:][::-1])
    assert capped.brand_cap == winner + 1
    assert capped.names[capped.brand_cap_rule] == f"r{9 - winner}"


def test_a_market_goes_before_touch_point_and_variant_and_names_decide_the_rest() -> None:
    both = {"kind": "price_window", "touch_point": YMAL, "variant": "a", "low": 0.1, "rule_id": "a"}
    assert book(both, {"kind": "price_window", "market": "GB", "low": 0.2, "rule_id": "b"}).price_low == 0.2
    assert book(both, {**both, "rule_id": "A", "low": 0.3}).price_low == 0.3


def test_a_price_window_replaces_the_standing_one_whole() -> None:
    standing = StandingRules(price_low=0.5, price_high=2)
    window = book({"kind": "price_window", "high": 3}, standing=standing)
    assert (window.price_low, window.price_high, window.price_rule) == (0, 3, FIRST)
    window = book({"kind": "price_window", "low": 0.1}, standing=standing)
    assert (window.price_low, window.price_high, window.price_rule) == (0.1, float("inf"), FIRST)


def mixes(rules: Rulebook) -> list[str]:
    """A row of 0 and 1 a department: children, men, women, none."""
    return ["".join(str(int(cell)) for cell in line) for line in rules.mixes]


def mix(value: str, shown: str) -> dict[str, Any]:
    """A row of the kind mix_departments."""
    return {"kind": "mix_departments", "value": value, "shown": shown}


def test_departments_mix_as_rules_say() -> None:
    guard = StandingRules(guard=True)
    assert mixes(book(standing=guard)) == ["1001", "0101", "0011", "1111"]
    assert mixes(book(mix("women", "children"), standing=guard)) == ["1001", "0101", "1011", "1111"]
    assert mixes(book(mix("*", "children"), standing=guard)) == ["1001", "1101", "1011", "1111"]
    assert mixes(book(mix("men", "*"), standing=guard)) == ["1001", "1111", "0011", "1111"]
    assert mixes(book(mix("*", "*"), standing=guard)) == ["1111"] * 4
    assert mixes(book(mix("pets", "men"), mix("men", "pets"), standing=guard)) == ["1001", "0101", "0011", "1111"]
    assert book(mix("men", "women"), standing=guard).guard_rule == GUARD


def test_without_a_guard_only_departments_with_rules_are_kept_apart() -> None:
    kept = book(mix("children", "children"), mix("women", "children"))
    assert mixes(kept) == ["1001", "1111", "1011", "1111"]
    assert kept.guard_rule == FIRST
    assert book(mix("*", "*")).guard_rule == -1


def test_bought_products_come_back_after_days() -> None:
    rules = books(
        on("category", "socks", "repeat_purchase", amount=90),
        on("category", "socks", "repeat_purchase", amount=30, market="GB"),
        on("category", "gone", "repeat_purchase", amount=1),
    )
    assert rules.repeat_purchase_days("GB", VARIANT).tolist() == [float("inf"), 30]
    assert rules.repeat_purchase_days("FR", VARIANT).tolist() == [float("inf"), 90]
    assert rules.repeat_purchase_days("FR", VARIANT).dtype == np.float32
    assert np.isinf(rules.repeat_purchase_days("GB", Variant("a", policy=False))).all()


def test_a_variant_may_leave_the_policy_out_or_change_the_standing_rules() -> None:
    row = {"kind": "brand_cap", "amount": 2}
    without = book(row, on("brand", "Acme", "exclude"), variant=Variant("a", policy=False),
                   standing=StandingRules(brand_cap=7))  # fmt: skip
    assert (without.brand_cap, without.brand_cap_rule) == (7, BRAND_CAP)
    assert (without.excluded == -1).all()
    own = Variant("a", standing={YMAL: StandingRules(category_cap=4)})
    assert book(row, variant=own, standing=StandingRules(category_cap=9)).category_cap == 4
    assert book(row, variant=own, standing=StandingRules(category_cap=9), at=PAB).category_cap == 9


def test_markets_under_the_same_rules_share_their_arrays() -> None:
    rules = books(on("brand", "Acme", "exclude"), on("brand", "Best", "boost", amount=1, market="GB"))
    gb, fr, de = (rules.rulebook(YMAL, market, VARIANT, StandingRules()) for market in ("GB", "FR", "DE"))
    assert fr is de
    assert gb.excluded is fr.excluded
    assert gb.places.tolist() != fr.places.tolist()


def test_rules_are_told_as_json() -> None:
    policy = books(on("brand", "Acme", "boost", amount=3, ends_on=NIGHT)).policy
    assert policy.as_json("r0") == (
        '{"amount": 3.0, "attribute": "brand", "ends_on": "2026-04-06", "kind": "boost", "rule_id": "r0", '
        '"value": "Acme"}'
    )
    assert policy.as_json("brand cap") is None
    with pytest.raises(KeyError):
        policy.as_json("r9")


def test_names_that_nothing_has_are_said_and_no_error() -> None:
    rules = books(
        on("brand", "acme", "exclude"), on("product_id", "P9", "boost", amount=1), mix("*", "woman"),
        on("category", "hats", "bury", amount=1, market="UK"),
    )  # fmt: skip
    assert (rules.rulebook(PAB, "GB", VARIANT, StandingRules()).excluded == -1).all()
    said = names_nobody_has(rules.policy.rules, NAMES, Vocabulary(["GB"]))
    assert said == [
        "r0: no brand 'acme' tonight, but 'Acme'",
        "r1: no product_id 'P9' tonight",
        "r2: no department 'woman' tonight, but 'women'",
        "r3: no market 'UK' tonight",
    ]
    assert names_nobody_has(rules.policy.rules, NAMES) == said[:3]
    assert note(1, []) == "1 rule"
    assert note(4, said) == "4 rules; 4 of their names fit nothing: " + "; ".join(said[:3]) + " and 1 more"


# --- laws

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
    st.integers(1, 9), SCOPE,
)  # fmt: skip
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
    st.lists(SELECTING | CAPPING, max_size=6), st.sampled_from((YMAL, RFY)), st.sampled_from(("GB", "FR")),
    st.sampled_from("ab"),
)  # fmt: skip
def test_every_product_gets_what_the_rules_in_scope_say(
    rows: list[dict[str, Any]], at: str, market: str, variant: str
) -> None:
    rules = books(*rows)
    made = rules.rulebook(at, market, Variant(variant), StandingRules(brand_cap=99))
    scope = {"touch_point": at, "market": market, "variant": variant}
    valid = [
        rule for rule in rules_of([{"rule_id": f"r{i}"} | row for i, row in enumerate(rows)])
        if (rule.starts_on or NIGHT) <= NIGHT <= (rule.ends_on or NIGHT)
        and all(getattr(rule, column) in (None, value) for column, value in scope.items())
    ]  # fmt: skip
    for product in range(5):
        taking = [rule.rule_id for rule in valid if rule.kind == "exclude" and has(rule, product)]
        number = int(made.excluded[product])
        assert (made.names[number] if number >= 0 else None) == (min(taking) if taking else None)
        signed = [
            (rule.rule_id, (1 if rule.kind == "boost" else -1) * int(rule.amount or 0))
            for rule in valid if rule.kind in ("boost", "bury") and has(rule, product)
        ]  # fmt: skip
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
