"""Runs several nights in order and continues where an earlier attempt stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from jobs.config import NightConfig
from jobs.errors import UserError
from jobs.ingest.raw_files import list_raw_files
from jobs.ingest.source import read_source
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching, of_night
from jobs.nights.ledger import DONE
from jobs.nights.progress import StepLines
from jobs.tables.records import RAW_FILES, RUNS
from jobs.tables.shop import POLICY

RunStep = Callable[[date, str], None]


def nights_between(first: date, last: date) -> list[date]:
    """Every night from the first to the last; raises UserError where they are the wrong way round."""
    if first > last:
        raise UserError(f"--from {first} is after --to {last}; exchange them")
    return [first + timedelta(days=days) for days in range((last - first).days + 1)]


def run_nights(
    lake: Lake,
    nights: Sequence[date],
    steps: Sequence[str],
    config: NightConfig,
    again: bool,
    run_step: RunStep,
    lines: StepLines,
) -> list[date]:
    """Run the nights from the first unfinished one on (all of them with `again`); returns those that ran.

    A night depends on those before it, so every night after one that runs is run as well. The first step that fails
    stops the backfill; its error says how to continue.
    """
    skipped = 0 if again else _finished(lake, nights, steps, config)
    todo = nights[skipped:]
    if skipped:
        lines.say(f"{skipped:,} of {len(nights):,} nights are done already, {nights[0]} to {nights[skipped - 1]}")
    for place, night in enumerate(todo):
        lines("nights", place, len(todo))
        for step in steps:
            try:
                run_step(night, step)
            except UserError as error:
                raise type(error)(
                    f"the backfill stopped at the night {night}, step {step}, with {skipped + place:,} of "
                    f"{len(nights):,} nights done: {str(error).rstrip('.')}. Put that right and give the same command "
                    f"again: it goes on with {night}"
                ) from error
        lake.stop()  # a fresh engine for each night, so that memory does not add up
    lines("nights", len(todo), max(len(todo), 1))
    return list(todo)


def _finished(lake: Lake, nights: Sequence[date], steps: Sequence[str], config: NightConfig) -> int:
    """The number of nights, from the first on, that are done with these settings and the present inputs."""
    for place, night in enumerate(nights):
        rows = {row["step"]: row for row in _rows(lake, night, config)}
        if [step for step in steps if step not in rows or rows[step]["status"] != DONE]:
            return place
        starts = [rows[step]["started_at"] for step in steps]
        if starts != sorted(starts):  # a step ran again without those after it
            return place
        if "ingest" in steps and _new_raw_files(lake, night, rows["ingest"]["started_at"], config):
            return place
        if "lists" in steps and _policy_version(rows["lists"]["versions"]) != _policy_now(lake):
            return place
    return len(nights)


def _rows(lake: Lake, night: date, config: NightConfig) -> Iterable[dict[str, Any]]:
    rows = matching(lake, RUNS, ("step", "status", "started_at", "versions", "config_hash"), of_night(night))
    return [row for row in rows if row["config_hash"] == config.hash]


def _new_raw_files(lake: Lake, night: date, read_at: datetime, config: NightConfig) -> bool:
    """Whether a raw file of the night is new or has changed since the night read them."""
    source = read_source(config.ingest.source)
    known = {(row["path"], row["bytes"]) for row in matching(lake, RAW_FILES, ("path", "bytes"), Wanted())}
    for file in list_raw_files(config.ingest.raw, source).named_by(source).files:
        if file.day is None:
            if datetime.fromtimestamp(file.path.stat().st_mtime, UTC) > read_at:
                return True
        elif file.day < night and (file.name, file.bytes) not in known:
            return True
    return False


def _policy_version(versions: str | None) -> int:
    """Version of the rules that the step read; 0 where there were none."""
    return int(json.loads(versions or "{}").get(POLICY.name, 0))


def _policy_now(lake: Lake) -> int:
    return lake.version(POLICY) if lake.exists(POLICY) else 0
