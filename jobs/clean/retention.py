"""Which nights, records and models the lake keeps, and what goes: found by reading alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import NonNegativeInt, PositiveInt

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching, scan
from jobs.lake.rows import night as night_predicate
from jobs.settings import Settings
from jobs.tables.records import CHAMPIONS, CORRECTED, GATES, INPUTS, MODELS, PUBLISHED, REJECTED, RUNS
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVENTS,
    PRODUCT_EMBEDDINGS,
    RULE_EFFECTS,
    TOUCH_POINTS,
)
from jobs.tables.table import Table

DATED = (
    CATALOGUE,
    AVAILABILITY,
    CUSTOMER_SEQUENCES,
    CUSTOMER_EMBEDDINGS,
    PRODUCT_EMBEDDINGS,
    *TOUCH_POINTS,
    RULE_EFFECTS,
)
"""Tables whose nights nobody needs but who reads those nights."""
RECORDS = (REJECTED, CORRECTED, INPUTS, GATES, RUNS)
"""Small tables in which nights record themselves; raw_files, policy, models and who was forgotten are kept for good."""


@dataclass(frozen=True)
class RetentionConfig(Settings):
    """How long things are kept."""

    keep_nights: PositiveInt = 14
    """Newest nights that are kept whole; the live one, and nights after the one that cleans, are kept besides."""
    keep_to_roll_back: PositiveInt = 2
    """Newest nights that can be rolled back to and are kept however old they are."""
    keep_models: PositiveInt = 12
    """Newest models that are kept although no kept night uses them."""
    keep_records_days: PositiveInt = 400
    """Days for which rejected and corrected rows, figures, gates and the ledger are kept."""
    events_days: NonNegativeInt = 0
    """Days for which events are kept, at least 366; 0: for good. A full rebuild knows the kept ones alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.events_days < 366:
            raise UserError(
                f"events_days = {self.events_days}: lists are made from a year of purchases; use at least 366, or 0 to "
                "keep every event"
            )


@dataclass(frozen=True)
class Rows:
    """Rows of one table that go."""

    table: Table
    predicate: str
    """For Delta."""
    wanted: pc.Expression
    """The same for Arrow."""
    rows: int
    why: str


@dataclass(frozen=True)
class Retention:
    """What goes when the night `as_of` cleans up."""

    lake: Lake
    as_of: date
    config: RetentionConfig

    @cached_property
    def nights(self) -> list[date]:
        """Every night of which there is anything, oldest first."""
        found = {night for _, night in self._directories()}
        return sorted(found.union(*(self.lake.nights(table) for table in DATED)))

    @cached_property
    def kept(self) -> set[date]:
        """The nights that stay whole."""
        from jobs.publish.step import nights_to_roll_back_to

        live = {row["as_of"] for row in matching(self.lake, PUBLISHED, ("as_of",), Wanted())}
        until = [night for night in self.nights if night <= self.as_of]
        later = {night for night in self.nights if night > self.as_of}
        return (live | later | set(until[-self.config.keep_nights :])
                | set(nights_to_roll_back_to(self.lake)[-self.config.keep_to_roll_back :]))  # fmt: skip

    def gone(self, table: Table) -> list[date]:
        """Nights of a dated table that no kept night needs.

        A night of a table of changes needs the nights back to its last complete one, so those stay with it.
        """
        first = {night: self.lake.since(table, night) for night in self.kept}
        return [
            night for night in self.lake.nights(table)
            if not any(first[kept] <= night <= kept for kept in self.kept)
        ]  # fmt: skip

    def rows(self) -> Iterator[Rows]:
        """Everything that is deleted from tables."""
        for table in DATED:
            if nights := self.gone(table):
                yield self._rows(table, " OR ".join(map(night_predicate, nights)),
                                 pc.field("as_of").isin(pa.array(nights, pa.date32())), _spoken(nights))  # fmt: skip
        oldest = self.as_of - timedelta(days=self.config.keep_records_days)
        for table in RECORDS:
            old = [night for night in self.lake.nights(table) if night < oldest and night not in self.kept]
            if old:
                yield self._rows(table, " OR ".join(map(night_predicate, old)),
                                 pc.field("as_of").isin(pa.array(old, pa.date32())), _spoken(old))  # fmt: skip
        if self.config.events_days and self.lake.exists(EVENTS):
            first = self.as_of - timedelta(days=self.config.events_days)
            found = self._rows(EVENTS, f"event_date < '{first}'", pc.field("event_date") < pa.scalar(first),
                               f"before {first}")  # fmt: skip
            if found.rows:
                yield found

    def directories(self) -> list[Path]:
        """Dated directories of nights that go."""
        return [path for path, night in self._directories() if night not in self.kept]

    def models(self) -> list[Path]:
        """Directories of models that no kept night uses, and what a killed training left aside."""
        folder = self.lake.root / storage.MODELS
        if not folder.is_dir():
            return []
        rows = matching(self.lake, MODELS, ("model_id", "as_of", "champion"), Wanted())
        known = sorted(rows, key=lambda row: (row["as_of"], row["model_id"]))
        champions = [row["model_id"] for row in known if row["champion"]]
        newest = {row["model_id"] for row in known[-self.config.keep_models :]}
        unused = {row["model_id"] for row in known} - newest - set(champions[-1:]) - self._models_in_use()
        return [path for path in sorted(folder.iterdir()) if path.name in unused or path.name.startswith(".")]

    def _models_in_use(self) -> set[str]:
        """Models of what is live, of who was last decided to serve, and of the kept nights."""
        used = {row["model_id"] for row in matching(self.lake, PUBLISHED, ("model_id",), Wanted())}
        decisions = matching(self.lake, CHAMPIONS, ("model_id", "decided_at"), Wanted())
        used |= {row["model_id"] for row in decisions[-1:]}
        for night in self.kept:
            batches = scan(self.lake, PRODUCT_EMBEDDINGS, ["model_id"], Wanted(night))
            used.update(*(pc.unique(batch["model_id"]).to_pylist() for batch in batches))
        return used

    def _rows(self, table: Table, predicate: str, wanted: pc.Expression, why: str) -> Rows:
        return Rows(table, predicate, wanted, int(self.lake.dataset(table).count_rows(filter=wanted)), why)

    def _directories(self) -> list[tuple[Path, date]]:
        found = []
        for folder in storage.DATED:
            for path in sorted((self.lake.root / folder).glob("as_of=*")):
                if path.is_dir() and re.fullmatch(r"as_of=\d{4}-\d{2}-\d{2}", path.name):
                    found.append((path, date.fromisoformat(path.name.removeprefix("as_of="))))
        return found


def _spoken(nights: list[date]) -> str:
    return f"{nights[0]}" if len(nights) == 1 else f"{len(nights)} nights, {nights[0]} to {nights[-1]}"
