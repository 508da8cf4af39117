"""Ingest: a source's SELECTs over raw files become events, catalogue and availability, or rejected rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs import validate
from jobs.errors import UserError
from jobs.lake import Lake
from jobs.rawfiles import RawFile, list_raw_files, unreadable
from jobs.run import Counts, Run
from jobs.source import Source, read_source
from jobs.tables import AVAILABILITY, CATALOGUE, EVENTS, RAW_FILES, REJECTED, Table
from jobs.views import columns_of, register_views


@dataclass(frozen=True)
class IngestConfig:
    """Where raw rows come from and how bad they may be."""

    source: Path
    """The source file with the SELECTs."""
    raw: Path
    """The drop zone."""
    allow_empty_day: bool = False
    """Let a night pass although the day before it brought no event."""


def execute(lake: Lake, run: Run, config: IngestConfig) -> Counts:
    """Write events, catalogue, availability and rejected for the night; on any error every table stays as it was."""
    source = read_source(config.source)
    files = [f for f in list_raw_files(config.raw, source) if f.day is None or f.day < run.as_of]
    dated = all(f.day for f in files)
    if dated:
        _check_last_day(files, run.as_of, config, source)
    new = _new_files(lake, files, run)
    with _scratch(lake) as scratch:
        judged = Judged(lake, run, source, files, new, scratch)
        with _readable(source, files):
            judged.judge_all(dated)
        _check_rejections(judged, source, config)
        _check_day_has_events(lake, judged, run, config, source, dated)
        return _write(lake, run, judged, [f for f in new if f.day])


class Judged:
    """Every statement's rows, judged once and kept aside as Parquet until all of them are known to be good."""

    def __init__(
        self, lake: Lake, run: Run, source: Source, files: list[RawFile], new: list[RawFile], scratch: Path
    ) -> None:
        self.lake, self.run, self.source, self.scratch = lake, run, source, scratch
        self.files, self.new = files, new
        self.counts: dict[tuple[str, str | None, bool], int] = {}
        self.schemas: dict[str, StructType] = {}

    def judge_all(self, dated: bool) -> None:
        """Judge the catalogue, then what refers to it."""
        products = None
        steps = 1 + len(self.source.statements)
        if CATALOGUE.name in self.source.statements:
            self._keep(CATALOGUE, validate.judge_catalogue(self._select(CATALOGUE, self.files)))
            products = self.good(CATALOGUE)
        self.run.progress("statements judged", 1, steps)
        if AVAILABILITY.name in self.source.statements:
            if products is None:
                raise UserError(f"{self.source.path} has a SELECT for availability but none for catalogue; add one")
            self._keep(AVAILABILITY, validate.judge_availability(self._select(AVAILABILITY, self.files), products))
        self.run.progress("statements judged", 2, steps)
        if self.new:
            earlier = self.lake.frame(EVENTS).where(F.col("as_of") != F.lit(self.run.as_of)).select("event_id")
            rows = self._select(EVENTS, self.new)
            self._keep(EVENTS, validate.judge_events(rows, self.run.as_of, dated, products, earlier))
        self.run.progress("statements judged", steps, steps)

    def good(self, table: Table) -> DataFrame:
        """The rows that belong into `table`."""
        columns = [name for name in table.names if name not in ("as_of", "run_id")]
        return self._kept(table).where(F.col("reason").isNull()).select(*columns)

    def bad(self) -> DataFrame | None:
        """Every rejected row as `rejected` wants it; None where no statement was judged."""
        frames = [
            self._kept(table)
            .where(F.col("reason").isNotNull() & ~F.col("reason").isin(*validate.NOT_FAULTS))
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

    def _select(self, table: Table, files: list[RawFile]) -> DataFrame:
        register_views(self.lake, self.source, self.files, files)
        where = str(self.source.path)
        try:
            selected = self.lake.spark.sql(
                self.source.statements[table.name], args={"as_of": self.run.as_of.isoformat()}
            )
            return validate.contract_rows(selected, table.name, where)
        except PySparkException as error:
            headers = {f.view: columns_of(f, self.source) for f in reversed(self.files)}
            there = "; ".join(f"{view} has {', '.join(columns)}" for view, columns in sorted(headers.items()))
            raise UserError(
                f"{where}: the SELECT for {table.name} does not fit the raw files: {_first_line(error)}; {there}"
            ) from None

    def _keep(self, table: Table, judged: DataFrame) -> None:
        judged.write.mode("overwrite").parquet(str(self.scratch / table.name))
        self.schemas[table.name] = judged.schema
        counted = self._kept(table).groupBy("reason", "expected").count().toArrow().to_pylist()
        self.counts |= {(table.name, row["reason"], row["expected"]): row["count"] for row in counted}

    def _kept(self, table: Table) -> DataFrame:
        kept = self.scratch / table.name
        if not any(kept.glob("*.parquet")):  # Sail writes nothing for a frame without rows
            return self.lake.spark.createDataFrame([], self.schemas[table.name])
        return self.lake.spark.read.parquet(str(kept))


def _new_files(lake: Lake, files: list[RawFile], run: Run) -> list[RawFile]:
    """Files no other night has read, as they are now; undated ones are always read again."""
    read = lake.arrow(RAW_FILES, ["path", "bytes", "as_of"]).to_pylist()
    others = {(row["path"], row["bytes"]) for row in read if row["as_of"] != run.as_of}
    return [f for f in files if f.day is None or (f.name, f.bytes) not in others]


@contextmanager
def _readable(source: Source, files: list[RawFile]) -> Iterator[None]:
    """Name the file behind an engine's reading error."""
    try:
        yield
    except PySparkException as error:
        found = unreadable(files)
        if found:
            raise UserError(f"the raw file {found}; it is damaged or cut short: deliver it again") from None
        raise UserError(f"{source.path}: the raw files cannot be read: {_first_line(error)}") from error


@contextmanager
def _scratch(lake: Lake) -> Iterator[Path]:
    scratch = lake.root / ".ingest"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_last_day(files: list[RawFile], as_of: date, config: IngestConfig, source: Source) -> None:
    last = as_of - timedelta(days=1)
    if _may_be_empty(last, config, source) or any(f.day == last for f in files):
        return
    newest = max((f.day for f in files if f.day), default=None)
    raise UserError(
        f"there is no raw file for {last}, the day before the night {as_of}; the newest in {config.raw} is of "
        f"{newest}. "
        "Deliver it, or pass --allow-empty-day if the shop was closed (closed_weekdays in the source for every week)"
    )


def _may_be_empty(day: date, config: IngestConfig, source: Source) -> bool:
    return config.allow_empty_day or day.strftime("%A").lower() in source.directives.closed_weekdays


def _check_rejections(judged: Judged, source: Source, config: IngestConfig) -> None:
    for table in judged.tables():
        counts = {(r, e): n for (name, r, e), n in judged.counts.items() if name == table.name}
        rows = sum(counts.values())
        bad = {r: n for (r, e), n in counts.items() if r and not e and r not in validate.NOT_FAULTS}
        share = sum(bad.values()) / max(rows, 1)
        if share > source.directives.max_rejected_share:
            reasons = ", ".join(f"{reason} ({n:,})" for reason, n in sorted(bad.items(), key=lambda item: -item[1]))
            raise UserError(
                f"{share:.1%} of the {rows:,} rows for {table.name} would be rejected, more than the limit of "
                f"{source.directives.max_rejected_share:.1%}: {reasons}. Nothing was written. Correct the raw files, "
                f"or raise max_rejected_share in {source.path}"
            )
        # Before the events are looked at: without products every one of them would be rejected.
        if table is CATALOGUE and not judged.counts.get((CATALOGUE.name, None, False)):
            raise UserError(f"{source.path}: the SELECT for catalogue gives no valid product from {config.raw}")  # noqa: S608 - a message, no SQL


def _check_day_has_events(
    lake: Lake, judged: Judged, run: Run, config: IngestConfig, source: Source, dated: bool
) -> None:
    last = run.as_of - timedelta(days=1)
    if dated and not _may_be_empty(last, config, source):
        day = F.col("event_date") == F.lit(last)
        fresh = judged.good(EVENTS).where(day).limit(1).count() if judged.new else 0
        earlier = lake.frame(EVENTS).where(day & (F.col("as_of") != F.lit(run.as_of))).limit(1).count()
        if not fresh and not earlier:
            raise UserError(
                f"the raw files of {last} hold no valid event, so the night {run.as_of} would know nothing new; "
                "deliver them again, or pass --allow-empty-day if the shop was closed"
            )
    elif not judged.counts.get((EVENTS.name, None, False)) and not lake.nights(EVENTS):
        raise UserError(f"{config.raw} gives no valid event before {run.as_of}; check the source {source.path}")


def _write(lake: Lake, run: Run, judged: Judged, read: list[RawFile]) -> Counts:
    bad = judged.bad()
    if bad is not None:
        lake.replace_frame(REJECTED, bad, run)
    if judged.new:
        lake.replace_frame(EVENTS, judged.good(EVENTS), run)
    before = lake.frame(EVENTS).where(F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp"))
    catalogue = judged.good(CATALOGUE) if CATALOGUE.name in judged.source.statements else _sold_products(before)
    lake.replace_frame(CATALOGUE, catalogue, run)
    if AVAILABILITY.name in judged.source.statements:
        lake.replace_frame(AVAILABILITY, judged.good(AVAILABILITY), run)
    else:
        lake.replace_frame(AVAILABILITY, _live_everywhere(before, run.as_of, judged.source.directives.live_days), run)
    lake.replace_rows(RAW_FILES, [{"path": f.name, "bytes": f.bytes} for f in read], run)
    return _counts(judged)


def _sold_products(events: DataFrame) -> DataFrame:
    """The catalogue of a source without one: every product with an event, under its id."""
    known = {"product_id": F.col("product_id"), "name": F.col("product_id"), "price": F.col("last_price"),
             "launched_at": F.col("first_day")}  # fmt: skip
    grouped = events.groupBy("product_id").agg(
        F.max_by("price", F.struct("event_ts", "event_id")).alias("last_price"), F.min("event_date").alias("first_day")
    )
    names = [name for name in CATALOGUE.names if name not in ("as_of", "run_id")]
    return grouped.select(*[known.get(name, F.lit(None)).alias(name) for name in names])


def _live_everywhere(events: DataFrame, as_of: date, live_days: int) -> DataFrame:
    """The availability of a source without one: what had an event of late, in every market."""
    recent = events.where(F.col("event_date") >= F.lit(as_of - timedelta(days=live_days)))
    products = recent.select("product_id").distinct()
    markets = events.select("market").distinct()
    return products.crossJoin(markets).select("product_id", "market", F.lit(True).alias("available"))


def _counts(judged: Judged) -> Counts:
    of_events = {(r, e): n for (name, r, e), n in judged.counts.items() if name == EVENTS.name}
    bad = sum(n for (_, r, _), n in judged.counts.items() if r and r not in validate.NOT_FAULTS)
    later = sum(n for (r, _), n in of_events.items() if r in (validate.LATER, validate.KNOWN))
    good = {table.name: judged.counts.get((table.name, None, False), 0) for table in judged.tables()}
    note = ", ".join(f"{n:,} {name}" for name, n in good.items()) + f" from {len(judged.new):,} new files"
    if later:
        note += f"; {later:,} rows belong to other nights"
    return Counts(sum(judged.counts.values()), sum(good.values()), bad, note)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
