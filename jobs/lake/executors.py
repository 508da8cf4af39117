"""Runs functions from record batches to record batches on Spark's executors.

The data that a function needs (a model, a product matrix) is added to the session as one file. Spark copies it to each
executor once, and each of its Python processes reads it once; a task carries two names.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import safe_open
from safetensors.numpy import save

from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_type, stamped_batch
from jobs.run import Run
from jobs.tables.table import Column, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Work(Protocol):
    """A function from batches to batches that treats each row by itself: batching and order do not matter."""

    columns: ClassVar[tuple[Column, ...]]
    """Columns of the batches that it yields."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches with `columns`, in any order."""
        ...

    def parcel(self) -> Parcel:
        """The data that it needs."""
        ...

    @classmethod
    def of(cls, parcel: Parcel) -> Self:
        """The function, restored from its parcel."""
        ...


@dataclass(frozen=True)
class Task:
    """A Work by name, as Spark passes it to every task."""

    work: str
    """module:class."""
    parcel: str
    """Name of its file in the session."""

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The result for a partition, with its columns in the order by which Spark reads them."""
        from pyspark import SparkFiles

        work, rows = unpacked(self.work, Path(SparkFiles.get(self.parcel))), 0
        schema = schema_of(work)
        for batch in work(batches):
            rows += batch.num_rows
            yield stamped_batch(batch, schema, {})
        log(f"{self.work} computed {rows} rows of a partition")


def schema_of(work: Work) -> pa.Schema:
    """Schema of the batches that it yields."""
    return pa.schema([(column.name, arrow_type(column)) for column in work.columns])


@lru_cache(maxsize=1)
def unpacked(work: str, parcel: Path) -> Work:
    """The Work with its parcel, which a process reads once."""
    module, name = work.split(":")
    log(f"{work} reads {parcel.name}")
    found: Work = getattr(importlib.import_module(module), name).of(Parcel.read(parcel))
    return found


def log(text: str) -> None:
    """One line in the executor's own log."""
    print(f"nightrail: process {os.getpid()}: {text}", file=sys.stderr, flush=True)


@contextmanager
def computed(
    lake: Lake, frame: DataFrame, work: Work, table: Table, run: Run, what: str
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The result of `work` for a frame's partitions, computed on the executors when the block begins.

    It is written to a staging folder beside `table` and read back, so a task that ran twice counts once. `what` names
    the tasks in progress messages.
    """
    module, name = type(work).__module__, type(work).__name__
    with tempfile.TemporaryDirectory(prefix="nightrail-") as folder:
        parcel = work.parcel().write(Path(folder))
        lake.spark.addArtifacts(str(parcel), file=True)
    ddl = ", ".join(f"`{column.name}` {column.type}" for column in work.columns)
    mapped = frame.mapInArrow(Task(f"{module}:{name}", parcel.name), ddl)
    place = lake.path(table)
    staging = place.with_name(f".{place.name}.aside")
    with lake.engine.staged_rows(mapped, schema_of(work), staging, run.progress, what) as rows:
        yield rows


def spread(lake: Lake, frame: DataFrame, key: str, rows: int, most: int) -> DataFrame:
    """The frame in partitions by `key`: `spark.sql.shuffle.partitions` of them, or more to have `most` rows in each."""
    partitions = max(int(str(lake.spark.conf.get("spark.sql.shuffle.partitions"))), -(-rows // most))
    return frame.repartition(partitions, key)


def only(lake: Lake, frame: DataFrame, key: str, values: pa.Array | None) -> DataFrame:
    """The rows of some keys; all of them for None."""
    if values is None:
        return frame
    wanted = lake.spark.createDataFrame(pa.table({key: values}))
    return frame.join(wanted, key, "left_semi")


def own_columns(table: Table) -> tuple[Column, ...]:
    """A table's columns without those that are the same in every row of a night."""
    return tuple(column for column in table.columns if column.name not in ("as_of", "run_id", "since"))


# --- parcels: one file that other machines can read without running code from it

HEADER = "header"


@dataclass(frozen=True)
class Parcel:
    """Arrays by name, and everything else as plain JSON values."""

    header: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    def write(self, folder: Path) -> Path:
        """Write it to `folder` as safetensors; its name has its sha256, so equal parcels have equal names."""
        tensors = {name: np.require(array, requirements="C") for name, array in self.arrays.items()}
        content = save(tensors, {HEADER: json.dumps(self.header, ensure_ascii=False)})
        path = folder / f"nightrail-{hashlib.sha256(content).hexdigest()}.safetensors"
        path.write_bytes(content)
        return path

    @staticmethod
    def read(path: Path) -> Parcel:
        """Read what `write` wrote; raises ValueError if the content does not fit the name."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if path.name != f"nightrail-{found}.safetensors":
            raise ValueError(f"{path} was damaged on its way: its content has sha256 {found}")
        with safe_open(path, "numpy") as content:
            arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping
            return Parcel(json.loads(content.metadata()[HEADER]), arrays)
