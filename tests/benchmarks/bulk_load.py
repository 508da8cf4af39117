"""Loading customers online: ours beside `feast materialize` into Redis, in one run on one machine.

    python -m tests.benchmarks.bulk_load --customers 30000 --json OUT

A lake of synthetic customers (events, vector, own list each) is loaded into a real Redis by Feast's own store and by
ours; then a night that changes 1 % of them. Printed: rows a second, bytes a customer, seconds of the second night.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.online.reader import backend_at
from jobs.lake import engine as engines
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.publish.load import load_night
from jobs.publish.store import REPO, OnlineStore
from jobs.run import Run
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU
from tests.redis_server import RedisServer, running_redis

FIRST = date(2026, 4, 6)
TABLES = (CUSTOMER_SEQUENCES, CUSTOMER_EMBEDDINGS, RECOMMENDED_FOR_YOU)
PRODUCTS, MARKETS, WIDTH, PLACES = 50_000, 200, 65, 24
KINDS = np.array(["click", "save", "bag", "purchase"])
SHARES = (0.75, 0.1, 0.1, 0.05)


def run_of(as_of: date) -> Run:
    """The run of a night."""
    return Run(as_of, f"{as_of}-bench", datetime.now(UTC))


def lists(values: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> pa.ListArray:
    """Flat values as a list array."""
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def tables_of(customers: np.ndarray[Any, Any], seed: int) -> dict[Any, pa.Table]:
    """Rows of the three tables: popular products more often, 30 events a customer in the mean and at most 100."""
    random = np.random.default_rng(seed)
    n = len(customers)
    products = np.array([f"P{i:06d}" for i in range(PRODUCTS)])
    counts = np.minimum(random.geometric(1 / 30, n), 100)
    total = int(counts.sum())
    picked = products[np.minimum(random.zipf(1.3, total) - 1, PRODUCTS - 1)]
    gaps = (random.exponential(3 * 86_400e6, total)).astype(np.int64) * (random.random(total) < 0.4) + 30_000_000
    ends = np.cumsum(counts)
    times = 1_600_000_000_000_000 + np.cumsum(gaps) - np.repeat(np.cumsum(gaps)[ends - counts], counts)
    market = np.array([f"M{i:03d}" for i in range(MARKETS)])[np.minimum(random.zipf(1.5, n) - 1, MARKETS - 1)]
    ids = [f"C{i:08d}" for i in customers]
    kinds = random.choice(KINDS, total, p=SHARES)
    stamps = pa.ListArray.from_arrays(
        pa.array(np.concatenate(([0], ends)).astype(np.int32)), pa.array(times, pa.timestamp("us", tz="UTC"))
    )
    vectors = random.normal(size=(n, WIDTH)).astype(np.float32)
    vectors[:, -1] = 1.0
    shown = products[np.minimum(random.zipf(1.2, n * PLACES) - 1, PRODUCTS - 1)]
    scores = -np.sort(-random.random((n, PLACES)).astype(np.float32), axis=1)
    short = random.random(n) < 0.1
    sources = np.where(np.repeat(short, PLACES) & (np.tile(np.arange(PLACES), n) > 15), "category popularity", "model")
    places = np.full(n, PLACES)
    return {
        CUSTOMER_SEQUENCES: pa.table({
            "customer_id": ids, "product_ids": lists(picked, counts), "event_types": lists(kinds, counts),
            "event_timestamps": stamps, "market": market,
        }),
        CUSTOMER_EMBEDDINGS: pa.table({
            "customer_id": ids, "vector": lists(vectors.ravel(), np.full(n, WIDTH)), "model_id": ["transformer-1"] * n,
        }),
        RECOMMENDED_FOR_YOU: pa.table({
            "customer_id": ids, "market": market, "product_ids": lists(shown, places),
            "scores": lists(scores.ravel(), places), "sources": lists(sources, places),
            "rules": lists(np.full(n * PLACES, ""), places), "variant": ["default"] * n,
            "model_id": ["transformer-1"] * n,
        }),
    }  # fmt: skip


def stage(lake: Lake, as_of: date, customers: np.ndarray[Any, Any], since: date | None) -> None:
    """Write a night of some customers."""
    for table, rows in tables_of(customers, as_of.toordinal()).items():
        schema = arrow_schema(table)
        for field in schema:
            if field.name not in rows.schema.names and field.name not in ("as_of", "run_id", "since"):
                rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
        own = pa.schema([field for field in schema if field.name in rows.schema.names])
        lake.replace(table, rows.select(own.names).cast(own), run_of(as_of), since=since)


def publish(lake: Lake, as_of: date, since: date) -> None:
    """Say in `published` that a night is live, for Feast's sources."""
    rows = [
        {"surface": table.name, "as_of": as_of, "run_id": "bench", "since": since, "model_id": None, "table_version": 1,
         "index_path": None, "published_at": datetime.now(UTC)}
        for table in TABLES
    ]  # fmt: skip
    lake.overwrite(PUBLISHED, pa.Table.from_pylist(rows, schema=arrow_schema(PUBLISHED)))


