"""Types the rows of a source's SELECTs, and gives each bad row its reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from feature_repo.client import list_ids
from jobs.errors import UserError
from jobs.ingest.text import BROKEN
from jobs.lake.forgotten import LEFT_OUT
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS, OUTFITS, TOUCH_POINTS

EVENT_COLUMNS = tuple(name for name in EVENTS.names if name not in ("event_date", "as_of", "run_id"))
IMPRESSION_COLUMNS = tuple(n for n in IMPRESSIONS.names if n not in ("counted", "as_of", "run_id"))
CATALOGUE_COLUMNS = tuple(name for name in CATALOGUE.names if name not in ("as_of", "run_id"))
EVENT_TYPES = ("click", "save", "bag", "purchase")
REQUIRED = {
    EVENTS.name: ("customer_id", "product_id", "event_type", "event_ts"),
    CATALOGUE.name: ("product_id",),
    AVAILABILITY.name: ("product_id", "market", "available"),
    IMPRESSIONS.name: ("customer_id", "product_id", "shown_at"),
}
OPTIONAL = {
    EVENTS.name: (*(name for name in EVENT_COLUMNS if name not in REQUIRED[EVENTS.name]), "excluded"),
    CATALOGUE.name: (*CATALOGUE_COLUMNS[1:], "updated_at", "excluded"),
    AVAILABILITY.name: ("size", "updated_at"),
    IMPRESSIONS.name: ("list_id", "touch_point", "market", "variant", "owner", "place", "excluded"),
}
"""Columns that a SELECT may leave out; `excluded` is the author's own reason to leave a row out."""
DESCRIBING = ("name", "brand", "category", "department", "colour")
"""Texts about a product, kept with U+FFFD where bytes cannot be read."""
KEYS = {CATALOGUE.name: CATALOGUE.key, AVAILABILITY.name: (*AVAILABILITY.key, "size")}
ONLY_MARKET = "all"
"""Market of the events of a shop that names none."""
LONGEST_ID = 200
LONGEST_LIST = 2_000
CONTROL = "[\\x00-\\x1f\\x7f]"
OLDEST_YEAR = 1990
UNIT, RECORD = "\x1f", "\x1e"
"""Between column and value in `unread`, and between several of them."""

# Reasons of rows that are no faults. The reasons of faults stand beside their conditions below.

LATER = "later"
"""Reason of rows of an undated file that a later night will ingest; they are counted, not rejected."""
KNOWN = "known"
"""Reason of rows that another night has ingested: of an undated file, or of one that was delivered again."""
SUPERSEDED = "superseded"
"""Reason of good rows that a newer good row of the same key replaces; counted, not rejected."""
FORGOTTEN = f"excluded: {LEFT_OUT}"
"""Reason of rows of customers who asked to be forgotten; counted, and kept nowhere."""
NOT_FAULTS = (LATER, KNOWN, SUPERSEDED, FORGOTTEN)


def contract_rows(selected: DataFrame, kind: str, where: str) -> DataFrame:
    """A SELECT's rows as strings, with every column of the contract and `given`, the row as it was.

    Raises UserError naming columns that are missing or not known.
    """
    there = set(selected.columns)
    missing = [name for name in REQUIRED[kind] if name not in there]
    unknown = sorted(there - {*REQUIRED[kind], *OPTIONAL[kind]})
    if missing or unknown:
        raise UserError(
            f"{where}: the SELECT for {kind} must yield {', '.join(REQUIRED[kind])} and may yield "
            f"{', '.join(OPTIONAL[kind])}; it lacks {missing or 'none'} and has unknown {unknown or 'none'}"
        )
    named = [F.col(name).cast("string").alias(name) for name in selected.columns]
    absent = [F.lit(None).cast("string").alias(name) for name in OPTIONAL[kind] if name not in there]
    texts = selected.select(*named)
    return texts.select("*", F.struct(*selected.columns).alias("given"), *absent)


def repeated_ids(rows: DataFrame, kind: str = EVENTS.name) -> DataFrame:
    """`hash` of the ids of events, or of the fields of impressions, that more than one row has."""
    return _repeated(rows, F.xxhash64(_event_id() if kind == EVENTS.name else _impression_fields()))


