"""Every mistake that a rule can have is said, with the rule, the column, the value and what to do."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import UserError
from jobs.policy.parse import rules_of
from jobs.policy.rules import (
    ATTRIBUTES,
    COLUMNS,
    EVERYWHERE,
    KINDS,
    LISTS,
    MOST_RULES,
    PRODUCT_LISTS,
    TOUCH_POINTS,
    Rule,
)
from models.assembly.rulebook import DEFAULT_RULES

GOOD: dict[str, dict[str, Any]] = {
    "exclude": {"attribute": "brand", "value": "Acme"},
    "include": {"attribute": "product_id", "value": "P1", "amount": 1},
    "boost": {"attribute": "category", "value": "hats", "amount": 3},
    "bury": {"attribute": "department", "value": "men", "amount": 3},
    "brand_cap": {"amount": 2},
    "category_cap": {"amount": 2},
    "mix_departments": {"value": "women", "shown": "children"},
    "price_window": {"low": 0.5, "high": 2},
    "repeat_purchase": {"attribute": "category", "value": "socks", "amount": 90},
    "size_run": {"amount": 0.4},
    "outfit": {"value": "P1, P2 P3"},
}
"""A right row of every kind, but for its name."""


def row(kind: str = "boost", **changes: Any) -> dict[str, Any]:
    """A right row of a kind with changes."""
    return {"rule_id": "r1", "kind": kind, **GOOD[kind], **changes}


def mistakes(*rows: dict[str, Any], variants: list[str] | None = None) -> list[str]:
    """The lines of the error that rows lead to, without its head."""
    with pytest.raises(UserError) as error:
        rules_of(rows, variants)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


def test_every_kind_has_a_right_row() -> None:
    assert set(GOOD) == set(KINDS)
    rules = rules_of([row(kind, rule_id=kind) for kind in KINDS])
    assert [rule.kind for rule in rules] == list(KINDS)


@pytest.mark.parametrize("touch_point", EVERYWHERE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_holds_where_it_can_and_nowhere_else(kind: str, touch_point: str) -> None:
    given_row = row(kind, touch_point=touch_point)
    if touch_point in KINDS[kind].touch_points:
        assert rules_of([given_row])[0].touch_point == touch_point
    else:
        (said,) = mistakes(given_row)
        assert f"row 1, rule 'r1': touch_point = {touch_point!r} cannot have {kind}: {KINDS[kind].why}" in said
        assert " or ".join(KINDS[kind].touch_points) in said


def test_what_can_hold_where() -> None:
    everywhere = set(TOUCH_POINTS)
    can = {kind: set(KINDS[kind].touch_points) for kind in KINDS}
    assert can["exclude"] == set(EVERYWHERE) and can["outfit"] == {"outfits"}
    assert can["boost"] == can["bury"] == can["brand_cap"] == can["size_run"] == everywhere
    assert can["include"] == can["category_cap"] == set(LISTS)
    assert "market_ranking" not in can["include"]
    assert can["price_window"] == can["mix_departments"] == {*PRODUCT_LISTS, "outfits"}
    assert can["repeat_purchase"] == {"recommended_for_you"}


@pytest.mark.parametrize(
    ("kind", "column"),
    [(kind, column) for kind in KINDS for column in ("attribute", "value", "shown", "amount", "low", "high")],
)
def test_a_needed_column_is_missed_and_another_refused(kind: str, column: str) -> None:
    if KINDS[kind].model_fields[column].is_required():
        (said,) = mistakes(row(kind, **{column: None}))
        assert f"rule 'r1': {column} is empty; {kind} needs it" in said
    elif kind == "price_window" and column in ("low", "high"):
        assert rules_of([row(kind, **{column: None})])
    else:
        (said,) = mistakes(row(kind, **{column: "1"}))
        assert f"rule 'r1': {column} = '1' means nothing to {kind}; leave it empty" in said


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({**row(), "kind": "boots"}, "kind = 'boots' is unknown; it must be one of exclude, include,"),
    "no kind": ({**row(), "kind": None}, "kind is empty; it must be one of exclude,"),
    "unknown touch point": (
        row(touch_point="home"),
        "touch_point = 'home' is unknown; it must be you_might_also_like or people_also_bought or ",
    ),
    "attribute nobody has": (
        row(attribute="colour"),
        "attribute = 'colour' is not allowed; it must be 'product_id', 'brand', 'category' or 'department'",
    ),
    "include of a brand": (
        row("include", attribute="brand"),
        "attribute = 'brand' is not allowed; it must be 'product_id'",
    ),
    "repeat purchase of a brand": (
        row("repeat_purchase", attribute="brand"),
        "attribute = 'brand' is not allowed; it must be 'category'",
    ),
    "no places": (
        row(amount=0),
        "amount = 0 is not allowed; boost needs a whole number from 1 to 1000 (places to move)",
    ),
    "places the other way": (row("bury", amount=-3), "amount = -3 is not allowed; bury needs a whole number from 1"),
    "half a place": (
        row("include", amount=1.5),
        "amount = 1.5 is not allowed; include needs a whole number from 1 to 1000 (place, 1 being the first)",
    ),
    "place nought": (row("include", amount="0"), "amount = '0' is not allowed; include"),
    "negative cap": (row("brand_cap", amount=-1), "amount = -1 is not allowed; brand_cap needs a whole number from 0"),
    "half a product": (row("category_cap", amount="2.5"), "amount = '2.5' is not allowed; category_cap"),
    "far too many days": (
        row("repeat_purchase", amount=1e9),
        "amount = 1000000000.0 is not allowed; repeat_purchase needs a whole number from 0 to 36500",
    ),
    "not a number": (row(amount="many"), "amount = 'many' is no finite number; write it as 3 or 0.5"),
    "a decimal comma": (row("price_window", low="0,5"), "low = '0,5' is no finite number; write it as 3 or 0.5"),
    "NaN": (row(amount=float("nan")), "amount = nan is not allowed; boost needs a whole number"),
    "infinite": (row("price_window", high=float("inf")), "high = inf is not allowed; it must be a finite number"),
    "infinite in words": (row("price_window", high="inf"), "high = 'inf' is no finite number"),
    "a truth value": (row(amount=True), "amount = True is no finite number"),
    "no bound": (row("price_window", low=None, high=None), "high and low are empty; give one of them, or both"),
    "negative share": (
        row("price_window", low=-0.1),
        "low = -0.1 is not allowed; it must be greater than or equal to 0",
    ),
    "nothing is so cheap": (
        row("price_window", low=None, high=0),
        "high = 0 is not allowed; it must be greater than 0",
    ),
    "low above high": (row("price_window", low=2, high=0.5), "high = 0.5 is below low = 2; exchange them"),
    "start after end": (
        row(starts_on="2026-04-07", ends_on="2026-04-06"),
        "ends_on = '2026-04-06' is before starts_on = 2026-04-07; exchange them",
    ),
    "no such day": (row(starts_on="2026-02-30"), "starts_on = '2026-02-30' is not allowed; it must be a valid date"),
    "another way to write days": (
        row(ends_on="06/04/2026"),
        "ends_on = '06/04/2026' is no date; write it as 2026-04-06",
    ),
    "a time of day": (row(ends_on=datetime(2026, 4, 6)), "ends_on = datetime.datetime(2026, 4, 6, 0, 0) is no date"),
    "no name": ({**row(), "rule_id": ""}, "rule_id is empty; boost needs it: a name of its own"),
    "blank name": ({**row(), "rule_id": "  "}, "rule_id = '  ' begins or ends with a blank; remove it"),
    "long name": ({**row(), "rule_id": "x" * 101}, "has 101 characters; at most 100 are allowed"),
    "bell in the name": ({**row(), "rule_id": "a\x07b"}, "rule_id = 'a\\x07b' has an invisible or control character"),
    "direction override": ({**row(), "rule_id": "a\u202eb"}, "rule_id = 'a\\u202eb' has an invisible or control"),
    "a default rule's name": (
        {**row(), "rule_id": "brand cap"},
        "rule_id = 'brand cap' is the name of a default rule, as are department guard, ",
    ),
    "a name with outer blanks": ({**row(), "rule_id": " r1"}, "rule_id = ' r1' begins or ends with a blank; remove it"),
    "a number for a name": ({**row(), "rule_id": 7}, "rule_id = 7 is not allowed; boost needs a name of its own"),
    "half a character": (row(value="\ud800"), "value = '\\ud800' has a character that is no text; write it again"),
    "blank market": (row(market=" "), "market = ' ' begins or ends with a blank; remove it, or leave the field empty"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_names_place_rule_column_value_and_remedy(case: str) -> None:
    given_row, words = CASES[case]
    (said,) = mistakes(given_row)
    assert said.startswith("row 1")
    assert words in said
    if given_row["rule_id"]:
        assert f"rule {given_row['rule_id']!r}"[:70] in said


@pytest.mark.parametrize("name", DEFAULT_RULES)
def test_no_rule_takes_a_default_rules_name(name: str) -> None:
    (said,) = mistakes({**row(), "rule_id": name.upper()})
    assert "is the name of a default rule" in said


def test_variants_are_checked_where_they_are_given() -> None:
    assert rules_of([row(variant="b")])[0].variant == "b"
    assert rules_of([row(variant="b")], ["a", "b"])[0].variant == "b"
    (said,) = mistakes(row(variant="c"), variants=["a", "b"])
    assert "variant = 'c' is not one of tonight's variants a, b; correct it or leave it empty" in said


def test_all_mistakes_of_all_rows_are_said_at_once() -> None:
    bad = {"rule_id": "x", "kind": "boost", "touch_point": "home", "attribute": "brand", "amount": "no", "low": 1}
    said = mistakes(bad, row(), {**row("brand_cap", amount=-1), "rule_id": "y"}, {**row(), "kind": "z"})
    assert [line.split(":")[0] for line in said] == ["row 1, rule 'x'"] * 4 + ["row 3, rule 'y'"] + [
        "row 4, rule 'r1'"
    ] * 2
    assert [line.split(": ")[1].split()[0] for line in said[:4]] == ["touch_point", "value", "amount", "low"]
    assert "rule_id = 'r1' is that of row 2 as well; rename one of them" in said[-1]


def test_an_unknown_kind_hides_no_mistake_in_the_columns_that_every_kind_has() -> None:
    bad = {
        **row(touch_point="home", variant="c", starts_on="soon", amount="many"),
        "kind": "boots",
        "rule_id": "x" * 101,
    }
    said = [line.split(": ")[1].split()[0] for line in mistakes(bad, variants=["a"])]
    assert said == ["kind", "rule_id", "touch_point", "variant", "starts_on"]
    assert "a rule needs it: a name of its own" in mistakes({"market": "GB"})[1]


def test_a_long_value_is_cut_in_the_message() -> None:
    (said,) = mistakes({**row(), "kind": "k" * 10_000})
    assert len(said) < 400


def test_too_many_rules() -> None:
    with pytest.raises(UserError, match=f"has {MOST_RULES + 1} rules; at most {MOST_RULES} are allowed"):
        rules_of([row(rule_id=f"r{i}") for i in range(MOST_RULES + 1)])


def includes(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Two includes of two products at place 1."""
    return [row("include", **first), row("include", **{"rule_id": "r2", "value": "P2", **second})]


