"""Tells what a source would give and what looks odd about it, by ingest's own reading and without writing a lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypedDict

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import UserError
from jobs.ingest import rules
from jobs.ingest.files import RawFile
from jobs.ingest.raw_files import RawFolder, list_raw_files, read_by
from jobs.ingest.raw_files import told as told_files
from jobs.ingest.reasons import summed_up
from jobs.ingest.source import Source, read_source
from jobs.ingest.staging import StagedFiles
from jobs.ingest.step import IngestConfig, check_files, check_last_day, excessive_rejections
from jobs.ingest.validate import ValidatedRows
from jobs.lake.lake import Lake
from jobs.run import Progress, Run
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.shop import CATALOGUE, EVENTS
from jobs.text import clean

MOST_SHOWN = 5
"""Markets, files and the like that are named."""
GUEST_SHARE = 0.2
"""A customer with more of the events is hardly a person."""
PRODUCT_SHARE = 0.3
FEW_RETURN = 0.1
"""Share of the customers below which ids are rather those of visits."""
MOST_DAYS_OLD = 7
FEW_IDS = 10
"""Customers or products among whom a large share of the events is no wonder."""
MANY_EVENTS = 500
CENTS = 100
"""Prices that are all whole and at least this may be in cents."""
FEW_EVENTS = 20
"""Events below which a market's lists say nothing."""
ALIKE = ("customer_id", "product_id", "market")


class EventFacts(TypedDict):
    """Figures of the valid events."""

    events: int
    first: datetime
    last: datetime
    days: int
    customers: int
    """Different ids; the other counts likewise."""
    products: int
    markets: int
    baskets: int
    priced: int
    """Events with a price."""
    midnight: int
    """Events at 00:00:00."""
    returning: int
    """Customers with events on two days or more."""
    float_customers: int
    """Customers whose id ends in .0."""
    float_products: int
    no_market: int
    """Events without a market of their own."""
    no_basket: int
    no_price: int
    free: int
    """Events at a price of 0."""
    like_cents: int
    """Events at a price that is a whole number and at least `CENTS`."""
    mean_price: float | None


@dataclass
class SourceCheck:
    """What a source would give in a night, or why there would be none."""

    source: Path
    raw: Path
    as_of: date
    given: bool
    """Whether the caller named the night; else it is the day after the last event."""
    files: list[RawFile] = field(default_factory=list)
    not_read: str = ""
    rows: int = 0
    """Rows of the raw files."""
    facts: EventFacts | None = None
    types: dict[str, int] = field(default_factory=dict)
    """Event type -> events, the most frequent first; the others likewise."""
    markets: dict[str, int] = field(default_factory=dict)
    top_customers: dict[str, int] = field(default_factory=dict)
    top_products: dict[str, int] = field(default_factory=dict)
    catalogue: dict[str, int] = field(default_factory=dict)
    """Column of the catalogue -> products that have it; product_id counts them all."""
    touch_points: dict[str, int] = field(default_factory=dict)
    """Touch point -> impressions."""
    left_out: dict[str, int] = field(default_factory=dict)
    """The source's own reason -> rows."""
    later: int = 0
    """Events that wait for a later night."""
    rejected: list[str] = field(default_factory=list)
    """What was not used, for each table, with reasons and examples."""
    alike: dict[str, list[str]] = field(default_factory=dict)
    """Column -> spellings that differ only in capitals or blanks."""
    stops: list[str] = field(default_factory=list)
    """Why a night would be stopped."""


def check_source(lake: Lake, config: IngestConfig, as_of: date | None, today: date, progress: Progress) -> SourceCheck:
    """Read the raw files as a first night's ingest does, with `lake` as a scratch folder, and measure what comes out.

    Without a night (`as_of`) every file and row up to `today` is read.
    """
    source, raw = config.source, config.raw
    found = SourceCheck(source, raw, as_of or today, as_of is not None)
    with _stopping(found):
        parsed = read_source(source)
        every = list_raw_files(raw, parsed).named_by(parsed)
    if found.stops:
        return found
    if as_of is None:
        found.as_of = _after_all(parsed, every, today)
    folder = every.of_night(found.as_of)
    found.not_read = told_files(folder.not_read)
    run = Run(found.as_of, "check", datetime(1970, 1, 1, tzinfo=UTC), progress)
    must_have_last = False
    with _stopping(found):
        dated, may_be_empty = check_files(folder, parsed, found.as_of, config.allow_empty_day)
        must_have_last = dated and not may_be_empty
    rows = _validated(lake, run, parsed, folder.files, found)
    if rows is not None:
        _measure(rows, found)
        unread = {file.day for file in folder.files if file not in found.files}
        if must_have_last and found.facts and run.as_of - timedelta(days=1) not in unread:
            with _stopping(found):
                check_last_day(rows)
    return found