def repeated_keys(rows: DataFrame, kind: str) -> DataFrame:
    """`hash` of the keys (product, or product and market) that more than one row has."""
    return _repeated(rows, _key(kind))


def _key(kind: str) -> Column:
    # Of the untyped columns: Sail fails where all that it hashes is the same for a whole batch.
    return F.xxhash64(*[F.trim(F.coalesce(F.col(name), F.lit(""))) for name in KEYS[kind]])


def _repeated(rows: DataFrame, key: Column) -> DataFrame:
    """`hash` of the keys that several rows have; collisions add a few more.

    The texts of a first night's keys would fill the memory, their hashes do not.
    """
    hashes = rows.select(key.alias("hash"))
    return hashes.groupBy("hash").count().where(F.col("count") > 1).select("hash")


def validate_events(
    rows: DataFrame,
    as_of: date,
    products: DataFrame | None,
    oldest: date | None,
    late_days: int,
    repeated: DataFrame | None,
) -> DataFrame:
    """Typed events, each validated on its own.

    Adds `reason` (null for a good row), `expected` (true where the source excluded it), `late`, `absent` (the optional
    columns that the row leaves blank), `unread` (column, UNIT and value of what was not used in an optional column) and
    `repeated` (it needs `without_repeats`). `raw` is kept only of rows that are rejected or repeated.

    `products` are the valid product_ids (None: the source has no catalogue), `oldest` the oldest day of the files
    of one day each that are read (None: they have no days). In such a file a time at or after the night is wrong, in
    an undated one its row belongs to a later night; an event before `oldest` is late, at most by `late_days`.
    `repeated` are the `repeated_ids` (None: there are none).
    """
    dated = oldest is not None
    typed = rows.select(
        *[_blank_to_null(name).alias(name) for name in ("customer_id", "product_id", "excluded")],
        _sound("basket_id").alias("basket_id"),
        _event_id().alias("event_id"),
        F.lower(F.trim("event_type")).alias("event_type"),
        _timestamp("event_ts").alias("event_ts"),
        F.coalesce(_sound("market"), F.lit(ONLY_MARKET)).alias("market"),
        F.coalesce(_whole_number("quantity"), F.lit(1)).alias("quantity"),
        _number("price").alias("price"),
        _sound("size").alias("size"),
        F.array_compact(F.array(*[F.when(_is_blank(name), name) for name in OPTIONAL[EVENTS.name][:-1]])).alias(
            "absent"
        ),
        _unread(
            {name: _sound(name) for name in ("event_id", "market", "basket_id", "size")}
            | {"quantity": _whole_number("quantity"), "price": _number("price")}
        ),
        F.to_json("given").alias("raw"),
    ).withColumn("event_date", F.to_date("event_ts"))
    typed = _listed(typed, products)
    midnight = F.lit(as_of).cast("timestamp")
    not_yet = F.when(F.col("event_ts") >= midnight, F.lit("future timestamp" if dated else LATER))
    days_late = F.datediff(F.lit(oldest or date.min), F.col("event_date"))
    too_late = F.when(days_late > late_days, _too_late(late_days))
    validated = typed.withColumn("reason", F.coalesce(_excluded(), _event_fault(), not_yet, too_late))
    validated = _flagged(validated, F.xxhash64("event_id"), repeated)
    return validated.select(
        *EVENT_COLUMNS,
        "event_date",
        F.when(F.col("reason").isNotNull() | F.col("repeated"), F.col("raw")).alias("raw"),
        "reason",
        F.col("excluded").isNotNull().alias("expected"),
        F.coalesce(days_late > 0, F.lit(False)).alias("late"),
        "absent",
        "unread",
        "repeated",
    )


def _event_fault() -> Column:
    """Only what a row cannot do without rejects it."""
    return F.coalesce(
        *_fault_of_ids(),
        F.when(~F.col("event_type").isin(*EVENT_TYPES) | F.col("event_type").isNull(), "unknown event type"),
        *_fault_of_time("event_ts"),
        F.when(F.col("listed_id").isNull(), "unknown product"),
        # These can be read, and say that the row is a return or a correction.
        F.when(F.col("quantity") < 1, "quantity below 1"),
        F.when(F.col("price") < 0, "negative price"),
    )


