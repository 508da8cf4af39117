"""Measures how customers behave in the sample shop and in public data: the facts that the shop's numbers are set from.

Actions are rows (customer, visit, time, product, category) in order, either looks or purchases; a visit is a session or
a basket, time is in seconds since 1970 or null, category may be null. Where customers are not known over visits, each
visit is a customer. No model takes part: a fact is a count of what people did.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jobs.sample_shop.world import CATEGORIES

DAY = 86_400
WINDOW = 84
"""Facts are of the last days only, so that all sets have equally long histories."""
PAUSE = 1_800
"""Seconds without a look after which a customer's next one opens another visit."""
LAGS = (1, 2, 3, 5)
GAPS = ((0, 1), (1, 3), (3, 7), (7, 14), (14, 28), (28, WINDOW))
"""Days between a visit and the customer's next one: at least the first, less than the second."""
WEARS_OUT = [category.name for category in CATEGORIES if category.lasts]
RECORDED = Path(__file__).parent / "facts.json"
"""The facts of the public sets, measured once, and published figures: for whoever does not have the sets."""

COUNTED = ("products in a visit", "days ")
"""Facts that are counts; those that begin with "same" are multiples of what chance gives, all others are shares."""
Facts = dict[str, float]


def facts_of(actions: pl.DataFrame) -> Facts:
    """All facts that the actions tell, by name; some need times, categories, order or customers who are known."""
    if actions["time"].null_count() == 0:
        recent = actions.filter(pl.col("time") > pl.col("time").max() - WINDOW * DAY)
        actions = recent.sort("customer", "time", maintain_order=True)
    facts = _visits(actions) | _repeats(actions) | _popularity(actions)
    if actions["customer"].n_unique() < actions["visit"].n_unique():
        named = actions.drop_nulls("category")
        facts |= _history(actions) | _returns(actions) | _shared_by_gap(named)
        facts |= _alike_by_gap(named, "category") | _alike_by_gap(actions, "product")
    return facts


def _visits(actions: pl.DataFrame) -> Facts:
    """Lengths of the visits with at least two products: prepared sets have no shorter ones."""
    length = actions.group_by("visit").len().filter(pl.col("len") > 1)["len"]
    at_most = {
        f"products in a visit, {share:.0%} have at most": _number(length.quantile(share)) for share in (0.5, 0.9, 0.99)
    }
    return {"products in a visit, mean": _number(length.mean())} | at_most


def _repeats(actions: pl.DataFrame) -> Facts:
    """How often the next product is one that the same visit has had; baskets have no order and no such product."""
    again = ~pl.struct("visit", "product").is_first_distinct()
    within = actions.select(again.filter(~pl.col("visit").is_first_distinct()).mean()).item()
    if not within:
        return {}
    same = [pl.col("product") == pl.col("product").shift(lag).over("visit") for lag in LAGS]
    lags = actions.select(share.mean().alias(str(lag)) for lag, share in zip(LAGS, same, strict=True)).row(0)
    told = {f"next product is the one {lag} before": share for lag, share in zip(LAGS, lags, strict=True)}
    return {"next product was in the visit": _number(within)} | {
        name: _number(share) for name, share in told.items() if share is not None
    }


def _popularity(actions: pl.DataFrame) -> Facts:
    counts = actions.group_by("product").len()["len"].sort(descending=True)
    most = {share: counts.head(max(1, round(len(counts) * share))) for share in (0.01, 0.1)}
    return {f"share of the top {share:.0%} of products": int(top.sum()) / actions.height for share, top in most.items()}


def _history(actions: pl.DataFrame) -> Facts:
    """How often the next product is in the customer's history."""
    known = ~pl.struct("customer", "product").is_first_distinct()
    ever = actions.select(known.filter(~pl.col("customer").is_first_distinct()).mean()).item()
    earlier = actions.with_columns(
        (pl.col("visit").first().over("customer", "product") != pl.col("visit")).alias("known"),
        pl.col("visit").is_first_distinct().alias("opens"),
    ).filter(pl.col("visit") != pl.col("visit").first().over("customer"))
    wears = pl.col("category").is_in(WEARS_OUT)
    parts = {
        "a later visit's products known from earlier ones": earlier,
        "- of its first products": earlier.filter("opens"),
        "- of what wears out": earlier.filter(wears),
        "- of other products": earlier.filter(~wears & wears.any()),
    }
    shares = {name: _number(rows["known"].mean()) for name, rows in parts.items() if rows.height}
    return {"next product is in the history": _number(ever)} | shares


