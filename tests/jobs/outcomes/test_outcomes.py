"""Outcomes are those of the events and impressions that are there, by whatever nights they came."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.client.list_ids import list_id
from jobs.lake.lake import Lake
from jobs.outcomes.update import fold_in, is_current
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import EVENTS, PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU
from tests.conftest import run_of
from tests.support.tables import assert_same_rows

NIGHT = date(2026, 3, 10)
AT = datetime(2026, 3, 9, 10, tzinfo=UTC)
RESULT = ("clicked", "saved", "bagged", "bought", "revenue")
LAST = tuple(f"last_{name}" for name in RESULT)


def shown(id: str, product: str = "P1", at: datetime = AT, **more: Any) -> dict[str, Any]:
    """An impression."""
    place = {"touch_point": "people_also_bought", "market": "GB", "variant": "default", "owner": "P0", "place": 1}
    who = {"impression_id": id, "customer_id": "C1", "product_id": product, "list_id": None, "counted": True}
    return who | place | {"shown_at": at, "shown_date": at.date()} | more


def did(kind: str, after: timedelta, product: str = "P1", **more: Any) -> dict[str, Any]:
    """An event."""
    at = AT + after
    own = {"event_id": f"{kind} {product} {after}", "customer_id": "C1", "product_id": product, "event_type": kind}
    return own | {"event_ts": at, "event_date": at.date(), "market": "GB", "quantity": 1} | more


def write(lake: Lake, as_of: date, impressions: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> None:
    """A night's rows, and the outcomes after it."""
    lake.replace_rows(IMPRESSIONS, impressions, run_of(as_of))
    lake.replace_rows(EVENTS, events, run_of(as_of))
    fold_in(lake, run_of(as_of))


