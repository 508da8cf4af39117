"""A night of changed sequences reads exactly as if every customer had been built anew."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.sequences import step as sequences
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS
from tests.conftest import lake_on, run_of
from tests.support.tables import assert_same_rows

DAY = date(2026, 3, 1)
OWN = ("as_of", "run_id", "since", "events_version")
"""Columns that say which night wrote a row, not what it holds."""
CONTENT = [name for name in CUSTOMER_SEQUENCES.names if name not in OWN]


def night_of(day: int) -> date:
    """The night that follows a day of the test."""
    return DAY + timedelta(days=day + 1)


@dataclass
class Shop:
    """Events as a dictionary and as a table, changed together."""

    lake: Lake
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def event(
        self, event_id: str, customer: str, day: int, hour: int = 9, night: int | None = None, **more: Any
    ) -> None:
        """Put an event, or another content of it; its night is the day's own unless one is given."""
        at = datetime.combine(DAY + timedelta(days=day), time(hour), UTC)
        row = {"product_id": f"P-{event_id}", "event_type": "click", "market": "GB", "basket_id": None, "price": 1.0}
        as_of = night_of(day if night is None else night)
        self.events[event_id] = row | {
            "event_id": event_id, "customer_id": customer, "event_ts": at, "event_date": at.date(), "quantity": 1,
            "as_of": as_of, "run_id": run_of(as_of).run_id,
        } | more  # fmt: skip

    def rewrite(self) -> None:
        """Write every file anew, as a compaction or a correction does."""
        self.lake.overwrite(EVENTS, pa.Table.from_pylist(list(self.events.values()), arrow_schema(EVENTS)))

    def append(self, day: int) -> None:
        """Write the rows of one night alone."""
        run = run_of(night_of(day))
        rows = [row for row in self.events.values() if row["as_of"] == run.as_of]
        own = pa.schema([f for f in arrow_schema(EVENTS) if f.name not in ("as_of", "run_id")])
        self.lake.replace(EVENTS, pa.Table.from_pylist([{k: r.get(k) for k in own.names} for r in rows], own), run)

    def night(self, day: int, max_length: int = 3) -> str:
        """Make the sequences of the night after a day, compare them with a full build, and return the step's note."""
        run = run_of(night_of(day))
        counts = sequences.execute(self.lake, run, sequences.SequencesConfig(max_length))
        self.assert_like_a_full_build(day, max_length)
        return counts.note

    def assert_like_a_full_build(self, day: int, max_length: int = 3) -> None:
        """The night reads as `build_sequences` makes it from the events there are."""
        midnight = run_of(night_of(day)).midnight
        events = self.lake.frame(EVENTS)
        built = sequences.build_sequences(events, midnight, max_length).join(
            sequences.build_bought(events, midnight), "customer_id", "left"
        )
        whole = pa.Table.from_batches(built.toArrow().to_batches()).append_column(
            "max_length", pa.array([max_length] * built.count(), pa.int64())
        )
        schema = pa.schema([arrow_schema(CUSTOMER_SEQUENCES).field(name) for name in CONTENT])
        found = self.lake.arrow(CUSTOMER_SEQUENCES, CONTENT, night_of(day))
        assert_same_rows(found, whole.select(CONTENT).cast(schema), ("incremental", "full build"))

    def written(self, day: int) -> list[str]:
        """Customers of whom the night itself holds a row."""
        rows = self.lake.arrow(CUSTOMER_SEQUENCES, ["customer_id", "as_of"]).to_pylist()
        return sorted(row["customer_id"] for row in rows if row["as_of"] == night_of(day))


@pytest.fixture
def shop(sail_lake: Lake) -> Shop:
    """Eight customers with an event each on day 0, and the night after it."""
    made = Shop(sail_lake)
    for number in range(8):
        made.event(f"a{number}", f"C{number}", 0)
    made.append(0)
    made.night(0)
    return made


