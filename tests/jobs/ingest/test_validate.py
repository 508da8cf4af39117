"""Which rows are good, and the reason of each that is not: the same on both engines."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame

from jobs.errors import UserError
from jobs.ingest import rules
from jobs.lake.engine import Engine
from tests.support.tables import rows_of, strings

NIGHT = date(2026, 3, 10)
GOOD_EVENT: dict[str, str | None] = {
    "event_id": "e",
    "customer_id": "C1",
    "product_id": "P1",
    "event_type": "click",
    "event_ts": "2026-03-09T10:00:00Z",
    "market": "GB",
    "basket_id": None,
    "quantity": "1",
    "price": "9.99",
    "excluded": None,
}


def event(event_id: str | None = "e", **changed: str | None) -> dict[str, str | None]:
    """A good event but for what is changed."""
    return GOOD_EVENT | {"event_id": event_id} | changed


def judged_events(
    engine: Engine,
    rows: list[dict[str, str | None]],
    dated: bool = True,
    products: tuple[str, ...] | None = ("P1", "P2"),
    columns: tuple[str, ...] = ("event_id", "reason"),
    oldest: date = date(1980, 1, 1),
    late_days: int = 30,
) -> list[dict[str, Any]]:
    spark = engine.spark
    given = rules.contract_rows(strings(spark, rows), "events", "shop.sql")
    listed = None if products is None else spark.createDataFrame([(p,) for p in products], "product_id STRING")
    repeated = rules.repeated_ids(given)
    judged = rules.validate_events(given, NIGHT, listed, oldest if dated else None, late_days, repeated)
    alone, several = judged.where("NOT repeated"), judged.where("repeated")
    return rows_of(alone.unionByName(rules.without_repeats(several)), *columns)


def reasons(rows: list[dict[str, Any]], key: str = "event_id") -> dict[str, str | None]:
    return {row[key]: row["reason"] for row in rows}


FAULTS: dict[str, tuple[dict[str, str | None], str | None]] = {
    "nothing": ({}, None),
    "no customer": ({"customer_id": None}, "missing customer"),
    "blank customer": ({"customer_id": "   "}, "missing customer"),
    "no product": ({"product_id": ""}, "missing product"),
    "broken customer": ({"customer_id": "C\ufffd1"}, "broken encoding in customer_id"),
    "broken product": ({"product_id": "P\ufffd1"}, "broken encoding in product_id"),
    "longest customer": ({"customer_id": "\U0001f45c" * 200}, None),
    "too long customer": ({"customer_id": "C" * 201}, "malformed customer_id"),
    "newline in product": ({"product_id": "P\n1"}, "malformed product_id"),
    "padded ids": ({"customer_id": " C1 ", "product_id": "P1 "}, None),
    "no type": ({"event_type": None}, "unknown event type"),
    "odd type": ({"event_type": "hover"}, "unknown event type"),
    "shouted type": ({"event_type": " PURCHASE "}, None),
    "no time": ({"event_ts": None}, "unparseable timestamp"),
    "words for time": ({"event_ts": "yesterday evening"}, "unparseable timestamp"),
    "only a time of day": ({"event_ts": "10:00"}, "unparseable timestamp"),
    "no such day": ({"event_ts": "2026-02-30"}, "unparseable timestamp"),
    "no such hour": ({"event_ts": "2026-03-09 25:00:00"}, "unparseable timestamp"),
    "year 10000": ({"event_ts": "10000-01-01"}, "unparseable timestamp"),
    "year 9999": ({"event_ts": "9999-12-31T23:59:59.999Z"}, "future timestamp"),
    "year 1": ({"event_ts": "0001-01-01"}, "timestamp before 1990"),
    "year 1989": ({"event_ts": "1989-12-31T23:59:59Z"}, "timestamp before 1990"),
    "a date": ({"event_ts": "2026-03-09"}, None),
    "last instant": ({"event_ts": "2026-03-09T23:59:59.999999Z"}, None),
    "midnight": ({"event_ts": "2026-03-10T00:00:00Z"}, "future timestamp"),
    "next day elsewhere": ({"event_ts": "2026-03-10T03:00:00+05:00"}, None),
    "next day here": ({"event_ts": "2026-03-09T23:00:00-05:00"}, "future timestamp"),
    "unlisted product": ({"product_id": "P9"}, "unknown product"),
    "blank quantity": ({"quantity": " "}, None),
    "no pieces": ({"quantity": "0"}, "quantity below 1"),
    "minus one piece": ({"quantity": "-1"}, "quantity below 1"),
    "blank price": ({"price": ""}, None),
    "free": ({"price": "0"}, None),
    "exponent": ({"price": "1e1"}, None),
    "negative price": ({"price": "-0.01"}, "negative price"),
    "whole with decimals": ({"quantity": "2.0"}, None),
    "left out": ({"excluded": "cancellation", "quantity": "-1"}, "excluded: cancellation"),
    "first fault counts": ({"customer_id": None, "price": "ten"}, "missing customer"),
}


KEPT: dict[str, tuple[dict[str, str | None], dict[str, Any]]] = {
    "broken market": ({"market": "\ufffd"}, {"market": "all"}),
    "nul in market": ({"market": "G\x00B"}, {"market": "all"}),
    "broken basket": ({"basket_id": "\ufffd"}, {"basket_id": None}),
    "delete in basket": ({"basket_id": "B\x7f"}, {"basket_id": None}),
    "fraction of a piece": ({"quantity": "1.5"}, {"quantity": 1}),
    "too many pieces": ({"quantity": "99999999999999999999"}, {"quantity": 1}),
    "price in words": ({"price": "ten"}, {"price": None}),
    "decimal comma": ({"price": "9,99"}, {"price": None}),
    "java literal": ({"price": "9.99d"}, {"price": None}),
    "hex literal": ({"price": "0x1p3"}, {"price": None}),
    "not a number": ({"price": "NaN"}, {"price": None}),
    "infinite": ({"price": "inf"}, {"price": None}),
    "minus infinite": ({"price": "-Infinity"}, {"price": None}),
    "overflow": ({"price": "1e999"}, {"price": None}),
}
"""What cannot be used in an optional column, and what stands there then."""


def test_an_optional_value_that_cannot_be_used_never_costs_a_row(engine: Engine) -> None:
    rows = judged_events(
        engine,
        [event(name, **changed) for name, (changed, _) in KEPT.items()],
        columns=("event_id", "reason", "unread", "market", "basket_id", "quantity", "price"),
    )
    found = {row["event_id"]: row for row in rows}
    for name, (changed, expected) in KEPT.items():
        row, [(column, value)] = found[name], changed.items()
        assert row["reason"] is None, name
        assert row["unread"] == f"{column}{rules.UNIT}{value}", name
        assert {key: row[key] for key in expected} == expected, name


def test_every_fault_of_an_event_has_its_reason(engine: Engine) -> None:
    rows = judged_events(engine, [event(name, **changed) for name, (changed, _) in FAULTS.items()])
    assert reasons(rows) == {name: reason for name, (_, reason) in FAULTS.items()}


def test_only_what_the_source_left_out_is_expected(engine: Engine) -> None:
    rows = judged_events(
        engine,
        [event("out", excluded="gift card"), event("bad", event_type="look"), event("good")],
        columns=("event_id", "expected"),
    )
    assert {row["event_id"]: row["expected"] for row in rows} == {"out": True, "bad": False, "good": False}


def test_in_place_of_a_broken_or_malformed_event_id_the_content_counts(engine: Engine) -> None:
    rows = judged_events(
        engine, [event("e\ufffd", quantity="1"), event("x" * 201, quantity="2"), event("a\tb", quantity="3")]
    )
    assert {row["reason"] for row in rows} == {None}
    assert all(len(row["event_id"]) == 64 for row in rows)


def test_a_good_event_comes_out_typed_and_trimmed(engine: Engine) -> None:
    row = event(
        "e1",
        customer_id=" C1",
        event_type="Bag",
        market=None,
        basket_id=" ",
        quantity=None,
        price="1e1",
        event_ts="2026-03-09T03:00:00.250+05:00",
    )
    found = judged_events(engine, [row], columns=(*rules.EVENT_COLUMNS, "event_date"))
    assert found == [
        {
            "event_id": "e1",
            "customer_id": "C1",
            "product_id": "P1",
            "event_type": "bag",
            "event_ts": datetime(2026, 3, 8, 22, 0, 0, 250_000, tzinfo=UTC),
            "market": "all",
            "basket_id": None,
            "quantity": 1,
            "price": 10.0,
            "size": None,
            "event_date": date(2026, 3, 8),
        }
    ]


def test_the_rejected_row_is_kept_as_the_select_gave_it(engine: Engine) -> None:
    rows = [{"customer_id": ' "é"\\ ', "product_id": None, "event_type": "", "event_ts": "</script>"}]
    found = judged_events(engine, rows, columns=("raw", "reason"))
    assert found == [
        {"raw": '{"customer_id":" \\"é\\"\\\\ ","event_type":"","event_ts":"</script>"}', "reason": "missing product"}
    ]


def test_of_equal_event_ids_the_good_copy_is_kept(engine: Engine) -> None:
    rows = [event("e1", price="-1"), event("e1", price="5"), event("e1", price="6", event_ts="2026-03-09T11:00:00Z")]
    found = judged_events(engine, rows, columns=("price", "reason"))
    assert sorted((row["price"], row["reason"]) for row in found) == [
        (-1.0, "negative price"),
        (5.0, None),
        (6.0, "duplicate event"),
    ]


def test_without_an_event_id_equal_rows_are_one_event_and_others_are_not(engine: Engine) -> None:
    rows = [event(None), event(None), event(None, customer_id="C2")]
    found = judged_events(engine, rows, columns=("customer_id", "event_id", "reason"))
    assert sorted((row["customer_id"], row["reason"] or "") for row in found) == [
        ("C1", ""),
        ("C1", "duplicate event"),
        ("C2", ""),
    ]
    assert len({row["event_id"] for row in found}) == 2


def test_a_null_and_a_neighbouring_value_do_not_share_an_identity(engine: Engine) -> None:
    rows = [event(None, market="B", basket_id=None), event(None, market=None, basket_id="B")]
    assert len({row["event_id"] for row in judged_events(engine, rows, columns=("event_id", "reason"))}) == 2


def test_an_event_may_be_so_many_days_late_and_no_more(engine: Engine) -> None:
    rows = [event(f"{day:02}", event_ts=f"2026-03-{day:02}T23:00:00Z") for day in (1, 6, 7, 8, 9)]
    columns = ("event_id", "reason", "late")
    found = judged_events(engine, rows, columns=columns, oldest=date(2026, 3, 8), late_days=1)
    too_late = "more than 1 days late"
    assert [(row["event_id"], row["reason"], row["late"]) for row in found] == [
        ("01", too_late, True),
        ("06", too_late, True),
        ("07", None, True),
        ("08", None, False),
        ("09", None, False),
    ]
    undated = judged_events(engine, rows, dated=False, columns=columns)
    assert [(row["reason"], row["late"]) for row in undated] == [(None, False)] * 5


def test_the_columns_that_a_row_leaves_blank_are_told(engine: Engine) -> None:
    row = event("e", market=" ", quantity=None, basket_id=None)
    assert judged_events(engine, [row], columns=("absent",)) == [
        {"absent": ["market", "basket_id", "quantity", "size"]}
    ]


def test_a_later_event_is_wrong_in_a_dated_file_and_not_yet_in_an_undated_one(engine: Engine) -> None:
    rows = [event("now"), event("midnight", event_ts="2026-03-10"), event("far", event_ts="9999-12-31T23:59:59Z")]
    dated, undated = (reasons(judged_events(engine, rows, dated=flag)) for flag in (True, False))
    assert dated == {"now": None, "midnight": "future timestamp", "far": "future timestamp"}
    assert undated == {"now": None, "midnight": "later", "far": "later"}


def test_without_a_catalogue_every_product_is_known(engine: Engine) -> None:
    rows = [event("e1", product_id="P9"), event("e2", product_id=None)]
    assert reasons(judged_events(engine, rows, products=None)) == {"e1": None, "e2": "missing product"}


def judged_catalogue(engine: Engine, rows: list[dict[str, str | None]], *columns: str) -> list[dict[str, Any]]:
    given = rules.contract_rows(strings(engine.spark, rows), "catalogue", "shop.sql")
    return rows_of(
        newest(rules.validate_catalogue(given, rules.repeated_keys(given, "catalogue")), "catalogue"), *columns
    )


def newest(validated: DataFrame, kind: str) -> DataFrame:
    alone, several = validated.where("NOT repeated"), validated.where("repeated")
    return alone.unionByName(rules.without_superseded(several, kind))


def test_every_fault_of_a_product_has_its_reason(engine: Engine) -> None:
    rows: list[dict[str, str | None]] = [
        {"product_id": "good", "name": "<script>alert(1)</script>", "price": "5", "launched_at": "2026-01-02"},
        {"product_id": "bare"},
        {"product_id": "a\x01"},
        {"product_id": "name", "name": "Jeans \ufffd"},
        {"product_id": "brand", "brand": "\ufffd"},
        {"product_id": "colour", "colour": "\ufffd"},
        {"product_id": "words", "price": "ten"},
        {"product_id": "nan", "price": "nan"},
        {"product_id": "negative", "price": "-5.0"},
        {"product_id": "launch", "launched_at": "soon"},
        {"product_id": "out", "excluded": "gift card", "price": "ten"},
    ]
    assert reasons(judged_catalogue(engine, rows, "product_id", "reason"), "product_id") == {
        "good": None,
        "bare": None,
        "a\x01": "malformed product_id",
        "name": None,
        "brand": None,
        "colour": None,
        "words": None,
        "nan": None,
        "negative": None,
        "launch": None,
        "out": "excluded: gift card",
    }


def test_products_without_an_id_are_each_missing_and_never_superseded(engine: Engine) -> None:
    rows: list[dict[str, str | None]] = [{"product_id": None, "name": "a"}, {"product_id": " ", "name": "b"}]
    assert [row["reason"] for row in judged_catalogue(engine, rows, "reason")] == ["missing product"] * 2


def test_the_newest_update_of_a_product_counts_by_its_instant(engine: Engine) -> None:
    rows: list[dict[str, str | None]] = [
        {"product_id": "P1", "price": "10", "updated_at": "2026-03-08T09:00:00Z"},
        {"product_id": "P1", "price": "11", "updated_at": "2026-03-08 23:30:00 -0500"},
        {"product_id": "P1", "price": "12", "updated_at": "2026-03-09 02:00:00+02:00"},
        {"product_id": "P1", "price": "13", "updated_at": "some day"},
    ]
    found = judged_catalogue(engine, rows, "price", "reason", "name", "unread")
    assert {row["price"]: row["reason"] for row in found} == {
        10.0: "superseded",
        11.0: None,
        12.0: "superseded",
        13.0: "superseded",
    }
    assert {row["name"] for row in found} == {"P1"}, "a product without a name is shown by its id"
    assert [row["unread"] for row in found if row["price"] == 13.0] == [f"updated_at{rules.UNIT}some day"]


def test_an_update_without_its_time_is_older_than_one_with_it(engine: Engine) -> None:
    rows: list[dict[str, str | None]] = [
        {"product_id": "P1", "price": "10", "updated_at": "2026-03-07"},
        {"product_id": "P1", "price": "99"},
    ]
    found = {row["price"]: row["reason"] for row in judged_catalogue(engine, rows, "price", "reason")}
    assert found == {10.0: None, 99.0: "superseded"}


def test_every_fault_of_an_availability_has_its_reason(engine: Engine) -> None:
    words = {
        "true": True,
        "T": True,
        "yes": True,
        "1": True,
        " FALSE ": False,
        "f": False,
        "n": False,
        "0": False,
        "on": None,
        "off": None,
        "tru": None,
        "maybe": None,
        "": None,
    }
    rows: list[dict[str, str | None]] = [
        {"product_id": "P1", "market": f"m{i}", "available": word} for i, word in enumerate(words)
    ]
    rows += [
        {"product_id": None, "market": "a", "available": "true"},
        {"product_id": "P1", "market": " ", "available": "true"},
        {"product_id": "P1", "market": "b\x02", "available": "true"},
        {"product_id": "P9", "market": "c", "available": "true"},
        {"product_id": "P1", "market": "d", "available": "true", "updated_at": "2026-03-08"},
        {"product_id": "P1", "market": "d", "available": "false", "updated_at": "2026-03-09"},
        {"product_id": "P1", "market": "d", "available": "perhaps", "updated_at": "2026-03-10"},
    ]
    given = rules.contract_rows(strings(engine.spark, rows), "availability", "shop.sql")
    products = engine.spark.createDataFrame([("P1",)], "product_id STRING")
    judged = rules.validate_availability(given, products, rules.repeated_keys(given, "availability"))
    found = rows_of(newest(judged, "availability"), "market", "available", "reason")
    no_word = "availability is neither true nor false"
    of_words = {f"m{i}": (value, no_word if value is None else None) for i, value in enumerate(words.values())}
    assert {r["market"]: (r["available"], r["reason"]) for r in found if r["market"] in of_words} == of_words
    others = [(str(r["market"]), str(r["available"]), r["reason"]) for r in found if r["market"] not in of_words]
    assert sorted(others, key=str) == [
        ("None", "True", "missing market"),
        ("a", "True", "missing product"),
        ("b\x02", "True", "malformed market"),
        ("c", "True", "unknown product"),
        ("d", "False", None),
        ("d", "None", no_word),
        ("d", "True", "superseded"),
    ]


def test_a_select_that_lacks_or_invents_columns_is_told_which(sail_engine: Engine) -> None:
    frame = strings(sail_engine.spark, [{"customer_id": "C1", "produkt": "P1", "event_ts": "2026-03-09"}])
    with pytest.raises(UserError) as caught:
        rules.contract_rows(frame, "events", "shop.sql")
    for part in ("shop.sql", "it lacks ['product_id', 'event_type']", "unknown ['produkt']"):
        assert part in str(caught.value)
