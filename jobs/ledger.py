"""One step under the ledger: run it, record what it did or why it failed."""

from __future__ import annotations

import importlib
import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from jobs.config import NightConfig
from jobs.lake import Lake
from jobs.run import Counts, Run
from jobs.tables import RUNS, STEPS


def run_step(
    step: str, lake: Lake, run: Run, config: NightConfig, code_version: str, clock: Callable[[], datetime]
) -> Counts:
    """Execute `step` (a name in STEPS) and write its row of `runs`; a failure is recorded and raised again."""
    assert step in STEPS, f"{step} is no step of the night"
    execute = importlib.import_module(f"jobs.{step}").execute
    started = clock()
    run = replace(run, started_at=started, code_version=code_version, config_hash=config.hash)
    try:
        counts: Counts = execute(lake, run, getattr(config, step))
    except Exception as error:
        _record(
            lake, run, step, "failed", Counts(note=f"{type(error).__name__}: {error}"), config, code_version, clock()
        )
        raise
    _record(lake, run, step, "done", counts, config, code_version, clock())
    return counts


def _record(
    lake: Lake,
    run: Run,
    step: str,
    status: str,
    counts: Counts,
    config: NightConfig,
    code_version: str,
    ended: datetime,
) -> None:
    row = {
        "step": step,
        "started_at": run.started_at,
        "ended_at": ended,
        "status": status,
        "rows_in": counts.rows_in,
        "rows_out": counts.rows_out,
        "rejected": counts.rejected,
        "note": counts.note[:2000],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "code_version": code_version,
        "config_hash": config.hash,
    }
    lake.replace_rows(RUNS, [row], run, where=f"run_id = '{run.run_id}' AND step = '{step}'")
