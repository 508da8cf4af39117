"""Deletes what the retention settings no longer keep, and compacts, vacuums and checkpoints the tables.

After a kill at any point the step is simply run again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import Field, PositiveInt

from jobs.clean.retention import Retention, RetentionConfig
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.live import keep_up, publications
from jobs.run import Counts, Run
from jobs.settings import StepSettings
from jobs.tables.shop import ALL
from jobs.tables.table import Table


@dataclass(frozen=True)
class UpkeepConfig(StepSettings):
    """When tables are compacted, vacuumed and checkpointed."""

    compact_files: Annotated[int, Field(ge=2)] = 8
    """Small files in one partition, or in a table without partitions, from which on they are joined."""
    small_mb: float = 32.0
    """A file below this size is small."""
    vacuum_hours: PositiveInt = 168
    """Hours for which an obsolete file is kept for readers of an older version."""
    checkpoint_commits: PositiveInt = 20
    """Commits since the last checkpoint of a table's log after which one is written."""


def compact(lake: Lake, table: Table, config: UpkeepConfig) -> int:
    """Join the small files of partitions that have many; returns how many files fewer there are. No row changes."""
    if not lake.exists(table):
        return 0
    fewer = 0
    for partition in _crowded(lake, table, config):
        done = lake.delta(table).optimize.compact(partition_filters=partition or None)
        fewer += done["numFilesRemoved"] - done["numFilesAdded"]
    return fewer


def stale_files(lake: Lake, table: Table, config: UpkeepConfig) -> tuple[int, int]:
    """(files, bytes) that `vacuum` would remove."""
    if not lake.exists(table):
        return 0, 0
    folder = lake.path(table)
    sizes = [path.stat().st_size for name in _vacuum(lake, table, config, True) if (path := folder / name).exists()]
    return len(sizes), sum(sizes)


def vacuum(lake: Lake, table: Table, config: UpkeepConfig) -> tuple[int, int]:
    """Remove files that no version of the last `vacuum_hours` needs, unfinished ones too; (files, bytes) removed."""
    found = stale_files(lake, table, config)
    if found[0]:
        _vacuum(lake, table, config, False)
    return found


def checkpoint(lake: Lake, table: Table, config: UpkeepConfig) -> None:
    """Write a checkpoint of the log where one is due, and let Delta drop the log entries it no longer retains, unless
    published rows are in an older version.
    """
    if not lake.exists(table):
        return
    delta = lake.delta(table)
    try:
        last = json.loads((lake.path(table) / "_delta_log" / "_last_checkpoint").read_text("utf-8"))["version"]
    except FileNotFoundError:
        last = -1
    if delta.version() - last >= config.checkpoint_commits:
        delta.create_checkpoint()
        if set(_published_versions(lake, table)) <= {delta.version()}:
            delta.cleanup_metadata()


def _crowded(lake: Lake, table: Table, config: UpkeepConfig) -> list[list[tuple[str, str, str]]]:
    """Filter of every partition with many small files; an empty one for a table without partitions."""
    files = pa.table(lake.delta(table).get_add_actions(flatten=True))
    keys = list(table.partition)
    columns = [files["size_bytes"], *(files[f"partition.{key}"] for key in keys)]
    small: Counter[tuple[object, ...]] = Counter()
    for size, *values in zip(*(column.to_pylist() for column in columns), strict=True):
        small[tuple(values)] += size < config.small_mb * 1e6
    crowded = sorted(values for values, count in small.items() if count >= config.compact_files)
    return [[(key, "=", str(value)) for key, value in zip(keys, values, strict=True)] for values in crowded]


def _vacuum(lake: Lake, table: Table, config: UpkeepConfig, dry_run: bool) -> list[str]:
    found: list[str] = lake.delta(table).vacuum(
        config.vacuum_hours,
        dry_run=dry_run,
        enforce_retention_duration=False,
        full=True,
        keep_versions=_published_versions(lake, table) or None,
    )
    return found


def _published_versions(lake: Lake, table: Table) -> list[int]:
    """The versions that `published` names for the table, if the log still has them."""
    versions = {one.versions[table.name] for one in publications(lake) if table.name in one.versions}
    log = lake.path(table) / "_delta_log"
    return sorted(version for version in versions if (log / f"{version:020}.json").exists())


@dataclass(frozen=True)
class CleanConfig:
    """Settings of the step clean."""

    retention: RetentionConfig = field(default_factory=RetentionConfig)
    """How long nights, models, records and events are kept."""
    upkeep: UpkeepConfig = field(default_factory=UpkeepConfig)
    """When the files of tables are compacted and removed."""


def execute(lake: Lake, run: Run, config: CleanConfig) -> Counts:
    """Delete what is no longer kept, then compact, vacuum and checkpoint every table."""
    retention = Retention(lake, run.as_of, config.retention)
    # Decided before the first deletion: what may be deleted follows from what the lake holds.
    rows, directories, models = list(retention.rows()), retention.directories(), retention.models()
    for place, expired in enumerate(rows):
        run.progress("tables cleared of old rows", place, len(rows))
        if expired.table.partition:  # deletes whole files and rewrites none
            lake.delta(expired.table).delete(expired.predicate)
        else:
            lake.remove(expired.table, expired.where)
    freed = sum(_remove(path) for path in (*directories, *models))
    fewer = files = 0
    for table in ALL:
        lake.update_comments(table)
        fewer += compact(lake, table, config.upkeep)
    keep_up(lake, retention.kept)
    for place, table in enumerate(ALL):
        run.progress("tables in order", place, len(ALL))
        count, size = vacuum(lake, table, config.upkeep)
        checkpoint(lake, table, config.upkeep)
        files, freed = files + count, freed + size
    run.progress("tables in order", len(ALL), len(ALL))
    removed = sum(expired.rows for expired in rows)
    note = (
        f"{len(retention.kept):,} nights kept; removed: {removed:,} rows, {len(directories):,} directories, "
        f"{len(models):,} models; {fewer:,} files fewer by compaction, {files:,} old files vacuumed, "
        f"{freed / 1e6:,.1f} MB freed"
    )
    return Counts(removed, 0, note=note)


def planned(lake: Lake, run: Run, config: CleanConfig) -> Iterator[str]:
    """Describe what `execute` would delete, one line each; changes nothing."""
    retention = Retention(lake, run.as_of, config.retention)
    kept = sorted(retention.kept)
    yield f"kept: {len(kept)} nights{f', {kept[0]} to {kept[-1]}' if kept else ''}"
    for expired in retention.rows():
        yield f"rows: {expired.rows:,} of {expired.table.name}, {expired.reason}"
    for path in retention.directories():
        yield f"directory: {lake.relative(path)}, {storage.size(path) / 1e6:,.1f} MB"
    for path in retention.models():
        yield f"model: {lake.relative(path)}, {storage.size(path) / 1e6:,.1f} MB"
    for table in ALL:
        files, size = stale_files(lake, table, config.upkeep)
        if files:
            yield f"files: {files:,} obsolete ones of {table.name}, {size / 1e6:,.1f} MB"


def _remove(path: Path) -> int:
    """Remove a directory; returns its bytes. One that is half removed is found again by the next run."""
    freed = storage.size(path)
    storage.remove(path)
    return freed
