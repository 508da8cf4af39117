"""Points at which a process can be killed: around and inside every write, found by wrapping what writes.

`HOOKS` is the table of what is wrapped, by dotted name. A wrapper stands wherever a module of ours holds the
original, so that a new module that writes through one of these is covered without a line here.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

OURS = ("jobs", "models", "feature_repo")
BATCH = 200
"""Rows of a batch that is handed to a writer while points are looked for: several even in a tiny table."""


@dataclass
class Points:
    """Counts the points a process comes by; at the one called `kill_at` it dies as by `kill -9`."""

    root: Path
    kill_at: str | None = None
    """Name of a point, or a pattern of names of which the first counts."""
    names: list[str] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: Any = field(default_factory=Lock)

    def here(self, what: str, damage: Callable[[], None] | None = None) -> None:
        """A point; `damage` leaves what a write that was cut there would have left."""
        with self._lock:
            self._seen[what] += 1
            name = f"{what} #{self._seen[what]}"
            self.names.append(name)
            if self.kill_at and fnmatchcase(name, self.kill_at):
                if damage:
                    damage()
                os.kill(os.getpid(), signal.SIGKILL)

    def below(self, path: Any) -> str | None:
        """A path's name below the lake; None where it is not in the lake."""
        try:
            return Path.cwd().joinpath(path).relative_to(self.root).as_posix()
        except (TypeError, ValueError):
            return None


Wrapper = Callable[[Callable[..., Any], Points, str], Callable[..., Any]]
"""(original, points, its name) -> what stands in its place."""


