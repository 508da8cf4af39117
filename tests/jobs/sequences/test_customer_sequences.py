"""A customer's sequence: the newest events before the night, in an order that no product id decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from jobs.errors import UserError
from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.run import Run
from jobs.sequences import step as sequences
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS
from tests.support.tables import rows_of

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
NOON = MIDNIGHT - timedelta(hours=12)
SCHEMA = "event_id STRING, customer_id STRING, product_id STRING, event_type STRING, event_ts TIMESTAMP, market STRING"
Event = tuple[str, str, str, str, datetime, str]


def built(engine: Engine, events: list[Event], max_length: int = 100) -> dict[str, dict[str, object]]:
    frame = engine.spark.createDataFrame(events, SCHEMA)
    rows = rows_of(sequences.build_sequences(frame, MIDNIGHT, max_length), "*")
    return {row["customer_id"]: row for row in rows}


def test_a_sequence_is_parallel_arrays_with_the_most_recent_last(engine: Engine) -> None:
    events = [
        ("e2", "C1", "P2", "bag", NOON, "GB"),
        ("e1", "C1", "P1", "click", NOON - timedelta(days=400), "FR"),
        ("e3", "C2", "P1", "purchase", NOON + timedelta(microseconds=1), "DE"),
    ]
    assert built(engine, events) == {
        "C1": {
            "customer_id": "C1", "product_ids": ["P1", "P2"], "event_types": ["click", "bag"],
            "event_timestamps": [NOON - timedelta(days=400), NOON], "last_event_at": NOON, "market": "GB",
            "event_ids": ["e1", "e2"],
        },
        "C2": {
            "customer_id": "C2", "product_ids": ["P1"], "event_types": ["purchase"],
            "event_timestamps": [NOON + timedelta(microseconds=1)],
            "last_event_at": NOON + timedelta(microseconds=1), "market": "DE", "event_ids": ["e3"],
        },
    }  # fmt: skip


def test_equal_times_are_ordered_by_event_id_and_never_by_product(engine: Engine) -> None:
    names = ("P3", "P1", "P4", "P2")
    events = [(f"e{i}", "C1", product, "click", NOON, "GB") for i, product in enumerate(names)]
    renamed = [(f"e{i}", "C2", product, "click", NOON, "GB") for i, product in enumerate(reversed(names))]
    rows = built(engine, events[::-1] + renamed)
    assert rows["C1"]["product_ids"] == list(names)
    assert rows["C2"]["product_ids"] == list(reversed(names))


def test_the_newest_events_are_kept_when_there_are_too_many(engine: Engine) -> None:
    events = [(f"e{i}", "C1", f"P{i}", "click", NOON + timedelta(seconds=i), "GB") for i in range(5)]
    events.append(("f", "C2", "P1", "click", NOON, "GB"))
    rows = built(engine, events, max_length=3)
    assert rows["C1"]["product_ids"] == ["P2", "P3", "P4"]
    assert rows["C2"]["product_ids"] == ["P1"], "a shorter history is whole"


def test_only_events_strictly_before_the_night_count(engine: Engine) -> None:
    events = [
        ("e1", "C1", "P1", "click", MIDNIGHT - timedelta(microseconds=1), "GB"),
        ("e2", "C1", "P2", "click", MIDNIGHT, "GB"),
        ("e3", "C2", "P3", "click", MIDNIGHT + timedelta(days=1), "GB"),
    ]
    rows = built(engine, events)
    assert list(rows) == ["C1"]
    assert rows["C1"]["product_ids"] == ["P1"]


def events_table(events: list[Event]) -> pa.Table:
    schema = pa.schema([f for f in arrow_schema(EVENTS) if f.name not in ("as_of", "run_id")])
    rows = [
        {"event_id": e, "customer_id": c, "product_id": p, "event_type": t, "event_ts": ts, "market": m,
         "basket_id": None, "quantity": 1, "price": None, "event_date": ts.date()}
        for e, c, p, t, ts, m in events
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


EARLIER: list[Event] = [
    (f"e{i}", f"C{i % 4}", f"P{i % 7}", "click", NOON + timedelta(minutes=i // 3), "GB") for i in range(60)
]
GARBAGE: list[Event] = [
    (f"a{i}", f"C{i % 6}", "P-garbage", "purchase", MIDNIGHT + timedelta(hours=9 * i), "XX") for i in range(9)
]


def test_garbage_at_or_after_the_night_changes_no_sequence(engine: Engine) -> None:
    clean = built(engine, EARLIER, max_length=10)
    assert sorted(clean) == ["C0", "C1", "C2", "C3"]
    assert built(engine, GARBAGE + EARLIER, max_length=10) == clean


def test_garbage_at_or_after_the_night_changes_no_byte_of_the_table(
    sail_lake: Lake, run: Callable[[date], Run]
) -> None:
    lake, night = sail_lake, run(date(2026, 3, 10))
    lake.replace(EVENTS, events_table(EARLIER), night)
    counts = sequences.execute(lake, night, sequences.SequencesConfig(max_length=10))
    before = lake.arrow(CUSTOMER_SEQUENCES)
    lake.replace(EVENTS, events_table(GARBAGE), run(date(2026, 3, 20)))
    again = sequences.execute(lake, night, sequences.SequencesConfig(max_length=10))
    after = lake.arrow(CUSTOMER_SEQUENCES)
    assert lake.arrow(EVENTS).num_rows == 69
    assert before.num_rows == 4
    assert serialized(after) == serialized(before)
    assert (counts.rows_in, counts.rows_out) == (60, 4)
    assert (again.rows_in, again.rows_out) == (60, 4)


def serialized(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def test_a_night_before_every_event_is_told_so(sail_lake: Lake, run: Callable[[date], Run]) -> None:
    sail_lake.replace(EVENTS, events_table([("e", "C", "P", "click", NOON, "GB")]), run(date(2026, 3, 10)))
    with pytest.raises(UserError, match="no customer has an event before 2026-03-01"):
        sequences.execute(sail_lake, run(date(2026, 3, 1)), sequences.SequencesConfig())


def test_a_history_of_no_event_is_refused() -> None:
    with pytest.raises(UserError, match="max_length = 0"):
        sequences.SequencesConfig(max_length=0)


def test_the_size_of_a_products_last_purchase_is_known(engine: Engine) -> None:
    day = timedelta(days=1)
    bought = [
        ("C1", "P1", NOON - 2 * day, "S"), ("C1", "P1", NOON - day, "M"), ("C1", "P2", NOON, None),
        ("C1", "P3", NOON - day, "L"), ("C1", "P3", NOON, None),  # what was bought last says no size
        ("C2", "P1", NOON, "S"), ("C2", "P1", NOON, "M"), ("C2", "P1", NOON, None),  # two to try on
        ("C3", "P1", NOON, None), ("C4", "P1", NOON, "10, wide"),
    ]  # fmt: skip
    rows = [(customer, product, "purchase", at, size) for customer, product, at, size in bought]
    schema = "customer_id STRING, product_id STRING, event_type STRING, event_ts TIMESTAMP, size STRING"
    found = rows_of(sequences.build_bought(engine.spark.createDataFrame(rows, schema), MIDNIGHT), "*")
    assert {row["customer_id"]: (row["bought"], row["bought_sizes"]) for row in found} == {
        "C1": (["P1", "P2", "P3"], ["M", None, None]),
        "C2": (["P1"], ["S"]),
        "C3": (["P1"], None),
        "C4": (["P1"], ["10, wide"]),
    }
