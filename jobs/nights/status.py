"""Status: the last nights as the ledger has them, what is live, and who is at work; read without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.locks import LockOwner, lock_owners
from jobs.lake.reading import Wanted, matching, scan
from jobs.steps import STEPS
from jobs.tables.records import GATES, PUBLISHED, RUNS
from jobs.tables.shop import PRODUCT_EMBEDDINGS
from jobs.tables.table import Table
from jobs.text import clean

KILLED = "killed"
"""State of a step whose row says running while nobody holds the lake."""


@dataclass(frozen=True)
class StepState:
    """A step of a night's newest run."""

    name: str
    state: str
    """done, failed, running or killed."""
    seconds: float
    rows_in: int
    rows_out: int
    rejected: int
    memory_mb: float
    note: str


@dataclass(frozen=True)
class NightState:
    """One night as it stands."""

    as_of: date
    run_id: str
    steps: dict[str, StepState]
    gates: int
    failed: tuple[str, ...]
    """Gates that stopped it."""
    accepted: tuple[str, ...]
    """Gates that failed and that a person let through."""
    model_id: str
    """The champion whose vectors it has; empty where it has none."""

    @property
    def rejected(self) -> int:
        """Rows that the night left out."""
        return sum(step.rejected for step in self.steps.values())


@dataclass(frozen=True)
class Status:
    """What an operator asks first."""

    nights: tuple[NightState, ...]
    """Newest first."""
    live: date | None
    published_at: datetime | None
    hours_old: float
    """Hours from the live night's midnight to now: what services see knows nothing of them."""
    back: tuple[date, ...]
    """Nights that can be rolled back to, newest first; the live one is not among them."""
    at_work: tuple[LockOwner, ...]


def status_of(lake: Lake, nights: int, now: datetime) -> Status:
    """The newest `nights` nights that the ledger knows, and what is live at `now`."""
    from jobs.publish.step import nights_to_roll_back_to

    known = sorted({row["as_of"] for row in matching(lake, RUNS, ("as_of",), Wanted())}, reverse=True)[:nights]
    since = pc.field("as_of") >= pa.scalar(known[-1] if known else date.max)
    runs, gates = _rows(lake, RUNS, since), _rows(lake, GATES, since)
    at_work = tuple(lock_owners(lake.root))
    live = matching(lake, PUBLISHED, ("as_of", "published_at"), Wanted())
    night = live[0]["as_of"] if live else None
    old = now - datetime.combine(night, time(), UTC) if night else None
    return Status(
        tuple(_night(lake, one, [r for r in runs if r["as_of"] == one], [g for g in gates if g["as_of"] == one],
                     bool(at_work)) for one in known),
        night, live[0]["published_at"] if live else None, old.total_seconds() / 3600 if old else 0.0,
        tuple(one for one in reversed(nights_to_roll_back_to(lake) if live else []) if one != night), at_work,
    )  # fmt: skip


def _rows(lake: Lake, table: Table, where: pc.Expression) -> list[dict[str, Any]]:
    """The rows with every column; one that an older lake lacks is null, and stays lacking."""
    if not lake.exists(table):
        return []
    there = lake.dataset(table).schema.names
    found = matching(lake, table, [name for name in table.names if name in there], Wanted(where=where))
    return [dict.fromkeys(table.names) | row for row in found]


def _night(lake: Lake, as_of: date, runs: Sequence[dict[str, Any]], gates: Sequence[dict[str, Any]],
           at_work: bool) -> NightState:  # fmt: skip
    newest = max(runs, key=lambda row: row["started_at"])["run_id"]
    rows = {row["step"]: row for row in runs if row["run_id"] == newest}
    accepted = [clean(gate["gate"]) for gate in gates if gate["accepted"]]
    failed = [clean(gate["gate"]) for gate in gates if not gate["passed"] and not gate["accepted"]]
    order = [*STEPS, *sorted(set(rows) - set(STEPS))]
    steps = {name: _step(rows[name], at_work) for name in order if name in rows}
    return NightState(as_of, clean(newest), steps, len(gates), tuple(failed), tuple(accepted), _model(lake, as_of))


def _step(row: dict[str, Any], at_work: bool) -> StepState:
    state = clean(row["status"])
    if state == "running" and not at_work:
        state = KILLED
    seconds = row["seconds"]
    if seconds is None:  # a night from before the ledger had the column
        seconds = (row["ended_at"] - row["started_at"]).total_seconds() if row["ended_at"] else 0.0
    return StepState(
        clean(row["step"]), state, seconds, row["rows_in"] or 0, row["rows_out"] or 0, row["rejected"] or 0,
        row["memory_mb"] or 0.0, clean(row["note"]),
    )  # fmt: skip


def _model(lake: Lake, as_of: date) -> str:
    for batch in scan(lake, PRODUCT_EMBEDDINGS, ("model_id",), Wanted(as_of), batch_rows=1):
        return clean(batch["model_id"][0].as_py())
    return ""
