"""Decides whether a night passed its gates, by reading tables and manifests alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import WARNS
from jobs.errors import GateError, UserError
from jobs.index_manifest import read_manifest
from jobs.lake.lake import Lake
from jobs.tables.networks import NETWORKS
from jobs.tables.records import GATES
from jobs.tables.shop import (
    CUSTOMER_EMBEDDINGS,
    MARKET_RANKING,
    PRODUCT_EMBEDDINGS,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table

Models = Mapping[str, set[str]]
"""Table or index -> the model_ids behind it."""
ONE_MODEL = "one_model"
BATCH_ROWS = 131_072
BY_CHAMPION = (CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS, NETWORKS, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE)
"""Tables that one champion must stand behind, beside the index of the last."""


def require_passed(lake: Lake, as_of: date) -> None:
    """Raise GateError unless the night went through the gates of its input and of its output."""
    recorded = lake.arrow(GATES, ("gate", "passed", "run_id", "step", "accepted"), as_of).to_pylist()
    rows = [row for row in recorded if row["step"] != WARNS]
    output = [row for row in rows if row["step"] != "ingest"]
    failed = [row["gate"] for row in rows if not row["passed"]]
    if failed:
        raise GateError(f"the night {as_of} failed its gates ({', '.join(failed)}) and cannot be published")
    if not output:
        raise GateError(f"the night {as_of} never went through its gates; run `python -m jobs gate --as-of {as_of}`")
    staged = distinct(lake, MARKET_RANKING, "run_id", as_of)  # the last table that lists writes, whole every night
    if {row["run_id"] for row in output} != staged:
        raise GateError(
            f"the night {as_of} was staged again by {', '.join(sorted(staged)) or 'no run'} after its gates; run "
            f"`python -m jobs gate --as-of {as_of}` again"
        )
    if not any(row["gate"] == ONE_MODEL and row["accepted"] for row in output):
        require_one_model(lake, as_of)


def require_one_model(lake: Lake, as_of: date) -> None:
    """Raise GateError unless the night's vectors, lists and indexes come from one model."""
    behind = {table.name: distinct(lake, table, "model_id", as_of) for table in BY_CHAMPION}
    try:
        manifest = read_manifest(lake, as_of, YOU_MIGHT_ALSO_LIKE)
    except UserError as error:
        raise GateError(f"the night {as_of} cannot be published: {error}") from None
    behind[f"index of {YOU_MIGHT_ALSO_LIKE.name}"] = {manifest["model_id"]}
    if len(set().union(*behind.values())) > 1:
        raise GateError(
            f"the night {as_of} cannot be published, it mixes models: {named(behind)}; run its steps from "
            f"`python -m jobs embed --as-of {as_of}` on again"
        )


def distinct(lake: Lake, table: Table, column: str, as_of: date) -> set[str]:
    """The values of a column on a night, streamed."""
    lake.create(table)
    snapshot = lake.snapshot(table)
    # One column of all rows that the night may have is read much faster than the newest row of each key is found.
    own = pc.field("as_of").isin(snapshot.nights_of(as_of))
    found = _values(snapshot.data.scanner([column], own, batch_size=BATCH_ROWS).to_batches())
    return found if len(found) < 2 else _values(snapshot.encoded((column,), as_of, BATCH_ROWS))


def _values(batches: Iterable[pa.RecordBatch]) -> set[str]:
    found: set[str | None] = set()
    for batch in batches:
        found |= set(pc.unique(batch.column(0)).to_pylist())
    return {value for value in found if value is not None}


def named(behind: Models) -> str:
    """The models behind each table in words; one name where all agree."""
    names = set().union(*behind.values())
    if len(names) == 1:
        return f"{names.pop()} behind all of it"
    return "; ".join(f"{what}: {', '.join(sorted(map(str, ids))) or 'none'}" for what, ids in behind.items())
