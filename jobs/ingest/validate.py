"""Every statement of a source judged row by row, and kept aside until all of them are known to be good."""

from __future__ import annotations

from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.errors import UserError
from jobs.ingest import rules
from jobs.ingest.events import ReconciledEvents, good_events, settle
from jobs.ingest.raw_files import RawFile, columns_of, read_by, register_views
from jobs.ingest.source import Source
from jobs.lake.engine import is_lost
from jobs.lake.forgotten import leave_out
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from jobs.tables.table import Table
from jobs.text import clean


class ValidatedRows:
    """Every statement's rows, judged once and kept aside as Parquet until all of them are known to be good."""

    def __init__(
        self, lake: Lake, run: Run, source: Source, files: list[RawFile], new: list[RawFile], scratch: Path
    ) -> None:
        self.lake, self.run, self.source, self.scratch = lake, run, source, scratch
        self.files, self.new = files, new
        self.counts: dict[tuple[str, str | None, bool], int] = {}
        self.schemas: dict[str, StructType] = {}
        self.settled: ReconciledEvents | None = None
        """The events beside those of other nights; None where no file is new."""

    def judge_all(self, dated: bool) -> None:
        """Judge the catalogue, then what refers to it; `dated`: every file with events has its day in its name."""
        products = None
        steps = 1 + len(self.source.statements)
        if CATALOGUE.name in self.source.statements:
            rows = self._select(CATALOGUE, self.files)
            self._keep(CATALOGUE, rules.judge_catalogue(rows, self._repeated(CATALOGUE, rows)))
            products = self.good(CATALOGUE)
        self.run.progress("statements judged", 1, steps)
        if AVAILABILITY.name in self.source.statements:
            if products is None:
                raise UserError(f"{self.source.path} has a SELECT for availability but none for catalogue; add one")
            rows = self._select(AVAILABILITY, self.files)
            repeated = self._repeated(AVAILABILITY, rows)
            self._keep(AVAILABILITY, rules.judge_availability(rows, products, repeated))
        self.run.progress("statements judged", 2, steps)
        if self.new:
            self._judge_events(dated, products)
        self.run.progress("statements judged", steps, steps)

    def _judge_events(self, dated: bool, products: DataFrame | None) -> None:
        rows = leave_out(self._select(EVENTS, self.new), self.lake)
        days = [f.day for f in read_by(self.source.statements[EVENTS.name], self.new) if f.day]
        oldest = min(days, default=self.run.as_of) if dated else None
        judged = rules.judge_events(
            rows, self.run.as_of, products, oldest, self.source.directives.late_days, self._repeated(EVENTS, rows)
        )
        judged = self._once_each(judged)
        of_rows = judged.where("event_date IS NOT NULL").select("event_date").distinct().toArrow()["event_date"]
        self.settled = settle(self.lake, self.run, judged, [*days, *of_rows.to_pylist()], self.scratch)
        self._count(EVENTS, self.settled.rows)

    def _repeated(self, table: Table, rows: DataFrame) -> DataFrame | None:
        """Hashes of the keys that several rows have."""
        hashes = rules.repeated_ids(rows) if table is EVENTS else rules.repeated_keys(rows, table.name)
        found = self._aside(f"repeated_{table.name}", hashes)
        return found if found.limit(1).count() else None

    def _once_each(self, judged: DataFrame) -> DataFrame:
        """Judged events kept aside, those with a repeated event_id apart: to sort them all would take their memory."""
        judged.write.mode("overwrite").partitionBy("repeated").parquet(str(self.scratch / "judged"))
        alone, several = (
            self._read(f"judged/repeated={flag}", judged.drop("repeated").schema) for flag in ("false", "true")
        )
        return alone.unionByName(self._aside("once", rules.without_repeats(several)))

    def good(self, table: Table) -> DataFrame:
        """The rows that belong into `table`."""
        if table is EVENTS and self.settled:
            return good_events(self.settled)
        columns = [name for name in table.names if name not in ("as_of", "run_id")]
        return self._kept(table).where(F.col("reason").isNull()).select(*columns)

    def bad(self) -> DataFrame | None:
        """Every rejected row as `rejected` wants it; None where no statement was judged."""
        frames = [
            self._kept(table)
            .where(F.col("reason").isNotNull() & ~F.col("reason").isin(*rules.NOT_FAULTS))
            .select(F.lit(table.name).alias("source"), "reason", "expected", "raw")
            for table in self.tables()
        ]
        whole = frames[0] if frames else None
        for frame in frames[1:]:
            assert whole is not None
            whole = whole.unionAll(frame)
        return whole

    def tables(self) -> list[Table]:
        """The tables whose statement was judged."""
        return [t for t in (CATALOGUE, AVAILABILITY, EVENTS) if t.name in self.schemas]

    def count(self, table: Table, *reasons: str | None) -> int:
        """Rows of a statement with one of these reasons; None is that of a good row."""
        return sum(n for (name, reason, _), n in self.counts.items() if name == table.name and reason in reasons)

    def _select(self, table: Table, files: list[RawFile]) -> DataFrame:
        statement = self.source.statements[table.name]
        register_views(self.lake, self.source, read_by(statement, self.files), read_by(statement, files))
        where = str(self.source.path)
        try:
            selected = self.lake.spark.sql(statement, args={"as_of": self.run.as_of.isoformat()})
            return rules.contract_rows(selected, table.name, where)
        except PySparkException as error:
            if is_lost(error):
                raise
            headers = {f.view: columns_of(f, self.source) for f in reversed(self.files)}
            there = clean("; ".join(f"{view} has {', '.join(columns)}" for view, columns in sorted(headers.items())))
            raise UserError(
                f"{where}: the SELECT for {table.name} does not fit the raw files: {first_line(error)}; {there}"
            ) from None

    def _keep(self, table: Table, judged: DataFrame) -> None:
        self._count(table, self._aside(table.name, judged))

    def _count(self, table: Table, kept: DataFrame) -> None:
        self.schemas[table.name] = kept.schema
        counted = kept.groupBy("reason", "expected").count().toArrow().to_pylist()
        self.counts |= {(table.name, row["reason"], row["expected"]): row["count"] for row in counted}

    def _aside(self, name: str, frame: DataFrame) -> DataFrame:
        frame.write.mode("overwrite").parquet(str(self.scratch / name))
        return self._read(name, frame.schema)

    def _read(self, name: str, schema: StructType) -> DataFrame:
        if not any((self.scratch / name).glob("*.parquet")):  # Sail writes nothing for a frame without rows
            return self.lake.spark.createDataFrame([], schema)
        return self.lake.spark.read.parquet(str(self.scratch / name))

    def _kept(self, table: Table) -> DataFrame:
        if table is EVENTS and self.settled:
            return self.settled.rows
        return self._read(table.name, self.schemas[table.name])


def first_line(error: Exception) -> str:
    """What an engine's error says at its beginning."""
    return str(error).strip().splitlines()[0][:300]
