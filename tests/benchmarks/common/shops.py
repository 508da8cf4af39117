"""Timestamped data sets as arrays: a shop's customers with their events, or sessions that are given as two files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from jobs.errors import UserError
from models.catalogue import Catalogue
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.common.clicks import Clicks, prefixes_of
from tests.benchmarks.common.problem import IntArray

ATTRIBUTES = ("brand", "category", "department", "colour")


@dataclass(frozen=True)
class Shop:
    """All events of a shop. Products are positions in `ids`."""

    ids: tuple[str, ...]
    """Every product that has an event or a line in the catalogue."""
    sequences: Sequences
    """One history per customer, equal times in the order of the files."""
    baskets: IntArray | None
    """[events], number of the basket; None: events of one time are a basket."""
    catalogue: pl.DataFrame
    """What was said of products and when: product (position), time (seconds), name, price and maybe ATTRIBUTES."""
    split: int
    """The time T in seconds since 1970 UTC: models learn from before it."""
    horizon_days: float
    """Targets are looked for in so many days from T on; the validation window before T is as long."""

    def before(self, time: int) -> Shop:
        """What was known then."""
        keep = self.sequences.times < time
        return replace(
            self,
            sequences=self.sequences.where(keep),
            baskets=None if self.baskets is None else self.baskets[keep],
            catalogue=self.catalogue.filter(pl.col("time") < time),
        )

    def described(self, products: IntArray, time: int) -> Catalogue:
        """Features of `products` as last said before `time`; of one that was not there yet, as first said after it."""
        rows = self.catalogue.sort("time", maintain_order=True).filter(pl.col("product").is_in(products.tolist()))
        then = rows.filter(pl.col("time") < time).unique("product", keep="last", maintain_order=True)
        later = rows.unique("product", keep="first", maintain_order=True).join(then, on="product", how="anti")
        wanted = pl.DataFrame({"product": products})
        found = wanted.join(pl.concat([then, later]), on="product", how="left", maintain_order="left")
        attributes = {name: found[name].to_list() for name in ATTRIBUTES if name in found.columns}
        return Catalogue.of(attributes, found["name"].to_list(), found["price"].to_list())

    def categories(self) -> IntArray | None:
        """[products], number of the category, -1 where there is none; None for a shop without categories."""
        if "category" not in self.catalogue.columns:
            return None
        rows = self.catalogue.drop_nulls("category").unique("product", keep="first", maintain_order=True)
        found = np.full(len(self.ids), -1, dtype=np.int64)
        found[rows["product"].to_numpy()] = rows["category"].rank("dense").to_numpy().astype(np.int64) - 1
        return found


def online_retail(raw: Path, split: date | None) -> Shop:
    """Purchases of known customers, one basket per invoice; T is 2011-11-10 unless given."""
    lines = (
        _csv(raw, "*.csv.gz")
        .with_columns(
            pl.col("Quantity").cast(pl.Int64, strict=False), pl.col("UnitPrice").cast(pl.Float64, strict=False),
            pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s").alias("time"),
        )
        .filter(
            pl.col("CustomerID").str.strip_chars() != "",
            ~pl.col("InvoiceNo").str.starts_with("C"),
            pl.col("Quantity") > 0,
            pl.col("UnitPrice") > 0,
            pl.col("StockCode").str.contains(r"^\d{5}[A-Za-z]*$"),
            pl.col("time").is_not_null(),
        )
        .with_columns(pl.col("time").min().over("InvoiceNo"))
        .unique(["InvoiceNo", "StockCode"], keep="first", maintain_order=True)
        .select(
            pl.col("CustomerID").alias("customer"), pl.col("StockCode").alias("id"), "time",
            pl.lit(EVENT_TYPES.index("purchase"), pl.Int8).alias("event"),
            pl.col("InvoiceNo").rank("dense").cast(pl.Int64).alias("basket"),
            pl.col("Description").str.strip_chars().alias("name"), pl.col("UnitPrice").alias("price"),
        )
    ).collect()  # fmt: skip
    catalogue = lines.select("id", "time", "name", "price")
    return _shop(lines, catalogue, _midnight(split or date(2011, 11, 10)), horizon_days=30)


def sample_shop(raw: Path, split: date | None) -> Shop:
    """The synthetic shop, its dirty rows left out; T is seven days before the end of its files unless given."""
    products = (
        _csv(raw / "products", "*.csv.gz")
        .filter(pl.col("product_id") != "", pl.col("price").cast(pl.Float64, strict=False) >= 0)
        .select(
            pl.col("product_id").alias("id"), _time("updated_at"), "name",
            pl.col("price").cast(pl.Float64), *ATTRIBUTES,
        )
    ).collect()  # fmt: skip
    last = max(date.fromisoformat(path.name[:10]) for path in (raw / "events").glob("*.csv.gz"))
    end = _midnight(last) + SECONDS_PER_DAY
    events = (
        _csv(raw / "events", "*.csv.gz")
        .unique("event_id", keep="first", maintain_order=True)
        .with_columns(_time("event_ts"))
        .filter(
            pl.col("customer_id").str.contains(r"^\w+$"),
            pl.col("product_id").is_in(products["id"].unique().to_list()),
            pl.col("event_type").is_in(EVENT_TYPES),
            pl.col("time") < end,
            pl.col("price").cast(pl.Float64, strict=False).fill_null(0) >= 0,
        )
        .select(
            pl.col("customer_id").alias("customer"), pl.col("product_id").alias("id"), "time",
            pl.col("event_type").replace_strict({name: i for i, name in enumerate(EVENT_TYPES)}, return_dtype=pl.Int8)
            .alias("event"),
        )
    ).collect()  # fmt: skip
    return _shop(events, products, _midnight(split) if split else end - 7 * SECONDS_PER_DAY, horizon_days=7)


def yoochoose(raw: Path) -> Clicks:
    """The given training and test sessions with their times; every prefix of a test session asks for the next click."""
    train, test = (_session_lines(raw / f"{name}.tsv.gz") for name in ("train", "test"))
    vocabulary = Vocabulary.build(train["id"].to_arrow())
    fitted, _ = _sequences(train.with_columns(_index(vocabulary)), order="time")
    later, _ = _sequences(test.with_columns(_index(vocabulary)), order="time")
    prefixes, targets, groups = prefixes_of(later)
    known = prefixes.products >= 0
    return Clicks(vocabulary, fitted, prefixes.where(known), targets, groups, int((~known).sum()))


def _session_lines(path: Path) -> pl.DataFrame:
    rows = pl.scan_csv(_there(path), separator="\t", infer_schema=False)
    seconds = pl.col("Time").cast(pl.Float64).cast(pl.Int64)
    return rows.select(
        pl.col("SessionId").alias("customer"), pl.col("ItemId").alias("id"), seconds.alias("time"),
        pl.lit(0, pl.Int8).alias("event"),
    ).collect()  # fmt: skip


def _shop(events: pl.DataFrame, catalogue: pl.DataFrame, split: int, horizon_days: float) -> Shop:
    vocabulary = Vocabulary.build(pl.concat([events["id"], catalogue["id"]]).to_arrow())
    sequences, baskets = _sequences(events.with_columns(_index(vocabulary)))
    ids = tuple(vocabulary.ids.to_pylist())
    return Shop(ids, sequences, baskets, catalogue.with_columns(_index(vocabulary)).drop("id"), split, horizon_days)


def _index(vocabulary: Vocabulary) -> pl.Expr:
    """Position of `id` in the vocabulary as `product`, -1 where it is not there."""
    positions = {product: place for place, product in enumerate(vocabulary.ids.to_pylist())}
    return pl.col("id").replace_strict(positions, default=-1, return_dtype=pl.Int32).alias("product")


def _sequences(events: pl.DataFrame, order: str = "customer") -> tuple[Sequences, IntArray | None]:
    """Each customer's events by time, rows of one time as they were read; customers by the smallest of `order`."""
    ordered = events.with_columns(pl.col(order).min().over("customer").alias("place"))
    ordered = ordered.sort("place", "customer", "time", maintain_order=True)
    counts = ordered.group_by("customer", maintain_order=True).len()["len"].to_numpy()
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    columns = (ordered[name].to_numpy() for name in ("product", "event", "time"))
    baskets: npt.NDArray[np.int64] | None = ordered["basket"].to_numpy() if "basket" in ordered.columns else None
    return Sequences(offsets, *columns), baskets


def _csv(folder: Path, pattern: str) -> pl.LazyFrame:
    if not any(folder.glob(pattern)):
        raise UserError(f"{folder} holds no {pattern}; give the data set's raw folder with --raw")
    return pl.scan_csv(folder / pattern, infer_schema=False, encoding="utf8-lossy")


def _time(column: str) -> pl.Expr:
    parsed = pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False)
    return parsed.dt.epoch("s").alias("time")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is not there; give the data set's folder with --raw")
    return path


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
