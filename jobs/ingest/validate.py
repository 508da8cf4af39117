"""Validates the rows of every statement of a source, and stages them until all statements are known to be good."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.ingest import rules
from jobs.ingest.events import ReconciledEvents, read_staged, reconcile, stage
from jobs.ingest.files import RawFile
from jobs.ingest.formats import MalformedRow
from jobs.ingest.impressions import counted, without_known
from jobs.ingest.raw_files import read_by
from jobs.ingest.reasons import BROKEN_TEXT, NOT_READ, SHOWN, remedy_of
from jobs.ingest.source import Source, first_line, relations
from jobs.ingest.staging import StagedFile, StagedFiles
from jobs.ingest.text import BROKEN
from jobs.lake.damage import told_apart
from jobs.lake.engine import is_lost
from jobs.lake.forgotten import leave_out
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from jobs.tables.table import Table
from jobs.text import clean


class ValidatedRows:
    """Every statement's rows, validated once and staged as Parquet below `scratch`."""

    def __init__(
        self, lake: Lake, run: Run, source: Source, files: list[RawFile], new: list[RawFile], scratch: Path
    ) -> None:
        self.lake, self.run, self.source, self.scratch = lake, run, source, scratch
        self.files, self.new = files, new
        self.staged = StagedFiles(lake, run, source, scratch / "raw")
        self.counts: dict[tuple[str, str | None, bool], int] = {}
        """(table, reason, expected) -> rows; the reason of a good row is None."""
        self.read: dict[str, list[StagedFile]] = {}
        """Table -> the files whose rows were read for it."""
        self.with_unread: set[str] = set()
        """Tables of which some rows have an optional value that was not used."""
        self.kept: dict[str, DataFrame] = {}
        """Table -> its validated rows, with `reason` (null for a good one), `expected`, `unread` and `raw`."""
        self.events: ReconciledEvents | None = None
        """The events compared with those of other nights; None where no file is new."""
        self.without_market: tuple[int, int, str] | None = None
        """(events without a market, all events, the market they join) where others have one; None elsewhere."""

    def validate_all(self, dated: bool) -> None:
        """Validate the catalogue, then what refers to it; `dated`: every file of events has its day in its name.

        Raises UserError where a SELECT fails on a row.
        """
        try:
            self._validate_all(dated)
        except PySparkException as error:
            if is_lost(error) or told_apart(error, self.lake.root):  # which is named where the step ends
                raise
            raise UserError(
                f"{self.source.path}: a SELECT fails on a row of the raw files: {first_line(error)}; functions such "
                "as try_cast and try_to_timestamp give null instead"
            ) from error

    def _validate_all(self, dated: bool) -> None:
        products = None
        steps = 1 + len(self.source.statements)
        if CATALOGUE.name in self.source.statements:
            rows = self._select(CATALOGUE, self.files)
            self._keep_newest(CATALOGUE, rules.validate_catalogue(rows, self._repeated(CATALOGUE, rows)))
            products = self.good(CATALOGUE)
        self.run.progress("statements validated", 1, steps)
        if AVAILABILITY.name in self.source.statements:
            if products is None:
                raise UserError(f"{self.source.path} has a SELECT for availability but none for catalogue; add one")
            rows = self._select(AVAILABILITY, self.files)
            repeated = self._repeated(AVAILABILITY, rows)
            self._keep_newest(AVAILABILITY, rules.validate_availability(rows, products, repeated))
        self.run.progress("statements validated", 2, steps)
        if self.new:
            self._validate_events(dated, products)
            if IMPRESSIONS.name in self.source.statements:
                self._validate_impressions(products)
        self.run.progress("statements validated", steps, steps)

    def _validate_events(self, dated: bool, products: DataFrame | None) -> None:
        rows = leave_out(self._select(EVENTS, self.new), self.lake)
        days = [f.day for f in read_by(self.source.statements[EVENTS.name], self.new) if f.day]
        oldest = min(days, default=self.run.as_of) if dated else None
        late_days = self.source.directives.late_days
        validated = rules.validate_events(
            rows, self.run.as_of, products, oldest, late_days, self._repeated(EVENTS, rows)
        )
        once = self._with_markets(self._once(EVENTS, validated, rules.without_repeats))
        of_rows = once.where("event_date IS NOT NULL").select("event_date").distinct().toArrow()["event_date"]
        self.events = reconcile(self.lake, self.run, once, [*days, *of_rows.to_pylist()], self.scratch)
        self._keep(EVENTS, self.events.rows)

    def _validate_impressions(self, products: DataFrame | None) -> None:
        views = relations(self.source.statements[IMPRESSIONS.name])
        of_view, new = ([f for f in some if f.view.lower() in views] for some in (self.files, self.new))
        if not new:
            return
        rows = leave_out(self._select(IMPRESSIONS, self.new), self.lake)
        oldest = min((f.day for f in new if f.day), default=self.run.as_of) if all(f.day for f in of_view) else None
        directives, repeated = self.source.directives, self._repeated(IMPRESSIONS, rows)
        validated = rules.validate_impressions(rows, self.run.as_of, products, oldest, directives.late_days, repeated)
        once = self._once(IMPRESSIONS, validated, lambda rows: rules.without_repeats(rows, IMPRESSIONS.name))
        good = once.where("reason IS NULL")
        busy = rules.busy_customers(good, directives.bot_impressions_minute, directives.bot_impressions_day)
        found = counted(once, self._stage("busy", busy))
        self._keep(IMPRESSIONS, self._stage(IMPRESSIONS.name, without_known(self.lake, self.run, found)))

    def _keep_newest(self, table: Table, validated: DataFrame) -> None:
        self._keep(table, self._once(table, validated, lambda rows: rules.without_superseded(rows, table.name)))

    def _once(self, table: Table, validated: DataFrame, decide: Callable[[DataFrame], DataFrame]) -> DataFrame:
        """Stage validated rows; of those that are `repeated`, `decide` gives a reason to all but one of a key.

        Those are staged apart: to sort all rows would take the memory of them all.
        """
        folder, schema = self.scratch / f"validated_{table.name}", validated.drop("repeated").schema
        validated.write.mode("overwrite").partitionBy("repeated").parquet(str(folder))
        alone, several = (read_staged(self.lake, folder / f"repeated={flag}", schema) for flag in ("false", "true"))
        return alone.unionByName(self._stage(f"once_{table.name}", decide(several)))

    def _with_markets(self, rows: DataFrame) -> DataFrame:
        """The events, those without a market in the market of their basket or in the shop's main one, where others
        have markets; ONLY_MARKET would be a market beside theirs, with availability and lists of its own.
        """
        none = F.array_contains("absent", "market")
        # Markets are mostly capital letters: statistics of the files answer most of this.
        if not rows.where(F.col("market") == rules.ONLY_MARKET).where(none).limit(1).count():
            return rows
        own = rows.where(F.col("reason").isNull() & ~none)
        # What earlier nights know comes first, so that a row that is read again keeps its market.
        earlier = self.lake.frame(EVENTS).where(F.col("as_of") < F.lit(self.run.as_of))
        main = rules.main_market(earlier.where(F.col("market") != rules.ONLY_MARKET)) or rules.main_market(own)
        if main is None:
            return rows
        counted = rows.where("reason IS NULL").agg(F.sum(none.cast("int")).alias("none"), F.count("*").alias("all"))
        found = counted.toArrow().to_pylist()[0]
        self.without_market = (found["none"] or 0, found["all"], main)
        return self._stage("markets", rules.with_markets(rows, none, own, main))

    def _repeated(self, table: Table, rows: DataFrame) -> DataFrame | None:
        """Hashes of the keys that several rows have; None where there are none."""
        of_ids = table in (EVENTS, IMPRESSIONS)
        hashes = (rules.repeated_ids if of_ids else rules.repeated_keys)(rows, table.name)
        found = self._stage(f"repeated_{table.name}", hashes)
        return found if found.limit(1).count() else None

    def good(self, table: Table) -> DataFrame:
        """The rows that belong into `table`."""
        if table is EVENTS and self.events:
            return self.events.good
        good = self.kept[table.name].where(F.col("reason").isNull())
        if table is AVAILABILITY:
            return rules.pairs_with_sizes(good)
        return good.select(*[name for name in table.names if name not in ("as_of", "run_id")])

    def malformed(self, table: Table) -> list[tuple[StagedFile, MalformedRow]]:
        """The rows of its files that no SELECT could read; those of a file that several read are the first one's."""
        others = {f.file.name for t in self.tables()[: self.tables().index(table)] for f in self.read.get(t.name, ())}
        files = (staged for staged in self.read.get(table.name, ()) if staged.file.name not in others)
        return [(staged, row) for staged in files for row in staged.findings.malformed]

    def examples(self, table: Table) -> dict[str, list[str]]:
        """Reason of a fault -> the values met most often, at most SHOWN."""
        found: dict[str, list[str]] = {}
        for staged, row in self.malformed(table):
            if len(found.setdefault(row.reason, [])) < SHOWN:
                # Not its text, which may name a customer: it is in `rejected`, and examples are in logs and on pages.
                found[row.reason].append(f"{staged.file.name}, line {row.line}")
        reasons = [reason for reason in self.faults(table) if reason not in found]
        if not reasons:
            return found
        columns = {reason: remedy_of(reason).column for reason in reasons}
        if table is IMPRESSIONS:
            columns = {reason: "shown_at" if name == "event_ts" else name for reason, name in columns.items()}
        value = F.lit(None).cast("string")
        for reason, column in columns.items():
            if column:
                value = F.when(F.col("reason") == reason, F.get_json_object("raw", f"$.{column}")).otherwise(value)
        rows = self.kept[table.name].where(F.col("reason").isin(reasons)).select("reason", value.alias("value"))
        return found | self._most_frequent(rows)

    def unread(self, table: Table) -> tuple[dict[str, int], dict[str, list[str]]]:
        """Of optional values that were not used, or in part not read, whose rows were: reason -> rows, and values."""
        kept, frames = self.kept[table.name], []
        if table.name in self.with_unread:
            pairs = kept.where("unread IS NOT NULL").select(F.explode(F.split("unread", rules.RECORD)).alias("pair"))
            parts = F.split("pair", rules.UNIT)
            column, value = F.concat(parts.getItem(0), F.lit(NOT_READ)), parts.getItem(1)
            frames.append(pairs.select(column.alias("reason"), value.alias("value")))
        if table is CATALOGUE and any(staged.findings.broken for staged in self.read[table.name]):
            texts = [F.when(F.col(name).contains(BROKEN), F.col(name)) for name in rules.DESCRIBING]
            value = F.explode(F.array_compact(F.array(*texts)))
            good = kept.where(F.col("reason").isNull())
            frames.append(good.select(F.lit(BROKEN_TEXT).alias("reason"), value.alias("value")))
        if not frames:
            return {}, {}
        rows = reduce(DataFrame.unionAll, frames)
        counts = {row["reason"]: row["count"] for row in rows.groupBy("reason").count().toArrow().to_pylist()}
        return counts, self._most_frequent(rows) if counts else {}

    @staticmethod
    def _most_frequent(rows: DataFrame) -> dict[str, list[str]]:
        """Reason -> its most frequent values, at most SHOWN, of rows with the columns `reason` and `value`."""
        place = Window.partitionBy("reason").orderBy(F.col("count").desc(), "value")
        counted = rows.where(F.col("value").isNotNull()).groupBy("reason", "value").count()
        first = counted.withColumn("place", F.row_number().over(place)).where(F.col("place") <= SHOWN)
        found: dict[str, list[str]] = {}
        for row in first.orderBy("reason", "place").toArrow().to_pylist():
            found.setdefault(row["reason"], []).append(row["value"])
        return found

    def bad(self) -> DataFrame | None:
        """Every rejected row, with the columns of the table `rejected`; None where no statement was validated."""
        frames = [frame for table in self.tables() for frame in self._malformed_rows(table)]
        frames += [
            self.kept[table.name]
            .where(F.col("reason").isNotNull() & ~F.col("reason").isin(*rules.NOT_FAULTS))
            .select(F.lit(table.name).alias("source"), "reason", "expected", "raw")
            for table in self.tables()
        ]
        return reduce(DataFrame.unionAll, frames) if frames else None

    def tables(self) -> list[Table]:
        """The tables whose statement was validated."""
        return [t for t in (CATALOGUE, AVAILABILITY, EVENTS, IMPRESSIONS) if t.name in self.kept]

    def count(self, table: Table, *reasons: str | None) -> int:
        """Rows of a statement with one of these reasons."""
        return sum(n for (name, reason, _), n in self.counts.items() if name == table.name and reason in reasons)

    def faults(self, table: Table) -> dict[str, int]:
        """Reason -> rows of a statement that were rejected unexpectedly."""
        of_table = {(reason, expected): n for (name, reason, expected), n in self.counts.items() if name == table.name}
        return {r: n for (r, expected), n in of_table.items() if r and not expected and r not in rules.NOT_FAULTS}

    def _malformed_rows(self, table: Table) -> Iterator[DataFrame]:
        rows = [
            (table.name, row.reason, False, json.dumps({"file": staged.file.name, "line": row.line, "row": row.text}))
            for staged, row in self.malformed(table)
        ]
        if rows:
            yield self.lake.spark.createDataFrame(rows, "source STRING, reason STRING, expected BOOLEAN, raw STRING")

    def _select(self, table: Table, files: list[RawFile]) -> DataFrame:
        statement = self.source.statements[table.name]
        every, read = read_by(statement, self.files), read_by(statement, files)
        self.staged.register(statement, every, read)
        self.read[table.name] = self.staged.of(read)
        where = str(self.source.path)
        try:
            selected = self.lake.spark.sql(statement, args={"as_of": self.run.as_of.isoformat()})
            return rules.contract_rows(selected, table.name, where)
        except PySparkException as error:
            if is_lost(error):
                raise
            headers = {f.view: self.staged.columns(f) for f in reversed(self.files)}
            there = clean("; ".join(f"{view} has {', '.join(names)}" for view, names in sorted(headers.items())))
            raise UserError(
                f"{where}: the SELECT for {table.name} does not fit the raw files: {first_line(error)}; {there}"
            ) from None

    def _keep(self, table: Table, kept: DataFrame) -> None:
        self.kept[table.name] = kept
        totals = (F.count("*").alias("rows"), F.count("unread").alias("unread"))
        counted = kept.groupBy("reason", "expected").agg(*totals).toArrow().to_pylist()
        self.counts |= {(table.name, row["reason"], row["expected"]): row["rows"] for row in counted}
        self.with_unread |= {table.name} if any(row["unread"] for row in counted) else set()
        malformed = Counter(row.reason for _, row in self.malformed(table))
        self.counts |= {(table.name, reason, False): count for reason, count in malformed.items()}

    def _stage(self, name: str, frame: DataFrame) -> DataFrame:
        return stage(self.lake, frame, self.scratch / name)
