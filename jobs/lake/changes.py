"""Decides whether a night of a table stores changes or all rows, writes it, and tells what changed since a version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from jobs.lake.lake import REPLACED_NIGHT, Lake
from jobs.run import Run
from jobs.tables.table import Table

MOST = 0.5
"""Largest share of rows changed since the last complete night for which a night stores changes alone."""


def night_before(lake: Lake, table: Table, as_of: date) -> date | None:
    """The newest earlier night of a table, if any.

    Changes must be relative to it and to no older one: a night's rows count in every later night that stores changes.
    """
    return max((night for night in lake.nights(table) if night < as_of), default=None)


def known_since(lake: Lake, table: Table, before: date, as_of: date) -> bool:
    """Whether the table has the changes from the night `before` to the night `as_of`."""
    return {before, as_of} <= set(lake.nights(table)) and lake.since(table, as_of) <= before


def changed_customers(lake: Lake, table: Table, after: date, as_of: date) -> pa.Array:
    """[n] ids of customers whose current row on the night `as_of` is newer than the night `after`."""
    (customer,) = table.changes_of
    return lake.changed(table, table.changes_of, after, as_of)[customer].combine_chunks()


def replace_changed(
    lake: Lake,
    table: Table,
    rows: Iterable[pa.RecordBatch],
    customers: pa.Array,
    before: date,
    run: Run,
    encoded: bool = False,
) -> int:
    """Write `rows`, those of `customers`, as the changes since the night `before`; returns the rows written.

    Changes stay dictionary-encoded if they are `encoded`, as `Lake.replace_encoded` says. If all changes since the last
    complete night exceed `MOST`, the night is complete: other customers' rows are copied.
    """
    if may_hold_changes(lake, table, before, len(customers)):
        replace = lake.replace_encoded if encoded else lake.replace
        return replace(table, rows, run, since=lake.since(table, before))
    return lake.replace(table, chain(rows, _others(lake, table, customers, before)), run)


def may_hold_changes(lake: Lake, table: Table, before: date, more: int = 0) -> bool:
    """Whether the changes up to the night `before`, plus `more` rows, are within `MOST`."""
    since = lake.since(table, before)
    return more + _rows(lake, table, since, before) <= MOST * _rows(lake, table, None, since)


def _rows(lake: Lake, table: Table, after: date | None, until: date) -> int:
    """Stored rows of the nights after `after` up to `until`, or of `until` alone if `after` is None."""
    night = pc.field("as_of")
    wanted = night == pa.scalar(until) if after is None else (night > pa.scalar(after)) & (night <= pa.scalar(until))
    return int(lake.dataset(table).count_rows(filter=wanted))


def _others(lake: Lake, table: Table, customers: pa.Array, before: date) -> Iterator[pa.RecordBatch]:
    own = [name for name in table.names if name not in ("as_of", "run_id", "since")]
    (customer,) = table.changes_of
    yield from lake.batches(table, own, before, where=~pc.field(customer).isin(customers))


# --- what happened to a table since one of its versions

UPKEEP = ("OPTIMIZE", "VACUUM START", "VACUUM END")
OF_SCHEMA = ("ADD COLUMN", "SET TBLPROPERTIES", "UPDATE FIELD METADATA", "UPDATE TABLE METADATA")
HARMLESS = (*UPKEEP, *OF_SCHEMA, "DELETE")
"""Commits that change no row of a table but for deletions, whose rows `forget` removes online, too."""
ONE_NIGHT = re.compile(r"\(?as_of = '(\d{4}-\d\d-\d\d)'(::date)?\)?( AND .*)?", re.DOTALL)
"""The predicate of a commit that replaced rows of one night."""


def unchanged(lake: Lake, table: Table, version: int, as_of: date, known: str | None = None) -> bool:
    """Whether no commit after a Delta version changed a row of the night `as_of` or of an earlier one.

    `known` is that version's fingerprint, if it was kept: a restored lake may give the number to another commit.
    """
    handle, commits = lake.delta(table), lake.history(table, version)
    own = next((commit for commit in commits if commit["version"] == version), None)
    if known is not None and (own is None or stamp_of(handle, own) != known):
        return False
    for commit in commits:
        if commit["version"] == version or commit["operation"] in HARMLESS:
            continue
        found = ONE_NIGHT.fullmatch(str((commit.get("operationParameters") or {}).get("predicate", "")))
        replaced = found[1] if found else commit.get(REPLACED_NIGHT)
        if replaced is None or date.fromisoformat(replaced) <= as_of:
            return False
    # A commit whose record was cleaned up may have changed anything.
    return handle.version() == version or {c["version"] for c in commits} >= {version + 1}


# A restored or recreated lake has other rows behind the same version number, which a fingerprint tells.


def stamp(lake: Lake, table: Table) -> str:
    """Fingerprint of the table as it is read; equal fingerprints mean equal rows."""
    version = lake.version(table)
    return stamp_of(lake.delta(table), next(iter(lake.history(table, version)), {"version": version}))


def stamp_of(delta: DeltaTable, commit: Mapping[str, object]) -> str:
    """Fingerprint of a table (`Lake.delta`) as of a commit of its history: id, version and commit time."""
    return f"{delta.metadata().id} {commit.get('version')} {commit.get('timestamp')}"