APART: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "places": ({}, {"amount": 2}),
    "markets": ({"market": "GB"}, {"market": "FR"}),
    "touch points": ({"touch_point": "bag_extras"}, {"touch_point": "recommended_for_you"}),
    "variants": ({"variant": "a"}, {"variant": "b"}),
    "dates": ({"ends_on": "2026-04-06"}, {"starts_on": "2026-04-07"}),
}
TOGETHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "everywhere": ({}, {}),
    "one market is among all": ({"market": "GB"}, {}),
    "all markets hold one": ({}, {"market": "GB"}),
    "scopes that cross": ({"market": "GB"}, {"touch_point": "bag_extras"}),
    "one common day": ({"ends_on": "2026-04-06"}, {"starts_on": "2026-04-06"}),
}


@pytest.mark.parametrize("case", APART)
def test_includes_may_differ_in_one_thing(case: str) -> None:
    assert len(rules_of(includes(*APART[case]))) == 2


@pytest.mark.parametrize("case", TOGETHER)
def test_two_includes_cannot_share_a_place(case: str) -> None:
    (said,) = mistakes(*includes(*TOGETHER[case]))
    assert said == (
        "row 2, rule 'r2': amount = 1: rule 'r1' (row 1) includes this place in the same lists; "
        "change one, or let their scopes or dates differ"
    )


