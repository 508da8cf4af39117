"""Is People Also Bought better than co-occurrence? Judged on the later baskets of Online Retail.

    python -m tests.benchmarks.touch_points.baskets --data ../shared/data

Trains on the baskets before 2011-11-10 and asks, for every product of every later basket, for the
rest of that basket. `--tune` repeats the choice of the config: on the 30 days before that, so that
the test baskets are looked at once. Intervals are 95 %, from drawing whole test customers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from models.arrays import Rows
from models.copurchase import pairs
from models.copurchase.model import BasketCounts, CoPurchase, CoPurchaseConfig
from models.evaluation.bootstrap import mean_interval, paired_uplift
from models.evaluation.metrics import Metrics
from tests.benchmarks.common.basket_metrics import (
    FORMULAS,
    BasketQueries,
    basket_baseline,
    basket_queries,
    baskets_at,
    judge_lists,
)
from tests.benchmarks.common.catalogue_metrics import coverage, most_popular, share_of_slots

TEST_FROM = date(2011, 11, 10)
TEST_UNTIL = date(2011, 12, 31)
VALIDATION_DAYS = 30
DEPTH = 24
SHOWN = ("hit_rate@6", "hit_rate@24", "recall@24", "ndcg@10")


@dataclass(frozen=True)
class Baskets:
    """All invoices in the order of time, products as indexes into the sorted stock codes."""

    offsets: Rows
    products: Rows
    times: Rows
    customers: Rows


@dataclass(frozen=True)
class Window:
    """Baskets before a split time, and the queries of those after it; products are those of before."""

    offsets: Rows
    products: Rows
    times: Rows
    n_products: int
    split: int
    queries: BasketQueries
    customers: Rows
    """[queries], who asks."""


def read_baskets(data: Path) -> Baskets:
    """Invoices of known customers: no cancellation, no free or negative line, products only."""
    lines = (
        pl.scan_csv(data / "online_retail" / "raw" / "*.csv.gz", infer_schema=False)
        .with_columns(pl.col("Quantity").cast(pl.Int64), pl.col("UnitPrice").cast(pl.Float64))
        .filter(
            pl.col("CustomerID").is_not_null(),
            ~pl.col("InvoiceNo").str.starts_with("C"),
            pl.col("Quantity") > 0,
            pl.col("UnitPrice") > 0,
            pl.col("StockCode").str.contains(r"^\d{5}[A-Za-z]{0,2}$"),
        )
        .with_columns(pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S").dt.epoch("s").alias("time"))
        .with_columns(pl.col("time").min().over("InvoiceNo"))
        .collect()
        .sort("time", "InvoiceNo", "StockCode")
        .with_columns(
            pl.col("StockCode").rank("dense").sub(1).cast(pl.Int64).alias("product"),
            pl.col("CustomerID").rank("dense").sub(1).cast(pl.Int64).alias("customer"),
        )
    )
    invoices = lines.group_by("InvoiceNo", maintain_order=True).agg(pl.len(), pl.col("time", "customer").first())
    offsets = np.concatenate(([0], np.cumsum(invoices["len"].to_numpy()))).astype(np.int64)
    return Baskets(offsets, lines["product"].to_numpy(), invoices["time"].to_numpy(), invoices["customer"].to_numpy())


def window(baskets: Baskets, split: date, until: date) -> Window:
    """The baskets before `split`, judged by those from it to `until` (both at 00:00 UTC)."""
    at, end = (int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) for day in (split, until))
    before, after = baskets.times < at, (baskets.times >= at) & (baskets.times < end)
    offsets, products = baskets_at(baskets.offsets, baskets.products, before)
    known = np.unique(products)
    dense = np.full(int(baskets.products.max()) + 1, -1, dtype=np.int64)
    dense[known] = np.arange(len(known))
    later_offsets, later = baskets_at(baskets.offsets, baskets.products, after)
    queries = basket_queries(later_offsets, dense[later], len(known))
    customers = baskets.customers[after][queries.baskets]
    return Window(offsets, dense[products], baskets.times[before], len(known), at, queries, customers)


def our_lists(data: Window, config: CoPurchaseConfig) -> Rows:
    """[products, DEPTH] of the co-purchase model fitted on the window's past."""
    past = pairs.Baskets(data.offsets, data.products, data.times)
    model = CoPurchase.fit(BasketCounts.of([past], data.n_products, config, data.split))
    return model.neighbours(np.arange(data.n_products), DEPTH).products