def _visit_list(actions: pl.DataFrame) -> pl.DataFrame:
    """One row a visit, by customer and time: visit, size, last (the one before or null), last_size, gap (in days)."""
    visits = actions.group_by("visit").agg(
        pl.col("customer").first(), pl.len().alias("size"), begins=pl.col("time").min(), ends=pl.col("time").max()
    )
    return visits.sort("customer", "begins", "visit").with_columns(
        pl.col("visit").shift(1).over("customer").alias("last"),
        pl.col("size").shift(1).over("customer").alias("last_size"),
        ((pl.col("begins") - pl.col("ends").shift(1).over("customer")) / DAY).alias("gap"),
    )


def _returns(actions: pl.DataFrame) -> Facts:
    visits = _visit_list(actions)
    gaps = visits["gap"].drop_nulls()
    return {
        "days to the next visit, median": _number(gaps.median()),
        "next visit is within 7 days": _number((gaps <= 7).mean()),
        "customers with one visit": _number((visits.group_by("customer").len()["len"] == 1).mean()),
    }


def _shared_by_gap(actions: pl.DataFrame) -> Facts:
    """How many visits have a category of the customer's last one, by the gap between them: more if visits are long."""
    return {
        f"next visit has a category of the last, {when}": _number((pairs["agree"] > 0).mean())
        for when, pairs in _pairs_by_gap(actions, "category").items()
    }


def _alike_by_gap(actions: pl.DataFrame, column: str) -> Facts:
    """How likely an action of a visit and one of the customer's last visit agree, by the gap between the visits.

    In multiples of how likely two actions of anybody agree: so it does not depend on how long visits are.
    """
    share = actions.group_by(column).len()["len"] / actions.height
    chance = float((share * share).sum())
    return {
        f"same {column} as the last visit, {when}": _number(pairs["agree"].mean()) / chance
        for when, pairs in _pairs_by_gap(actions, column).items()
    }


def _pairs_by_gap(actions: pl.DataFrame, column: str) -> dict[str, pl.DataFrame]:
    """The visits after each of GAPS that occurs: agree, the share of pairs of their actions with an equal `column`."""
    counts = actions.group_by("visit", column).len("n")
    before = counts.rename({"visit": "last", "n": "last_n"})
    visits = _visit_list(actions).drop_nulls("last")
    both = visits.join(counts, on="visit").join(before, on=["last", column], how="left")
    agree = (pl.col("n") * pl.col("last_n")).sum() / (pl.col("size") * pl.col("last_size")).first()
    pairs = both.group_by("visit").agg(agree.alias("agree"), pl.col("gap").first())
    found = {
        f"after {more}-{most} days": pairs.filter(pl.col("gap").is_between(more, most, closed="left"))
        for more, most in GAPS
    }
    return {when: rows for when, rows in found.items() if rows.height}


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def table(columns: dict[str, Facts]) -> list[str]:
    """Lines of text: a row a fact, a column a set; "-" where the set cannot tell."""
    names = list(dict.fromkeys(name for facts in columns.values() for name in facts))
    first, widths = max(map(len, names)), [max(len(name), 6) + 2 for name in columns]

    def line(label: str, texts: Iterable[str]) -> str:
        return f"{label:<{first}}" + "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))

    rows = [line(name, (_text(name, facts.get(name)) for facts in columns.values())) for name in names]
    return [line("", columns), *rows]


