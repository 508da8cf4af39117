"""What the gate costs a large shop: the passes over its lists, vectors and purchases, on made-up tables.

    python -m tests.benchmarks.gates --customers 200000 --root FOLDER

Prints the seconds of each pass, by the clock and of CPU, and the peak of resident memory; writing the tables is not
timed.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.gate.lists import churn, read_lists, read_shop
from jobs.gate.models import read_vectors
from jobs.lake.lake import Lake
from jobs.model_inputs import vectors_column
from jobs.run import Run
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU

NIGHT = date(2026, 4, 6)
PRODUCTS, MARKETS, PLACES, WIDTH, BOUGHT, BATCH = 50_000, 20, 24, 65, 6, 50_000


def write_shop(lake: Lake, customers: int, as_of: date, seed: int) -> None:
    """One night of a shop: every product sold everywhere, customers with vectors, purchases and lists."""
    run = Run(as_of, f"{as_of}-benchmark", datetime(2026, 5, 1, tzinfo=UTC))
    products, markets = pa.array([f"P{i:06d}" for i in range(PRODUCTS)]), [f"M{i:02d}" for i in range(MARKETS)]
    empty = {name: pa.nulls(PRODUCTS) for name in CATALOGUE.names if name not in ("product_id", "as_of", "run_id")}
    lake.replace(CATALOGUE, pa.table({"product_id": products} | empty), run)
    pairs = {"product_id": pa.concat_arrays([products] * MARKETS), "market": np.repeat(markets, PRODUCTS)}
    lake.replace(AVAILABILITY, pa.table(pairs | {"available": pa.repeat(True, PRODUCTS * MARKETS)}), run)
    random = np.random.default_rng(seed)

    def lists(rows: int, places: int) -> pa.Array:
        drawn = np.sort((PRODUCTS * random.random((rows, places)) ** 2).astype(np.int64), axis=1)
        drawn = np.minimum(drawn + np.arange(places), PRODUCTS - 1)  # no product twice in a list
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * places)
        return pa.ListArray.from_arrays(offsets, products.take(pa.array(drawn.ravel())))

    def batches(kind: str) -> Iterator[pa.RecordBatch]:
        for start in range(0, customers, BATCH):
            rows = min(BATCH, customers - start)
            ids = pa.array([f"C{i:08d}" for i in range(start, start + rows)])
            home = pa.array(np.array(markets)[np.arange(start, start + rows) % MARKETS])
            columns = {"customer_id": ids, "market": home, "model_id": pa.repeat("amf-1", rows)}
            if kind == "lists":
                shown, offsets = lists(rows, PLACES), pa.array(np.arange(rows + 1, dtype=np.int32) * PLACES)
                columns |= {"product_ids": shown, "variant": pa.repeat("default", rows),
                            "short_reason": pa.nulls(rows, pa.string())}  # fmt: skip
                for name, value in (("sources", "model"), ("rules", "")):
                    columns[name] = pa.ListArray.from_arrays(offsets, pa.repeat(value, rows * PLACES))
                columns["scores"] = vectors_column(random.random((rows, PLACES), np.float32))
            elif kind == "vectors":
                columns["vector"] = vectors_column(random.standard_normal((rows, WIDTH), np.float32))
            else:
                columns |= {name: pa.nulls(rows) for name in CUSTOMER_SEQUENCES.names if name not in columns}
                columns["bought"] = lists(rows, BOUGHT)
            yield pa.RecordBatch.from_pydict(columns)

    for table, kind in (
        (CUSTOMER_SEQUENCES, "bought"), (CUSTOMER_EMBEDDINGS, "vectors"), (RECOMMENDED_FOR_YOU, "lists")
    ):  # fmt: skip
        wanted = [name for name in table.names if name not in ("as_of", "run_id", "since")]
        lake.replace(table, (batch.select(wanted) for batch in batches(kind)), run)


def main() -> None:
    """Write two nights where they are not there, and time the gate's passes over the second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--root", type=Path, required=True)
    given = parser.parse_args()
    lake, live = Lake(given.root), NIGHT - timedelta(days=1)
    if not lake.exists(RECOMMENDED_FOR_YOU):
        for seed, as_of in enumerate((live, NIGHT)):
            write_shop(lake, given.customers, as_of, seed)
    run = Run(NIGHT, "benchmark", datetime(2026, 5, 1, tzinfo=UTC))
    began = time.perf_counter(), time.process_time()

    def say(what: str) -> None:
        nonlocal began
        took, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        print(f"{what}: {took:.1f} s, {cpu:.1f} s of CPU", flush=True)
        began = time.perf_counter(), time.process_time()

    shop = read_shop(lake, run, pa.array([], pa.string()))
    say(f"{len(shop.customers):,} customers, {len(shop.bought[1]):,} purchases read")
    found = read_lists(lake, RECOMMENDED_FOR_YOU, NIGHT, shop, max(1, given.customers // 20_000), live)
    say(f"{found.rows:,} lists, {found.places:,} places, {found.bought:,} bought before")
    now, then = pa.Table.from_batches(found.sample), pa.Table.from_batches(found.live_sample)
    share = churn(now, then, RECOMMENDED_FOR_YOU.key)
    say(f"churn {share:.3f} of {len(then):,} lists")
    vectors = read_vectors(lake, CUSTOMER_EMBEDDINGS, NIGHT)
    say(f"{vectors.rows:,} vectors, spread {vectors.spread:.1f}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