def _listed(typed: DataFrame, products: DataFrame | None) -> DataFrame:
    """`listed_id`: the product where it is one of `products` (None: every product is)."""
    if products is None:
        return typed.withColumn("listed_id", F.col("product_id"))
    listed = products.select(F.col("product_id").alias("listed_id"))
    return typed.join(listed, typed["product_id"] == listed["listed_id"], "left")


def _fault_of_ids() -> list[Column]:
    return [
        F.when(F.col("customer_id").isNull(), "missing customer"),
        F.when(F.col("product_id").isNull(), "missing product"),
        *[_id_fault(name) for name in ("customer_id", "product_id")],
    ]


def _fault_of_time(name: str) -> list[Column]:
    return [
        F.when(F.col(name).isNull(), "unparseable timestamp"),
        F.when(F.year(name) < OLDEST_YEAR, f"timestamp before {OLDEST_YEAR}"),
    ]


def _too_late(late_days: int) -> str:
    return f"more than {late_days} days late"


def main_market(events: DataFrame) -> str | None:
    """The market with most events, of several the first; None where there is no event."""
    counted = events.groupBy("market").count().orderBy(F.col("count").desc(), "market").limit(1)
    found = counted.toArrow()["market"].to_pylist()
    return str(found[0]) if found else None


def with_markets(events: DataFrame, none: Column, own: DataFrame, main: str) -> DataFrame:
    """Give the events where `none` is true the market that others of their basket have, else `main`; `own` are events
    with a market.
    """
    baskets = own.where(F.col("basket_id").isNotNull()).groupBy("customer_id", "basket_id")
    known = baskets.agg(F.min("market").alias("of_basket")).select(
        F.col("customer_id").alias("its_customer"), F.col("basket_id").alias("its_basket"), "of_basket"
    )
    same = (F.col("customer_id") == F.col("its_customer")) & (F.col("basket_id") == F.col("its_basket"))
    market = F.when(none, F.coalesce("of_basket", F.lit(main))).otherwise(F.col("market"))
    joined = events.join(known, same, "left")
    return joined.select(*[market.alias(name) if name == "market" else name for name in events.columns])


def without_repeats(validated: DataFrame, kind: str = EVENTS.name) -> DataFrame:
    """Give a reason to every good event, or impression, whose id an earlier row has; only rows that are `repeated` can
    have one.
    """
    id, at, reason = ("event_id", "event_ts", "duplicate event")
    if kind == IMPRESSIONS.name:
        id, at, reason = ("impression_id", "shown_at", "duplicate impression")
    first = Window.partitionBy(id).orderBy(F.col("reason").isNotNull(), at, "raw")
    return (
        validated.withColumn("copy", F.row_number().over(first))
        .withColumn("reason", F.coalesce("reason", F.when(F.col("copy") > 1, reason)))
        .drop("copy")
    )


