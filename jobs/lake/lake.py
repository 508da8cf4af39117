"""Reads and writes the Delta tables and dated folders of a lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import date
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction
from pyarrow.fs import FileSystem

from jobs.errors import UserError
from jobs.lake.damage import log_damage
from jobs.lake.prefetch import prefetched
from jobs.lake.rows import arrow_schema, identity_of, in_key_order, night, stamped_batch
from jobs.lake.snapshot import BATCH_ROWS, Pick, Snapshot
from jobs.lake.storage import is_remote
from jobs.run import Run
from jobs.tables.table import Table, newest_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.lake.engine import Engine


REPLACED_NIGHT = "replaced_night"
"""Key of a commit of `replace_encoded` in the table's history, where deltalake's own commits have a predicate."""
GROUP_ROWS = 250_000
"""Rows of a row group, which share one copy of the dictionaries."""
FILE_ROWS = 2_000_000
DICTIONARY_BYTES = 16 << 20
"""Of one column's texts in a row group; with more, Parquet spells them out."""


class Lake:
    """Tables by their definition, artefact directories by name and night."""

    def __init__(
        self,
        root: Path,
        start_engine: Callable[[], Engine] | None = None,
        work: Path | None = None,
        on_executors: bool = False,
    ) -> None:
        self.root = root
        self.work = work or root
        """A folder of this machine for logs, Feast's registry and embedded store, and Airflow's home; the root itself
        unless that is in object storage."""
        self.on_executors = on_executors
        """Whether work on every customer runs in the engine's executors instead of this process."""
        self.versions: Mapping[str, int] = {}
        """Table -> the Delta version that is read (`at`), by name; other tables are read as they are now."""
        self._newest: dict[str, tuple[tuple[int, int] | None, Snapshot]] = {}
        """Name -> `_newest_commit` of a table and the table: a step opens some of them dozens of times."""
        self._start_engine = start_engine
        self._current: set[Table] = set()
        """Tables known to have all their columns."""
        self._described: set[Table] = set()
        """Tables known to have the comments of their definition."""

    @cached_property
    def engine(self) -> Engine:
        """The Spark engine, started on first use."""
        if self._start_engine is None:
            raise UserError("this step was given no Spark engine")
        return self._start_engine()

    @property
    def spark(self) -> SparkSession:
        """The Spark session of the engine."""
        return self.engine.spark

    def stop(self) -> None:
        """End the engine if it was started."""
        if "engine" in self.__dict__:
            self.engine.stop()
            del self.__dict__["engine"]

    def path(self, table: Table) -> Path:
        """The folder of a table."""
        return self.root / "tables" / table.name

    def directory(self, name: str, as_of: date) -> Path:
        """The dated directory of a kind of artefact."""
        return self.root / name / f"as_of={as_of.isoformat()}"

    def relative(self, path: Path) -> str:
        """`path` as tables record it: relative to the root, or to the work folder."""
        return path.relative_to(self.root if is_remote(path) == is_remote(self.root) else self.work).as_posix()

    # --- reading

    def at(self, versions: Mapping[str, int]) -> Lake:
        """The same lake, for reading alone, with tables as they were at these Delta versions, by name."""
        found = copy(self)
        found.__dict__.pop("engine", None)
        found._start_engine = lambda: self.engine
        found.versions = versions
        return found

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written; raises DamageError where it was and its log is gone."""
        if DeltaTable.is_deltatable(str(self.path(table))):
            return True
        if found := log_damage(self.path(table)):
            raise found
        return False

    def delta(self, table: Table, version: int | None = None) -> DeltaTable:
        """The Delta handle, at a version if one is given; raises UserError where the table is not there yet, or not as
        it was (`at`).

        Raises LookupError where the log does not go back to the given version, DamageError where it is broken.
        """
        was = self.versions.get(table.name)
        try:
            return DeltaTable(str(self.path(table)), was if version is None else version)
        except DeltaError as error:
            if found := log_damage(self.path(table), whole=True):
                raise found from None
            if version is not None:
                raise LookupError(f"{table.name} has no version {version} any more: {error}") from None
            if was is not None:
                raise UserError(
                    f"{table.name} has no version {was} any more, so what was published of it cannot be read; publish "
                    f"the night again: {error}"
                ) from None
            if not isinstance(error, TableNotFoundError):
                raise
            raise UserError(
                f"there is no table {table.name} in {self.root} yet; run the step that writes it "
                "(`python -m jobs --help` lists the steps in order)"
            ) from None

    def version(self, table: Table) -> int:
        """Delta version of the table that is read: the newest one."""
        return self.snapshot(table).version

    def history(self, table: Table, since: int) -> list[dict[str, Any]]:
        """Commits of the table from a Delta version to the one that is read, newest first, without forgotten ones.

        A handle of an old version numbers its commits wrongly (deltalake 1.6), so the newest one is asked.
        """
        newest = DeltaTable(str(self.path(table)))
        commits = newest.history(max(newest.version() - since, 0) + 1)
        last = self.versions.get(table.name, newest.version())
        return [commit for commit in commits if since <= commit.get("version", -1) <= last]

    def files(self, table: Table, version: int) -> dict[str, Mapping[str, Any]]:
        """Path below the table's folder -> partition values, of the files that hold its rows at a Delta version.

        Raises LookupError where the log does not go back so far.
        """
        rows = pa.table(self.delta(table, version).get_add_actions(flatten=True)).select(
            ["path", *(f"partition.{name}" for name in table.partition)]
        )
        return {row.pop("path"): {name.split(".", 1)[1]: v for name, v in row.items()} for row in rows.to_pylist()}

    def frame(self, table: Table, as_of: date | None = None) -> DataFrame:
        """A night of the table, or all its rows, as a Spark frame; an empty one where it was never written."""
        version = self.versions.get(table.name)
        if version is None:
            self.create(table)
        reader = self.spark.read.format("delta")
        frame = (reader if version is None else reader.option("versionAsOf", str(version))).load(str(self.path(table)))
        if as_of is None:
            return frame
        since = self.since(table, as_of)
        if since == as_of:
            return frame.where(night(as_of))
        nights = f"as_of BETWEEN '{since.isoformat()}' AND '{as_of.isoformat()}'"
        stored = f"delta.`{self.path(table)}`"
        if version is not None:
            stored = f"{table.name}_at_{version}"
            frame.createOrReplaceTempView(stored)
        rows = f"SELECT * FROM {stored} WHERE {nights}"  # noqa: S608 - no part is data
        return self.spark.sql(newest_rows(table, rows, frame.columns))

    def snapshot(self, table: Table, version: int | None = None) -> Snapshot:
        """The table as it is now, or at a Delta version."""
        if version is not None or table.name in self.versions or is_remote(self.root):
            return Snapshot(self.delta(table, version), table)
        commit, kept = self._newest.get(table.name, (None, None))
        if kept is None or commit is None or self._newest_commit(table, kept.version) != commit:
            kept = Snapshot(self.delta(table), table)
            self._newest[table.name] = self._newest_commit(table, kept.version), kept
        return kept

    def _newest_commit(self, table: Table, version: int) -> tuple[int, int] | None:
        """Identity of the file of a table's newest commit, if that is this version; an open table is kept by it."""
        log = self.path(table) / "_delta_log"
        if (log / f"{version + 1:020}.json").exists():
            return None
        with suppress(FileNotFoundError):
            found = (log / f"{version:020}.json").stat()
            return found.st_ino, found.st_mtime_ns
        return None

    def dataset(self, table: Table) -> ds.Dataset:
        """All stored rows of the table as an Arrow dataset."""
        return self.snapshot(table).data

    def since(self, table: Table, as_of: date) -> date:
        """`Snapshot.since`; `as_of` itself where the table was never written."""
        return self.snapshot(table).since(as_of) if table.changes_of and self.exists(table) else as_of

    def batches(
        self,
        table: Table,
        columns: Iterable[str],
        as_of: date | None = None,
        rows: int = BATCH_ROWS,
        where: pc.Expression | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The columns of one night (or of all stored rows) that match `where`, streamed."""
        return self.snapshot(table).batches(columns, as_of, rows, where)

    def chosen(self, table: Table, columns: Iterable[str], as_of: date, wanted: Pick) -> Iterator[pa.RecordBatch]:
        """The columns of the night's rows that are `wanted`; none where the table was never written."""
        if self.exists(table):
            yield from self.snapshot(table).batches(columns, as_of, wanted=wanted)

    def count(self, table: Table, as_of: date) -> int:
        """Rows of a night."""
        return self.snapshot(table).count(as_of)

    def changed(self, table: Table, columns: Iterable[str], after: date, as_of: date) -> pa.Table:
        """The night's rows of a table of changes that are newer than the night `after`, in key order."""
        names = [*dict.fromkeys([*columns, *table.key])]
        found = self.snapshot(table).changes(names, after, as_of, BATCH_ROWS)
        return in_key_order(table, columns, (batch.filter(pa.array(~deleted)) for batch, deleted in found))

    def arrow(self, table: Table, columns: Iterable[str] | None = None, as_of: date | None = None) -> pa.Table:
        """The columns of one night (or of all stored rows) in key order, so that equal rows read equal; none where the
        table was never written.
        """
        names = list(columns or table.names)
        if not self.exists(table):  # reading creates nothing
            return pa.table({name: pa.array([], arrow_schema(table).field(name).type) for name in names})
        return in_key_order(table, names, self.batches(table, dict.fromkeys([*names, *table.key]), as_of))

    def nights(self, table: Table) -> list[date]:
        """The nights that have rows, oldest first."""
        return self.snapshot(table).nights() if self.exists(table) else []

    # --- writing

    def create(self, table: Table) -> None:
        """Create the table with its comments; an existing one gets the columns that it lacks, with nulls."""
        if table in self._current and self.exists(table):
            return
        fields = []
        for column, arrow in zip(table.columns, arrow_schema(table), strict=True):
            kind = Schema.from_arrow(pa.schema([arrow])).fields[0].type
            fields.append(Field(column.name, kind, metadata={"comment": column.comment}))
        if self.exists(table):
            there = {field.name for field in self.delta(table).schema().fields}
            if missing := [field for field in fields if field.name not in there]:
                self.delta(table).alter.add_columns(missing)
            self._current.add(table)
            return
        self.path(table).mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            str(self.path(table)),
            Schema(fields),
            mode="ignore",
            name=table.name,
            description=table.comment,
            partition_by=list(table.partition) or None,
        )

    def update_comments(self, table: Table) -> None:
        """Replace stored comments that differ from the table's definition, in commits that change no row."""
        if table in self._described or not self.exists(table):
            return
        delta, comments = self.delta(table), {column.name: column.comment for column in table.columns}
        for field in delta.schema().fields:
            comment = comments.get(field.name, field.metadata.get("comment"))
            if comment != field.metadata.get("comment"):
                delta.alter.set_column_metadata(field.name, {"comment": str(comment)})
        if delta.metadata().description != table.comment:
            delta.alter.set_table_description(table.comment)
        self._described.add(table)

    def _prepare(self, table: Table) -> None:
        self.create(table)
        self.update_comments(table)

    def replace_frame(self, table: Table, frame: DataFrame, run: Run, since: date | None = None) -> None:
        """Replace the rows of this night by a Spark frame with the table's columns but as_of, run_id and since.

        `since` is given if the rows are changes: the last complete night.
        """
        from pyspark.sql import functions as F

        self._prepare(table)
        stamped = frame.withColumns({name: F.lit(value) for name, value in identity_of(table, run, since).items()})
        columns = [F.col(column.name).cast(column.type.lower()).alias(column.name) for column in table.columns]
        self.engine.replace(stamped.select(*columns), self.path(table), night(run.as_of), arrow_schema(table))

    def replace(
        self,
        table: Table,
        rows: pa.Table | Iterable[pa.RecordBatch],
        run: Run,
        where: str = "",
        since: date | None = None,
    ) -> int:
        """Replace the rows of this night, or those matching `where`, by Arrow data; returns the rows written.

        `rows` has the table's columns but as_of, run_id and since; batches are streamed. `since` is given if the rows
        are changes: the last complete night.
        """
        self._prepare(table)
        schema, identity = arrow_schema(table), identity_of(table, run, since)
        written = 0

        def stamped() -> Iterator[pa.RecordBatch]:
            nonlocal written
            for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
                written += batch.num_rows
                yield stamped_batch(batch, schema, identity)

        with prefetched(stamped()) as batches:
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            write_deltalake(
                str(self.path(table)),
                reader,
                mode="overwrite",
                predicate=where or night(run.as_of),
                schema_mode="merge",
            )  # merge: newer code may have added columns, which are null in these rows
        return written

    def replace_encoded(
        self,
        table: Table,
        batches: Iterable[pa.RecordBatch],
        run: Run,
        since: date | None = None,
        day: date | None = None,
    ) -> int:
        """`replace` for rows of a table that is partitioned by nights, or for those of a day, by which it is.

        Dictionary-encoded columns stay so; all batches have equal dictionaries, which Parquet then stores as they are.
        deltalake would spell every text out, and hold all rows, so Arrow writes the files, and deltalake commits them.
        """
        (name,), value = table.partition, (day or run.as_of).isoformat()
        assert (name == "as_of") == (day is None), f"{table.name} has no files of one night, or day, alone"
        self._prepare(table)
        identity = identity_of(table, run, since)
        schema = pa.schema([field for field in arrow_schema(table) if field.name != name])
        stamped = (stamped_batch(batch, schema, identity, encoded=True) for batch in batches)
        with prefetched(stamped) as computed:
            files = _written(computed, self.dataset(table).filesystem, f"{name}={value}")
        at = int(run.started_at.timestamp() * 1000)
        added: list[AddAction | RemoveAction] = [
            AddAction(path, size, {name: value}, at, True, json.dumps({"numRecords": rows}))
            for path, size, rows in files
        ]
        delta = self.delta(table)
        delta.create_write_transaction(
            added,
            "overwrite",
            delta.schema(),
            [name],
            [(name, "=", value)],
            commit_properties=CommitProperties(custom_metadata={REPLACED_NIGHT: run.as_of.isoformat()}),
        )
        return sum(rows for _, _, rows in files)

    def replace_rows(self, table: Table, rows: Sequence[Mapping[str, object]], run: Run, where: str = "") -> int:
        """`replace` for a few rows given as dicts; columns that they lack are null."""
        schema = arrow_schema(table)
        own = pa.schema([field for field in schema if field.name not in identity_of(table, run, None)])
        return self.replace(table, pa.Table.from_pylist(rows, schema=own), run, where)

    def remove(self, table: Table, where: pc.Expression) -> int:
        """Remove the rows that match `where` from every night, in one commit; returns how many there were.

        Their partitions are rewritten: after deltalake's DELETE pyarrow cannot filter by text (string_view).
        """
        data, schema, kept = self.dataset(table), arrow_schema(table), ~where
        column = (*table.partition, *table.names)[0]
        found = pc.unique(data.to_table(columns=[column], filter=where)[column])
        removed = int(data.count_rows(filter=where))
        if removed and table.partition:
            kept &= pc.field(column).isin(found)
        predicate = " OR ".join(f"{column} = '{value}'" for value in found.to_pylist()) if table.partition else None
        if removed:
            rows = (batch.cast(schema) for batch in data.scanner(columns=schema.names, filter=kept).to_batches())
            with prefetched(rows) as batches:
                reader = pa.RecordBatchReader.from_batches(schema, batches)
                write_deltalake(str(self.path(table)), reader, mode="overwrite", predicate=predicate)
        return removed

    def overwrite(self, table: Table, rows: pa.Table) -> None:
        """Replace the whole table in one commit; `rows` has every column."""
        self._prepare(table)
        write_deltalake(str(self.path(table)), rows.select(table.names).cast(arrow_schema(table)), mode="overwrite")