@contextmanager
def _stopping(found: SourceCheck) -> Iterator[None]:
    """An error that would stop a night is one of its reasons, and the check goes on."""
    try:
        yield
    except UserError as error:
        if str(error) not in found.stops:
            found.stops.append(str(error))


def _after_all(source: Source, folder: RawFolder, today: date) -> date:
    """A night that reads every file and row: the day after the last file, or after today if files have no day."""
    days = [file.day for file in read_by(source.statements[EVENTS.name], folder.files)]
    dated = [day for day in days if day]
    return max(dated) + timedelta(days=1) if dated and len(dated) == len(days) else today + timedelta(days=1)


def _validated(lake: Lake, run: Run, source: Source, files: list[RawFile], found: SourceCheck) -> ValidatedRows | None:
    """The rows, or those of the events alone where another SELECT fails; every failure is in `found.stops`."""
    rows = ValidatedRows(lake, run, source, files, files, lake.root / "all")
    try:
        rows.staged.stage(files)
    except UserError:
        parts = [StagedFiles(lake, run, source, lake.root / f"part_{place}") for place in range(len(files))]
        files = [file for file, part in zip(files, parts, strict=True) if _is_read(part, file, found)]
        rows = ValidatedRows(lake, run, source, files, files, lake.root / "rest")
        rows.staged.stage(files)
    found.files = files
    found.rows = sum(staged.rows for staged in rows.staged.of(files))
    if not files:
        return None
    of_events = read_by(source.statements[EVENTS.name], files)
    dated = all(file.day for file in of_events)
    for part in (source, replace(source, statements={EVENTS.name: source.statements[EVENTS.name]})):
        rows.source = part
        with _stopping(found):
            rows.validate_all(dated)
            return rows
    return None


def _is_read(staged: StagedFiles, file: RawFile, found: SourceCheck) -> bool:
    with _stopping(found):
        staged.stage([file])
        return True
    return False


def _measure(rows: ValidatedRows, found: SourceCheck) -> None:
    found.stops += excessive_rejections(rows)
    for (_, reason, expected), count in rows.counts.items():
        if reason and expected:
            name = reason.removeprefix("excluded: ")
            found.left_out[name] = found.left_out.get(name, 0) + count
    found.later = rows.count(EVENTS, rules.LATER)
    if IMPRESSIONS in rows.tables():
        found.touch_points = _counted(rows.good(IMPRESSIONS), "touch_point")
    for table in rows.tables():
        if faults := rows.faults(table):
            found.rejected.append(f"{table.name}: {summed_up(faults, rows.examples(table))}")
        if unread := summed_up(*rows.unread(table)):
            found.rejected.append(f"{table.name}, kept with null or in part: {unread}")
    if not rows.count(EVENTS, None):
        if not found.stops:  # else it follows from what stops
            found.stops.append(
                f"{found.raw} gives no valid event before {found.as_of}; check the source {found.source}"
            )
        return
    assert rows.events
    events = rows.events.rows.where(F.col("reason").isNull()).cache()
    found.facts = _facts(events)
    found.types = _counted(events, "event_type")
    found.markets = _counted(events, "market")
    found.top_customers = _counted(events, "customer_id")
    found.top_products = _counted(events, "product_id")
    found.alike = {name: spellings for name in ALIKE if (spellings := _alike(events, name))}
    if not found.given:
        found.as_of = found.facts["last"].date() + timedelta(days=1)
    if CATALOGUE.name in rows.source.statements:
        _measure_catalogue(rows.good(CATALOGUE), found)