def validate_impressions(
    rows: DataFrame,
    as_of: date,
    products: DataFrame | None,
    oldest: date | None,
    late_days: int,
    repeated: DataFrame | None,
) -> DataFrame:
    """Typed impressions; arguments and further columns are those of `validate_events`, without `late` and `absent`.

    What a readable list_id says goes before the columns of its row.
    """
    # In a projection of its own: each part is used several times, and read once.
    rows = rows.select("*", *(part.alias(f"of_{name}") for name, part in _parts_of_list().items()))
    place = F.when(_whole_number("place") >= 1, _whole_number("place"))
    read = {name: _sound(name) for name in ("market", "variant", "owner")}
    named = F.coalesce(_named(F.col("of_place"), list_ids.PLACES), F.lower(_blank_to_null("touch_point")))
    typed = rows.select(
        *[_blank_to_null(name).alias(name) for name in ("customer_id", "product_id", "excluded")],
        F.substring(F.sha2(_impression_fields(), 256), 1, 24).alias("impression_id"),
        F.xxhash64(_impression_fields()).alias("hash"),
        named.alias("touch_point"),
        *[F.coalesce(F.col(f"of_{name}"), value).alias(name) for name, value in read.items()],
        F.when(F.col("of_place").isNotNull(), F.trim("list_id")).alias("list_id"),
        place.alias("place"),
        _timestamp("shown_at").alias("shown_at"),
        _unread({"list_id": F.col("of_place")} | read | {"place": place}),
        "given",
    ).withColumn("shown_date", F.to_date("shown_at"))
    typed = _listed(typed, products)
    midnight = F.lit(as_of).cast("timestamp")
    not_yet = F.when(F.col("shown_at") >= midnight, F.lit("future timestamp" if oldest else LATER))
    too_late = F.when(F.datediff(F.lit(oldest or date.min), F.col("shown_date")) > late_days, _too_late(late_days))
    fault = F.coalesce(
        *_fault_of_ids(),
        F.when(F.col("touch_point").isNull(), "missing touch point"),
        F.when(~F.col("touch_point").isin(*[table.name for table in (*TOUCH_POINTS, OUTFITS)]), "unknown touch point"),
        *_fault_of_time("shown_at"),
        F.when(F.col("listed_id").isNull(), "unknown product"),
    )
    validated = typed.withColumn("reason", F.coalesce(_excluded(), fault, not_yet, too_late))
    return _flagged(validated, F.col("hash"), repeated).select(
        *IMPRESSION_COLUMNS,
        F.when(F.col("reason").isNotNull() | F.col("repeated"), F.to_json("given")).alias("raw"),
        "reason",
        F.col("excluded").isNotNull().alias("expected"),
        "unread",
        "repeated",
    )


def busy_customers(impressions: DataFrame, most_a_minute: int, most_a_day: int) -> DataFrame:
    """(busy_id, busy_date) of customers with more impressions in a minute or on a day than any person sees."""
    minutes = impressions.groupBy(
        "customer_id", "shown_date", F.date_trunc("MINUTE", F.col("shown_at")).alias("minute")
    )
    days = minutes.count().groupBy("customer_id", "shown_date")
    busy = days.agg(F.max("count").alias("most"), F.sum("count").alias("all"))
    return busy.where((F.col("most") > most_a_minute) | (F.col("all") > most_a_day)).select(
        F.col("customer_id").alias("busy_id"), F.col("shown_date").alias("busy_date")
    )


def validate_catalogue(rows: DataFrame, repeated: DataFrame | None) -> DataFrame:
    """Typed products, with `raw` of rejected rows, `reason`, `expected`, `unread` and `repeated`: whether the row needs
    `without_superseded`, for which it then has `updated_at` and `given`.

    `repeated` are the `repeated_keys` (None: there are none).
    """
    texts = ("product_id", *DESCRIBING, "currency", "image_url", "excluded")
    price = F.when(_number("price") >= 0, _number("price"))
    launched, updated = _timestamp("launched_at"), _timestamp("updated_at")
    typed = rows.select(
        *[_blank_to_null(name).alias(name) for name in texts],
        price.alias("price"),
        F.to_date(launched).alias("launched_at"),
        updated.alias("updated_at"),
        _unread({"price": price, "launched_at": launched, "updated_at": updated}),
        _key(CATALOGUE.name).alias("hash"),
        "given",
    )
    fault = F.coalesce(F.when(F.col("product_id").isNull(), "missing product"), _id_fault("product_id"))
    validated = typed.withColumn("reason", F.coalesce(_excluded(), fault))
    return _state(
        _flagged(validated, F.col("hash"), repeated),
        *(name for name in CATALOGUE_COLUMNS if name != "name"),
        F.coalesce("name", "product_id").alias("name"),
        F.col("excluded").isNotNull().alias("expected"),
    )


def validate_availability(rows: DataFrame, products: DataFrame, repeated: DataFrame | None) -> DataFrame:
    """Typed pairs of product and market, or their sizes, with what `validate_catalogue` has beside them."""
    updated = _timestamp("updated_at")
    typed = rows.select(
        *[_blank_to_null(name).alias(name) for name in ("product_id", "market")],
        _sound("size").alias("size"),
        _boolean("available").alias("available"),
        updated.alias("updated_at"),
        _unread({"size": _sound("size"), "updated_at": updated}),
        _key(AVAILABILITY.name).alias("hash"),
        "given",
    )
    listed = products.select(F.col("product_id").alias("listed_id"))
    joined = typed.join(listed, typed["product_id"] == listed["listed_id"], "left")
    fault = F.coalesce(
        F.when(F.col("product_id").isNull(), "missing product"),
        F.when(F.col("market").isNull(), "missing market"),
        _id_fault("market"),
        F.when(F.col("listed_id").isNull(), "unknown product"),
        F.when(F.col("available").isNull(), "availability is neither true nor false"),
    )
    return _state(
        _flagged(joined.withColumn("reason", fault), F.col("hash"), repeated),
        *KEYS[AVAILABILITY.name],
        "available",
        F.lit(False).alias("expected"),
    )


