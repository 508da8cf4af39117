"""What was bought together: by basket id, or by customer and time where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from jobs.index import basket_rows, to_baskets
from jobs.lake.engine import Engine
from models.vocabulary import Vocabulary

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
NOON = MIDNIGHT - timedelta(hours=12)
SECOND = int(NOON.timestamp())
SCHEMA = "customer_id STRING, product_id STRING, event_type STRING, event_ts TIMESTAMP, basket_id STRING"
Event = tuple[str, str, str, datetime, str | None]


def baskets_of(engine: Engine, events: list[Event], days: int = 30) -> list[tuple[list[str], int]]:
    rows = basket_rows(engine.spark.createDataFrame(events, SCHEMA), MIDNIGHT, days).toArrow().to_pylist()
    return sorted((sorted(set(row["product_ids"])), row["second"]) for row in rows)


def test_purchases_of_one_order_are_one_basket(engine: Engine) -> None:
    events: list[Event] = [
        ("C1", "P2", "purchase", NOON + timedelta(seconds=70), "B1"),
        ("C1", "P1", "purchase", NOON + timedelta(milliseconds=900), "B1"),
        ("C1", "P1", "purchase", NOON + timedelta(seconds=90), "B1"),
        ("C1", "P3", "purchase", NOON, "B2"),
        ("C2", "P4", "purchase", NOON + timedelta(seconds=5), "B1"),
        ("C1", "P5", "click", NOON, "B1"),
        ("C1", "P6", "bag", NOON, None),
    ]
    assert baskets_of(engine, events) == [
        (["P1", "P2"], SECOND), (["P3"], SECOND), (["P4"], SECOND + 5),
    ]  # fmt: skip


def test_without_a_basket_id_equal_customer_and_time_are_one_basket(engine: Engine) -> None:
    events: list[Event] = [
        ("C1", "P2", "purchase", NOON, None),
        ("C1", "P1", "purchase", NOON, None),
        ("C1", "P3", "purchase", NOON + timedelta(milliseconds=1), None),
        ("C2", "P4", "purchase", NOON - timedelta(seconds=1), None),
    ]
    assert baskets_of(engine, events) == [(["P1", "P2"], SECOND), (["P3"], SECOND), (["P4"], SECOND - 1)]


def test_a_basket_lies_strictly_before_the_night_and_within_the_days(engine: Engine) -> None:
    events: list[Event] = [
        ("C1", "night", "purchase", MIDNIGHT, None),
        ("C1", "last", "purchase", MIDNIGHT - timedelta(microseconds=1), None),
        ("C1", "oldest", "purchase", MIDNIGHT - timedelta(days=7), None),
        ("C1", "too old", "purchase", MIDNIGHT - timedelta(days=7, microseconds=1), None),
    ]
    assert [products for products, _ in baskets_of(engine, events, days=7)] == [["last"], ["oldest"]]


def test_baskets_are_arrays_of_the_products_the_vocabulary_knows(engine: Engine) -> None:
    events: list[Event] = [
        ("C1", "P1", "purchase", NOON, "B1"), ("C1", "gone", "purchase", NOON, "B1"),
        ("C1", "P3", "purchase", NOON, "B1"), ("C2", "gone", "purchase", NOON + timedelta(seconds=1), "B2"),
        ("C3", "P2", "purchase", NOON + timedelta(seconds=2), "B3"),
    ]  # fmt: skip
    vocabulary = Vocabulary(pa.array(["P1", "P2", "P3"]))
    rows = basket_rows(engine.spark.createDataFrame(events, SCHEMA), MIDNIGHT, 30)
    found = to_baskets(rows.orderBy("second").toArrow(), vocabulary)
    assert found.times is not None
    assert found.offsets.tolist() == [0, 2, 2, 3]
    assert sorted(found.products[:2].tolist()) == [0, 2] and found.products[2:].tolist() == [1]
    assert found.times.tolist() == [SECOND, SECOND + 1, SECOND + 2]
    assert len(found) == 3


def test_no_purchase_gives_no_basket(engine: Engine) -> None:
    events: list[Event] = [("C1", "P1", "click", NOON, None)]
    rows = basket_rows(engine.spark.createDataFrame(events, SCHEMA), MIDNIGHT, 30)
    found = to_baskets(rows.toArrow(), Vocabulary(pa.array(["P1"])))
    assert (len(found), found.offsets.tolist(), found.products.tolist()) == (0, [0], [])