def test_only_the_customers_of_the_new_day_are_written(shop: Shop) -> None:
    shop.event("b1", "C1", 1)
    shop.event("b2", "new", 1, event_type="purchase")
    shop.append(1)
    assert shop.night(1) == "2 customers changed by 2 events since 2026-03-02"
    assert shop.written(1) == ["C1", "new"]
    assert shop.lake.since(CUSTOMER_SEQUENCES, night_of(1)) == night_of(0)


def test_a_late_event_takes_its_place_in_time(shop: Shop) -> None:
    shop.event("b1", "C1", 2, event_type="purchase", product_id="P")
    shop.append(2)
    shop.night(2)
    shop.event("late", "C1", 1, night=3, event_type="purchase", product_id="P")
    shop.append(3)
    shop.night(3)
    row = shop.lake.arrow(CUSTOMER_SEQUENCES, as_of=night_of(3)).to_pylist()[1]
    assert (row["event_ids"], row["bought"]) == (["a1", "late", "b1"], ["P"])
    assert row["bought_at"] == [datetime(2026, 3, 3, 9, tzinfo=UTC)], "bought last on day 2, whatever came later"


def test_sizes_go_on_from_the_night_before(shop: Shop) -> None:
    bought = {"event_type": "purchase", "product_id": "P"}
    shop.event("b1", "C1", 1, size="M", **bought)
    shop.event("b3", "C3", 1, size=None, **bought)
    shop.append(1)
    shop.night(1)
    shop.event("late", "C1", 1, hour=7, night=2, size="XL", **bought)  # before the one that is known
    shop.event("c3", "C3", 2, size="L", **bought | {"product_id": "Q"})
    shop.append(2)
    assert shop.night(2).startswith("2 customers changed")
    rows = {row["customer_id"]: row for row in shop.lake.arrow(CUSTOMER_SEQUENCES, as_of=night_of(2)).to_pylist()}
    assert [rows[c]["bought_sizes"] for c in ("C1", "C3", "C4")] == [["M"], [None, "L"], None]


def test_a_late_event_that_is_too_old_for_a_full_sequence_changes_it_not(shop: Shop) -> None:
    for day in (1, 2, 3):
        shop.event(f"b{day}", "C1", day)
    shop.rewrite()
    shop.night(3)
    shop.event("late", "C1", 0, hour=1, night=4)
    shop.append(4)
    shop.night(4)
    row = shop.lake.arrow(CUSTOMER_SEQUENCES, as_of=night_of(4)).to_pylist()[1]
    assert row["event_ids"] == ["b1", "b2", "b3"]


def test_a_corrected_event_rebuilds_its_customer_and_its_former_one(shop: Shop) -> None:
    shop.event("a1", "C2", 0, night=1)
    shop.event("a3", "C3", 0, night=1, market="FR", product_id="other")
    shop.event("a4", "C4", 0, price=2.0)  # no sequence holds a price
    shop.event("b1", "C1", 1)
    shop.rewrite()
    assert shop.night(1).startswith("3 customers changed")
    assert shop.written(1) == ["C1", "C2", "C3"]


def test_a_day_without_events_is_a_night_all_the_same(shop: Shop) -> None:
    shop.night(1)
    assert shop.written(1) == ["C0"]
    assert shop.lake.nights(CUSTOMER_SEQUENCES) == [night_of(0), night_of(1)]


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("max_length is 2 now", lambda shop: None),
        ("a customer has no event any more", lambda shop: (shop.events.pop("a1"), shop.rewrite())),
        ("5 rows changed", lambda shop: ([shop.event(f"b{n}", f"C{n}", 1) for n in range(5)], shop.append(1))),
        ("vacuumed", lambda shop: (shop.rewrite(), shop.lake.delta(EVENTS).vacuum(0, False, False))),
        ("does not record its version of events", lambda shop: forget_version(shop)),
    ],
)  # fmt: skip
def test_a_night_is_complete_where_changes_would_not_do(shop: Shop, why: str, change: Callable[[Shop], Any]) -> None:
    change(shop)
    assert why in shop.night(1, 2 if "max_length" in why else 3)
    assert shop.lake.since(CUSTOMER_SEQUENCES, night_of(1)) == night_of(1)


