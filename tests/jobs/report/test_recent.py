"""What happened of late, and who came last, against a plain count of the rows."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.lake.lake import Lake
from jobs.report.recent import Recent
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS
from tests.support.toy_shop import MIDNIGHT, NIGHT, event, history, toy_lake

CUSTOMERS = {"c1": (9, 5), "c2": (3, 1), "c3": (8, 3), "c4": (8, 3), "c5": (12, 60)}
"""Customer -> (events, hours before the night of the last one)."""


def lake_of(root: Path) -> Lake:
    """Events of the last days, one of the night itself, and five customers."""
    clicks = [("p1", "GB", 1), ("p2", "GB", 2), ("p1", "FR", 6), ("p1", "GB", 7), ("p3", "GB", 8), ("p4", "GB", 0)]
    histories = [
        history(customer, ["p1"] * events, MIDNIGHT - timedelta(hours=ago), f"M{customer}")
        for customer, (events, ago) in CUSTOMERS.items()
    ]
    rows = [event(f"e{n}", product, days, market=market) for n, (product, market, days) in enumerate(clicks)]
    return toy_lake(root, {EVENTS: rows, CUSTOMER_SEQUENCES: histories})


def test_events_are_those_of_the_days_before_the_night(tmp_path: Path) -> None:
    events = Recent(lake_of(tmp_path), NIGHT).events
    assert events.of_products == {"p1": 3, "p2": 1}
    assert events.of_markets == {"GB": 3, "FR": 1}
    assert events.in_markets(["p1", "p9"]) == {("p1", "GB"): 2, ("p1", "FR"): 1}
    assert Counter(events.pairs[2].tolist()) == {2: 1, 1: 2}


def test_a_lake_without_rows_has_nothing(tmp_path: Path) -> None:
    recent = Recent(Lake(tmp_path), NIGHT)
    assert recent.events.of_products == {} and recent.events.in_markets(["p1"]) == {}
    assert recent.homes(1) == {} and recent.histories(["c1"]) == {}


@pytest.mark.parametrize(("least", "expected"), [(8, ["c3", "c4", "c1", "c5"]), (1, ["c2", "c3", "c4", "c1", "c5"])])
def test_customers_are_most_recent_first(tmp_path: Path, least: int, expected: list[str]) -> None:
    lake = lake_of(tmp_path)
    assert list(Recent(lake, NIGHT).homes(least)) == expected
    assert list(Recent(lake, NIGHT, 2).homes(least)) == expected[:2]


def test_long_histories_are_found_behind_many_short_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.report.recent.CANDIDATES", 1)
    assert list(Recent(lake_of(tmp_path), NIGHT, 1).homes(8)) == ["c3"]


def test_histories_of_others_are_read_too(tmp_path: Path) -> None:
    recent = Recent(lake_of(tmp_path), NIGHT, 2)
    assert recent.customers(8)["customer_id"].to_pylist() == ["c3", "c4"]
    found = recent.histories(["c3", "c5", "gone"], ("market", "product_ids"))
    assert {customer: row["market"] for customer, row in found.items()} == {"c3": "Mc3", "c5": "Mc5"}
    assert len(found["c5"]["product_ids"]) == 12
