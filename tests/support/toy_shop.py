"""Builds toy shops: rows with defaults, lakes of one night made of them without an engine, and the smallest shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.records import EVALUATIONS, GATES, PUBLISHED, REJECTED, RUNS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, EVENTS, LISTS, RECOMMENDED_FOR_YOU
from jobs.tables.table import Table

NIGHT = date(2026, 4, 6)
MIDNIGHT = datetime(2026, 4, 6, tzinfo=UTC)
RUN = Run(NIGHT, "2026-04-06-abc12345", MIDNIGHT + timedelta(hours=1))
MODEL = f"amf-{RUN.run_id}"
HOSTILE = "<script>alert(1)</script> Dress & Coat"
BRACKETS = "Scarf [bold red]soft[/] :smile: \x1b[31mred\x1b[0m\x07 \x1b]0;title\x07\u202eend"
NAMES = {"p1": "Plain Socks, navy", "p2": HOSTILE, "p3": BRACKETS, "p4": "Hat, olive"}


def run_of(night: date, name: str = "test") -> Run:
    """The run of a night."""
    return Run(night, f"{name}-{night}", datetime(2026, 1, 1, tzinfo=UTC))


def toy_lake(root: Path, tables: Mapping[Table, list[dict[str, Any]]], run: Run = RUN) -> Lake:
    """A lake with one night: the rows of each table."""
    lake = Lake(root)
    for table, rows in tables.items():
        lake.replace_rows(table, rows, run)
    return lake


def product(product_id: str, name: str, brand: str, category: str, colour: str, price: float | None) -> dict[str, Any]:
    """A row of the catalogue."""
    return {"product_id": product_id, "name": name, "brand": brand, "category": category, "colour": colour,
            "price": price, "currency": "GBP"}  # fmt: skip


def event(event_id: str, product_id: str, days_ago: int = 1, **given: Any) -> dict[str, Any]:
    """One click in the evening, so many days before the night."""
    at = MIDNIGHT - timedelta(days=days_ago) + timedelta(hours=21)
    row = {"event_id": event_id, "customer_id": "c1", "product_id": product_id, "event_type": "click", "market": "GB",
           "event_ts": at, "event_date": at.date(), "quantity": 1}  # fmt: skip
    return row | given


def clicks(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """So many clicks on each product, the day before the night."""
    return [event(f"{product_id}-{n}", product_id) for product_id, count in counts.items() for n in range(count)]


def history(
    customer: str, products: list[str], last: datetime, market: str = "GB", types: Sequence[str] = ("click",)
) -> dict[str, Any]:
    """A customer's sequence, all of it at one instant; the types of its events are repeated to its length."""
    kinds = [types[place % len(types)] for place in range(len(products))]
    return {"customer_id": customer, "market": market, "product_ids": products, "event_types": kinds,
            "event_timestamps": [last] * len(products), "last_event_at": last}  # fmt: skip


def listed(owner: dict[str, str], places: Sequence[tuple[str, float]], **given: Any) -> dict[str, Any]:
    """A row of a table of lists, of (product, score)."""
    row = {"market": "GB", "product_ids": [p for p, _ in places], "scores": [s for _, s in places],
           "sources": ["model"] * len(places), "rules": [""] * len(places), "variant": "default",
           "model_id": MODEL}  # fmt: skip
    return row | owner | given


def shop(root: Path) -> Lake:
    """Four products, two customers, all three lists; no run, gate or publication yet."""

    def row(table: Table, owner: str) -> dict[str, Any]:
        shown = [(product_id, 0.5) for product_id in NAMES if product_id != owner]
        sources = ["model"] * (len(shown) - 1) + ["market popularity"]
        return listed({table.key[0]: owner}, shown, sources=sources, rules=None)

    kinds = {"p1": ("socks", "navy")}
    types = ("click", "bag", "purchase")
    hours = {"c1": 2, "c2": 1}
    catalogue = [product(p, name, "B & Co", *kinds.get(p, ("tops", "unheard-of")), 1234.5) for p, name in NAMES.items()]
    lists = {table: [row(table, o) for o in (hours if table is RECOMMENDED_FOR_YOU else NAMES)] for table in LISTS}
    return toy_lake(
        root,
        {
            CATALOGUE: catalogue,
            EVENTS: clicks({"p1": 3, "p3": 2, "p4": 1}),
            **lists,
            CUSTOMER_SEQUENCES: [
                history(customer, ["p2", "p3", "gone"], MIDNIGHT - timedelta(hours=ago), types=types)
                for customer, ago in hours.items()
            ],
        },
    )


def finish(lake: Lake, failed: str = "") -> None:
    """Add what the rest of the night writes."""
    for step in ("ingest", "gate"):
        row = {"step": step, "started_at": MIDNIGHT, "ended_at": MIDNIGHT + timedelta(seconds=90), "rows_in": 1_234_567,
               "rows_out": 12, "rejected": 7, "status": "failed" if step == failed else "done", "memory_mb": 512.0,
               "note": "read [red]12[/] files\x1b[2J", "code_version": "1.0", "config_hash": "abc"}  # fmt: skip
        lake.replace_rows(RUNS, [row], RUN, where=f"run_id = '{RUN.run_id}' AND step = '{step}'")
    faults = [{"source": "events", "reason": "negative price", "expected": False, "raw": "{}"}] * 1_500
    left_out = {"source": "events", "reason": "excluded: <b>fees</b>", "expected": True, "raw": "{}"}
    lake.replace_rows(REJECTED, [*faults, left_out], RUN)
    gate = {"gate": "people_also_bought_full", "value": 0.97, "rule": "at least 0.9", "passed": True, "detail": "lists"}
    lake.replace_rows(GATES, [gate], RUN)
    figures = [
        {"model_id": model, "dataset": "last 7 days before 2026-04-06", "metric": "ndcg@10", "slice": part,
         "value": value, "ci_low": value - 0.01, "ci_high": value + 0.01, "customers": 1_765}
        for model, value in ((MODEL, 0.1), ("popularity", 0.04)) for part in ("all", "new to the customer")
    ]  # fmt: skip
    lake.replace_rows(EVALUATIONS, figures, RUN)
    flipped = {"model_id": MODEL, "table_version": 1, "published_at": MIDNIGHT}
    published = [{"surface": table.name} | flipped for table in LISTS]
    lake.replace_rows(PUBLISHED, published, RUN)
