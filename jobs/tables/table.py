"""Describes a Delta table as inert data: name, key, columns and comments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

RUN = """
as_of     DATE    the night; it knows events before 00:00 UTC of this day, and none after
run_id    STRING  the run that wrote the row; it follows from night, source and settings
"""


GONE = "gone"
"""Column of a table of changes whose rows can be deleted."""


@dataclass(frozen=True)
class Column:
    """One column: its Spark SQL type in capitals, and its meaning."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Table:
    """A Delta table under the lake's root; its name is also its folder."""

    name: str
    comment: str
    key: tuple[str, ...]
    """Columns that identify a row among those of one as_of."""
    text: str
    """One line a column: name, type, comment."""
    partition: tuple[str, ...] = ()
    changes_of: tuple[str, ...] = ()
    """The key of a table of changes, whose nights store only rows that changed; empty where every night is complete.
    The current row of a key is the newest one of the nights from `since`, the last complete night, to the night; if
    that row is `gone`, the key has none."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns in their stored order, the run's identity last."""
        lines = [line.split(None, 2) for line in (self.text + RUN).splitlines() if line.strip()]
        return tuple(Column(*line) for line in lines)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in stored order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def has_ends(self) -> bool:
        """Whether rows can be deleted (`gone`)."""
        return GONE in self.names


def newest_rows(table: Table, rows: str, names: Iterable[str]) -> str:
    """Spark SQL for the columns `names` of a night of a table of changes.

    `rows` is a query for the stored rows of the nights that belong to it. Every part is a name of ours, none is data.
    """
    ranked = f"row_number() OVER (PARTITION BY {', '.join(table.changes_of)} ORDER BY as_of DESC) AS age"
    there = f" AND NOT coalesce({GONE}, false)" if table.has_ends else ""
    return f"SELECT {', '.join(names)} FROM (SELECT *, {ranked} FROM ({rows})) WHERE age = 1{there}"  # noqa: S608
