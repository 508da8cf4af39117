"""A night under a policy: rules hold in their scope, are named and counted, and are off where a variant says so."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from jobs.cli.policy import load
from jobs.errors import GateError
from jobs.policy.parse import rules_of
from jobs.policy.variants import Variant, variant_of
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    TOUCH_POINTS,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.support.nights import FIRST, Shop

WITHOUT = Variant("without_policy", 0.5, policy=False)
VARIANTS = (Variant("default", 0.5), WITHOUT)


@pytest.fixture(scope="module")
def favourite(night: Shop) -> str:
    """The product that customers' lists show most."""
    shown = Counter(p for row in night.rows(RECOMMENDED_FOR_YOU) for p in row["product_ids"])
    return shown.most_common(1)[0][0]


@pytest.fixture(scope="module")
def repeated(night: Shop) -> str:
    """A category that customers bought from."""
    category = {r["product_id"]: r["category"] for r in night.rows(CATALOGUE)}
    bought = [r["product_id"] for r in night.lake.arrow(EVENTS).to_pylist() if r["event_type"] == "purchase"]
    return Counter(category[p] for p in bought).most_common(1)[0][0]


@pytest.fixture(scope="module")
def ruled(night: Shop, favourite: str, repeated: str, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The lists made again under a policy, for two variants."""
    shop = night.copy(tmp_path_factory.mktemp("ruled"))
    brand = next(r["brand"] for r in night.rows(CATALOGUE) if r["product_id"] == favourite)
    sold = {r["product_id"] for r in night.rows(AVAILABILITY)}
    pinned = next(r["product_id"] for r in night.rows(CATALOGUE) if r["product_id"] in sold - {favourite})
    rules = [
        {"rule_id": "recall", "kind": "exclude", "attribute": "product_id", "value": favourite},
        {"rule_id": "launch", "kind": "include", "touch_point": "people_also_bought", "attribute": "product_id",
         "value": pinned, "amount": 2.0},
        {"rule_id": "push", "kind": "boost", "touch_point": "you_might_also_like", "attribute": "brand", "value": brand,
         "amount": 10.0},
        {"rule_id": "one-each", "kind": "brand_cap", "touch_point": "recommended_for_you", "amount": 1.0},
        {"rule_id": "again", "kind": "repeat_purchase", "attribute": "category", "value": repeated, "amount": 0.0},
        {"rule_id": "over", "kind": "exclude", "attribute": "product_id", "value": pinned,
         "ends_on": FIRST - timedelta(days=1)},
    ]  # fmt: skip
    load(shop.lake, rules_of(rules), FIRST)
    shop.step("lists", variants=VARIANTS)
    shop.step("audiences")
    return shop


def rows(shop: Shop, table: object, variant: str) -> list[dict[str, object]]:
    return [row for row in shop.rows(table) if row["variant"] == variant]  # type: ignore[arg-type]


def test_an_excluded_product_is_shown_nowhere_but_in_the_variant_without_policy(ruled: Shop, favourite: str) -> None:
    for table in TOUCH_POINTS:
        assert [r for r in rows(ruled, table, "default") if favourite in r["product_ids"]] == []  # type: ignore[operator]
    assert [r for r in rows(ruled, RECOMMENDED_FOR_YOU, WITHOUT.name) if favourite in r["product_ids"]] != []  # type: ignore[operator]


def test_a_product_that_must_be_there_has_its_place_where_it_is_sold(ruled: Shop) -> None:
    lists = rows(ruled, PEOPLE_ALSO_BOUGHT, "default")
    placed = [r for r in lists if "launch" in r["rules"]]  # type: ignore[operator]
    assert len(placed) > 50
    assert {r["rules"].index("launch") for r in placed} == {1}  # type: ignore[attr-defined]
    assert len({r["product_ids"][1] for r in placed}) == 1  # type: ignore[index]
    assert not [r for r in rows(ruled, PEOPLE_ALSO_BOUGHT, WITHOUT.name) if "launch" in r["rules"]]  # type: ignore[operator]


def test_a_boost_brings_its_brand_forward(ruled: Shop, favourite: str) -> None:
    brand_of = {r["product_id"]: r["brand"] for r in ruled.rows(CATALOGUE)}
    brand = brand_of[favourite]

    def among_the_first(variant: str) -> int:
        lists = rows(ruled, YOU_MIGHT_ALSO_LIKE, variant)
        return sum(brand_of[p] == brand for r in lists for p in r["product_ids"][:6])  # type: ignore[index]

    assert among_the_first("default") > among_the_first(WITHOUT.name)


def test_a_brand_stands_once_in_a_customers_list(ruled: Shop) -> None:
    brand_of = {r["product_id"]: r["brand"] for r in ruled.rows(CATALOGUE)}
    for row in rows(ruled, RECOMMENDED_FOR_YOU, "default"):
        brands = [brand_of[p] for p in row["product_ids"] if brand_of[p] is not None]  # type: ignore[attr-defined]
        assert len(set(brands)) == len(brands)


def test_only_the_category_that_is_bought_again_is_recommended_again(ruled: Shop, repeated: str) -> None:
    category = {r["product_id"]: r["category"] for r in ruled.rows(CATALOGUE)}
    bought = {
        (r["customer_id"], r["product_id"]) for r in ruled.lake.arrow(EVENTS).to_pylist()
        if r["event_type"] == "purchase" and r["event_ts"] < ruled.run_of(FIRST).midnight
    }  # fmt: skip
    again = [
        (r["variant"], category[p]) for r in ruled.rows(RECOMMENDED_FOR_YOU) for p in r["product_ids"]
        if (r["customer_id"], p) in bought
    ]  # fmt: skip
    assert set(again) == {("default", repeated)}


def test_every_rule_of_the_night_is_counted_and_one_that_is_over_is_not_there(ruled: Shop) -> None:
    effects = {(r["rule_id"], r["touch_point"], r["variant"]): r for r in ruled.rows(RULE_EFFECTS)}
    changed = {rule: sum(r["changed"] for key, r in effects.items() if key[0] == rule) for rule, _, _ in effects}
    assert all(changed[rule] > 0 for rule in ("recall", "launch", "push", "one-each"))
    assert "over" not in changed
    assert [r for key, r in effects.items() if key[2] == WITHOUT.name and r["rule"] and r["changed"]] == []
    assert '"kind": "exclude"' in effects["recall", "recommended_for_you", "default"]["rule"]


def test_a_customer_sees_the_variant_of_their_bucket_and_products_have_both(ruled: Shop) -> None:
    seen = {r["customer_id"]: r["variant"] for r in ruled.rows(RECOMMENDED_FOR_YOU)}
    assert seen.keys() == {r["customer_id"] for r in ruled.rows(CUSTOMER_SEQUENCES)}
    salt = ruled.config.lists.experiment
    assert seen == {customer: variant_of(customer, salt, VARIANTS) for customer in seen}
    assert set(seen.values()) == {v.name for v in VARIANTS}
    one, other = ({(r["product_id"], r["market"]) for r in rows(ruled, YOU_MIGHT_ALSO_LIKE, v.name)} for v in VARIANTS)
    assert one == other


def test_an_analyst_finds_the_bucket_in_sql(ruled: Shop) -> None:
    frame = ruled.lake.frame(RECOMMENDED_FOR_YOU).select("customer_id", "variant")
    frame.createOrReplaceTempView("seen")
    salt = ruled.config.lists.experiment
    found = ruled.lake.spark.sql(
        "SELECT variant, CAST(conv(substr(sha2(concat(:salt, ':', customer_id), 256), 1, 8), 16, 10) AS BIGINT) % 10000"
        " AS bucket FROM seen", args={"salt": salt},
    ).toArrow().to_pylist()  # fmt: skip
    assert len(found) > 100
    assert all((row["bucket"] < 5_000) == (row["variant"] == "default") for row in found)


def test_the_gates_catch_a_rule_that_leaves_lists_short_and_no_other(ruled: Shop) -> None:
    with pytest.raises(GateError, match="recommended_for_you_full is 0") as stopped:
        ruled.step("gate")
    assert str(stopped.value).count("--accept") == 1
    assert "accepted: recommended_for_you_full" in ruled.step("gate", accepted=["recommended_for_you_full"]).note