def around(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
    """Points before and after a call."""

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        points.here(f"before {name}")
        result = original(*args, **kwargs)
        points.here(f"after {name}")
        return result

    return wrapped


def around_path(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
    """Points before and after a call whose last path is in the lake; others are none of the night's."""

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        place = next((found for arg in reversed(args) if (found := points.below(arg))), None)
        if place is None:
            return original(*args, **kwargs)
        points.here(f"before {name} {place}")
        result = original(*args, **kwargs)
        points.here(f"after {name} {place}")
        return result

    return wrapped


def removing(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
    """Points before, in the middle of (half of the files are gone) and after the removal of a folder of the lake."""

    @functools.wraps(original)
    def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
        place = points.below(path)
        if place is None or not Path(path).is_dir():
            return original(path, *args, **kwargs)
        points.here(f"before {name} {place}")
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        points.here(
            f"within {name} {place}", lambda: [file.unlink() for file in files[: (len(files) + 1) // 2]] and None
        )
        result = original(path, *args, **kwargs)
        points.here(f"after {name} {place}")
        return result

    return wrapped


def remove_half(folder: Path) -> None:
    """Remove half of the files of a folder, as a removal does that was cut there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for file in files[: (len(files) + 1) // 2]:
        file.unlink()


def writing(place: int) -> Wrapper:
    """A wrapper of what writes a file whose path is argument `place`: before, half-way and after."""

    def wrap(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            file = next((value for value in (kwargs.get("filename"), *args[place : place + 1]) if value), None)
            shown = points.below(getattr(file, "_filepath", file))
            if shown is None:
                return original(*args, **kwargs)
            path = Path(getattr(file, "_filepath", file))
            points.here(f"before {name} {shown}")
            result = original(*args, **kwargs)
            points.here(f"within {name} {shown}", lambda: os.truncate(path, path.stat().st_size // 2))
            points.here(f"after {name} {shown}")
            return result

        return wrapped

    return wrap


def delta_write(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
    """Points before the write, between its batches with data files lying there uncommitted, and after the commit."""

    @functools.wraps(original)
    def wrapped(path: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        table = Path(str(path)).name
        before = set(Path(path).rglob("*.parquet"))
        points.here(f"before commit of {table}")
        if isinstance(data, pa.RecordBatchReader | pa.Table):
            reader = data if isinstance(data, pa.RecordBatchReader) else data.to_reader()
            data = pa.RecordBatchReader.from_batches(reader.schema, handed(reader, Path(path), before))
            kwargs |= {"target_file_size": 1}  # a file a batch: so some lie there before the last is read
        result = original(path, data, *args, **kwargs)
        points.here(f"after commit of {table}")
        return result

    def handed(reader: pa.RecordBatchReader, path: Path, before: set[Path]) -> Iterator[pa.RecordBatch]:
        number = 0
        for batch in reader:
            for start in range(0, batch.num_rows, BATCH):
                yield batch.slice(start, BATCH)
                number += 1
                if number in (1, 2, 8):
                    points.here(f"after batch {number} for {path.name}", lambda: wait_for_a_file(path, before))
        points.here(f"after the last batch for {path.name}", lambda: wait_for_a_file(path, before))

    return wrapped


def encoded_write(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
    """Points before dictionary-encoded files are written, between their batches, and after them; none is committed."""

    @functools.wraps(original)
    def wrapped(data: Any, folder: Any, *args: Any, **kwargs: Any) -> Any:
        def handed() -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(data):
                yield batch
                if number in (0, 1, 7):
                    points.here(f"after encoded batch {number + 1} for {folder}")

        points.here(f"before encoded files in {folder}")
        batches = pa.RecordBatchReader.from_batches(data.schema, handed())
        result = original(batches, folder, *args, **kwargs | {"min_rows_per_group": 0, "max_rows_per_file": 0})
        points.here(f"after encoded files in {folder}")
        return result

    return wrapped


def wait_for_a_file(path: Path, before: set[Path]) -> None:
    """Until a data file that no commit names lies in a table's folder, or a second has gone."""
    until = time.monotonic() + 1
    while time.monotonic() < until and not set(path.rglob("*.parquet")) - before:
        time.sleep(0.02)


def sqlite(original: Callable[..., Any], points: Points, name: str) -> Callable[..., Any]:
    """Points inside the transactions of an SQLite file and around their commits."""

    class Watched(sqlite3.Connection):
        statements = 0

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql.startswith("COMMIT"):
                points.here("before a commit of the online store")
                super().execute(sql, *parameters)
                points.here("after a commit of the online store")
                return self
            result = super().execute(sql, *parameters)
            Watched.statements += 1
            if Watched.statements % 500 == 0:
                points.here("within a transaction of the online store")
            return result

        def executemany(self, sql: str, rows: Any) -> Any:
            result = super().executemany(sql, rows)
            points.here("within a transaction of the online store")
            return result

        def commit(self) -> None:
            points.here("before a commit of the online store")
            super().commit()
            points.here("after a commit of the online store")

        def __exit__(self, *raised: Any) -> Any:
            points.here("before a commit of the online store")
            result = super().__exit__(*raised)
            points.here("after a commit of the online store")
            return result

    @functools.wraps(original)
    def wrapped(file: Any, *args: Any, **kwargs: Any) -> Any:
        if points.below(file) is None:
            return original(file, *args, **kwargs)
        return original(file, *args, **kwargs | {"factory": Watched})

    return wrapped


@dataclass(frozen=True)
class Hook:
    """What is wrapped, and how."""

    name: str
    """Dotted name: module, then attribute, or class and attribute."""
    wrapper: Wrapper
    shown: str = ""
    """What the points are called by; the attribute's name where it is empty."""


HOOKS = (
    Hook("deltalake.write_deltalake", delta_write),
    Hook("deltalake.table.DeltaTable.create", around_path, "creation"),
    Hook("deltalake.table.DeltaTable.create_write_transaction", around, "a commit of encoded files"),
    Hook("pyarrow.dataset.write_dataset", encoded_write),
    Hook("deltalake.table.DeltaTable.delete", around, "a delete"),
    Hook("deltalake.table.DeltaTable.vacuum", around, "a vacuum"),
    Hook("deltalake.table.DeltaTable.restore", around, "a restore"),
    Hook("deltalake.table.DeltaTable.cleanup_metadata", around, "cleaning a log"),
    Hook("deltalake.table.DeltaTable.create_checkpoint", around, "a checkpoint"),
    Hook("deltalake.table.TableMerger.execute", around, "a merge"),
    Hook("deltalake.table.TableAlterer.add_columns", around, "a change of columns"),
    Hook("deltalake.table.TableOptimizer.compact", around, "a compaction"),
    Hook("deltalake.table.TableOptimizer.z_order", around, "a compaction"),
    Hook("pyspark.sql.connect.readwriter.DataFrameWriter.save", around, "a Spark write"),
    Hook("safetensors.numpy.save_file", writing(1)),
    Hook("faiss.write_index", writing(1)),
    Hook("pathlib.Path.write_text", writing(0)),
    Hook("pathlib.Path.write_bytes", writing(0)),
    Hook("os.replace", around_path),
    Hook("os.rename", around_path),
    Hook("os.link", around_path),
    Hook("os.unlink", around_path),
    Hook("shutil.rmtree", removing),
    Hook("jobs.lake.storage._exchanged", around_path, "exchange"),
    Hook("feast.infra.registry.file.FileRegistryStore._write_registry", writing(0), "registry"),
    Hook("feast.FeatureStore.write_to_online_store", around, "a push of a batch"),
    Hook("sqlite3.connect", sqlite),
)


def install(points: Points) -> None:
    """Wrap everything of `HOOKS` in this process, which is about to run a step and to end."""
    for hook in HOOKS:
        owner, attribute = owner_of(hook.name)
        original = vars(owner).get(attribute, getattr(owner, attribute))
        plain = getattr(original, "__func__", original)
        wrapped = hook.wrapper(plain, points, hook.shown or attribute)
        if isinstance(original, classmethod | staticmethod):
            wrapped = type(original)(wrapped)  # type: ignore[assignment]
        setattr(owner, attribute, wrapped)
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in OURS:
                for held in [key for key, value in vars(module).items() if value is plain]:
                    setattr(module, held, wrapped)


def owner_of(name: str) -> tuple[Any, str]:
    """(module or class, attribute) of a dotted name."""
    *path, attribute = name.split(".")
    for length in range(len(path), 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(path[:length]))
        except ModuleNotFoundError:
            continue
        for part in path[length:]:
            owner = getattr(owner, part)
        return owner, attribute
    raise ModuleNotFoundError(name)
