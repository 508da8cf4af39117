"""What it takes to join rows to what was live at their times: histories and vectors of a lake with three publications.

    python -m tests.benchmarks.past [--customers 1000000] [--rows 1000000]

Two nights of every customer, and a rollback to the first. Each row has a customer and a publication by chance. Feast
adds the conversion of the frame that it is given.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.lake.known import known_at
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.run import Run
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from jobs.tables.table import Table

NIGHTS = (date(2026, 4, 6), date(2026, 4, 7))
START = datetime(2026, 4, 6, 2, tzinfo=UTC)
EVENTS, WIDTH, BATCH = 20, 65, 50_000
READ = {CUSTOMER_SEQUENCES: ("product_ids", "event_types", "event_timestamps"), CUSTOMER_EMBEDDINGS: ("vector",)}


def stored(table: Table, customers: int) -> Iterator[pa.RecordBatch]:
    """Every customer's row."""
    random = np.random.default_rng(0)
    products = pa.array([f"P{n:06d}" for n in range(50_000)])
    for first in range(0, customers, BATCH):
        ids = pa.array([f"C{n:08d}" for n in range(first, min(first + BATCH, customers))])
        events = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * EVENTS)
        of_events = {
            "product_ids": products.take(pa.array(random.integers(0, len(products), len(ids) * EVENTS))),
            "event_types": pa.repeat("click", len(ids) * EVENTS),
            "event_timestamps": pa.repeat(pa.scalar(START, pa.timestamp("us", "UTC")), len(ids) * EVENTS),
        }
        known = {name: pa.ListArray.from_arrays(events, values) for name, values in of_events.items()}
        numbers = pa.array(random.random(len(ids) * WIDTH, np.float32))
        known |= {"customer_id": ids}
        known |= {"vector": pa.ListArray.from_arrays(np.arange(len(ids) + 1, dtype=np.int32) * WIDTH, numbers)}
        fields = [f for f in arrow_schema(table) if f.name not in ("as_of", "run_id", "since")]
        arrays = [known.get(f.name, pa.nulls(len(ids), f.type)) for f in fields]
        yield pa.RecordBatch.from_arrays(arrays, [f.name for f in fields])


def make(lake: Lake, customers: int) -> None:
    """Two nights and three publications."""
    for table in READ:
        for night in NIGHTS:
            lake.replace(table, stored(table, customers), Run(night, str(night), START))
    rows = [
        {"surface": table.name, "as_of": night, "published_at": START + timedelta(days=at), "live": at == 2}
        for table in READ
        for at, night in enumerate((*NIGHTS, NIGHTS[0]))
    ]
    lake.overwrite(PUBLISHED, pa.Table.from_pylist(rows, schema=arrow_schema(PUBLISHED)))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        make(lake, given.customers)
        keys = pa.table({"customer_id": [f"C{n:08d}" for n in random.integers(0, given.customers, given.rows)]})
        days = random.integers(0, 3, given.rows).astype("timedelta64[D]")
        times = np.datetime64(START.replace(tzinfo=None), "us") + days + np.timedelta64(1, "h")
        for table, columns in READ.items():
            began = time.perf_counter()
            found = known_at(lake, table, keys, times, columns)
            seconds = time.perf_counter() - began
            assert found.num_rows == given.rows and not found[columns[0]].null_count
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"{table.name}: {seconds:.1f} s, {given.rows / seconds:,.0f} rows/s, peak {memory:.1f} GB")


if __name__ == "__main__":
    main()