def _facts(events: DataFrame) -> EventFacts:
    absent = {f"no_{name}": F.array_contains("absent", column) for name, column in _ABSENT.items()}
    flags = absent | {
        "priced": F.col("price").isNotNull(),
        "free": F.col("price") == 0,
        "like_cents": (F.col("price") >= CENTS) & (F.col("price") == F.floor("price")),
        "midnight": F.date_format("event_ts", "HH:mm:ss") == "00:00:00",
    }
    row = (
        events.agg(
            F.count("*").alias("events"),
            F.min("event_ts").alias("first"),
            F.max("event_ts").alias("last"),
            F.countDistinct("event_date").alias("days"),
            F.countDistinct("market").alias("markets"),
            F.countDistinct("basket_id").alias("baskets"),
            F.avg("price").alias("mean_price"),
            *[F.sum(F.when(flag, 1).otherwise(0)).alias(name) for name, flag in flags.items()],
        )
        .toArrow()
        .to_pylist()[0]
    )
    customers = events.groupBy("customer_id").agg(F.min("event_date").alias("a"), F.max("event_date").alias("b"))
    of_customers = customers.agg(
        F.count("*").alias("customers"),
        F.sum(F.when(F.col("a") != F.col("b"), 1).otherwise(0)).alias("returning"),
        F.sum(F.when(F.col("customer_id").endswith(".0"), 1).otherwise(0)).alias("float_customers"),
    )
    of_products = (
        events.select("product_id")
        .distinct()
        .agg(
            F.count("*").alias("products"),
            F.sum(F.when(F.col("product_id").endswith(".0"), 1).otherwise(0)).alias("float_products"),
        )
    )
    facts: EventFacts = row | of_customers.toArrow().to_pylist()[0] | of_products.toArrow().to_pylist()[0]
    return facts


_ABSENT = {"market": "market", "basket": "basket_id", "price": "price"}


def _counted(events: DataFrame, column: str) -> dict[str, int]:
    """The most frequent values of a column."""
    counted = events.groupBy(column).count().orderBy(F.col("count").desc(), column).limit(200)
    return {row[column]: row["count"] for row in counted.toArrow().to_pylist()}


def _alike(rows: DataFrame, column: str) -> list[str]:
    """Spellings of a column that differ only in capitals or blanks."""
    bare = F.lower(F.regexp_replace(column, r"\s+", ""))
    spelled = rows.where(F.col(column).isNotNull()).select(F.col(column).alias("value"), bare.alias("bare")).distinct()
    several = spelled.groupBy("bare").agg(
        F.count("*").alias("n"), F.sort_array(F.collect_list("value")).alias("values")
    )
    first = several.where("n > 1").orderBy("bare").limit(1).toArrow().to_pylist()
    return list(first[0]["values"][:MOST_SHOWN]) if first else []


def _measure_catalogue(products: DataFrame, found: SourceCheck) -> None:
    names = [name for name in rules.CATALOGUE_COLUMNS if name != "name"]
    named = F.sum(F.when(F.col("name") != F.col("product_id"), 1).otherwise(0)).alias("name")
    row = products.agg(*[F.count(name).alias(name) for name in names], named).toArrow().to_pylist()[0]
    found.catalogue = {name: count or 0 for name, count in row.items()}
    for name in ("category", "brand"):
        if spellings := _alike(products, name):
            found.alike[name] = spellings


# --- what looks odd


def odd(found: SourceCheck) -> list[str]:
    """What looks odd about what a source gives, each with what to do; a person decides."""
    facts = found.facts
    if facts is None:
        return []
    return [*_odd_ids(found, facts), *_odd_parts(found, facts), *_odd_times(found, facts)]


GUEST = "a guest account? CASE .. THEN 'guest' END AS excluded leaves it out"
POSTAGE = "postage or a gift card? CASE .. THEN 'postage' END AS excluded leaves it out"


def _odd_ids(found: SourceCheck, facts: EventFacts) -> Iterator[str]:
    customers, products = facts["customers"], facts["products"]
    yield from _odd_share("customer", found.top_customers, facts, (GUEST_SHARE, GUEST))
    yield from _odd_share("product", found.top_products, facts, (PRODUCT_SHARE, POSTAGE))
    for what, count, floats in (
        ("customer", customers, facts["float_customers"]),
        ("product", products, facts["float_products"]),
    ):
        if floats == count:
            yield (
                f"every {what} id ends in .0: a program has made floats of whole numbers; "
                f"regexp_replace({what}_id, '[.]0$', '')"
            )
        elif floats > count / 100:
            yield f"{floats:,} of {count:,} {what} ids end in .0: one {what} may have two ids; make them alike"
    for name, spellings in found.alike.items():
        told = ", ".join(map(_shown, spellings))
        yield f"some spellings of {name} differ only in capitals or blanks: {told}; make them alike"
    share = facts["returning"] / facts["customers"]
    if share < FEW_RETURN and facts["days"] > 1 and facts["customers"] > 1:
        yield (
            f"{f'only {share:.0%} of the customers come' if share else 'no customer comes'} on a second day, as if "
            "each were a session: lists of products can be made, but models hardly compared; is there an id that lasts?"
        )


