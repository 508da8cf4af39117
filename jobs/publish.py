"""Publish: push the checked night online, then flip `published` in one commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.errors import UserError
from jobs.gate import live_night, require_passed
from jobs.index import FOLDER
from jobs.lake import Lake, arrow_schema
from jobs.online import REPO, OnlineStore
from jobs.run import Counts, Run
from jobs.tables import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_EMBEDDINGS,
    PUBLISHED,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
    Table,
)

SURFACES: tuple[Table, ...] = (
    CATALOGUE, CUSTOMER_SEQUENCES, PRODUCT_EMBEDDINGS, CUSTOMER_EMBEDDINGS, MARKET_RANKING, YOU_MIGHT_ALSO_LIKE,
    PEOPLE_ALSO_BOUGHT, BAG_EXTRAS, RECOMMENDED_FOR_YOU,
)  # fmt: skip
"""What is pushed, in this order: what lists and rankings refer to is there before them."""


@dataclass(frozen=True)
class PublishConfig:
    """Where services read."""

    feature_store: Path = REPO / "feature_store.yaml"
    """Feast's settings: which online store, which registry."""
    batch_rows: int = 20_000
    """Rows written online at once."""
    replace_newer: bool = False
    """Make a night live although a newer one is: a rollback."""


def execute(lake: Lake, run: Run, config: PublishConfig) -> Counts:
    """Make the night `run.as_of` what services and analysts see; raises GateError unless its gates passed."""
    require_passed(lake, run.as_of)
    live = live_night(lake)
    if live and live > run.as_of and not config.replace_newer:
        return Counts(
            note=f"staged, not published: {live} is live and newer (`python -m jobs rollback --to {run.as_of}`)"
        )
    store = OnlineStore(lake.root, config.feature_store)
    store.ensure_applied()
    pushed = gone = 0
    for table in SURFACES:
        total = lake.count(table, run.as_of)
        if not total:
            raise UserError(f"{table.name} has no row of {run.as_of}, so that night cannot be published")
        pushed += store.push(table, _rows(lake, table, run.as_of, config), run.started_at, total, run.progress)
        if live and live != run.as_of:
            gone += store.clear(table, _keys_gone(lake, table, live, run.as_of), run.as_of, run.started_at)
    lake.overwrite(PUBLISHED, pa.Table.from_pylist(_live_rows(lake, run), schema=arrow_schema(PUBLISHED)))
    note = f"{run.as_of} is live: {pushed:,} rows online, {len(SURFACES)} surfaces flipped"
    if gone:
        note += f", {gone:,} rows of {live} cleared"
    return Counts(pushed, pushed, note=note)


def nights_to_roll_back_to(lake: Lake) -> list[date]:
    """Nights with rows of every surface whose gates passed, oldest first."""
    nights = []
    for night in sorted(set.intersection(*(set(lake.nights(table)) for table in SURFACES))):
        try:
            require_passed(lake, night)
        except UserError:
            continue
        nights.append(night)
    return nights


def _keys_gone(lake: Lake, table: Table, live: date, new: date) -> pa.Table:
    """Keys of the live night that the new one lacks: a product delisted, a customer who moved to another market."""
    before, after = lake.arrow(table, table.key, live), lake.arrow(table, table.key, new)
    return before.join(after, keys=list(table.key), join_type="left anti")


def _rows(lake: Lake, table: Table, as_of: date, config: PublishConfig) -> Iterator[pa.RecordBatch]:
    from feature_repo.definitions import ONLINE

    yield from lake.batches(table, (*table.key, *ONLINE[table], "as_of"), as_of, config.batch_rows)


def _live_rows(lake: Lake, run: Run) -> list[dict[str, Any]]:
    rows = []
    for table in SURFACES:
        index = lake.directory(FOLDER, run.as_of) / table.name
        made = lake.arrow(table, [name for name in ("model_id", "run_id") if name in table.names], run.as_of)
        first = made.slice(0, 1).to_pylist()[0]
        rows.append(
            {
                "surface": table.name,
                "as_of": run.as_of,
                "run_id": first["run_id"],
                "model_id": first.get("model_id"),
                "table_version": lake.version(table),
                "index_path": lake.relative(index) if index.is_dir() else None,
                "published_at": run.started_at,
            }
        )
    return rows
