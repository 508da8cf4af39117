"""Ingest: a source's SELECTs over raw files become events, catalogue and availability, or rejected rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.ingest import figures as figures
from jobs.ingest import rules
from jobs.ingest.events import write_events
from jobs.ingest.figures import record_columns
from jobs.ingest.gates import InputGates, check_inputs, decide_inputs
from jobs.ingest.raw_files import RawFile, check_names, check_raw_files, list_raw_files, read_by, unreadable
from jobs.ingest.source import Source, read_source
from jobs.ingest.validate import ValidatedRows, first_line
from jobs.lake.engine import is_lost
from jobs.lake.lake import Lake
from jobs.lake.storage import emptied
from jobs.run import Counts, Run
from jobs.tables.records import INPUTS, RAW_FILES, REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS


@dataclass(frozen=True)
class IngestConfig:
    """Where raw rows come from and how bad they may be."""

    source: Path
    """The source file with the SELECTs."""
    raw: Path
    """The drop zone."""
    allow_empty_day: bool = False
    """Let a night pass although the day before it brought no event."""
    gates: InputGates = field(default_factory=InputGates)
    """How much a night's input may differ from that of the nights before."""
    accepted: list[str] = field(default_factory=list)
    """Gates of the input that may fail tonight."""


def execute(lake: Lake, run: Run, config: IngestConfig) -> Counts:
    """Write events, catalogue, availability and rejected for the night; on any error every table stays as it was."""
    source = read_source(config.source)
    files = [f for f in list_raw_files(config.raw, source) if f.day is None or f.day < run.as_of]
    check_names(files)
    of_events = read_by(source.statements[EVENTS.name], files)
    dated = all(f.day for f in of_events)
    if dated:
        _check_last_day(of_events, run.as_of, config, source)
    new = _new_files(lake, files, run)
    check_raw_files(new, source)
    with emptied(lake.root / ".ingest") as scratch:
        judged = ValidatedRows(lake, run, source, files, new, scratch)
        with _readable(source, files):
            judged.judge_all(dated)
        _check_rejections(judged, source, config)
        _check_day_has_events(lake, judged, run, config, source, dated)
        counts = _write(lake, run, judged, [f for f in new if f.day])
    record_columns(lake, run, files, source)
    may_be_empty = _may_be_empty(run.as_of - timedelta(days=1), config, source)
    decide_inputs(lake, run, check_inputs(lake, run, config.gates, may_be_empty), config.accepted)
    return counts


def _new_files(lake: Lake, files: list[RawFile], run: Run) -> list[RawFile]:
    """Files no other night has read as they are now, and those this night has read; undated ones are always read.

    Raises UserError where a file that the night had read is gone: to run it again would take its events out.
    """
    read = lake.arrow(RAW_FILES, ["path", "bytes", "as_of"]).to_pylist()
    others = {(row["path"], row["bytes"]) for row in read if row["as_of"] != run.as_of}
    own = {row["path"] for row in read if row["as_of"] == run.as_of}
    if gone := sorted(own - {f.name for f in files}):
        raise UserError(
            f"the night {run.as_of} had read {len(own):,} raw files, of which {len(gone):,} are not there any more "
            f"({', '.join(gone[:3])}); to run it again would take their events out: put them back"
        )
    return [f for f in files if f.day is None or f.name in own or (f.name, f.bytes) not in others]


@contextmanager
def _readable(source: Source, files: list[RawFile]) -> Iterator[None]:
    """Name the file behind an engine's reading error."""
    try:
        yield
    except PySparkException as error:
        if is_lost(error):
            raise
        found = unreadable(files)
        if found:
            raise UserError(f"the raw file {found}; it is damaged or cut short: deliver it again") from None
        raise UserError(f"{source.path}: the raw files cannot be read: {first_line(error)}") from error


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


def _check_rejections(judged: ValidatedRows, source: Source, config: IngestConfig) -> None:
    for table in judged.tables():
        counts = {(r, e): n for (name, r, e), n in judged.counts.items() if name == table.name}
        rows = sum(counts.values())
        bad = {r: n for (r, e), n in counts.items() if r and not e and r not in rules.NOT_FAULTS}
        share = sum(bad.values()) / max(rows, 1)
        if share > source.directives.max_rejected_share:
            reasons = ", ".join(f"{reason} ({n:,})" for reason, n in sorted(bad.items(), key=lambda item: -item[1]))
            raise UserError(
                f"{share:.1%} of the {rows:,} rows for {table.name} would be rejected, more than the limit of "
                f"{source.directives.max_rejected_share:.1%}: {reasons}. Nothing was written. Correct the raw files, "
                f"or raise max_rejected_share in {source.path}"
            )
        # Before the events are looked at: without products every one of them would be rejected.
        if table is CATALOGUE and not judged.count(CATALOGUE, None):
            raise UserError(f"{source.path}: the SELECT for catalogue gives no valid product from {config.raw}")  # noqa: S608 - a message, no SQL


