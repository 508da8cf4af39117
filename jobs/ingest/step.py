"""Turns raw files into events, catalogue and availability by a source's SELECTs; bad rows go to `rejected`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import AwayError, UserError
from jobs.ingest import figures, rules
from jobs.ingest.events import write_events
from jobs.ingest.files import RawFile
from jobs.ingest.gates import InputGates, check_inputs, decide_inputs
from jobs.ingest.impressions import write_impressions
from jobs.ingest.raw_files import RawFolder, list_raw_files, read_by, told
from jobs.ingest.reasons import SHOWN, explained, summed_up
from jobs.ingest.source import Source, read_source
from jobs.ingest.validate import ValidatedRows
from jobs.lake.lake import Lake
from jobs.lake.storage import emptied
from jobs.outcomes.update import fold_in
from jobs.run import Counts, Run
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.records import INPUTS, RAW_FILES, REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from jobs.text import clean


@dataclass(frozen=True)
class IngestConfig:
    """The source, the raw folder, and how bad their rows may be."""

    source: Path
    """The source file with the SELECTs."""
    raw: Path
    """The raw folder."""
    allow_empty_day: bool = False
    """Let a night pass although the day before it brought no event."""
    gates: InputGates = field(default_factory=InputGates)
    """Limits of how a night's input may differ from that of the nights before."""
    accepted: list[str] = field(default_factory=list)
    """Gates of the input that may fail tonight."""


def execute(lake: Lake, run: Run, config: IngestConfig) -> Counts:
    """Write events, catalogue, availability and rejected for the night; on any error every table stays as it was."""
    source = read_source(config.source)
    every = list_raw_files(config.raw, source).named_by(source)
    folder = every.of_night(run.as_of)
    files = folder.files
    dated, may_be_empty = check_files(folder, source, run.as_of, config.allow_empty_day)
    new = _new_files(lake, files, run)
    with emptied(lake.root / ".ingest") as scratch:
        rows = ValidatedRows(lake, run, source, files, new, scratch)
        rows.validate_all(dated)
        if too_many := next(excessive_rejections(rows), None):
            raise UserError(too_many)
        if dated and not may_be_empty:
            check_last_day(rows)
        elif not rows.count(EVENTS, None) and not lake.frame(EVENTS).limit(1).count():
            raise UserError(f"{config.raw} gives no valid event before {run.as_of}; check the source {source.path}")
        counts = _write(rows, [f for f in new if f.day], folder)
        figures.record_columns(lake, run, files, rows.staged.columns)
    decide_inputs(lake, run, check_inputs(lake, run, config.gates, may_be_empty), config.accepted)
    if (folded := fold_in(lake, run)).days:
        return replace(counts, note=f"{counts.note}; {folded.rows:,} outcomes of {folded.days:,} days")
    return counts


def check_files(folder: RawFolder, source: Source, as_of: date, allow_empty_day: bool) -> tuple[bool, bool]:
    """(whether every file of events has its day in its name, whether the last day may be empty).

    Raises UserError where a night of these files cannot be, or the last day's is missing.
    """
    if not folder.files:
        raise UserError(
            f"no file of {folder.path} is read in the night {as_of}: {told(folder.not_read)}; if that is the day of "
            "the export, take it out of the name"
        )
    days = [f.day for f in read_by(source.statements[EVENTS.name], folder.files)]
    last = as_of - timedelta(days=1)
    may_be_empty = allow_empty_day or last.strftime("%A").lower() in source.directives.closed_weekdays
    if all(days) and not may_be_empty and last not in days:
        raise AwayError(
            f"there is no raw file for {last}, the day before the night {as_of}; the newest in {folder.path} is of "
            f"{max(filter(None, days))}. Deliver it, or pass --allow-empty-day if the shop was closed (closed_weekdays "
            "in the source if it is every week). If the day in a file's name is the day of its export, take it out of "
            "the name"
        )
    return all(days), may_be_empty