def pairs_with_sizes(rows: DataFrame) -> DataFrame:
    """Good rows of availability as rows of the table: those of the sizes of a product in a market are one.

    A row without a size counts where no row of its product and market has one.
    """
    given = rows.schema["given"].dataType
    assert isinstance(given, StructType)
    arrays = ("sizes", "sizes_made")
    if "size" not in given.names:
        nothing = F.lit(None).cast("array<string>")
        return rows.select(*AVAILABILITY.key, "available", *[nothing.alias(name) for name in arrays])
    there, sized = F.col("available").cast("int"), F.col("size").isNotNull()
    whole = rows.groupBy(*AVAILABILITY.key).agg(
        F.coalesce(F.max(F.when(sized, there)), F.max(there)).cast("boolean").alias("available"),
        F.array_sort(F.collect_set(F.when(F.col("available"), F.col("size")))).alias("sizes"),
        F.array_sort(F.collect_set("size")).alias("sizes_made"),
    )
    known = F.size("sizes_made") > 0
    return whole.select(*AVAILABILITY.key, "available", *[F.when(known, F.col(name)).alias(name) for name in arrays])


def _flagged(validated: DataFrame, key: Column, repeated: DataFrame | None) -> DataFrame:
    """`repeated`: whether several rows have the key; all are false without hashes of repeated ones."""
    if repeated is None:
        return validated.withColumn("repeated", F.lit(False))
    found = F.broadcast(repeated.withColumnRenamed("hash", "repeated_hash"))
    # From the right: Sail holds the left side of a join in memory.
    joined = found.join(validated.withColumn("key_hash", key), F.col("key_hash") == F.col("repeated_hash"), "right")
    return joined.withColumn("repeated", F.col("repeated_hash").isNotNull()).drop("repeated_hash", "key_hash")


def _state(validated: DataFrame, *columns: Column | str) -> DataFrame:
    """The columns of a validated state (product, or product in a market) with what `without_superseded` needs."""
    return validated.select(
        *columns,
        F.when(F.col("reason").isNotNull(), F.to_json("given")).alias("raw"),
        "reason",
        "unread",
        F.when(F.col("repeated"), F.col("updated_at")).alias("updated_at"),
        F.when(F.col("repeated"), F.col("given")).alias("given"),
        "repeated",
    )


def without_superseded(validated: DataFrame, kind: str) -> DataFrame:
    """Give SUPERSEDED to every good row of a key but the newest; only rows that are `repeated` can have one."""
    given = validated.schema["given"].dataType
    assert isinstance(given, StructType)
    # Rows of one instant are told apart by their other values, so that every run keeps the same one.
    others = [F.col("given")[name].desc_nulls_last() for name in given.names if name not in (*KEYS[kind], "updated_at")]
    newest = Window.partitionBy(*KEYS[kind]).orderBy(
        F.col("reason").isNotNull(), F.col("updated_at").desc_nulls_last(), *others
    )
    superseded = F.when(F.row_number().over(newest) > 1, SUPERSEDED)
    return (
        validated.withColumn("superseded", superseded)
        .withColumn("reason", F.coalesce("reason", "superseded"))
        .drop("superseded")
    )


