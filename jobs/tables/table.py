"""What a Delta table is to this product: name, key, columns, comments. Inert, like `jobs.tables.shop`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

RUN = """
as_of     DATE    the night: everything before 00:00 UTC of this day was known, nothing after
run_id    STRING  the run that wrote the row: the night, source and settings it was made from
"""


GONE = "gone"
"""Column of a table of changes whose rows can end."""


@dataclass(frozen=True)
class Column:
    """One column: Spark SQL type in capitals, and what it means to a reader."""

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
    """Columns of which a table's nights hold changes: a night's row of them is the newest one of the nights from
    `since`, the last complete night, to it; there is none where that row is `gone`. Empty where every night is
    complete."""

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
        """Whether a row may say that there is none any more."""
        return GONE in self.names


def newest_rows(table: Table, rows: str, names: Iterable[str]) -> str:
    """Spark SQL for the columns `names` of a night of a table of changes.

    `rows` is a query for the stored rows of the nights that belong to it. Every part is a name of ours, none is data.
    """
    ranked = f"row_number() OVER (PARTITION BY {', '.join(table.changes_of)} ORDER BY as_of DESC) AS age"
    there = f" AND NOT coalesce({GONE}, false)" if table.has_ends else ""
    return f"SELECT {', '.join(names)} FROM (SELECT *, {ranked} FROM ({rows})) WHERE age = 1{there}"  # noqa: S608