def variants(base: CoPurchaseConfig) -> Iterator[tuple[str, CoPurchaseConfig]]:
    """The base, then every other value of one field at a time."""
    yield "as it is", base
    others: dict[str, tuple[float | None, ...]] = {
        "half_life_days": (90.0, 360.0, None),
        "size_power": (0.0, 0.5),
        "rank": (64,),
        "shift": (10.0, 100.0),
        "prior_strength": (20.0, 80.0),
        "popularity_discount": (0.0, 0.05, 0.2),
        "trend": (0.0, 0.2, 0.4),
    }
    for field, values in others.items():
        for value in values:
            yield f"{field} = {value}", replace(base, **{field: value})  # type: ignore[arg-type]


def describe(lists: Rows, metrics: Metrics, data: Window) -> str:
    """One line: figures with intervals, how much of the range is shown, and how much goes to best-sellers."""
    figures = "  ".join(str(mean_interval(metrics[name], data.customers)) for name in SHOWN)
    everything = np.ones(data.n_products, dtype=bool)
    popular = most_popular(np.bincount(data.products, minlength=data.n_products))
    return f"{figures}  {coverage(lists, 6, everything):5.3f}  {share_of_slots(lists, 6, popular):5.3f}"


def tune(data: Window) -> None:
    """Print every variant of the config on the validation window."""
    popular = most_popular(np.bincount(data.products, minlength=data.n_products))
    for name, config in variants(CoPurchaseConfig()):
        lists = our_lists(data, config)
        metrics = judge_lists(lists, data.queries)
        shown = "  ".join(f"{figure} {metrics[figure].mean():.4f}" for figure in SHOWN)
        print(f"{name:28}{shown}  best-sellers {share_of_slots(lists, 6, popular):.3f}", flush=True)


def compare(data: Window, config: CoPurchaseConfig) -> None:
    """Print ours against every baseline, and the uplift in each figure with its interval."""
    started = time.perf_counter()
    lists = {"ours": our_lists(data, config)}
    seconds = time.perf_counter() - started
    for formula in FORMULAS:
        lists[formula] = basket_baseline(data.offsets, data.products, data.n_products, formula, DEPTH)
    judged = {name: judge_lists(rows, data.queries) for name, rows in lists.items()}
    print(f"{'':12}" + "  ".join(f"{name:23}" for name in SHOWN) + "  coverage@6  best-sellers@6")
    for name, rows in lists.items():
        print(f"{name:12}{describe(rows, judged[name], data)}")
    for name in FORMULAS:
        uplifts = (paired_uplift(judged["ours"][m], judged[name][m], data.customers) for m in SHOWN)
        print(f"uplift over {name:12}" + "  ".join(f"{u.value:+.1%} [{u.low:+.1%}, {u.high:+.1%}]" for u in uplifts))
    print(f"ours: fit and all lists in {seconds:.1f} s")


def count(data: Window) -> str:
    """What is judged and what could not be, in words."""
    queries = data.queries
    return (
        f"{len(data.times):,} baskets and {data.n_products:,} products before the split; after it "
        f"{len(queries.offsets) - 1:,} baskets, {queries.single_baskets:,} of them with fewer than two known products, "
        f"{len(queries.sources):,} queries; {queries.cold_lines:,} lines of products not sold before, left out"
    )


def synthetic(n_products: int = 50_000, n_baskets: int = 1_000_000, seed: int = 17) -> tuple[Rows, Rows]:
    """Random baskets of 2 to 8 products with a long tail: for time and memory only, not for quality."""
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 9, n_baskets)
    products = (n_products * random.random(sizes.sum()) ** 3).astype(np.int64)
    return np.concatenate(([0], np.cumsum(sizes))), products


def measure_scale() -> None:
    """Seconds for a shop of 50,000 products and 1,000,000 baskets."""
    offsets, products = synthetic()
    started = time.perf_counter()
    model = CoPurchase.fit(BasketCounts.of([pairs.Baskets(offsets, products)], 50_000))
    fitted = time.perf_counter()
    model.neighbours(np.arange(50_000), DEPTH)
    print(
        f"50,000 products, 1,000,000 baskets: fit {fitted - started:.1f} s, lists {time.perf_counter() - fitted:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds online_retail/")
    parser.add_argument("--tune", action="store_true", help="print the validation grid instead of the test")
    parser.add_argument("--scale", action="store_true", help="time a synthetic shop instead")
    choice = parser.parse_args()
    if choice.scale:
        measure_scale()
        return
    baskets = read_baskets(choice.data)
    if choice.tune:
        data = window(baskets, TEST_FROM - timedelta(days=VALIDATION_DAYS), TEST_FROM)
    else:
        data = window(baskets, TEST_FROM, TEST_UNTIL)
    print(count(data), flush=True)
    tune(data) if choice.tune else compare(data, CoPurchaseConfig())


if __name__ == "__main__":
    main()
