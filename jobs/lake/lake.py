"""The lake: Delta tables and dated directories under one root. Writes Delta."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from jobs.errors import UserError
from jobs.lake.prefetch import prefetched
from jobs.lake.rows import (
    FEW_AHEAD,
    arrow_schema,
    identity_of,
    night,
    rows_of_nights,
    stamped_batch,
)
from jobs.lake.storage import is_remote
from jobs.run import Run
from jobs.tables.table import GONE, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.lake.engine import Engine

SEPARATOR = "\x1f"
"""Between the parts of a key as one text: a control character, which no id has (`jobs.ingest.rules`)."""


class Lake:
    """Tables by their definition, artefact directories by name and night."""

    def __init__(
        self, root: Path, start_engine: Callable[[], Engine] | None = None, work: Path | None = None,
        on_executors: bool = False,
    ) -> None:  # fmt: skip
        self.root = root
        self.work = work or root
        """A folder of this machine for what nobody else reads: logs, Feast's registry and embedded store, Airflow's
        home. The root itself, unless that lies in object storage."""
        self.on_executors = on_executors
        """Whether the engine has processes elsewhere for what is computed of every customer."""
        self._start_engine = start_engine
        self._current: set[Table] = set()
        """Tables that were seen to have all their columns."""

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
        """`path` as it is recorded in tables: below the root, or below the work folder."""
        return path.relative_to(self.root if is_remote(path) == is_remote(self.root) else self.work).as_posix()

    # --- reading

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""
        return DeltaTable.is_deltatable(str(self.path(table)))

    def delta(self, table: Table) -> DeltaTable:
        """The Delta handle; raises UserError where the table is not there yet."""
        try:
            return DeltaTable(str(self.path(table)))
        except TableNotFoundError:
            raise UserError(
                f"there is no table {table.name} in {self.root} yet; run the step that writes it "
                "(`python -m jobs --help` lists the steps in order)"
            ) from None

    def version(self, table: Table) -> int:
        """Delta version of the table as it is now."""
        return self.delta(table).version()

    def files(self, table: Table, version: int) -> dict[str, Mapping[str, Any]]:
        """Path below the table's folder -> partition values, of the files that hold its rows at a Delta version.

        Raises LookupError where the log does not go back so far.
        """
        delta = self.delta(table)
        try:
            delta.load_as_version(version)
        except DeltaError as error:
            raise LookupError(f"{table.name} has no version {version} any more: {error}") from None
        rows = pa.table(delta.get_add_actions(flatten=True)).select(
            ["path", *(f"partition.{name}" for name in table.partition)]
        )
        return {row.pop("path"): {name.split(".", 1)[1]: v for name, v in row.items()} for row in rows.to_pylist()}

    def frame(self, table: Table, as_of: date | None = None) -> DataFrame:
        """A night of the table, or all its rows, as a Spark frame; an empty one where it was never written."""
        self.create(table)
        frame = self.spark.read.format("delta").load(str(self.path(table)))
        if as_of is None:
            return frame
        since = self.since(table, as_of)
        if since == as_of:
            return frame.where(night(as_of))
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        newest_first = Window.partitionBy(*table.changes_of).orderBy(F.col("as_of").desc())
        rows = frame.where(f"as_of >= '{since.isoformat()}' AND as_of <= '{as_of.isoformat()}'")
        newest = rows.withColumn("newest", F.row_number().over(newest_first)).where("newest = 1").drop("newest")
        return newest.where(f"NOT coalesce({GONE}, false)") if table.has_ends else newest

    def dataset(self, table: Table) -> Any:
        """All rows of the table as an Arrow dataset."""
        return self.delta(table).to_pyarrow_dataset()

    def since(self, table: Table, as_of: date) -> date:
        """The first night whose rows belong to the night `as_of` of the table: itself where every night is complete."""
        if not table.changes_of or not self.exists(table) or "since" not in (data := self.dataset(table)).schema.names:
            return as_of
        first = data.head(1, columns=["since"], filter=pc.field("as_of") == pa.scalar(as_of))["since"].to_pylist()
        return (first[0] if first else None) or as_of

    def batches(
        self, table: Table, columns: Iterable[str], as_of: date | None = None, rows: int = 65_536,
        where: pc.Expression | None = None,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        """The columns of one night (or of all rows) that match `where`, as record batches, streamed."""
        names, data = list(columns), self.dataset(table)
        if as_of is None:
            yield from data.scanner(columns=names, filter=where, batch_size=rows, **FEW_AHEAD).to_batches()
            return
        yield from rows_of_nights(data, table, self.nights_of(table, as_of), names, rows, where)

    def nights_of(self, table: Table, as_of: date) -> list[date]:
        """The nights whose rows belong to the night `as_of`, newest first: itself where every night is complete."""
        since = self.since(table, as_of)
        if since == as_of:
            return [as_of]
        return [night for night in reversed(self.nights(table)) if since <= night <= as_of]

    def count(self, table: Table, as_of: date) -> int:
        """Rows of a night."""
        if self.since(table, as_of) == as_of:
            return int(self.dataset(table).count_rows(filter=pc.field("as_of") == pa.scalar(as_of)))
        return sum(batch.num_rows for batch in self.batches(table, table.changes_of[:1], as_of))

    def changed(self, table: Table, columns: Iterable[str], after: date, as_of: date) -> pa.Table:
        """The night's rows of a table of changes that are newer than the night `after`, in key order."""
        return self._table(table, columns, as_of, (pc.field("as_of") > pa.scalar(after)))

    def arrow(self, table: Table, columns: Iterable[str] | None = None, as_of: date | None = None) -> pa.Table:
        """The columns of one night (or of all) as one table, in key order, so that equal rows read equal."""
        return self._table(table, columns, as_of, None)

    def _table(
        self, table: Table, columns: Iterable[str] | None, as_of: date | None, where: pc.Expression | None
    ) -> pa.Table:
        self.create(table)
        names = list(columns or table.names)
        wanted = [*names, *(key for key in table.key if key not in names)]
        schema = pa.schema([arrow_schema(table).field(name) for name in wanted])
        found = [batch.cast(schema) for batch in self.batches(table, wanted, as_of, where=where) if batch.num_rows]
        read = pa.Table.from_batches(found, schema)
        if table.key:
            read = read.sort_by([(key, "ascending") for key in table.key])
        return read.select(names)

    def nights(self, table: Table) -> list[date]:
        """The nights that have rows, oldest first."""
        if not self.exists(table):
            return []
        if self.delta(table).metadata().partition_columns == ["as_of"]:
            return sorted({date.fromisoformat(str(values["as_of"])) for values in self.delta(table).partitions()})
        return sorted(pc.unique(self.dataset(table).to_table(columns=["as_of"])["as_of"]).to_pylist())

    # --- writing

    def create(self, table: Table) -> None:
        """Create the table with its comments; one that is there gets the columns it lacks, null in its rows."""
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
            str(self.path(table)), Schema(fields), mode="ignore", name=table.name, description=table.comment,
            partition_by=list(table.partition) or None,
        )  # fmt: skip

    def replace_frame(self, table: Table, frame: DataFrame, run: Run, since: date | None = None) -> None:
        """Replace the rows of this night by a Spark frame with the table's columns but as_of, run_id and since.

        `since` says that the rows are changes, and which night before was the last complete one.
        """
        from pyspark.sql import functions as F

        self.create(table)
        stamped = frame.withColumns({name: F.lit(value) for name, value in identity_of(table, run, since).items()})
        columns = [F.col(column.name).cast(column.type.lower()).alias(column.name) for column in table.columns]
        self.engine.replace(stamped.select(*columns), self.path(table), night(run.as_of), arrow_schema(table))

    def replace(
        self, table: Table, rows: pa.Table | Iterable[pa.RecordBatch], run: Run, where: str = "",
        since: date | None = None,
    ) -> int:  # fmt: skip
        """Replace the rows of this night, or those matching `where`, by Arrow data; returns the rows written.

        `rows` has the table's columns but as_of, run_id and since; batches are streamed. `since` says that the rows
        are changes, and which night before was the last complete one.
        """
        self.create(table)
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
            )  # merge: a newer version of the code may have added columns, which stay null here
        return written

    def replace_rows(self, table: Table, rows: list[dict[str, Any]], run: Run, where: str = "") -> int:
        """`replace` for a few rows given as dicts; a column that is left out is null."""
        schema = arrow_schema(table)
        own = pa.schema([field for field in schema if field.name not in identity_of(table, run, None)])
        return self.replace(table, pa.Table.from_pylist(rows, schema=own), run, where)

    def remove(self, table: Table, gone: pc.Expression) -> int:
        """Take the rows that match `gone` out of every night, in one commit; returns how many there were.

        Their partitions are written anew: after deltalake's DELETE pyarrow cannot filter by text (string_view).
        """
        data, schema, kept = self.dataset(table), arrow_schema(table), ~gone
        column = (*table.partition, *table.names)[0]
        found = pc.unique(data.to_table(columns=[column], filter=gone)[column])
        removed = int(data.count_rows(filter=gone))
        if removed and table.partition:
            kept &= pc.field(column).isin(found)
        where = " OR ".join(f"{column} = '{value}'" for value in found.to_pylist()) if table.partition else None
        if removed:
            rows = (batch.cast(schema) for batch in data.scanner(columns=schema.names, filter=kept).to_batches())
            with prefetched(rows) as batches:
                reader = pa.RecordBatchReader.from_batches(schema, batches)
                write_deltalake(str(self.path(table)), reader, mode="overwrite", predicate=where)
        return removed

    def overwrite(self, table: Table, rows: pa.Table) -> None:
        """Replace the whole table in one commit; `rows` has every column."""
        self.create(table)
        write_deltalake(str(self.path(table)), rows.select(table.names).cast(arrow_schema(table)), mode="overwrite")
