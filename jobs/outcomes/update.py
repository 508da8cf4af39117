"""Keeps the table outcomes up with events and impressions: computes the days anew that something changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from jobs.lake.changes import stamp, stamp_of
from jobs.lake.lake import Lake
from jobs.lake.storage import write_whole
from jobs.outcomes.day import WIDEST, day_outcomes
from jobs.run import Run
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from jobs.tables.shop import EVENTS
from jobs.tables.table import Table

RECORD = "outcomes.json"
"""The file at the lake's root that says from which versions of the tables the outcomes were computed."""
REACH = timedelta(days=38)
"""Where these versions cannot be read any more, the outcomes of so many days are computed anew: an event may be 30 days
late (`late_days`), and follows impressions of the week before it."""


@dataclass(frozen=True)
class FoldedIn:
    """What a night did."""

    days: int
    rows: int


def fold_in(lake: Lake, run: Run) -> FoldedIn:
    """Bring the outcomes up to the tables events and impressions as they are; killed and run again, it goes on."""
    if not lake.exists(IMPRESSIONS):
        return FoldedIn(0, 0)
    shown, known = _days(lake, IMPRESSIONS), _days(lake, OUTCOMES) if lake.exists(OUTCOMES) else set[date]()
    changed = _changed_days(lake)
    if changed is None:
        changed = {day for day in shown | known if day >= run.as_of - REACH} | (shown - known)
    days = sorted(changed & (shown | known))
    rows = 0
    for done, day in enumerate(days):
        run.progress("days of outcomes", done, len(days))
        rows += lake.replace_encoded(OUTCOMES, day_outcomes(lake, day), run, day=day)
    record(lake)
    return FoldedIn(len(days), rows)


def is_current(lake: Lake) -> bool:
    """Whether the outcomes are of events and impressions as they are."""
    return bool(_recorded(lake)) and _recorded(lake) == _now(lake)


def record(lake: Lake) -> None:
    """Say that the outcomes are of events and impressions as they are."""
    if not is_current(lake):
        write_whole(lake.root / RECORD, json.dumps(_now(lake)).encode())


def _now(lake: Lake) -> dict[str, str]:
    return {table.name: stamp(lake, table) for table in (EVENTS, IMPRESSIONS) if lake.exists(table)}


def _recorded(lake: Lake) -> dict[str, str]:
    path = lake.root / RECORD
    try:
        return {str(name): str(value) for name, value in json.loads(path.read_bytes()).items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _changed_days(lake: Lake) -> set[date] | None:
    """Days of impressions whose outcomes may differ from those that are there; None where that cannot be told."""
    known = _recorded(lake)
    try:
        events, impressions = (_changed(lake, table, known[table.name]) for table in (EVENTS, IMPRESSIONS))
    except LookupError:
        return None
    before = [timedelta(days=number) for number in range(WIDEST.days + 1)]
    return impressions | {day - ago for day in events for ago in before}


def _changed(lake: Lake, table: Table, known: str) -> set[date]:
    """Days with other files than at a stamp of the table; raises LookupError where its log does not go back so far."""
    version = int(known.split()[1])
    commits = {commit["version"]: commit for commit in lake.history(table, version)}
    if version not in commits or stamp_of(lake.delta(table), commits[version]) != known:
        raise LookupError(f"{table.name} has no version {version} any more")
    before, after = lake.files(table, version), lake.files(table, lake.version(table))
    different = {
        path: values for path, values in [*before.items(), *after.items()] if (path in before) != (path in after)
    }
    return set(_dates(table, different.values()))


def _days(lake: Lake, table: Table) -> set[date]:
    return set(_dates(table, lake.files(table, lake.version(table)).values()))


def _dates(table: Table, files: Iterable[object]) -> Iterable[date]:
    (name,) = table.partition
    return (values[name] for values in files)  # type: ignore[index]
