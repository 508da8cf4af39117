"""Reads the state of the last nights, the live night and the running processes, without Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Outcomes, gates_of, outcomes
from jobs.errors import DamageError
from jobs.lake.damage import damage_named, log_damage
from jobs.lake.lake import Lake
from jobs.lake.live import Published, publication, staged_since
from jobs.lake.locks import LockOwner, lock_owners
from jobs.lake.reading import Wanted, matching, matching_old, scan
from jobs.lake.storage import is_remote
from jobs.steps import STEPS
from jobs.tables.records import GATES, RUNS
from jobs.tables.shop import ALL, PRODUCT_EMBEDDINGS
from jobs.text import clean

_T = TypeVar("_T")
KILLED = "killed"
"""State of a step whose row says running while no process holds the lake's lock."""


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
    """The state of one night."""

    as_of: date
    run_id: str
    steps: dict[str, StepState]
    gates: Outcomes
    model_id: str
    """The champion behind its vectors; empty where it has none."""

    @property
    def rejected(self) -> int:
        """Rows that the night rejected."""
        return sum(step.rejected for step in self.steps.values())


@dataclass(frozen=True)
class Status:
    """The state of a lake."""

    nights: tuple[NightState, ...]
    """Newest first."""
    live: date | None
    published_at: datetime | None
    hours_old: float
    """Hours from the live night's midnight to now: events that services do not know yet."""
    staged_since: tuple[str, ...]
    """Tables in which the live night's rows were replaced since: they are staged, and services see the former ones."""
    back: tuple[Published, ...]
    """What can be rolled back to, newest first, without what is live."""
    at_work: tuple[LockOwner, ...]
    damaged: tuple[str, ...] = ()
    """What is broken of the lake's tables, and what to do."""


class _Damages:
    """Collects what is broken, so that the rest can be shown."""

    def __init__(self, lake: Lake) -> None:
        self.root = lake.root
        whole = not is_remote(lake.root)
        self.found = [str(found) for table in ALL if (found := log_damage(lake.path(table), whole))]

    def read(self, read: Callable[[], _T]) -> _T | None:
        """What `read` returns; None where what it reads is broken."""
        try:
            with damage_named(self.root):
                return read()
        except DamageError as error:
            self.found = list(dict.fromkeys([*self.found, str(error)]))
            return None


def status_of(lake: Lake, nights: int, now: datetime) -> Status:
    """The newest `nights` nights of the ledger, and the live one at `now`; what is broken is left out and told."""
    from jobs.publish.step import rollbacks

    damages = _Damages(lake)
    newest = damages.read(lambda: _newest(lake, nights)) or []
    since = Wanted(where=pc.field("as_of") >= pa.scalar(newest[-1] if newest else date.max))
    runs = damages.read(lambda: matching_old(lake, RUNS, RUNS.names, since)) or []
    gates = damages.read(lambda: gates_of(lake, since)) or []
    at_work = tuple(lock_owners(lake.root))
    live = damages.read(lambda: publication(lake))
    night = live.night if live else None
    old = now - datetime.combine(night, time(), UTC) if night else None
    back = (damages.read(lambda: rollbacks(lake)) or []) if live else []
    since_then = (damages.read(lambda: staged_since(lake, live)) or []) if live else []
    models = damages.read(lambda: {one: _model(lake, one) for one in newest}) or {}
    return Status(
        nights=tuple(
            _night(
                one,
                [row for row in runs if row["as_of"] == one],
                [row for row in gates if row["as_of"] == one],
                bool(at_work),
                models.get(one, ""),
            )
            for one in newest
        ),
        live=night,
        published_at=live.at if live else None,
        hours_old=old.total_seconds() / 3600 if old else 0.0,
        staged_since=tuple(name for name in since_then if name != GATES.name),
        back=tuple(one for one in reversed(back) if not one.live),
        at_work=at_work,
        damaged=tuple(damages.found),
    )


def _newest(lake: Lake, nights: int) -> list[date]:
    return sorted({row["as_of"] for row in matching(lake, RUNS, ("as_of",), Wanted())}, reverse=True)[:nights]


def _night(
    as_of: date, runs: Sequence[dict[str, Any]], gates: Sequence[dict[str, Any]], at_work: bool, model_id: str
) -> NightState:
    newest = max(runs, key=lambda row: row["started_at"])["run_id"]
    rows = {row["step"]: row for row in runs if row["run_id"] == newest}
    order = [*STEPS, *sorted(set(rows) - set(STEPS))]
    steps = {name: _step(rows[name], at_work) for name in order if name in rows}
    return NightState(as_of, clean(newest), steps, outcomes(gates), model_id)


def _step(row: dict[str, Any], at_work: bool) -> StepState:
    state = clean(row["status"])
    if state == "running" and not at_work:
        state = KILLED
    seconds = row["seconds"]
    if seconds is None:  # a night from before the ledger had the column
        seconds = (row["ended_at"] - row["started_at"]).total_seconds() if row["ended_at"] else 0.0
    return StepState(
        clean(row["step"]),
        state,
        seconds,
        row["rows_in"] or 0,
        row["rows_out"] or 0,
        row["rejected"] or 0,
        row["memory_mb"] or 0.0,
        clean(row["note"]),
    )


def _model(lake: Lake, as_of: date) -> str:
    for batch in scan(lake, PRODUCT_EMBEDDINGS, ("model_id",), Wanted(as_of), batch_rows=1):
        return clean(batch["model_id"][0].as_py())
    return ""