def _new_files(lake: Lake, files: list[RawFile], run: Run) -> list[RawFile]:
    """Files that no other night has read as they are now, or that this night has read; undated ones are always read.

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


def excessive_rejections(rows: ValidatedRows) -> Iterator[str]:
    """Why the night must stop, for each statement of which too many rows would be rejected."""
    most, where = rows.source.directives.max_rejected_share, rows.source.path
    for table in rows.tables():
        faults = rows.faults(table)
        whole = sum(n for (name, _, _), n in rows.counts.items() if name == table.name)
        share = sum(faults.values()) / max(whole, 1)
        if share > most:
            unread = explained(*rows.unread(table))
            yield (
                f"{share:.1%} of the {whole:,} rows for {table.name} would be rejected, more than the limit of "
                f"{most:.1%} (max_rejected_share); nothing was written. "
                f"{explained(faults, rows.examples(table))}" + (f"; also {unread}" if unread else "")
            )
        # Before the events are looked at: without products every one of them would be rejected.
        if table is CATALOGUE and not rows.count(CATALOGUE, None):
            yield f"{where}: the SELECT for catalogue gives no valid product"


def check_last_day(rows: ValidatedRows) -> None:
    """Raise UserError where the night's last day has no valid event."""
    last = rows.run.as_of - timedelta(days=1)
    day = F.col("event_date") == F.lit(last)
    fresh = rows.good(EVENTS).where(day).limit(1).count() if rows.new else 0
    others = rows.lake.frame(EVENTS).where(day & (F.col("as_of") != F.lit(rows.run.as_of)))
    if not fresh and not others.limit(1).count():
        raise UserError(
            f"the raw files of {last} hold no valid event, so the night {rows.run.as_of} would know nothing new; "
            "deliver them again, or pass --allow-empty-day if the shop was closed"
        )