def outcomes(lake: Lake, *columns: str) -> dict[str, tuple[Any, ...]]:
    """Impression -> some columns of its row."""
    rows = lake.arrow(OUTCOMES, ("impression_id", *columns)).to_pylist()
    return {row["impression_id"]: tuple(row[name] for name in columns) for row in rows}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake, which needs no engine."""
    return Lake(tmp_path / "lake")


def test_events_follow_in_their_windows(lake: Lake) -> None:
    minute, hour, day = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
    impressions = [
        shown("first"), shown("again", at=AT + hour), shown("other", "P2"), shown("bot", counted=False),
        shown("somebody's", customer_id="C2"),
    ]  # fmt: skip
    events = [
        did("click", 30 * minute), did("save", 25 * hour), did("bag", -minute), did("purchase", 7 * day, price=2.5),
        did("purchase", 6 * day, price=0.1, quantity=3), did("click", 8 * day), did("purchase", day, "P2"),
    ]  # fmt: skip
    write(lake, date(2026, 3, 20), impressions, events)
    assert outcomes(lake, *RESULT) == {
        "first": ("visit", "week", None, "week", 2.8), "again": (None, "day", None, "week", 2.8),
        "other": (None, None, None, "day", None), "somebody's": (None,) * 5,
    }  # fmt: skip
    assert outcomes(lake, *LAST) == {
        "first": (True, False, False, False, None), "again": (False, True, False, True, 2.8),
        "other": (False, False, False, True, None), "somebody's": (False, False, False, False, None),
    }  # fmt: skip


def test_a_night_computes_the_days_that_something_changed(lake: Lake, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    kinds, products = ("click", "save", "bag", "purchase"), [f"P{n}" for n in range(4)]

    def some(make: Any, first: int, last: int, id: str) -> list[dict[str, Any]]:
        at = [timedelta(hours=int(hours)) for hours in rng.integers(24 * first, 24 * last, 12)]
        return [make(f"{id} {n}", one, str(rng.choice(products))) for n, one in enumerate(at)]

    def impression(id: str, after: timedelta, product: str) -> dict[str, Any]:
        return shown(id, product, AT + after, customer_id=f"C{rng.integers(2)}")

    def event(id: str, after: timedelta, product: str) -> dict[str, Any]:
        own = {"event_id": id, "customer_id": f"C{rng.integers(2)}", "price": float(rng.integers(1, 99)) / 10}
        return did(str(rng.choice(kinds)), after, product, **own)

    nights = [NIGHT + timedelta(days=20 + n) for n in range(4)]
    write(lake, nights[0], some(impression, 0, 18, "a"), some(event, 0, 18, "a"))
    write(lake, nights[1], some(impression, 18, 19, "b"), some(event, 2, 4, "late"))
    assert fold_in(lake, run_of(nights[1])).days == 0 and is_current(lake)
    lake.replace_rows(EVENTS, some(event, 18, 20, "c"), run_of(nights[2]))
    days = {row["shown_date"] for row in lake.arrow(IMPRESSIONS).to_pylist()}
    changed = {row["event_date"] for row in lake.arrow(EVENTS, as_of=nights[2]).to_pylist()}
    folded = fold_in(lake, run_of(nights[2]))
    assert folded.days == sum(any(timedelta(0) <= then - day <= timedelta(days=7) for then in changed) for day in days)
    assert 0 < folded.days < len(days)
    write(lake, nights[0], some(impression, 0, 9, "d"), [])  # a night that is run again, with other files
    found = lake.arrow(OUTCOMES, OUTCOMES.names[:-2])
    shutil.rmtree(lake.path(OUTCOMES))
    (lake.root / "outcomes.json").write_text("damaged")
    fold_in(lake, run_of(nights[-1]))
    assert_same_rows(found, lake.arrow(OUTCOMES, OUTCOMES.names[:-2]), ("day by day", "at once"))
    assert found.num_rows == 24 and found["clicked"].null_count < 24 and found["revenue"].null_count < 24


def test_the_source_is_that_of_the_published_list(lake: Lake) -> None:
    night, at = NIGHT - timedelta(days=1), datetime(2026, 3, 9, 4, tzinfo=UTC)
    lists = {"market": "GB", "product_ids": ["P1", "P2"], "sources": ["co-purchase", "policy"], "rules": ["", "r1"]}
    lake.replace_rows(PEOPLE_ALSO_BOUGHT, [{"product_id": "P0", "variant": "default"} | lists], run_of(night))
    home = {"customer_id": "C1", "variant": "B"} | lists | {"rules": ["exploration", ""]}
    lake.replace_rows(RECOMMENDED_FOR_YOU, [home], run_of(night))
    tables = {table.name: lake.version(table) for table in (PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU)}
    rows = [
        {"surface": name, "table_version": version, "published_at": at, "live": True}
        for name, version in tables.items()
    ]
    lake.replace_rows(PUBLISHED, rows, run_of(night))
    own, of_page = list_id(at, "home", "GB", ""), list_id(at, "pab", "GB", "default", "P0")
    page, at_home = (
        {"list_id": of_page},
        {"list_id": own, "touch_point": "recommended_for_you", "variant": None, "owner": None},
    )
    impressions = [
        shown("first", **page), shown("second", "P2", place=2, **page), shown("moved", "P2", place=1, **page),
        shown("nowhere", "P3", place=3, **page), shown("no place", "P2", place=None, **page), shown("no list"),
        shown("asked for B", variant="B", **page), shown("home", **at_home),
        shown("another night", list_id=of_page.replace(of_page[:8], "mlm3q8zk")),
        shown("ranked", list_id=list_id(at, "rank", "GB", "default", "P0")),
    ]  # fmt: skip
    write(lake, NIGHT, impressions, [])
    assert outcomes(lake, "rule", "owner")["second"] == ("r1", "P0")
    assert outcomes(lake, "rule", "owner")["first"] == (None, "P0")
    assert outcomes(lake, "source", "variant") == {
        "first": ("co-purchase", "default"), "second": ("policy", "default"), "moved": ("policy", "default"),
        "nowhere": (None, "default"), "no place": ("policy", "default"), "no list": (None, "default"),
        "asked for B": ("co-purchase", "B"), "home": ("exploration", "B"), "another night": (None, "default"),
        "ranked": (None, "default"),
    }  # fmt: skip
    before = outcomes(lake, "source", "rule", "variant")
    lake.overwrite(PUBLISHED, lake.arrow(PUBLISHED).slice(0, 0))  # which is not kept for good
    lake.replace_rows(EVENTS, [did("click", timedelta(minutes=1))], run_of(NIGHT))
    assert fold_in(lake, run_of(NIGHT)).days == 1
    assert outcomes(lake, "source", "rule", "variant") == before