def _check_day_has_events(
    lake: Lake, judged: ValidatedRows, run: Run, config: IngestConfig, source: Source, dated: bool
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
    elif not judged.count(EVENTS, None) and not lake.frame(EVENTS).limit(1).count():
        raise UserError(f"{config.raw} gives no valid event before {run.as_of}; check the source {source.path}")


def _write(lake: Lake, run: Run, judged: ValidatedRows, read: list[RawFile]) -> Counts:
    """The files count as read last: a night that is cut short before has its files read again, and loses nothing."""
    version = lake.version(EVENTS) if lake.exists(EVENTS) else None
    if judged.settled:
        write_events(lake, run, judged.settled)
    before = lake.frame(EVENTS).where(F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp"))
    catalogue = judged.good(CATALOGUE) if CATALOGUE.name in judged.source.statements else sold_products(before)
    lake.replace_frame(CATALOGUE, catalogue, run)
    if AVAILABILITY.name in judged.source.statements:
        lake.replace_frame(AVAILABILITY, judged.good(AVAILABILITY), run)
    else:
        lake.replace_frame(AVAILABILITY, live_everywhere(before, run.as_of, judged.source.directives.live_days), run)
    bad = judged.bad()
    if bad is not None:
        lake.replace_frame(REJECTED, bad, run)
    found = _figures(lake, run, judged, version)
    lake.replace_rows(INPUTS, found, run)
    lake.replace_rows(RAW_FILES, [{"path": f.name, "bytes": f.bytes} for f in read], run)
    counted = (figures.LATE, figures.CORRECTED, figures.RETRACTED)
    whole = {
        row["figure"]: int(row["value"]) for row in found if row["slice"] == figures.ALL and row["figure"] in counted
    }
    return _counts(judged, whole)


def _figures(lake: Lake, run: Run, judged: ValidatedRows, version: int | None) -> figures.Figures:
    """What the night's input looked like; `version` is that of events before the load."""
    found = figures.figure(figures.FILES, len(judged.new))
    faults = {
        table.name: sum(n for (name, r, e), n in judged.counts.items()
                        if name == table.name and r and not e and r not in rules.NOT_FAULTS)
        for table in judged.tables()
    }  # fmt: skip
    found += figures.figure(figures.REJECTED, sum(faults.values()))
    for name, count in faults.items():
        found += figures.figure(figures.REJECTED, count, f"select {name}")
    found += figures.figure(figures.EXCLUDED, sum(n for (_, _, expected), n in judged.counts.items() if expected))
    found += figures.figure(figures.KNOWN, judged.count(EVENTS, rules.KNOWN))
    if judged.settled:
        of_events = figures.figures_of_events(judged.settled.rows)
        corrected = next(row["value"] for row in of_events if row["figure"] == figures.CORRECTED)
        found += of_events + figures.figure(figures.RETRACTED, judged.settled.replaced.count() - corrected)
    found += figures.figures_of_tables(lake, run)
    now = lake.version(EVENTS)
    recorded = lake.arrow(INPUTS, ["figure", "value"], run.as_of).to_pylist()
    first = next((row["value"] for row in recorded if row["figure"] == figures.VERSION), None)
    return found + figures.figure(figures.VERSION, first if now == version and first is not None else now)


def _counts(judged: ValidatedRows, totals: dict[str, int]) -> Counts:
    bad = sum(n for (_, r, _), n in judged.counts.items() if r and r not in rules.NOT_FAULTS)
    other = judged.count(EVENTS, rules.LATER, rules.KNOWN)
    good = {table.name: judged.count(table, None) for table in judged.tables()}
    note = ", ".join(f"{n:,} {name}" for name, n in good.items()) + f" from {len(judged.new):,} new files"
    for name in (figures.LATE, figures.CORRECTED, figures.RETRACTED):
        note += f"; {totals[name]:,} {name}" if totals.get(name) else ""
    note += f"; {other:,} rows belong to other nights" if other else ""
    forgotten = judged.count(EVENTS, rules.FORGOTTEN)
    note += f"; {forgotten:,} rows of customers who asked to be forgotten" if forgotten else ""
    return Counts(sum(judged.counts.values()), sum(good.values()), bad, note)


# Catalogue and availability of a source that has no SELECT for them: they follow from the events.


def sold_products(events: DataFrame) -> DataFrame:
    """The catalogue of a source without one: every product with an event, under its id."""
    known = {"product_id": F.col("product_id"), "name": F.col("product_id"), "price": F.col("last_price"),
             "launched_at": F.col("first_day")}  # fmt: skip
    grouped = events.groupBy("product_id").agg(
        F.max_by("price", F.struct("event_ts", "event_id")).alias("last_price"), F.min("event_date").alias("first_day")
    )
    names = [name for name in CATALOGUE.names if name not in ("as_of", "run_id")]
    return grouped.select(*[known.get(name, F.lit(None)).alias(name) for name in names])


def live_everywhere(events: DataFrame, as_of: date, live_days: int) -> DataFrame:
    """The availability of a source without one: what had an event of late, in every market."""
    recent = events.where(F.col("event_date") >= F.lit(as_of - timedelta(days=live_days)))
    products = recent.select("product_id").distinct()
    markets = events.select("market").distinct()
    return products.crossJoin(markets).select("product_id", "market", F.lit(True).alias("available"))
