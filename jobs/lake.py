"""The lake: Delta tables and dated directories under one root. The one module that writes Delta."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from functools import cached_property
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema, write_deltalake
from deltalake.exceptions import TableNotFoundError

from jobs.errors import UserError
from jobs.run import Run
from jobs.tables import Column, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.engine import Engine

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a column's Spark SQL type."""
    if column.type.startswith("ARRAY<"):
        return pa.list_(ARROW_TYPES[column.type[6:-1]])
    return ARROW_TYPES[column.type]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, in stored order."""
    return pa.schema([(column.name, arrow_type(column)) for column in table.columns])


def night(as_of: date) -> str:
    """The predicate of one night's rows, in a form both engines and deltalake read."""
    return f"as_of = '{as_of.isoformat()}'"


class Lake:
    """Tables by their definition, artefact directories by name and night."""

    def __init__(self, root: Path, start_engine: Callable[[], Engine] | None = None) -> None:
        self.root = root
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
        """`path` as it is recorded in tables: below the root."""
        return path.relative_to(self.root).as_posix()

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

    def frame(self, table: Table, where: str | None = None) -> DataFrame:
        """The table as a Spark frame; an empty one where it was never written."""
        self.create(table)
        frame = self.spark.read.format("delta").load(str(self.path(table)))
        return frame.where(where) if where else frame

    def dataset(self, table: Table) -> Any:
        """The table as an Arrow dataset."""
        return self.delta(table).to_pyarrow_dataset()

    def batches(
        self, table: Table, columns: Iterable[str], as_of: date | None = None, rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """The columns of one night (or of all) as record batches, streamed."""
        import pyarrow.compute as pc

        wanted = None if as_of is None else pc.field("as_of") == pa.scalar(as_of)
        yield from self.dataset(table).scanner(columns=list(columns), filter=wanted, batch_size=rows).to_batches()

    def arrow(self, table: Table, columns: Iterable[str] | None = None, as_of: date | None = None) -> pa.Table:
        """The columns of one night (or of all) as one table, in key order, so that equal rows read equal."""
        self.create(table)
        names = list(columns or table.names)
        wanted = [*names, *(key for key in table.key if key not in names)]
        schema = pa.schema([(n, t) for n, t in zip(table.names, arrow_schema(table).types, strict=True) if n in wanted])
        read = pa.Table.from_batches([b.cast(pa.schema([schema.field(n) for n in wanted])) for b in
                                      self.batches(table, wanted, as_of) if b.num_rows],
                                     pa.schema([schema.field(n) for n in wanted]))  # fmt: skip
        if table.key:
            read = read.sort_by([(key, "ascending") for key in table.key])
        return read.select(names)

    def nights(self, table: Table) -> list[date]:
        """The nights that have rows, oldest first."""
        if not self.exists(table):
            return []
        import pyarrow.compute as pc

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

    def replace_frame(self, table: Table, frame: DataFrame, run: Run) -> None:
        """Replace the rows of this night by a Spark frame with the table's columns but as_of and run_id."""
        from pyspark.sql import functions as F

        self.create(table)
        stamped = frame.withColumns({"as_of": F.lit(run.as_of), "run_id": F.lit(run.run_id)})
        columns = [F.col(column.name).cast(column.type.lower()).alias(column.name) for column in table.columns]
        self.engine.replace(stamped.select(*columns), self.path(table), night(run.as_of), arrow_schema(table))

    def replace(self, table: Table, rows: pa.Table | Iterable[pa.RecordBatch], run: Run, where: str = "") -> int:
        """Replace the rows of this night, or those matching `where`, by Arrow data; returns the rows written.

        `rows` has the table's columns but as_of and run_id; batches are streamed.
        """
        self.create(table)
        schema = arrow_schema(table)
        written = 0

        def stamped() -> Iterator[pa.RecordBatch]:
            nonlocal written
            for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
                written += batch.num_rows
                yield _stamp(batch, schema, run)

        with _own_thread(stamped()) as batches:
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            write_deltalake(str(self.path(table)), reader, mode="overwrite", predicate=where or night(run.as_of))
        return written

    def replace_rows(self, table: Table, rows: list[dict[str, Any]], run: Run, where: str = "") -> int:
        """`replace` for a few rows given as dicts; a column that is left out is null."""
        schema = arrow_schema(table)
        own = pa.schema([field for field in schema if field.name not in ("as_of", "run_id")])
        return self.replace(table, pa.Table.from_pylist(rows, schema=own), run, where)

    def overwrite(self, table: Table, rows: pa.Table) -> None:
        """Replace the whole table in one commit; `rows` has every column."""
        self.create(table)
        write_deltalake(str(self.path(table)), rows.select(table.names).cast(arrow_schema(table)), mode="overwrite")


@contextmanager
def _own_thread(batches: Iterator[pa.RecordBatch], ahead: int = 2) -> Iterator[Iterator[pa.RecordBatch]]:
    """Compute batches in a thread of their own, a few ahead of the writer.

    The writer pulls from inside its own runtime, where reading another Delta table would fail; and an error of
    a batch reaches the caller as itself instead of as the writer's.
    """
    handed: Queue[pa.RecordBatch | None] = Queue(maxsize=ahead)
    failures: list[BaseException] = []
    stopped = Event()

    def hand(batch: pa.RecordBatch | None) -> None:
        while not stopped.is_set():
            with suppress(Full):
                handed.put(batch, timeout=0.2)
                return

    def work() -> None:
        try:
            for batch in batches:
                hand(batch)
        except BaseException as error:  # handed over to the thread that writes
            failures.append(error)
        hand(None)

    def handed_over() -> Iterator[pa.RecordBatch]:
        while (batch := handed.get()) is not None:
            yield batch
        if failures:
            raise RuntimeError("a batch could not be computed")  # aborts the write before it commits

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield handed_over()
    except Exception:
        if failures:
            raise failures[0] from None
        raise
    finally:
        stopped.set()
        thread.join()


def _stamp(batch: pa.RecordBatch, schema: pa.Schema, run: Run) -> pa.RecordBatch:
    identity = {"as_of": pa.scalar(run.as_of, pa.date32()), "run_id": pa.scalar(run.run_id)}
    arrays = [
        pa.repeat(identity[field.name], batch.num_rows)
        if field.name in identity
        else batch.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
