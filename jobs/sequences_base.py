"""Which earlier night of customer_sequences a night can be built on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.tables import CUSTOMER_SEQUENCES

FACTS = ["as_of", "since", "events_version", "max_length"]
"""Columns that are the same in every row of a night."""


@dataclass(frozen=True)
class Night:
    """What a night of customer_sequences says about itself."""

    as_of: date
    since: date | None
    events_version: int | None
    """Delta version of events that its rows know; null in nights from before it was recorded."""
    max_length: int | None
    rows: int

    @property
    def complete(self) -> bool:
        """Whether it holds every customer."""
        return self.since in (None, self.as_of)


@dataclass(frozen=True)
class Base:
    """A night to build on, and how much was written since the last complete one."""

    night: Night
    since: date
    customers: int
    """Rows of the complete night."""
    changed: int
    """Rows of the nights after it, up to this one."""


def read_night(lake: Lake, as_of: date) -> Night | None:
    """What the night says about itself; None where it has no rows."""
    found = _read(lake, as_of, as_of)
    return found[0] if found else None


def find_base(lake: Lake, as_of: date, max_length: int, version: int) -> Base | str:
    """The newest night before `as_of`, or in words why a night of changes cannot be built on it.

    `version` is the Delta version of events now. The nights that a night's rows come from must not know more than
    the night itself: then its rows are those of one state of events, and what changed since can be told.
    """
    lake.create(CUSTOMER_SEQUENCES)
    earlier = [night for night in lake.nights(CUSTOMER_SEQUENCES) if night < as_of]
    if not earlier:
        return "there is no earlier night"
    newest = earlier[-1]
    chain = _read(lake, lake.since(CUSTOMER_SEQUENCES, newest), newest)
    if not chain or not chain[0].complete:
        return f"the complete night that {newest} refers to is not there"
    last = chain[-1]
    if any(night.max_length != max_length for night in chain):
        return f"max_length is {max_length} now"
    if last.events_version is None or last.events_version > version:
        return f"the night {newest} does not say which events it knows"
    if any((night.events_version or 0) > last.events_version for night in chain):
        return f"a night before {newest} was made again after it"
    return Base(last, chain[0].as_of, chain[0].rows, sum(night.rows for night in chain[1:]))


def _read(lake: Lake, first: date, last: date) -> list[Night]:
    nights = (pc.field("as_of") >= pc.scalar(first)) & (pc.field("as_of") <= pc.scalar(last))
    rows = lake.dataset(CUSTOMER_SEQUENCES).to_table(columns=FACTS, filter=nights)
    counted = rows.group_by(FACTS).aggregate([([], "count_all")])
    found = [
        Night(row["as_of"], row["since"], row["events_version"], row["max_length"], row["count_all"])
        for row in counted.to_pylist()
    ]
    return sorted(found, key=lambda night: night.as_of)