def _text(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.startswith(COUNTED):
        return f"{value:.1f}"
    return f"{value:.1f} x" if name.startswith("same ") else f"{value:.1%}"


# The sets: the generated shop, and public data where it is at hand.


def shop_actions(raw: Path) -> dict[str, pl.DataFrame]:
    """What the customers of a sample shop's raw files looked at and what they bought."""
    told = pl.scan_csv(raw / "products" / "*.csv.gz", infer_schema=False, encoding="utf8-lossy")
    category = told.select("product_id", "category").drop_nulls().unique("product_id", keep="last")
    time = pl.col("event_ts").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False).dt.epoch("s")
    events = (
        pl.scan_csv(raw / "events" / "*.csv.gz", infer_schema=False, encoding="utf8-lossy", include_file_paths="file")
        .filter(
            pl.col("customer_id").str.contains(r"^C\d+$"),
            pl.col("event_type").is_in(["click", "purchase"]),
            pl.col("price").cast(pl.Float64).fill_null(0) >= 0,
            pl.col("file").str.contains(pl.col("event_ts").str.head(10), literal=True),
        )
        .unique("event_id", keep="first")
        .select(
            "event_type",
            "basket_id",
            pl.col("customer_id").alias("customer"),
            time.alias("time"),
            pl.col("product_id").alias("product"),
            pl.col("event_id"),
        )
        .join(category, left_on="product", right_on="product_id")
        .collect()
        .sort("customer", "time", "event_id")
    )
    looks = events.filter(pl.col("event_type") == "click")
    opens = (pl.col("time").diff() > PAUSE) | (pl.col("customer") != pl.col("customer").shift(1))
    looks = looks.with_columns(opens.fill_null(value=True).cum_sum().alias("visit"))
    bought = events.filter(pl.col("event_type") == "purchase").rename({"basket_id": "visit"})
    return {"shop, looks": looks.select(COLUMNS), "shop, bought": bought.select(COLUMNS)}


def _online_retail(folder: Path) -> pl.DataFrame:
    """Invoices; the last word of a product's name stands for its category."""
    lines = pl.scan_csv(folder / "raw" / "*.csv.gz", infer_schema=False, encoding="utf8-lossy")
    word = pl.col("Description").str.strip_chars().str.extract(r"([A-Z\-']+)$")
    return (
        lines.filter(
            ~pl.col("InvoiceNo").str.starts_with("C"),
            pl.col("StockCode").str.contains(r"^[0-9]{5}[A-Za-z]*$"),
            pl.col("Quantity").cast(pl.Int64) > 0,
            pl.col("CustomerID").str.strip_chars().str.len_chars() > 0,
        )
        .unique(["InvoiceNo", "StockCode"], keep="first", maintain_order=True)
        .select(
            pl.col("CustomerID").alias("customer"),
            pl.col("InvoiceNo").alias("visit"),
            pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S").dt.epoch("s").alias("time"),
            pl.col("StockCode").alias("product"),
            word.drop_nulls().mode().sort().first().over("StockCode").alias("category"),
        )
        .collect()
    )


def _yoochoose(folder: Path) -> pl.DataFrame:
    parts = [pl.read_csv(folder / f"{part}.tsv.gz", separator="\t") for part in ("train", "test")]
    session = pl.col("SessionId")
    return pl.concat(parts).select(
        session.alias("customer"),
        session.alias("visit"),
        pl.col("Time").alias("time"),
        pl.col("ItemId").alias("product"),
        NO_CATEGORY,
    )


def _diginetica(folder: Path) -> pl.DataFrame:
    with gzip.open(folder / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        sessions = [json.loads(line)["items"] for line in file]
    clicks = pl.DataFrame({"product": sessions}).with_row_index("visit").explode("product")
    time = pl.lit(None, pl.Int64).alias("time")
    return clicks.select(pl.col("visit").alias("customer"), "visit", time, "product", NO_CATEGORY)


COLUMNS = ["customer", "visit", "time", "product", "category"]
NO_CATEGORY = pl.lit(None, pl.String).alias("category")
PUBLIC: dict[str, Callable[[Path], pl.DataFrame]] = {
    "yoochoose": _yoochoose,
    "diginetica": _diginetica,
    "online_retail": _online_retail,
}
"""Readers of the public sets, by the names of their folders; yoochoose and diginetica are looks, the last is bought."""


def public_facts(folder: Path) -> dict[str, Facts]:
    """Facts of each public set that lies below the folder, by name."""
    return {name: facts_of(read(folder / name)) for name, read in PUBLIC.items() if (folder / name).is_dir()}


@dataclass(frozen=True)
class Recorded:
    """What `facts.json` holds."""

    measured: str
    """Date of the measurement, ISO."""
    sources: dict[str, str]
    """Where each public set comes from."""
    sets: dict[str, Facts]
    published: list[str]
    """Published figures, a line each."""


def recorded() -> Recorded:
    """The facts of the public sets as they were measured once, and published figures."""
    return Recorded(**json.loads(RECORDED.read_text("utf-8")))
