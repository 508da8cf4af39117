"""Clean: old nights go by policy, tables are kept in good order. Killed anywhere, it is run again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs import storage
from jobs.lake import Lake
from jobs.retention import Retention, RetentionConfig
from jobs.run import Counts, Run
from jobs.tables import ALL, EVENTS
from jobs.upkeep import UpkeepConfig, checkpoint, compact, stale_files, vacuum


@dataclass(frozen=True)
class CleanConfig:
    """What is kept, and how tables are kept."""

    retention: RetentionConfig = field(default_factory=RetentionConfig)
    """Nights, models, records and events."""
    upkeep: UpkeepConfig = field(default_factory=UpkeepConfig)
    """Files of the tables."""


def execute(lake: Lake, run: Run, config: CleanConfig) -> Counts:
    """Remove what the policy no longer keeps, then compact, vacuum and checkpoint every table."""
    retention = Retention(lake, run.as_of, config.retention)
    # All of it is settled before anything goes: what may go follows from what is there.
    rows, directories, models = list(retention.rows()), retention.directories(), retention.models()
    for place, going in enumerate(rows):
        run.progress("tables cleared of old rows", place, len(rows))
        if going.table.partition:  # whole files go, nothing is written anew
            lake.delta(going.table).delete(going.predicate)
        else:
            lake.remove(going.table, going.wanted)
    freed = sum(_remove(path) for path in (*directories, *models))
    fewer = files = 0
    for place, table in enumerate(ALL):
        run.progress("tables in order", place, len(ALL))
        fewer += compact(lake, table, config.upkeep)
        count, size = vacuum(lake, table, config.upkeep)
        checkpoint(lake, table, config.upkeep)
        files, freed = files + count, freed + size
    run.progress("tables in order", len(ALL), len(ALL))
    removed = sum(going.rows for going in rows)
    note = (
        f"{len(retention.kept):,} nights kept; removed: {removed:,} rows, {len(directories):,} directories, "
        f"{len(models):,} models; {fewer:,} files fewer by compaction, {files:,} old files vacuumed, "
        f"{freed / 1e6:,.1f} MB freed"
    )
    return Counts(removed, 0, note=note)


def planned(lake: Lake, run: Run, config: CleanConfig) -> Iterator[str]:
    """What `execute` would remove, a line each; changes nothing."""
    retention = Retention(lake, run.as_of, config.retention)
    kept = sorted(retention.kept)
    yield f"kept: {len(kept)} nights{f', {kept[0]} to {kept[-1]}' if kept else ''}"
    for going in retention.rows():
        rest = "" if going.table is EVENTS else "of "
        yield f"rows: {going.rows:,} of {going.table.name}, {rest}{going.why}"
    for path in retention.directories():
        yield f"directory: {lake.relative(path)}, {storage.size(path) / 1e6:,.1f} MB"
    for path in retention.models():
        yield f"model: {lake.relative(path)}, {storage.size(path) / 1e6:,.1f} MB"
    for table in ALL:
        files, size = stale_files(lake, table, config.upkeep)
        if files:
            yield f"files: {files:,} of {table.name} that nobody reads any more, {size / 1e6:,.1f} MB"


def _remove(path: Path) -> int:
    """Remove a directory; returns its bytes. Half removed, it is found and removed again."""
    freed = storage.size(path)
    storage.remove(path)
    return freed
