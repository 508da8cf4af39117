"""Which events came or went between two states of the table events, read from the files that changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.lake import Lake
from jobs.tables import EVENTS

COLUMNS = ("event_id", "customer_id", "product_id", "event_type", "event_ts", "market")
"""What a sequence takes from an event; another price is no change."""
SCHEMA = "event_id STRING, customer_id STRING, product_id STRING, event_type STRING, event_ts TIMESTAMP, market STRING"


@dataclass(frozen=True)
class State:
    """What a night knows: the events before its midnight, in a Delta version of the table."""

    version: int
    as_of: date


@dataclass(frozen=True)
class Changes:
    """Events that one state has and the other has not; an event that was corrected is in both frames."""

    came: DataFrame
    gone: DataFrame | None
    """None where no file went, so that nothing can have."""


def changes_between(lake: Lake, old: State, new: State) -> Changes | None:
    """What changed from `old` to `new`; None where nothing did. Its cost follows the files that changed.

    Raises LookupError where the old state's files were cleaned up.
    """
    before, after = lake.files(EVENTS, old.version), lake.files(EVENTS, new.version)
    between = {path for path, values in after.items() if old.as_of <= values["event_date"] < new.as_of}
    added = (after.keys() - before.keys()) | between
    removed = before.keys() - after.keys()
    folder = lake.path(EVENTS)
    if any(not (folder / path).exists() for path in removed):
        raise LookupError("files of the events that the earlier night knew were cleaned up")
    if not added and not removed:
        return None
    came = _read(lake, folder, added, new.as_of)
    if not removed:
        return Changes(came, None)
    gone = _read(lake, folder, removed, old.as_of)
    return Changes(came.subtract(gone), gone.subtract(came))


def _read(lake: Lake, folder: Path, paths: Iterable[str], before: date) -> DataFrame:
    files = [str(folder / path) for path in sorted(paths)]
    if not files:
        return lake.spark.createDataFrame([], SCHEMA)
    rows = lake.spark.read.parquet(*files).select(*COLUMNS)
    return rows.where(F.col("event_ts") < F.lit(before).cast("timestamp"))
