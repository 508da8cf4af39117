"""What it takes to tell what came of a night's impressions: a first night, and the nights after it.

    python -m tests.benchmarks.outcomes [--impressions 20000000] [--nights 2]

Pages of twelve products of a published list, shown to customers by chance; a tenth as many events, of which half are of
products that were shown. Every night brings a day of both, and computes the days of the last week anew. Each night runs
in a process of its own, whose peak memory counts.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.client.list_ids import list_id
from jobs.experiments.measure import ExperimentsConfig, measure
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.outcomes.update import fold_in
from jobs.run import Run
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import EVENTS, PEOPLE_ALSO_BOUGHT, SOURCES
from jobs.tables.table import Table

FIRST = date(2026, 4, 6)
AT = datetime(2026, 4, 6, 2, tzinfo=UTC)
PRODUCTS, MARKETS, CUSTOMERS, PLACES, PAGES = 50_000, ("DE", "FR", "GB", "US"), 4_000_000, 12, 20_000
IDS = pa.array([f"P{n:06d}" for n in range(PRODUCTS)])
KINDS = pa.array(["click", "save", "bag", "purchase"])


def run_of(night: date) -> Run:
    """The run of a night."""
    return Run(night, f"night-{night}", AT)


def shown_at(owners: np.ndarray) -> np.ndarray:
    """[pages, PLACES] the products of the list of each owner."""
    return np.asarray((owners[:, None] * 7 + np.arange(PLACES) ** 3 + 1) % PRODUCTS)


def lists() -> pa.Table:
    """A list of each product in each market."""
    owners = np.tile(np.arange(PRODUCTS), len(MARKETS))
    ends = pa.array(np.arange(len(owners) + 1, dtype=np.int32) * PLACES)
    names, size = pa.array([*SOURCES]), len(owners) * PLACES
    columns = {
        "product_id": IDS.take(pa.array(owners)), "market": pa.array(np.repeat(MARKETS, PRODUCTS)),
        "product_ids": pa.ListArray.from_arrays(ends, IDS.take(pa.array(shown_at(owners).ravel()))),
        "sources": pa.ListArray.from_arrays(ends, names.take(pa.array(np.arange(size) % len(names)))),
        "rules": pa.ListArray.from_arrays(ends, pa.repeat("", size)), "variant": pa.repeat("default", len(owners)),
    }  # fmt: skip
    return whole(PEOPLE_ALSO_BOUGHT, columns, len(owners))


def whole(table: Table, columns: dict[str, pa.Array], size: int) -> pa.Table:
    """The columns of a table, null where they are not given."""
    fields = [field for field in arrow_schema(table) if field.name not in ("as_of", "run_id", "since")]
    arrays = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(size, f.type) for f in fields]
    return pa.table(arrays, [field.name for field in fields])


def texts(prefix: str, numbers: np.ndarray, width: int) -> pa.Array:
    """Ids of numbers."""
    return pa.array(np.char.add(prefix, np.char.zfill(numbers.astype(f"U{width}"), width)))


def impressions(day: date, count: int, rng: np.random.Generator) -> Iterator[pa.RecordBatch]:
    """A day's impressions, some pages at a time."""
    start = np.datetime64(day, "us").astype(np.int64)
    stamp = pa.array([list_id(AT, "pab", market, "default", product.as_py()) for market in MARKETS for product in IDS])
    for first in range(0, count, PAGES * PLACES):
        pages = min(PAGES, (count - first) // PLACES)
        owners, markets = rng.integers(0, PRODUCTS, pages), rng.integers(0, len(MARKETS), pages)
        each = np.repeat(np.arange(pages), PLACES)
        size = len(each)
        random_hex = rng.bytes(12 * size).hex().encode()
        ends = np.arange(size + 1, dtype=np.int32) * 24
        at = start + rng.integers(0, 86_400_000, pages) * 1000
        lists_of = stamp.take(pa.array(markets * PRODUCTS + owners))
        columns = {
            "impression_id": pa.StringArray.from_buffers(size, pa.py_buffer(ends), pa.py_buffer(random_hex)),
            "customer_id": texts("C", rng.integers(0, CUSTOMERS, pages), 7).take(pa.array(each)),
            "touch_point": pa.repeat("people_also_bought", size), "variant": pa.repeat("default", size),
            "market": pa.array(MARKETS).take(pa.array(markets[each])), "list_id": lists_of.take(pa.array(each)),
            "owner": IDS.take(pa.array(owners[each])), "product_id": IDS.take(pa.array(shown_at(owners).ravel())),
            "place": pa.array(np.tile(np.arange(PLACES) + 1, pages)), "counted": pa.repeat(True, size),
            "shown_at": pa.array(at[each], pa.timestamp("us", "UTC")), "shown_date": pa.repeat(day, size),
        }  # fmt: skip
        yield from whole(IMPRESSIONS, columns, size).combine_chunks().to_batches()


def events(day: date, shown: pa.Table, count: int, rng: np.random.Generator) -> pa.Table:
    """A day's events: every second one is of an impression of that day, some minutes or hours later."""
    half = count // 2
    of_shown = shown.take(pa.array(rng.integers(0, shown.num_rows, half)))
    end = np.datetime64(day + timedelta(days=1), "us").astype(np.int64) - 1
    later = np.asarray(of_shown["shown_at"].cast(pa.int64())) + rng.integers(0, 6 * 3600, half) * 1_000_000
    anybody = texts("C", rng.integers(0, CUSTOMERS, count - half), 7)
    when = np.concatenate([np.minimum(later, end), end - rng.integers(0, 86_400, count - half) * 1_000_000])
    columns = {
        "event_id": texts(f"{day}-", np.arange(count), 8),
        "customer_id": pa.concat_arrays([of_shown["customer_id"].combine_chunks(), anybody]),
        "product_id": pa.concat_arrays(
            [of_shown["product_id"].combine_chunks(), IDS.take(pa.array(rng.integers(0, PRODUCTS, count - half)))]
        ),
        "event_type": KINDS.take(pa.array(rng.choice(4, count, p=(0.8, 0.05, 0.1, 0.05)))),
        "event_ts": pa.array(when, pa.timestamp("us", "UTC")), "event_date": pa.repeat(day, count),
        "market": pa.repeat("GB", count), "quantity": pa.repeat(1, count),
        "price": pa.array(rng.integers(5, 99, count)),
    }  # fmt: skip
    return whole(EVENTS, columns, count)


def make(lake: Lake, night: date, count: int, rng: np.random.Generator) -> None:
    """The input of a night."""
    day, kept = night - timedelta(days=1), []

    def noted() -> Iterator[pa.RecordBatch]:
        for batch in impressions(day, count, rng):
            if len(kept) < 20:
                kept.append(batch.select(["customer_id", "product_id", "shown_at"]))
            yield batch

    lake.replace(IMPRESSIONS, noted(), run_of(night))
    lake.replace(EVENTS, events(day, pa.Table.from_batches(kept), count // 10, rng), run_of(night))


def peak_gb() -> float:
    """Peak memory of this process; what getrusage says begins at that of the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1e6


def fold(root: Path, night: date) -> None:
    """Measure a night in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    folded = fold_in(Lake(root), run_of(night))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    memory = peak_gb()
    print(
        f"night {night}: {folded.rows:,} impressions of {folded.days} days, {seconds:.1f} s, {cpu:.1f} processor s, "
        f"{folded.rows / seconds:,.0f} rows/s, peak {memory:.2f} GB",
        flush=True,
    )


def count(root: Path, night: date) -> None:
    """Measure in this process what the step report does with a night's outcomes."""
    began, cpu = time.perf_counter(), time.process_time()
    measure(Lake(root), run_of(night), ExperimentsConfig())
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    memory = peak_gb()
    print(
        f"  counted by customer and touch point in {seconds:.1f} s, {cpu:.1f} processor s, peak {memory:.2f} GB",
        flush=True,
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, default=20_000_000)
    parser.add_argument("--nights", type=int, default=2)
    parser.add_argument("--fold", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--count", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for part, arguments in ((fold, given.fold), (count, given.count)):
        if arguments:
            part(Path(arguments[0]), date.fromisoformat(arguments[1]))
            return
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lake.replace(PEOPLE_ALSO_BOUGHT, lists(), run_of(FIRST))
        row = {"surface": PEOPLE_ALSO_BOUGHT.name, "table_version": lake.version(PEOPLE_ALSO_BOUGHT), "live": True}
        lake.replace_rows(PUBLISHED, [row | {"published_at": AT}], run_of(FIRST))
        for night in (FIRST + timedelta(days=n + 1) for n in range(given.nights)):
            make(lake, night, given.impressions, rng)
            for part in ("--fold", "--count"):
                command = [sys.executable, "-m", "tests.benchmarks.outcomes", part, folder, str(night)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
