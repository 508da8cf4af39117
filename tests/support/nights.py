"""Whole nights of the tiny sample shop in this process, and ways to copy, damage and compare them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from jobs.config import NightConfig
from jobs.lake.lake import Lake
from jobs.nights.ledger import run_step
from jobs.publish.store import REPO
from jobs.run import Counts, Run
from jobs.sample_shop import SIZES
from jobs.steps import STAGING as STAGING
from jobs.steps import STEPS
from jobs.tables.records import PUBLISHED
from jobs.tables.table import Table
from tests.support.clock import tick
from tests.support.feast_store import FeastStore
from tests.support.once import copy_of_lake
from tests.support.repository import REPOSITORY

SAMPLE_SQL = REPOSITORY / "jobs" / "sources" / "sample.sql"
FIRST = SIZES["tiny"].as_of
SECOND = FIRST + timedelta(days=1)
"""The steps that only stage."""
Rows = list[dict[str, Any]]
LakeFactory = Callable[..., Lake]


@contextmanager
def feast_below(root: Path) -> Iterator[None]:
    """Feast's registry and online store lie in the lake at `root`, as `python -m jobs` arranges it."""
    before = os.environ.get("NIGHTRAIL_FEAST")
    os.environ["NIGHTRAIL_FEAST"] = str(root / "feast")
    try:
        yield
    finally:
        del os.environ["NIGHTRAIL_FEAST"]
        if before is not None:
            os.environ["NIGHTRAIL_FEAST"] = before


@dataclass(frozen=True)
class Shop:
    """A lake and the settings of its nights."""

    lake: Lake
    config: NightConfig

    def run_of(self, as_of: date) -> Run:
        """The run that `python -m jobs` would make of this night."""
        return Run(as_of, f"{as_of}-{self.config.hash[:8]}", tick())

    def step(self, step: str, as_of: date = FIRST, **changes: Any) -> Counts:
        """Run one step under the ledger; `changes` are of its own settings and leave the run's identity alone."""
        config = replace(self.config, **{step: replace(getattr(self.config, step), **changes)})
        with feast_below(self.lake.work):
            return run_step(step, self.lake, self.run_of(as_of), config, "test", tick)

    def steps(self, names: tuple[str, ...] = STEPS, as_of: date = FIRST) -> dict[str, Counts]:
        """Run some steps in order."""
        return {name: self.step(name, as_of) for name in names}

    def online(self) -> FeastStore:
        """What services ask."""
        store = FeastStore(self.lake.root, REPO / "feature_store.yaml", self.lake.work)
        with feast_below(self.lake.work):
            assert store.store is not None and store.backend
        return store

    def at(self, root: Path, config: NightConfig | None = None) -> Shop:
        """The lake at `root`, on the same engine."""
        engine = self.lake.engine
        lake = type(self.lake)(root, lambda: engine, on_executors=self.lake.on_executors)
        return Shop(lake, config or self.config)

    def copy(self, folder: Path, config: NightConfig | None = None) -> Shop:
        """The same lake in `folder`, free to be damaged, on the same engine."""
        return self.at(copy_of_lake(self.lake.root, folder / "copy"), config)

    def rows(self, table: Table, as_of: date = FIRST) -> Rows:
        """A night's rows in key order."""
        found: Rows = self.lake.arrow(table, as_of=as_of).to_pylist()
        return found

    def rewrite(self, table: Table, change: Callable[[Rows], Rows], as_of: date = FIRST) -> None:
        """Replace a night's rows by what `change` makes of them."""
        self.lake.replace_rows(table, change(self.rows(table, as_of)), self.run_of(as_of))

    def what_services_see(self) -> tuple[int, str]:
        """Delta version of `published` and a digest of the online store: equal means that nothing changed."""
        with closing(sqlite3.connect(self.lake.work / "feast" / "online.db")) as store:
            tables = ("online", "recent", "older")
            rows = [store.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables]
        return self.lake.version(PUBLISHED), hashlib.sha256(repr(rows).encode()).hexdigest()
