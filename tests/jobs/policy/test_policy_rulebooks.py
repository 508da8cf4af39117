"""What rules become: arrays worked out by hand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from jobs.policy.compile import FIRST, note, unknown_names
from jobs.policy.rules import TOUCH_POINTS
from jobs.policy.variants import DefaultRules, Variant
from jobs.tables.shop import BUY_AGAIN, MARKET_RANKING, PAGE_LISTS, RECENTLY_VIEWED, SOLD_OUT_ALTERNATIVES
from models.assembly.rulebook import BRAND_CAP, CATEGORY_CAP, DEFAULT_RULES, GUARD, PRICE, Rulebook
from models.vocabulary import Vocabulary
from tests.support.policy_shop import BAG, NAMES, NIGHT, PAB, RFY, VARIANT, YMAL, book, books, on


def test_without_rules_the_standing_ones_hold() -> None:
    empty = book()
    assert empty.names == DEFAULT_RULES
    assert empty.excluded.tolist() == empty.mover.tolist() == [-1] * 5
    assert empty.places.tolist() == [0] * 5
    assert (len(empty.pins), len(empty.pin_places), len(empty.pin_rules)) == (0, 0, 0)
    assert (empty.brand_cap, empty.brand_cap_rule, empty.category_cap, empty.category_cap_rule) == (0, -1, 0, -1)
    assert (empty.price_low, empty.price_high, empty.price_rule) == (0, float("inf"), -1)
    assert empty.mixes.all() and empty.guard_rule == -1
    assert (empty.diversity, empty.explore_place) == (0, -1)
    standing = DefaultRules(True, 3, 2, 0.5, 2.0, 1.5, 4)
    kept = book(standing=standing)
    assert (kept.brand_cap, kept.brand_cap_rule, kept.category_cap, kept.category_cap_rule) == (
        3,
        BRAND_CAP,
        2,
        CATEGORY_CAP,
    )
    assert (kept.price_low, kept.price_high, kept.price_rule) == (0.5, 2, PRICE)
    assert kept.guard_rule == GUARD
    assert (kept.diversity, kept.explore_place) == (1.5, 3)


def test_the_arrays_have_the_types_they_promise() -> None:
    full = book(
        on("brand", "Acme", "exclude"),
        on("brand", "Best", "boost", amount=2),
        on("product_id", "P3", "include", amount=1),
    )
    types = {
        f.name: getattr(full, f.name).dtype for f in fields(Rulebook) if isinstance(getattr(full, f.name), np.ndarray)
    }
    assert {name for name, kind in types.items() if kind == np.int16} == {"excluded", "places", "mover", "pin_rules"}
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
        on("brand", "Acme", "boost", amount=3),
        on("category", "hats", "bury", amount=3),
        on("category", "socks", "bury", amount=5),
        on("department", "women", "boost", amount=3),
    )
    assert moved.places.tolist() == [3, 1, -3, -5, 0]
    assert moved.mover.tolist() == [FIRST, FIRST + 2, FIRST + 1, FIRST + 2, -1]
    level = book(on("brand", "Acme", "boost", amount=3), on("brand", "Acme", "bury", amount=3))
    assert level.places.tolist() == [0] * 5 and level.mover.tolist() == [-1] * 5


def test_many_boosts_do_not_wrap_round() -> None:
    moved = book(*[on("brand", "Acme", "boost", amount=1000) for _ in range(40)])
    assert moved.places.tolist() == [32_767, 32_767, 0, 0, 0]


def test_includes_stand_by_place() -> None:
    pinned = book(
        on("product_id", "P3", "include", amount=7),
        on("product_id", "P1", "include", amount=1),
        on("product_id", "P9", "include", amount=2),
    )
    assert (pinned.pins.tolist(), pinned.pin_places.tolist()) == ([1, 3], [0, 6])
    assert pinned.pin_rules.tolist() == [FIRST + 1, FIRST]


def test_what_is_excluded_is_not_included() -> None:
    rules = books(on("product_id", "P0", "include", amount=1), on("brand", "Acme", "exclude", market="GB"))
    assert rules.rulebook(YMAL, "GB", VARIANT, DefaultRules()).pins.tolist() == []
    assert rules.rulebook(YMAL, "FR", VARIANT, DefaultRules()).pins.tolist() == [0]
    assert rules.hidden_includes() == ["r0: 'P0' is excluded by r1"]
    apart = books(
        on("product_id", "P0", "include", amount=1), on("brand", "Acme", "exclude", touch_point=MARKET_RANKING.name)
    )
    assert apart.hidden_includes() == []


def test_a_rule_for_every_touch_point_holds_where_its_kind_can() -> None:
    rows = [
        on("product_id", "P0", "include", amount=1),
        {"kind": "category_cap", "amount": 2},
        {"kind": "price_window", "low": 0.5},
        mix("men", "men"),
        {"kind": "brand_cap", "amount": 4},
    ]
    found = {
        at: (len(made.pins), made.category_cap, made.price_low, made.mixes.all(), made.brand_cap)
        for at in TOUCH_POINTS
        if (made := book(*rows, at=at))
    }
    product_list = (1, 2, 0.5, False, 4)
    assert found == {
        YMAL: product_list,
        PAB: product_list,
        BAG: product_list,
        SOLD_OUT_ALTERNATIVES.name: (0, 0, 0.5, False, 4),
        RFY: (1, 2, 0, True, 4),
        **{table.name: (0, 0, 0, True, 4) for table in (MARKET_RANKING, *PAGE_LISTS, BUY_AGAIN, RECENTLY_VIEWED)},
    }


def test_a_cap_of_the_policy_goes_before_the_standing_one() -> None:
    standing = DefaultRules(brand_cap=5, category_cap=5)
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
    standing = DefaultRules(price_low=0.5, price_high=2)
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
    guard = DefaultRules(guard=True)
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
    policy = books(
        on("category", "socks", "repeat_purchase", amount=90),
        on("category", "socks", "repeat_purchase", amount=30, market="GB"),
        on("category", "gone", "repeat_purchase", amount=1),
    ).policy
    assert policy.repeat_purchase_days(NAMES.categories, "GB", VARIANT).tolist() == [float("inf"), 30]
    assert policy.repeat_purchase_days(NAMES.categories, "FR", VARIANT).tolist() == [float("inf"), 90]
    assert policy.repeat_purchase_days(NAMES.categories, "FR", VARIANT).dtype == np.float32
    assert np.isinf(policy.repeat_purchase_days(NAMES.categories, "GB", Variant("a", policy=False))).all()


def test_a_variant_may_leave_the_policy_out_or_change_the_standing_rules() -> None:
    row = {"kind": "brand_cap", "amount": 2}
    without = book(
        row, on("brand", "Acme", "exclude"), variant=Variant("a", policy=False), standing=DefaultRules(brand_cap=7)
    )
    assert (without.brand_cap, without.brand_cap_rule) == (7, BRAND_CAP)
    assert (without.excluded == -1).all()
    own = Variant("a", standing={YMAL: DefaultRules(category_cap=4)})
    assert book(row, variant=own, standing=DefaultRules(category_cap=9)).category_cap == 4
    assert book(row, variant=own, standing=DefaultRules(category_cap=9), at=PAB).category_cap == 9


def test_markets_under_the_same_rules_share_their_arrays() -> None:
    rules = books(on("brand", "Acme", "exclude"), on("brand", "Best", "boost", amount=1, market="GB"))
    gb, fr, de = (rules.rulebook(YMAL, market, VARIANT, DefaultRules()) for market in ("GB", "FR", "DE"))
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
        on("brand", "acme", "exclude"),
        on("product_id", "P9", "boost", amount=1),
        mix("*", "woman"),
        on("category", "hats", "bury", amount=1, market="UK"),
    )
    assert (rules.rulebook(PAB, "GB", VARIANT, DefaultRules()).excluded == -1).all()
    said = unknown_names(rules.policy.rules, NAMES, Vocabulary(["GB"]))
    assert said == [
        "r0: no brand 'acme' tonight, but 'Acme'",
        "r1: no product_id 'P9' tonight",
        "r2: no department 'woman' tonight, but 'women'",
        "r3: no market 'UK' tonight",
    ]
    assert unknown_names(rules.policy.rules, NAMES) == said[:3]
    assert note(1, []) == "1 rule"
    assert note(4, said) == "4 rules; 4 notes: " + "; ".join(said[:3]) + " and 1 more"


def test_rules_about_what_their_market_does_not_sell_are_said() -> None:
    rules = books(
        on("product_id", "P0", "include", amount=1, market="FR"),
        on("product_id", "P1", "include", amount=2),
        on("product_id", "P2", "include", amount=3),
        on("brand", "Best", "boost", amount=3, market="FR"),
        on("category", "hats", "exclude"),
        mix("men", "children") | {"market": "GB"},
        on("product_id", "P9", "include", amount=4),
        on("product_id", "P0", "boost", amount=1, market="UK"),
    )
    available = np.array([[0, 1, 0, 0, 1], [1, 1, 0, 0, 0]], dtype=bool)
    said = rules.notes(Vocabulary(["FR", "GB"]), available)
    assert said[:-2] == [
        "r6: no product_id 'P9' tonight",
        "r7: no market 'UK' tonight",
        "r0: 'P0' is not sold in FR tonight",
        "r2: 'P2' is not sold in any market tonight",
        "r3: nothing of brand 'Best' is sold in FR tonight",
        "r5: nothing of department 'men' is sold in GB tonight",
        "r5: nothing of department 'children' is sold in GB tonight",
    ]
    assert said[-2:] == rules.hidden_includes()
    (partly,) = books(on("product_id", "P0", "include", amount=1)).notes(Vocabulary(["FR", "GB"]), available)
    assert partly == "r0: 'P0' is not sold in FR tonight"
    assert books(on("brand", "Acme", "boost", amount=1)).notes(Vocabulary(["FR", "GB"]), available) == []