def test_one_product_cannot_stand_in_two_places() -> None:
    (said,) = mistakes(*includes({}, {"value": "P1", "amount": 2}))
    assert "rule 'r2': value = 'P1': rule 'r1' (row 1) includes this product in the same lists" in said


# --- laws

NAMES = st.text("abc é", min_size=1, max_size=4)
JUNK = st.one_of(
    st.none(),
    st.text(max_size=6),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from((*KINDS, *TOUCH_POINTS, *ATTRIBUTES, "*")),
    st.just(10**400),
    st.text("0123456789.-", max_size=5),
    st.just("9" * 400),
)


def rows_of_kinds() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Right rows into which junk was put at random, and rows of nothing but junk."""
    junk = st.dictionaries(st.sampled_from((*COLUMNS, "other")), JUNK)
    touched = st.builds(
        lambda kind, changes: row(kind, **changes) if "kind" not in changes else changes,
        st.sampled_from(list(KINDS)),
        junk,
    )
    return st.lists(st.one_of(junk, touched), max_size=4)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows_of_kinds(), st.none() | st.lists(NAMES, max_size=2))
def test_garbage_is_only_ever_a_user_error(rows: list[dict[str, Any]], variants: list[str] | None) -> None:
    try:
        rules = rules_of(rows, variants)
    except UserError as error:
        str(error).encode()  # every message can be printed
        return
    assert len(rules) == len(rows)
    for rule in rules:
        assert isinstance(rule, Rule)
        assert all(rule.touch_point in (None, name) or not rule.within(name, "GB", "a") for name in TOUCH_POINTS)
        rule.as_json().encode()


@given(st.dates(), st.dates(), st.dates(), st.sampled_from(("", "s", "e", "se")))
def test_both_ends_of_a_rules_dates_count(start: date, end: date, night: date, bounds: str) -> None:
    start, end = min(start, end), max(start, end)
    rule = Rule(
        rule_id="r", kind="boost", starts_on=start if "s" in bounds else None, ends_on=end if "e" in bounds else None
    )
    assert rule.on(night) == (("s" not in bounds or start <= night) and ("e" not in bounds or night <= end))
    assert rule.on(start) and rule.on(end)
