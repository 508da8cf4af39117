"""The reason of a short list names the rules that may keep products out of it, and no others."""

from __future__ import annotations

from jobs.lists.short import short_reason
from jobs.lists.touch_points import ALTERNATIVES, FOR_YOU, GOES_WITH, RANKED_PAGE, SOMETHING_EXTRA, TouchPoint
from tests.support.policy_shop import book, on


def reasons(point: TouchPoint, *rules: dict[str, object]) -> list[str]:
    """The reasons of lists of 0, 1, .. 11 products under the touch point's rules and some more."""
    rules_of = book(*rules, at=point.table.name, standing=point.default_rules)
    return [short_reason(point, rules_of, n) for n in range(12)]


def test_reasons_fit_the_rules_of_the_touch_point() -> None:
    extras = reasons(SOMETHING_EXTRA)
    limits = "other categories than the product's, its department, a price of at most 0.5 times the product's"
    assert extras[0] == f"no product fits: {limits}"
    assert extras[1].startswith(
        "only 1 product fits: other categories than the product's, its department, one of each "
    )
    assert reasons(ALTERNATIVES)[5] == "only 5 products fit: its department", "a cap of 8 cannot have been reached"
    assert reasons(GOES_WITH)[9] == (
        "only 9 products fit: its department, at most 8 of a brand, nothing that is shown beside it"
    )
    assert reasons(FOR_YOU)[3] == "only 3 products fit: nothing that the customer bought"
    assert reasons(RANKED_PAGE)[0] == "no product fits there"


def test_reasons_fit_the_policy() -> None:
    mixed = reasons(ALTERNATIVES, {"kind": "mix_departments", "value": "men", "shown": "women"})
    assert mixed[2] == "only 2 products fit: departments that the rules allow"
    window = {"kind": "price_window", "low": 0.5, "high": 2}
    assert reasons(ALTERNATIVES, window)[2].endswith(", a price of at least 0.5 and at most 2 times the product's")
    ruled = reasons(RANKED_PAGE, on("brand", "Acme", "exclude"), {"kind": "brand_cap", "amount": 1})
    assert ruled[:2] == [
        "no product fits: nothing that a rule excludes",
        "only 1 product fits: one of each brand, nothing that a rule excludes",
    ]
    capped = reasons(SOMETHING_EXTRA, {"kind": "category_cap", "amount": 3})
    assert "of a category" not in capped[2] and "at most 3 of a category" in capped[3]