def _write(rows: ValidatedRows, read: list[RawFile], folder: RawFolder) -> Counts:
    """Write every table; raw_files last, so that a night that is cut short before reads its files again."""
    lake, run, source = rows.lake, rows.run, rows.source
    version = lake.version(EVENTS) if lake.exists(EVENTS) else None
    if rows.events:
        write_events(lake, run, rows.events)
    if IMPRESSIONS.name in rows.kept:
        write_impressions(lake, run, rows.good(IMPRESSIONS))
    before = lake.frame(EVENTS).where(F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp"))
    catalogue = rows.good(CATALOGUE) if CATALOGUE.name in source.statements else sold_products(before)
    lake.replace_frame(CATALOGUE, catalogue, run)
    if AVAILABILITY.name in source.statements:
        available = rows.good(AVAILABILITY)
    else:
        available = live_everywhere(before, run.as_of, source.directives.live_days)
    lake.replace_frame(AVAILABILITY, available, run)
    if (bad := rows.bad()) is not None:
        lake.replace_frame(REJECTED, bad, run)
    found = _figures(rows, version)
    lake.replace_rows(INPUTS, found, run)
    lake.replace_rows(RAW_FILES, [{"path": f.name, "bytes": f.bytes} for f in read], run)
    return _counts(rows, found, folder)


def _figures(rows: ValidatedRows, version: int | None) -> figures.Figures:
    """The figures of the night's input; `version` is that of events before the load."""
    lake, run = rows.lake, rows.run
    faults = {table.name: sum(rows.faults(table).values()) for table in rows.tables()}
    excluded = sum(n for (_, _, expected), n in rows.counts.items() if expected)
    found = figures.figure(figures.FILES, len(rows.new)) + figures.figure(figures.REJECTED, sum(faults.values()))
    for name, count in faults.items():
        found += figures.figure(figures.REJECTED, count, f"select {name}")
    found += figures.figure(figures.EXCLUDED, excluded)
    found += figures.figure(figures.KNOWN, rows.count(EVENTS, rules.KNOWN))
    if rows.events:
        of_events = figures.figures_of_events(rows.events.rows)
        corrected = next(row["value"] for row in of_events if row["figure"] == figures.CORRECTED)
        found += of_events + figures.figure(figures.RETRACTED, rows.events.replaced.count() - corrected)
    found += figures.figures_of_tables(lake, run)
    now = lake.version(EVENTS)
    recorded = lake.arrow(INPUTS, ["figure", "value"], run.as_of).to_pylist()
    first = next((row["value"] for row in recorded if row["figure"] == figures.VERSION), None)
    return found + figures.figure(figures.VERSION, first if now == version and first is not None else now)


def _counts(rows: ValidatedRows, found: figures.Figures, folder: RawFolder) -> Counts:
    totals = {row["figure"]: int(row["value"]) for row in found if row["slice"] == figures.ALL}
    bad = sum(n for (_, reason, _), n in rows.counts.items() if reason and reason not in rules.NOT_FAULTS)
    good = {table.name: rows.count(table, None) for table in rows.tables()}
    note = ", ".join(f"{n:,} {name}" for name, n in good.items()) + f" from {len(rows.new):,} new files"
    for name in (figures.LATE, figures.CORRECTED, figures.RETRACTED):
        note += f"; {totals[name]:,} {name}" if totals.get(name) else ""
    if IMPRESSIONS in rows.tables() and (bots := rows.good(IMPRESSIONS).where("NOT counted").count()):
        note += f"; {bots:,} impressions of customers who had more than any person sees count nowhere"
    other = sum(rows.count(table, rules.LATER, rules.KNOWN) for table in (EVENTS, IMPRESSIONS))
    note += f"; {other:,} rows belong to other nights" if other else ""
    forgotten = sum(rows.count(table, rules.FORGOTTEN) for table in (EVENTS, IMPRESSIONS))
    note += f"; {forgotten:,} rows of customers who asked to be forgotten" if forgotten else ""
    return Counts(sum(rows.counts.values()), sum(good.values()), bad, "; ".join([note, *_told(rows, folder)]))


def _told(rows: ValidatedRows, folder: RawFolder) -> Iterator[str]:
    """What was not read as it stands there: rows, values, letters and files."""
    if rows.without_market:
        none, every, main = rows.without_market
        yield (
            f"{none / max(every, 1):.0%} of the events have no market beside others that have one: they take that of "
            f"their basket, else {clean(main)}, which has most events"
        )
    if IMPRESSIONS.name in rows.source.statements and IMPRESSIONS.name not in rows.kept:
        yield "no new file of impressions"
    for table in rows.tables():
        if faults := rows.faults(table):
            yield f"rejected for {table.name}: {summed_up(faults, rows.examples(table))}"
        if unread := summed_up(*rows.unread(table)):
            yield f"kept for {table.name} with null or in part: {unread}"
    cleaned: Counter[str] = Counter()
    empty = 0
    for staged in {staged.file.name: staged for read in rows.read.values() for staged in read}.values():
        empty += staged.findings.empty
        cleaned.update({f"{staged.file.view}.{name}": count for name, count in staged.findings.cleaned.items()})
    if cleaned:
        columns = ", ".join(f"{name} ({count:,})" for name, count in cleaned.most_common(SHOWN))
        yield f"invisible blanks were taken from, or letters composed in, values of {clean(columns)}"
    if empty:
        yield f"{empty:,} empty rows skipped"
    if folder.not_read:
        yield f"files not read: {told(folder.not_read)}"


# Catalogue and availability of a source that has no SELECT for them, from its events.


def sold_products(events: DataFrame) -> DataFrame:
    """Every product with an event, named by its id, at its last price and with its first day as its launch."""
    # Numbers and texts alone are aggregated: max_by over a struct held 200 KB a product in memory.
    grouped = events.groupBy("product_id").agg(
        F.max("event_ts").alias("last_ts"), F.min("event_date").alias("launched_at")
    )
    at_last = events.join(grouped, "product_id").where(F.col("event_ts") == F.col("last_ts"))
    last = at_last.groupBy("product_id", "launched_at").agg(F.max("event_id").alias("event_id"))
    prices = at_last.select("product_id", "event_id", "price")
    known = last.join(prices, ["product_id", "event_id"]).withColumn("name", F.col("product_id"))
    columns = [F.col(n) if n in known.columns else F.lit(None).alias(n) for n in rules.CATALOGUE_COLUMNS]
    return known.select(*columns)


def live_everywhere(events: DataFrame, as_of: date, live_days: int) -> DataFrame:
    """Every product with an event in the last `live_days`, in every market."""
    recent = events.where(F.col("event_date") >= F.lit(as_of - timedelta(days=live_days)))
    products = recent.select("product_id").distinct()
    markets = events.select("market").distinct()
    unknown = F.lit(None).cast("array<string>")
    there = {"available": F.lit(True), "sizes": unknown, "sizes_made": unknown}
    return products.crossJoin(markets).select("product_id", "market", *[v.alias(n) for n, v in there.items()])