def used(server: RedisServer) -> int:
    """Bytes that the data of a server takes."""
    return int(server.client().info("memory")["used_memory"])


def settings(folder: Path, server: RedisServer) -> Path:
    """Feast's own Redis store, as its users set it up."""
    text = (REPO / "redis.yaml").read_text("utf-8").split("online_store:")[0]
    path = folder / "feature_store.yaml"
    path.write_text(
        f"{text}online_store:\n  type: redis\n  connection_string: 127.0.0.1:{server.port}\n"
        "batch_engine:\n  type: local\nmaterialization:\n  pull_latest_features: true\n"
        "  online_write_batch_size: 10000\n"
        "entity_key_serialization_version: 3\n"
    )
    return path


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=30_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, Any] = {"customers": given.customers, "feast_s": [], "ours_s": [], "night_s": []}
    engine = engines.start("sail")
    with tempfile.TemporaryDirectory() as folder, running_redis() as theirs, running_redis() as ours:
        root = Path(folder) / "lake"
        os.environ["NIGHTRAIL_FEAST"] = str(root / "feast")
        lake = Lake(root, lambda: engine)
        everybody = np.arange(given.customers)
        stage(lake, FIRST, everybody, None)
        publish(lake, FIRST, FIRST)
        feast = OnlineStore(root, settings(Path(folder), theirs))
        _prepare(feast, root, lake)
        empty = used(theirs), used(ours)
        for _ in range(given.repeats):
            theirs.client().flushall()
            began = time.perf_counter()
            feast.store.materialize(
                datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC), [table.name for table in TABLES]
            )
            figures["feast_s"].append(time.perf_counter() - began)
            ours.client().flushall()
            began = time.perf_counter()
            load_night(lake, backend_at(ours.url, timeout=60.0), run_of(FIRST), TABLES, 20_000, 7)
            figures["ours_s"].append(time.perf_counter() - began)
        figures["feast_bytes"] = (used(theirs) - empty[0]) / given.customers
        figures["our_bytes"] = (used(ours) - empty[1]) / given.customers
        changed = everybody[::100]
        for days in range(1, given.repeats + 1):
            night = FIRST + timedelta(days=days)
            stage(lake, night, changed + days, FIRST)
            began = time.perf_counter()
            loaded = load_night(lake, backend_at(ours.url, timeout=60.0), run_of(night), TABLES, 20_000, 7)
            figures["night_s"].append(time.perf_counter() - began)
            assert sum(loaded.written.values()) == len(TABLES) * len(changed), loaded
        figures["our_bytes_after_nights"] = (used(ours) - empty[1]) / given.customers
    engine.stop()
    _print(figures, given.json)


def _prepare(feast: OnlineStore, root: Path, lake: Lake) -> None:
    from feast.infra.offline_stores.contrib.spark_offline_store import spark

    from feature_repo.definitions import definitions

    spark.get_spark_session_or_start_new_with_repoconfig = lambda _: lake.spark
    feast.store.apply(definitions(root))


def _print(figures: dict[str, Any], to: Path | None) -> None:
    middle = {name: float(np.median(values)) for name, values in figures.items() if isinstance(values, list)}
    rows = figures["customers"] * len(TABLES)
    print(f"{figures['customers']:,} customers, {rows:,} rows, medians of {len(figures['ours_s'])} alternating loads")
    print(f"feast materialize   {middle['feast_s']:8.2f} s  {rows / middle['feast_s']:10,.0f} rows/s")
    print(f"ours                {middle['ours_s']:8.2f} s  {rows / middle['ours_s']:10,.0f} rows/s  "
          f"{middle['feast_s'] / middle['ours_s']:.1f} times as fast")  # fmt: skip
    print(f"bytes a customer    {figures['feast_bytes']:8.0f} Feast's  {figures['our_bytes']:8.0f} ours  "
          f"({figures['our_bytes'] / figures['feast_bytes']:.0%}); "
          f"{figures['our_bytes_after_nights']:.0f} after the nights")  # fmt: skip
    print(f"a night of 1 %      {middle['night_s']:8.2f} s")
    if to is not None:
        to.write_text(json.dumps(figures | {"medians": middle}, indent=2))


if __name__ == "__main__":
    main()
