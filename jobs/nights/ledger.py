"""Runs a step and records it in the ledger, the table `runs`: running, then done or failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from jobs.config import NightConfig
from jobs.lake.damage import damage_named, log_damage
from jobs.lake.engine import told_if_lost
from jobs.lake.lake import Lake
from jobs.nights.execute import execute
from jobs.nights.memory import peak_memory_mb
from jobs.run import Counts, Run
from jobs.tables.records import RUNS
from jobs.tables.shop import ALL

RUNNING, DONE, FAILED = "running", "done", "failed"


def run_step(
    step: str, lake: Lake, run: Run, config: NightConfig, code_version: str, clock: Callable[[], datetime]
) -> Counts:
    """Execute `step` (a name in STEPS) under its row of `runs`; a failure is recorded and raised again.

    The row says `running` from before the step's first write, so that the ledger shows a step that was killed.
    """
    run = replace(run, started_at=clock(), code_version=code_version, config_hash=config.hash)
    row = {
        "step": step,
        "started_at": run.started_at,
        "status": RUNNING,
        "code_version": code_version,
        "config_hash": config.hash,
        "versions": json.dumps(versions_of(lake)),
    }
    _record(lake, run, row)
    try:
        with told_if_lost(), damage_named(lake.root):
            counts = execute(step, lake, run, config)
    except Exception as error:
        with suppress(Exception):  # a full disk takes no row either; the first error is the one to tell
            _record(lake, run, row | _end(run, FAILED, Counts(note=f"{type(error).__name__}: {error}"), clock()))
        raise
    _record(lake, run, row | _end(run, DONE, counts, clock()))
    return counts


def versions_of(lake: Lake) -> dict[str, int]:
    """Table name -> Delta version, for every table that exists; raises DamageError where a log is damaged."""
    for table in ALL:
        if found := log_damage(lake.path(table)):  # deltalake takes a log whose newest file is empty for an older one
            raise found
    return {table.name: lake.version(table) for table in ALL if lake.exists(table)}


def _end(run: Run, status: str, counts: Counts, ended: datetime) -> dict[str, Any]:
    return {
        "ended_at": ended,
        "status": status,
        "rows_in": counts.rows_in,
        "rows_out": counts.rows_out,
        "rejected": counts.rejected,
        "note": counts.note[:2000],
        "memory_mb": peak_memory_mb(),
        "seconds": (ended - run.started_at).total_seconds(),
    }


def _record(lake: Lake, run: Run, row: dict[str, Any]) -> None:
    lake.replace_rows(RUNS, [row], run, where=f"run_id = '{run.run_id}' AND step = '{row['step']}'")
