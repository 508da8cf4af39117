"""A lake with some very small nights, written table by table without Spark, for what looks back over nights."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.clean.retention import DATED
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.publish.step import SURFACES
from jobs.run import Run
from jobs.steps import STEPS
from jobs.tables.records import GATES, INPUTS, MODELS, PUBLISHED, REJECTED, RUNS
from jobs.tables.shop import EVENTS, LISTS
from jobs.tables.table import GONE, Table

FIRST = date(2026, 4, 1)
COMPLETE = (0, 5)
"""Nights on which tables of changes hold every customer; on the others they hold one that changed."""


def nth(place: int) -> date:
    """The night so many days after the first."""
    return FIRST + timedelta(days=place)


def run_of(place: int) -> Run:
    """Its run."""
    night = nth(place)
    return Run(night, f"{night}-abc12345", datetime(night.year, night.month, night.day, 2, tzinfo=UTC))


def changing(table: Table) -> bool:
    """Whether the nights of a table hold changes; lists are made anew each night here."""
    return bool(table.changes_of) and table not in LISTS


def value(kind: str, text: str) -> Any:
    """Some value of a column's type."""
    plain = {"STRING": text, "BIGINT": 1, "DOUBLE": 1.5, "FLOAT": 0.5, "BOOLEAN": True, "DATE": FIRST}
    if kind.startswith("ARRAY"):
        return [value(kind[6:-1], text)] * 2
    return plain[kind] if kind in plain else datetime(2026, 4, 1, tzinfo=UTC)


def row(table: Table, key: str, **given: Any) -> dict[str, Any]:
    """A row of a table whose key and texts are `key`; its run's identity is left to the lake."""
    own = [column for column in table.columns if column.name not in ("as_of", "run_id", "since")]
    there = {GONE: None} if table.has_ends else {}
    return {column.name: value(column.type, key) for column in own} | there | given


def written(root: Path, nights: int = 9, live: int = 8) -> Lake:
    """A lake with so many nights; each is checked, and the one called `live` is."""
    lake = Lake(root)
    for place in range(nights):
        add_night(lake, place)
    rows = [{"surface": t.name, "model_id": f"amf-{live}", "table_version": lake.version(t),
             "published_at": run_of(live).started_at} for t in SURFACES]  # fmt: skip
    lake.replace_rows(PUBLISHED, rows, run_of(live))
    return lake


def add_night(lake: Lake, place: int) -> None:
    """One night: rows of every dated table, records, indexes, a page and a model."""
    run = run_of(place)
    complete = max(night for night in COMPLETE if night <= place)
    for table in DATED:
        changes = changing(table) and place not in COMPLETE
        rows = [row(table, f"{table.name}-{place if changes else n}", model_id=f"amf-{place}") for n in range(3)]
        own = pa.schema([f for f in arrow_schema(table) if f.name not in ("as_of", "run_id", "since")])
        known = pa.Table.from_pylist([{n: r[n] for n in own.names} for r in rows[: 1 if changes else 3]], schema=own)
        lake.replace(table, known, run, since=nth(complete) if changing(table) else None)
    for n in range(2):
        day = nth(place - 1)
        event = row(EVENTS, f"e-{place}-{n}", event_date=day)
        lake.replace_rows(EVENTS, [event], run, where=f"event_id = 'e-{place}-{n}'")
    lake.replace_rows(REJECTED, [row(REJECTED, "no reason")], run)
    # Every night has a model of its own here, also within a chain of changes, and no index: let through on purpose.
    gates = [row(GATES, "people_also_bought_full", rule="at least 0.9", step="gate", accepted=False),
             row(GATES, "one_model", rule="at most 1", step="gate", accepted=True)]  # fmt: skip
    lake.replace_rows(GATES, gates, run)
    lake.replace_rows(INPUTS, [row(INPUTS, "events", slice="all", value=100.0 + place)], run)
    ledger = [
        {"step": step, "status": "done", "started_at": run.started_at + timedelta(minutes=n), "seconds": 5.0 + n,
         "ended_at": run.started_at + timedelta(minutes=n, seconds=5 + n), "rows_in": 10, "rows_out": 9,
         "rejected": 1 if step == "ingest" else 0, "note": "", "memory_mb": 300.0, "config_hash": "abc"}
        for n, step in enumerate(STEPS)
    ]  # fmt: skip
    lake.replace_rows(RUNS, ledger, run)
    model = row(MODELS, f"amf-{place}", champion=place % 4 == 0, kind="amf")
    lake.replace_rows(MODELS, [model], run)
    for folder in (lake.directory("indexes", run.as_of), lake.directory("reports", run.as_of)):
        (folder / "inside").mkdir(parents=True)
        (folder / "inside" / "file").write_text("x" * 1_000)
    (lake.root / "models" / f"amf-{place}").mkdir(parents=True)
    (lake.root / "models" / f"amf-{place}" / "weights").write_text("x" * 1_000)
