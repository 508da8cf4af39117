"""A very small night, written table by table without Spark, for the report and the summary."""

from __future__ import annotations

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


def shop(root: Path) -> Lake:
    """Four products, two customers, all three lists; no run, gate or publication yet."""
    lake = Lake(root)
    groups = {"p1": ("socks", "navy")}
    products = [
        dict(zip(("category", "colour"), groups.get(product, ("tops", "unheard-of")), strict=True))
        | {"product_id": product, "name": name, "brand": "B & Co", "price": 1234.5, "currency": "GBP"}
        for product, name in NAMES.items()
    ]
    lake.replace_rows(CATALOGUE, products, RUN)
    events = [("p1", 3), ("p3", 2), ("p4", 1)]
    rows = [event(f"{p}-{n}", p) for p, count in events for n in range(count)]
    lake.replace_rows(EVENTS, rows, RUN)
    for table in LISTS:
        owners = ("c1", "c2") if table is RECOMMENDED_FOR_YOU else tuple(NAMES)
        lake.replace_rows(table, [top_n(table, owner) for owner in owners], RUN)
    histories = [
        {"customer_id": customer, "market": "GB", "product_ids": ["p2", "p3", "gone"], "last_event_at": MIDNIGHT - ago,
         "event_types": ["click", "bag", "purchase"], "event_timestamps": [MIDNIGHT - ago] * 3}
        for customer, ago in (("c1", timedelta(hours=2)), ("c2", timedelta(hours=1)))
    ]  # fmt: skip
    lake.replace_rows(CUSTOMER_SEQUENCES, histories, RUN)
    return lake


def event(event_id: str, product: str, days_ago: int = 1) -> dict[str, Any]:
    """One click so many days before the night."""
    at = MIDNIGHT - timedelta(days=days_ago) + timedelta(hours=21)
    return {"event_id": event_id, "customer_id": "c1", "product_id": product, "event_type": "click", "market": "GB",
            "event_ts": at, "event_date": at.date(), "quantity": 1}  # fmt: skip


def top_n(table: Table, owner: str) -> dict[str, Any]:
    """A list of every other product."""
    shown = [product for product in NAMES if product != owner]
    sources = ["model"] * (len(shown) - 1) + ["market popularity"]
    return {table.key[0]: owner, "market": "GB", "product_ids": shown, "scores": [0.5] * len(shown),
            "sources": sources, "variant": "default", "model_id": MODEL}  # fmt: skip


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
