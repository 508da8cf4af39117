"""Finds the nights, records and models that the lake no longer keeps; deletes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, NonNegativeInt, PositiveInt

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.live import live_night
from jobs.lake.reading import Wanted, matching, scan
from jobs.lake.rows import night as night_predicate
from jobs.settings import StepSettings
from jobs.tables.audiences import AFFINITIES, CAMPAIGNS
from jobs.tables.experiments import CUSTOMER_DAYS, EXPERIMENTS, OFF_POLICY, TOUCH_POINT_DAYS, VARIANTS
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from jobs.tables.records import CHAMPIONS, CORRECTED, GATES, INPUTS, MODELS, PUBLISHED, REJECTED, RUNS
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVENTS,
    OUTFITS,
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
    NETWORKS,
    *TOUCH_POINTS,
    ASSORTMENTS,
    AFFINITIES,
    OUTFITS,
    RULE_EFFECTS,
)
"""Tables of which no other night needs a night's rows."""
RECORDS = (REJECTED, CORRECTED, INPUTS, GATES, RUNS, VARIANTS, EXPERIMENTS, OFF_POLICY)
"""Small tables in which nights record themselves; raw_files, policy, models and forgotten are kept for good."""


@dataclass(frozen=True)
class RetentionConfig(StepSettings):
    """How long things are kept."""

    keep_nights: PositiveInt = 14
    """Newest nights kept whole; the live night, and nights after the one that cleans, are kept too."""
    keep_to_roll_back: PositiveInt = 2
    """Newest nights that a rollback can publish again, kept at any age."""
    keep_models: PositiveInt = 12
    """Newest models, kept even if no kept night uses them."""
    keep_records_days: PositiveInt = 400
    """Days for which rejected and corrected rows, figures, gates, results of experiments and the ledger are kept."""
    events_days: NonNegativeInt = 0
    """Days for which events are kept, at least 366; 0: for good. A full rebuild sees only kept events."""
    impressions_days: Annotated[int, Field(ge=14)] = 120
    """Days for which impressions and their outcomes are kept."""
    campaigns_days: Annotated[int, Field(ge=90)] = 120
    """Days for which campaigns are kept: what was sent counts for the caps of later nights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.events_days < 366:
            raise UserError(
                f"events_days = {self.events_days}: lists are made from a year of purchases; use at least 366, or 0 to "
                "keep every event"
            )


@dataclass(frozen=True)
class ExpiredRows:
    """Rows of one table to delete."""

    table: Table
    predicate: str
    """For Delta."""
    where: pc.Expression
    """The same for Arrow."""
    rows: int
    reason: str


@dataclass(frozen=True)
class Retention:
    """What the step clean of the night `as_of` deletes."""

    lake: Lake
    as_of: date
    config: RetentionConfig

    @cached_property
    def nights(self) -> list[date]:
        """Every night with rows or a directory, oldest first."""
        found = {night for _, night in self._directories()}
        return sorted(found.union(*(self.lake.nights(table) for table in DATED)))

    @cached_property
    def kept(self) -> set[date]:
        """The nights that are kept whole."""
        from jobs.publish.step import rollbacks

        live, back = live_night(self.lake), sorted({one.night for one in rollbacks(self.lake)})
        until = [night for night in self.nights if night <= self.as_of]
        later = {night for night in self.nights if night > self.as_of}
        recent = set(until[-self.config.keep_nights :])
        return later | recent | set(back[-self.config.keep_to_roll_back :]) | ({live} if live else set())

    def expired(self, table: Table) -> list[date]:
        """Nights of a dated table that no kept night needs.

        A night of a table of changes needs the nights back to its last complete one, so those are kept with it.
        """
        needed = [(self.lake.since(table, night), night) for night in self.kept]
        return [night for night in self.lake.nights(table) if not any(a <= night <= b for a, b in needed)]

    def rows(self) -> Iterator[ExpiredRows]:
        """All rows to delete from tables."""
        oldest = self.as_of - timedelta(days=self.config.keep_records_days)
        for table in (*DATED, *RECORDS):
            nights = self.expired(table) if table in DATED else self._old_records(table, oldest)
            if nights:
                where = pc.field("as_of").isin(pa.array(nights, pa.date32()))
                dates = f"{nights[0]}" if len(nights) == 1 else f"{len(nights)} nights, {nights[0]} to {nights[-1]}"
                yield self._rows(table, " OR ".join(map(night_predicate, nights)), where, f"of {dates}")
        for table, days in (
            (EVENTS, self.config.events_days),
            (IMPRESSIONS, self.config.impressions_days),
            (OUTCOMES, self.config.impressions_days),
            (CUSTOMER_DAYS, self.config.impressions_days),
            (TOUCH_POINT_DAYS, self.config.keep_records_days),
            (CAMPAIGNS, self.config.campaigns_days),
        ):
            if days and self.lake.exists(table):
                (day,), first = table.partition, self.as_of - timedelta(days=days)
                where = pc.field(day) < pa.scalar(first)
                found = self._rows(table, f"{day} < '{first}'", where, f"before {first}")
                if found.rows:
                    yield found

    def _old_records(self, table: Table, oldest: date) -> list[date]:
        return [night for night in self.lake.nights(table) if night < oldest and night not in self.kept]

    def directories(self) -> list[Path]:
        """Dated directories of nights that are not kept."""
        return [path for path, night in self._directories() if night not in self.kept]

    def models(self) -> list[Path]:
        """Directories of models that no kept night uses, and unfinished ones of killed trainings."""
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
        """Models that are published, that the last decision chose, or that kept nights use."""
        used = {row["model_id"] for row in matching(self.lake, PUBLISHED, ("model_id",), Wanted())}
        decisions = matching(self.lake, CHAMPIONS, ("model_id", "decided_at"), Wanted())
        used |= {row["model_id"] for row in decisions[-1:]}
        for night in self.kept:
            batches = scan(self.lake, PRODUCT_EMBEDDINGS, ["model_id"], Wanted(night))
            used.update(*(pc.unique(batch["model_id"]).to_pylist() for batch in batches))
        return used

    def _rows(self, table: Table, predicate: str, where: pc.Expression, reason: str) -> ExpiredRows:
        return ExpiredRows(table, predicate, where, int(self.lake.dataset(table).count_rows(filter=where)), reason)

    def _directories(self) -> list[tuple[Path, date]]:
        found = []
        for folder in storage.DATED:
            for path in sorted((self.lake.root / folder).glob("as_of=*")):
                if path.is_dir() and re.fullmatch(r"as_of=\d{4}-\d{2}-\d{2}", path.name):
                    found.append((path, date.fromisoformat(path.name.removeprefix("as_of="))))
        return found
