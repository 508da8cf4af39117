"""Makes the checked night live: first in the online store, then in the table `published` by one commit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.served import ONLINE
from jobs.errors import UserError
from jobs.gate.passed import require_passed
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.live import Published, live_night, publication_rows, publications, readable
from jobs.lake.reading import StoredRow
from jobs.lake.rows import arrow_schema
from jobs.publish.store import REPO, OnlineStore
from jobs.report.marks import mark_pages
from jobs.run import Counts, Run
from jobs.tables.audiences import CAMPAIGNS
from jobs.tables.records import GATES, PUBLISHED
from jobs.tables.shop import AVAILABILITY, OUTFITS, RULE_EFFECTS
from jobs.tables.table import Table

SURFACES: tuple[Table, ...] = tuple(ONLINE)
"""Tables that are published, in this order: products and vectors come before the lists that refer to them."""
OPTIONAL = (OUTFITS,)
"""Those of them that a shop, or a night of older code, may have no row of."""
BESIDE: tuple[Table, ...] = (AVAILABILITY, CAMPAIGNS, RULE_EFFECTS, GATES)
"""Tables of which the published rows are kept for readers of the lake, beside those that services read."""


@dataclass(frozen=True)
class PublishConfig:
    """Settings of the step `publish`."""

    feature_store: Path = REPO / "feature_store.yaml"
    """Feast's settings, which name the online store and the registry."""
    batch_rows: int = 100_000
    """Rows read and written online at once."""
    replace_newer: bool = False
    """Whether the night may replace a newer live one: a rollback."""
    published_at: datetime | None = None
    """The publication of the night whose rows are made live again: a rollback. None: the rows as they are staged."""


def execute(lake: Lake, run: Run, config: PublishConfig) -> Counts:
    """Make the night `run.as_of` live for services and analysts; raises GateError unless its gates passed, or it was
    published before.
    """
    again = _published_before(lake, run.as_of, config.published_at)
    if again is None:
        require_passed(lake, run.as_of)
    live = live_night(lake)
    if live and live > run.as_of and not config.replace_newer:
        return Counts(note=_only_staged(run.as_of, live))
    store = OnlineStore(lake.root, config.feature_store, lake.work)
    store.ensure_applied()
    shown = lake.at(again.versions) if again else lake
    for table in OPTIONAL:
        lake.create(table)
    for table in SURFACES:
        of_older_code = again is not None and table.name not in again.versions
        if run.as_of not in shown.nights(table) and table not in OPTIONAL and not of_older_code:
            raise UserError(f"{table.name} has no row of {run.as_of}, so that night cannot be published")
    online = store.live()
    if online.as_of > run.as_of.isoformat() and not config.replace_newer:
        return Counts(note=_only_staged(run.as_of, online.as_of))
    loaded = store.load(shown, run, SURFACES, config.batch_rows)
    # Services see the night from here on. If the run is killed before the commit to `published`, the next run finds
    # the night live online and makes that commit.
    _record(lake, _rows(shown, run, loaded.live.published_at))
    mark_pages(lake)
    read, wrote, deleted = (sum(counts.values()) for counts in (loaded.read, loaded.written, loaded.deleted))
    how = "its rows were online" if loaded.moved else f"{wrote:,} of {read:,} rows written online"
    note = f"{run.as_of} is live: {how}, {len(SURFACES)} tables published"
    note += f" as on {again.at:%Y-%m-%d %H:%M} UTC" if again and again.at else ""
    return Counts(read, wrote, note=f"{note}, {deleted:,} rows deleted online" if deleted else note)


def _only_staged(as_of: date, live: object) -> str:
    return f"staged, not published: {live} is live and newer (`python -m jobs rollback --to {as_of} --staged`)"


def _published_before(lake: Lake, as_of: date, at: datetime | None) -> Published | None:
    """The publication of that time; raises UserError where it is not kept."""
    if at is None:
        return None
    found = next((one for one in publications(lake) if (one.night, one.at) == (as_of, at)), None)
    if found is None or not readable(lake, found):
        raise UserError(f"the publication of {as_of} at {at:%Y-%m-%d %H:%M:%S} UTC is not kept")
    return found


def rollbacks(lake: Lake) -> list[Published]:
    """What can be made live again: each publication that is kept, and each night that passed its gates and was never
    published (`at` is None, no versions); by night, then by time. Of publications of the same rows the first counts,
    and is live if one of them is.
    """
    found: dict[tuple[date, tuple[tuple[str, int], ...]], Published] = {}
    for one in publications(lake):
        rows = (one.night, tuple(sorted(one.versions.items())))
        before = found.get(rows, one)
        found[rows] = replace(before, live=before.live or one.live)
    kept = [one for one in found.values() if readable(lake, one)]
    known = {one.night for one in kept}
    staged = set.intersection(*(set(lake.nights(table)) for table in SURFACES if table not in OPTIONAL)) - known
    kept += [Published(night, "", None, None, False, {}) for night in staged if _passed(lake, night)]
    order = {id(one): place for place, one in enumerate(kept)}
    return sorted(kept, key=lambda one: (one.night, order[id(one)]))


def _passed(lake: Lake, night: date) -> bool:
    try:
        require_passed(lake, night)
    except UserError:
        return False
    return True


def _record(lake: Lake, rows: list[StoredRow]) -> None:
    """Write the live publication and keep the others, in one commit."""
    at = rows[0]["published_at"]
    others = [
        row | {"live": False, "replaced_at": at if row["live"] else row["replaced_at"]}
        for row in publication_rows(lake)
        if row["published_at"] not in (at, None)
    ]
    lake.overwrite(PUBLISHED, pa.Table.from_pylist([*others, *rows], schema=arrow_schema(PUBLISHED)))


def _rows(lake: Lake, run: Run, published_at: datetime) -> list[StoredRow]:
    """The rows of `published` for what `lake` reads of the night."""
    rows = []
    for table in (*SURFACES, *(one for one in BESIDE if lake.exists(one))):
        index = lake.directory(storage.INDEXES, run.as_of) / table.name
        names = [name for name in ("model_id", "run_id") if name in table.names]
        own = pc.field("as_of") == pa.scalar(run.as_of)
        first = lake.dataset(table).head(1, columns=names, filter=own).to_pylist()
        rows.append(
            {
                "surface": table.name,
                "as_of": run.as_of,
                "since": lake.since(table, run.as_of),
                "run_id": first[0]["run_id"] if first else run.run_id,
                "model_id": first[0].get("model_id") if first else None,
                "table_version": lake.version(table),
                "index_path": lake.relative(index) if index.is_dir() else None,
                "published_at": published_at,
                "live": True,
                "replaced_at": None,
            }
        )
    return rows
