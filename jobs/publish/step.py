"""Makes the checked night live: first in the online store, then in the table `published` by one commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.served import ONLINE
from jobs.errors import UserError
from jobs.gate.passed import require_passed
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.live import live_night
from jobs.lake.rows import arrow_schema
from jobs.publish.store import REPO, OnlineStore
from jobs.run import Counts, Run
from jobs.tables.records import PUBLISHED
from jobs.tables.table import Table

SURFACES: tuple[Table, ...] = tuple(ONLINE)
"""Tables that are published, in this order: products and vectors come before the lists that refer to them."""


@dataclass(frozen=True)
class PublishConfig:
    """Settings of the step `publish`."""

    feature_store: Path = REPO / "feature_store.yaml"
    """Feast's settings, which name the online store and the registry."""
    batch_rows: int = 100_000
    """Rows read and written online at once."""
    replace_newer: bool = False
    """Whether the night may replace a newer live one: a rollback."""


def execute(lake: Lake, run: Run, config: PublishConfig) -> Counts:
    """Make the night `run.as_of` live for services and analysts; raises GateError unless its gates passed."""
    require_passed(lake, run.as_of)
    live = live_night(lake)
    if live and live > run.as_of and not config.replace_newer:
        return Counts(note=_only_staged(run.as_of, live))
    store = OnlineStore(lake.root, config.feature_store, lake.work)
    store.ensure_applied()
    for table in SURFACES:
        if run.as_of not in lake.nights(table):
            raise UserError(f"{table.name} has no row of {run.as_of}, so that night cannot be published")
    online = store.live()
    if online.as_of > run.as_of.isoformat() and not config.replace_newer:
        return Counts(note=_only_staged(run.as_of, online.as_of))
    loaded = store.load(lake, run, SURFACES, config.batch_rows)
    # Services see the night from here on. If the run is killed before the commit to `published`, the next run finds
    # the night live online and makes that commit.
    rows = _live_rows(lake, run, loaded.live.published_at)
    lake.overwrite(PUBLISHED, pa.Table.from_pylist(rows, schema=arrow_schema(PUBLISHED)))
    read, wrote, deleted = (sum(counts.values()) for counts in (loaded.read, loaded.written, loaded.deleted))
    how = "its rows were online" if loaded.moved else f"{wrote:,} of {read:,} rows written online"
    note = f"{run.as_of} is live: {how}, {len(SURFACES)} tables published"
    return Counts(read, wrote, note=f"{note}, {deleted:,} rows deleted online" if deleted else note)


def _only_staged(as_of: date, live: object) -> str:
    return f"staged, not published: {live} is live and newer (`python -m jobs rollback --to {as_of}`)"


def nights_to_roll_back_to(lake: Lake) -> list[date]:
    """Nights with rows of every published table whose gates passed, oldest first."""
    nights = []
    for night in sorted(set.intersection(*(set(lake.nights(table)) for table in SURFACES))):
        try:
            require_passed(lake, night)
        except UserError:
            continue
        nights.append(night)
    return nights


def _live_rows(lake: Lake, run: Run, published_at: datetime) -> list[dict[str, object]]:
    rows = []
    for table in SURFACES:
        index = lake.directory(storage.INDEXES, run.as_of) / table.name
        names = [name for name in ("model_id", "run_id") if name in table.names]
        own = pc.field("as_of") == pa.scalar(run.as_of)
        first = lake.dataset(table).head(1, columns=names, filter=own).to_pylist()[0]
        rows.append(
            {
                "surface": table.name,
                "as_of": run.as_of,
                "since": lake.since(table, run.as_of),
                "run_id": first["run_id"],
                "model_id": first.get("model_id"),
                "table_version": lake.version(table),
                "index_path": lake.relative(index) if index.is_dir() else None,
                "published_at": published_at,
            }
        )
    return rows