def _parts_of_list() -> dict[str, Column]:
    """place (its code), market, variant and owner of a list_id; null where there is none or it is no such name."""
    text = F.trim("list_id")
    code, *parts = (F.split_part(text, F.lit("."), F.lit(place)) for place in (2, 3, 4, 5))
    texts = [
        F.when(part.contains("~"), F.try_url_decode(F.translate(part, "~", "%"))).otherwise(part) for part in parts
    ]
    sound = text.rlike(list_ids.FORM) & (F.length(text) <= LONGEST_LIST)
    for part in texts:
        sound &= part.isNotNull() & ~part.contains(BROKEN) & ~part.rlike(CONTROL) & (F.length(part) <= LONGEST_ID)
    named = zip(("place", "market", "variant", "owner"), (code, *texts), strict=True)
    return {name: F.when(sound, F.nullif(part, F.lit(""))) for name, part in named}


def _named(code: Column, names: Mapping[str, str]) -> Column:
    return F.coalesce(*[F.when(code == one, name) for one, name in names.items()])


def _excluded() -> Column:
    return F.when(F.col("excluded").isNotNull(), F.concat(F.lit("excluded: "), F.col("excluded")))


def _id_fault(name: str) -> Column:
    value = F.col(name)
    return F.coalesce(
        F.when(value.contains(BROKEN), f"broken encoding in {name}"),
        F.when((F.length(value) > LONGEST_ID) | value.rlike(CONTROL), f"malformed {name}"),
    )


def _number(name: str) -> Column:
    """A finite number."""
    # Without the guard Spark, but not Sail, reads Java's literals: 1.5d, 0x1p3.
    number = F.when(F.trim(name).rlike("^[-+]?[0-9.]+([eE][-+]?[0-9]+)?$"), F.expr(f"try_cast({name} AS DOUBLE)"))
    return F.when(F.abs(number) < float("inf"), number)


def _whole_number(name: str) -> Column:
    """A whole number, which programs may write with decimals: 2.0."""
    return F.expr(f"try_cast(regexp_extract(trim({name}), '^([-+]?[0-9]+)([.]0*)?$', 1) AS BIGINT)")


def _sound(name: str) -> Column:
    """The id of an optional column; null where it is blank or no id."""
    return F.when(_id_fault(name).isNull(), _blank_to_null(name))


def _unread(read: dict[str, Column]) -> Column:
    """`unread`: column and value of each optional column whose value is not blank but cannot be used; mostly null."""
    values = [
        F.when(
            value.isNull() & ~_is_blank(name),
            F.concat(F.lit(name + UNIT), F.substring(F.translate(F.trim(name), UNIT + RECORD, ""), 1, 80)),
        )
        for name, value in read.items()
    ]
    if len(values) == 1:
        return values[0].alias("unread")
    return F.nullif(F.concat_ws(RECORD, *values), F.lit("")).alias("unread")


def _boolean(name: str) -> Column:
    # The words of Spark's cast; Sail's also takes `on`, `off` and beginnings of words.
    word = F.lower(F.trim(F.col(name)))
    return F.when(word.isin("true", "t", "yes", "y", "1"), F.lit(True)).when(
        word.isin("false", "f", "no", "n", "0"), F.lit(False)
    )


def _is_blank(name: str) -> Column:
    return F.col(name).isNull() | (F.trim(F.col(name)) == "")


def _blank_to_null(name: str) -> Column:
    return F.when(~_is_blank(name), F.trim(F.col(name)))


def _timestamp(name: str) -> Column:
    # Without the guard a bare time of day would read as today's.
    return F.when(
        F.trim(F.col(name)).rlike("^[0-9]{4}-[0-9]{2}-[0-9]{2}"), F.expr(f"try_cast(trim({name}) AS TIMESTAMP)")
    )


def _event_id() -> Column:
    return F.coalesce(_sound("event_id"), _content_id())


def _impression_fields() -> Column:
    names = ("customer_id", "product_id", "shown_at", *OPTIONAL[IMPRESSIONS.name][:-1])
    return F.concat_ws("\x1f", *[F.coalesce(F.col(name), F.lit("\x1e")) for name in names])


def _content_id() -> Column:
    """The id of an event whose source gives none: equal rows are one event."""
    names = [name for name in EVENT_COLUMNS if name not in ("event_id", "size")]
    values = [F.coalesce(F.col(name), F.lit("\x1e")) for name in names]
    # A size that is not known leaves the ids as they were before sizes were read.
    return F.sha2(F.concat_ws("\x1f", *values, _blank_to_null("size")), 256)