def _odd_share(what: str, top: dict[str, int], facts: EventFacts, limit: tuple[float, str]) -> Iterator[str]:
    """What to say of the one customer or product with the most events; `limit` is the usual share and the remedy."""
    (name, count), events = next(iter(top.items())), facts["events"]
    if count == events > FEW_EVENTS:
        why = "a column in double quotes is a text (use backticks), or the wrong column was taken"
        yield f"every event has the same {what}, {_shown(name)}: {why}"
    elif count > limit[0] * events and (facts["customers"] if what == "customer" else facts["products"]) > FEW_IDS:
        yield f"the {what} {_shown(name)} has {count / events:.0%} of the events: {limit[1]}"


def _odd_parts(found: SourceCheck, facts: EventFacts) -> Iterator[str]:
    """Optional columns that only a part of the events has."""
    for name, remedy in (
        ("market", "they take that of their basket, else the one with most events; is that right?"),
        ("price", "fine where only purchases have one"),
    ):
        count = facts["no_market"] if name == "market" else facts["no_price"]
        if facts["events"] / 100 < count < facts["events"]:
            yield f"{count / facts['events']:.0%} of the events have no {name} beside others that have one: {remedy}"
    if facts["priced"] and facts["free"] > facts["priced"] / 5:
        yield f"{facts['free'] / facts['priced']:.0%} of the prices are 0"
    if facts["priced"] > FEW_EVENTS and facts["like_cents"] + facts["free"] == facts["priced"] > facts["free"]:
        yield (
            f"every price is a whole number of at least {CENTS}, {facts['mean_price']:,.0f} on average: if they are in "
            "cents, round(try_cast(price AS DOUBLE) / 100, 2)"
        )
    small = [name for name, count in found.markets.items() if count < FEW_EVENTS]
    if facts["events"] > MANY_EVENTS and len(small) * 2 > len(found.markets) > 2:
        yield (
            f"{len(small):,} of the markets have less than {FEW_EVENTS} events: each market gets lists of its own; "
            "merge the small ones"
        )
    if facts["events"] > FEW_EVENTS and facts["baskets"] == 1:
        yield "every event has the same basket: the wrong column, or one in double quotes"
    if facts["events"] > FEW_EVENTS and facts["first"] == facts["last"]:
        yield f"every event is at the same instant, {_instant(facts['first'])}: the wrong column?"
    whole = found.catalogue.get("product_id", 0)
    if whole and not found.catalogue["name"]:
        yield "no product of the catalogue has a name: pages show ids"
    if whole and found.catalogue["product_id"] < facts["products"]:
        yield f"the catalogue has {whole:,} products, less than the {facts['products']:,} with events"


def _odd_times(found: SourceCheck, facts: EventFacts) -> Iterator[str]:
    if found.later:
        yield f"{found.later:,} events are at {found.as_of} or later, and wait for their nights"
    if found.given and (age := (found.as_of - facts["last"].date()).days) > MOST_DAYS_OLD:
        yield f"the newest event is {age:,} days before the night: give the night after it, or newer files"
    if facts["midnight"] == facts["events"] and "click" in found.types:
        yield "every event is at 00:00:00: the order of a day's events is lost; is there a column with the time of day?"
    span = (facts["last"] - facts["first"]).days
    if span > 3 * 365 and facts["days"] < span / 10:
        first = _instant(facts["first"])
        yield f"events are on {facts['days']:,} of {span:,} days since {first}: are the first times right?"


def _shown(value: str) -> str:
    text = clean(value)
    return repr(text if text == value and len(text) <= 40 else (text[:38] + ".." if len(text) > 40 else value))


def _instant(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M}"
