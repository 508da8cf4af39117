"""What tells a table's content from that of another history: of a lake that was restored, or made anew in its place.

There a Delta version is the same number again, with other rows behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.lake import Lake
from jobs.tables import Table


def stamp(lake: Lake, table: Table) -> str:
    """Of the table as it is now; equal stamps are equal rows."""
    delta = lake.delta(table)
    return stamp_of(delta, delta.history(1)[0])


def stamp_of(delta: Any, commit: Mapping[str, Any]) -> str:
    """Of a table (`Lake.delta`) as a commit of its history left it."""
    return f"{delta.metadata().id} {commit.get('version')} {commit.get('timestamp')}"