def _written(batches: Iterator[pa.RecordBatch], filesystem: FileSystem, folder: str) -> list[tuple[str, int, int]]:
    """Write Parquet files of about FILE_ROWS rows, keeping dictionaries: (path, bytes, rows) of each.

    Group by group: Arrow's own writer of data sets takes eight million rows ahead of a disk that is slower than they.
    """
    files: list[tuple[str, int, int]] = []
    groups = _groups(batches)
    for first in groups:
        path, rows = f"{folder}/part-{len(files)}-{uuid4()}.zstd.parquet", 0
        filesystem.create_dir(folder)
        with (
            filesystem.open_output_stream(path) as stream,
            pq.ParquetWriter(
                stream,
                first.schema,
                compression="zstd",
                store_schema=False,
                dictionary_pagesize_limit=DICTIONARY_BYTES,
                write_statistics=False,
            ) as writer,
        ):
            for group in chain([first], groups):
                writer.write_table(group, row_group_size=len(group))
                rows += len(group)
                if rows >= FILE_ROWS:
                    break
        files.append((path, filesystem.get_file_info(path).size, rows))
    return files


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows as tables of at least GROUP_ROWS rows, but for the last."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= GROUP_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if any(each.num_rows for each in waiting):
        yield pa.Table.from_batches(waiting)