def forget_version(shop: Shop) -> None:
    """A night as it was written before it recorded what it knows."""
    rows = shop.lake.arrow(CUSTOMER_SEQUENCES).to_pylist()
    shop.lake.replace_rows(CUSTOMER_SEQUENCES, [r | {"events_version": None} for r in rows], run_of(night_of(0)))


def test_a_night_made_again_is_equal_whatever_came_later(shop: Shop) -> None:
    for day in (1, 2):
        shop.event(f"b{day}", f"C{day}", day)
        shop.append(day)
        shop.night(day)
    before = shop.lake.arrow(CUSTOMER_SEQUENCES)
    for day in (0, 1, 2, 1):
        shop.night(day)
        assert_same_rows(shop.lake.arrow(CUSTOMER_SEQUENCES), before, ("again", "before"))


def test_a_backfilled_night_knows_what_later_nights_brought(shop: Shop) -> None:
    shop.event("c1", "C1", 3)
    shop.event("late", "C2", 1, night=3)
    shop.append(3)
    shop.night(3)
    shop.event("b5", "C5", 2)
    shop.append(2)
    shop.night(2)
    assert shop.written(2) == ["C2", "C5"]
    assert "run again after it" in shop.night(4), "night 3 does not know of b5"


# --- in any order

Step = tuple[str, int, int, int, int]
"""What happens, in which night, to which event, customer and day before the night."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["events", "events", "events", "late", "correct", "retract", "compact", "again", "skip"]),
        st.integers(0, 6), st.integers(0, 11), st.integers(0, 4), st.integers(0, 3),
    ),
    min_size=3, max_size=8,
)  # fmt: skip


def play(lake: Lake, steps: list[Step]) -> None:
    """Change events in any order of nights; each night made is compared with a full build."""
    shop = Shop(lake)
    for customer in range(12):
        shop.event(f"first{customer}", f"D{customer}", 0)
    shop.append(0)
    shop.night(0)
    newest = 0
    for number, (what, back, which, customer, ago) in enumerate(steps):
        day = newest + 1 if what in ("events", "skip") and back < 5 else max(newest - back, 0)
        newest = max(newest, day)
        if what in ("events", "late"):
            kind = ("click", "purchase")[which % 2]
            for copy in range(1 + which % 3):
                of_day = max(day - (ago if what == "late" else 0), 0)
                own = {
                    "event_type": kind,
                    "product_id": f"P{which % 4}",
                    "market": ("GB", "FR")[ago % 2],
                    "size": ("S", "M", None)[(number + copy) % 3],
                }
                shop.event(f"e{number}-{copy}", f"C{customer}", of_day, 9 + copy % 2, night=day, **own)
            shop.append(day)
        known = sorted(shop.events)
        event = known[(which * 7 + number) % len(known)]
        if what == "correct":
            old = shop.events[event]
            moved = (old["event_date"] - DAY).days if ago else day
            shop.event(event, f"C{customer}", min(moved, day), night=day, product_id="corrected")
        elif what == "retract" and len(known) > 1:
            del shop.events[event]
        if what in ("correct", "retract", "compact"):
            shop.rewrite()
        if what != "skip":
            shop.night(day)
    shop.night(newest + 1)


def played(engine: Engine, steps: list[Step]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        play(lake_on(engine, folder), steps)
    finally:
        shutil.rmtree(folder)


QUICK = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck),
         "phases": [Phase.explicit, Phase.generate]}  # fmt: skip


@settings(max_examples=5, **QUICK)
@given(STEPS)
def test_in_any_order_a_night_of_changes_reads_like_a_full_build_on_sail(
    sail_engine: Engine, steps: list[Step]
) -> None:
    played(sail_engine, steps)


@pytest.mark.soak
@settings(max_examples=1, **QUICK)
@given(st.just([("events", 0, 2, 1, 0), ("late", 0, 3, 1, 1), ("correct", 0, 5, 2, 1), ("events", 0, 1, 2, 0)]))
def test_in_any_order_a_night_of_changes_reads_like_a_full_build_on_spark(
    spark_engine: Engine, steps: list[Step]
) -> None:
    played(spark_engine, steps)
