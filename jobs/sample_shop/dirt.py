"""Rows that a real drop zone would hold and that the ingest must survive, added in known numbers."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from jobs.sample_shop.draws import Stream, generator
from jobs.sample_shop.world import MOJIBAKE, SCRIPT

BROKEN = "\ue000"
"""Stands for BROKEN_BYTES until the file is encoded: text cannot hold them."""
BROKEN_BYTES = b"\xff\xfe"

EVENT_DIRT = {
    "unknown_product": "product_id is in no product file",
    "missing_customer": "customer_id is empty",
    "future_timestamp": "event_ts is about ten years after the file's day",
    "duplicate_event": "the row before it once more, with the same event_id",
    "negative_price": "price is below zero",
    "unknown_event_type": "event_type is none of click, save, bag, purchase",
    "unparseable_timestamp": "event_ts is no timestamp",
    "invalid_utf8_customer": "customer_id holds the bytes ff fe",
    "empty_product": "product_id is empty",
}
"""Rows added to the event files. Each is a copy of the clean row before it, which stays, with this one fault."""
PRODUCT_DIRT = {
    "product_empty_id": "product_id is empty",
    "product_negative_price": "price is below zero; a product_id of its own (D..) that nothing else uses",
    "product_invalid_utf8": "name holds the bytes ff fe; a product_id of its own (D..) that nothing else uses",
}
"""Rows added to the product files."""
ODD_NAMES = {
    "odd_name_script": f"name holds {SCRIPT}; valid, whoever shows it must escape it",
    "odd_name_mojibake": f"name holds {MOJIBAKE}; valid, UTF-8 text that was decoded wrongly upstream",
}
"""Valid rows of the product files, counted but not to be rejected."""

UNPARSEABLE = ("not-a-time", "2026-13-45T99:99:99Z", "yesterday evening", "05.01.26 / 13h45")
DISTANT = timedelta(days=3_650)
UPDATED = "T04:00:00.000Z"


def with_event_dirt(clean: pl.DataFrame, day: int, when: date, share: float, seed: int) -> pl.DataFrame:
    """Rows of one event file, as strings and numbers, from `events_of`; a column `dirt` names the fault or is null.

    Faults take turns, so that a shop of some weeks has all of them however few a day has.
    """
    rng = generator(seed, Stream.DIRT, day)
    wanted = max(1, round(clean.height * share)) if share else 0
    copies = np.sort(rng.choice(clean.height, min(wanted, clean.height), replace=False))
    faults = pl.Series("dirt", list(EVENT_DIRT), dtype=pl.String).gather(
        (np.arange(len(copies)) + day) % len(EVENT_DIRT)
    )
    numbered = clean.with_row_index("row")
    dirty = numbered[copies].with_columns(faults)
    rows = pl.concat([numbered.with_columns(pl.lit(None, pl.String).alias("dirt")), dirty])
    rows = rows.sort("row", maintain_order=True)  # a copy comes right after its source
    midnight = datetime(when.year, when.month, when.day)
    number = (pl.col("dirt").is_null() | (pl.col("dirt") != "duplicate_event")).cum_sum()
    moment = pl.lit(midnight).cast(pl.Datetime("ms")) + pl.duration(milliseconds=pl.col("ms"))
    later = moment + pl.when(pl.col("dirt") == "future_timestamp").then(pl.lit(DISTANT)).otherwise(pl.lit(timedelta(0)))
    return rows.select(
        pl.format("{}-{}", pl.lit(when.isoformat()), number.cast(pl.String).str.zfill(8)).alias("event_id"),
        _fault("missing_customer", None, _fault("invalid_utf8_customer", f"C{BROKEN}1", pl.col("customer_id"))),
        _fault("empty_product", None, _fault("unknown_product", "P-gone", pl.col("product_id"))),
        _fault("unknown_event_type", "hover", pl.col("event_type")),
        _fault(
            "unparseable_timestamp",
            UNPARSEABLE[day % len(UNPARSEABLE)],
            later.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").alias("event_ts"),
        ),
        "market", "basket_id", "quantity",
        _fault("negative_price", -1.0, pl.col("price")),
        "dirt",
    )  # fmt: skip


def _fault(name: str, value: str | float | None, otherwise: pl.Expr) -> pl.Expr:
    column = otherwise.meta.output_name()
    return pl.when(pl.col("dirt") == name).then(pl.lit(value)).otherwise(otherwise).alias(column)


def with_product_dirt(clean: pl.DataFrame, day: int, share: float, seed: int) -> pl.DataFrame:
    """Rows of one product file; a column `dirt` names the fault, or what is odd about the name, or is null."""
    odd = (
        pl.when(pl.col("name").str.contains(SCRIPT, literal=True)).then(pl.lit("odd_name_script"))
        .when(pl.col("name").str.contains(MOJIBAKE, literal=True)).then(pl.lit("odd_name_mojibake"))
    )  # fmt: skip
    rows = clean.with_columns(odd.cast(pl.String).alias("dirt"))
    rng = generator(seed, Stream.DIRT, day + 1_000_000)
    least = len(PRODUCT_DIRT) if day == 0 and share else 0
    copies = np.sort(rng.integers(0, max(clean.height, 1), max(least, int(rng.poisson(clean.height * share)))))
    if not len(copies):
        return rows
    turns = (np.arange(len(copies)) + day) % len(PRODUCT_DIRT)
    own = [f"D{day:04d}{i:05d}" for i in range(len(copies))]
    dirty = clean[copies].with_columns(
        pl.Series("dirt", list(PRODUCT_DIRT)).gather(turns), pl.Series("product_id", own)
    )  # fmt: skip
    dirty = dirty.with_columns(
        _fault("product_empty_id", None, pl.col("product_id")),
        _fault("product_invalid_utf8", f"Jeans {BROKEN} blue", pl.col("name")),
        _fault("product_negative_price", -5.0, pl.col("price")),
    )
    return pl.concat([rows, dirty])


def count_dirt(rows: pl.DataFrame) -> dict[str, int]:
    """How many rows of each fault."""
    counts = rows.filter(pl.col("dirt").is_not_null()).group_by("dirt").len().sort("dirt")
    return dict(counts.iter_rows())
