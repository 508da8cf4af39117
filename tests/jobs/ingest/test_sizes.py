"""Sizes of events and of availability: optional, joined to one row a product and market, on both engines."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from jobs.ingest import step as ingest
from jobs.lake.lake import Lake
from jobs.tables.shop import AVAILABILITY, EVENTS
from tests.conftest import run_of
from tests.support.tables import rows_of, write_text

NIGHT = date(2026, 3, 9)
SOURCE = """-- events
SELECT who AS customer_id, what AS product_id, 'purchase' AS event_type, '2026-03-08 10:00' AS event_ts, size
FROM events;
-- catalogue
SELECT DISTINCT what AS product_id FROM stock;
-- availability
SELECT what AS product_id, country AS market, size, there AS available, at AS updated_at FROM stock
"""
STOCK = """what,country,size,there,at
P1,GB,S,true,
P1,GB,M,false,
P1,GB,L,true,2026-03-01
P1,GB,L,false,2026-03-02
P1,GB,,false,2026-03-01
P1,FR,38,false,
P2,GB,,true,
P2,FR,One,true,
"""


BOUGHT = "C1,P1,M\nC1,P1,L\nC1,P1,\nC2,P2, S \n"


def ingested(lake: Lake, folder: Path, source: str = SOURCE, bought: str = BOUGHT) -> None:
    write_text(folder / "events" / "2026-03-08.csv", "who,what,size\n" + bought)
    write_text(folder / "stock" / "stock.csv", STOCK)
    write_text(folder / "shop.sql", source)
    ingest.execute(lake, run_of(NIGHT), ingest.IngestConfig(folder / "shop.sql", folder))


def test_sizes_of_a_product_in_a_market_are_one_row(lake: Lake, tmp_path: Path) -> None:
    ingested(lake, tmp_path)
    found = rows_of(lake.frame(AVAILABILITY), "product_id", "market", "available", "sizes", "sizes_made")
    assert sorted(map(tuple, (row.values() for row in found))) == [
        ("P1", "FR", False, [], ["38"]),
        ("P1", "GB", True, ["S"], ["L", "M", "S"]),
        ("P2", "FR", True, ["One"], ["One"]),
        ("P2", "GB", True, None, None),
    ]
    events = rows_of(lake.frame(EVENTS), "customer_id", "product_id", "size")
    assert sorted(str(tuple(row.values())) for row in events) == sorted(
        str(row) for row in [("C1", "P1", "M"), ("C1", "P1", "L"), ("C1", "P1", None), ("C2", "P2", "S")]
    ), "two sizes are two events"


def test_a_shop_without_sizes_has_the_rows_and_ids_that_it_had(sail_lake: Lake, tmp_path: Path) -> None:
    without = SOURCE.replace(", size\nFROM events", " FROM events").replace(
        "country AS market, size", "country AS market"
    )
    ingested(sail_lake, tmp_path, without, "C1,P1,M\nC1,P2,L\n")
    events = rows_of(sail_lake.frame(EVENTS), "event_id", "size")
    assert sorted(row["event_id"][:12] for row in events) == ["18076eaf642e", "50d78e61f749"], "as before sizes"
    assert {row["size"] for row in events} == {None}
    found = rows_of(sail_lake.frame(AVAILABILITY), "product_id", "market", "available", "sizes", "sizes_made")
    assert all(row["sizes"] is None and row["sizes_made"] is None for row in found)
