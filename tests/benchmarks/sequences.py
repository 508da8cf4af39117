"""What a night's sequences cost: `python -m tests.benchmarks.sequences [--customers 1000000] [--history-days 15] ..`.

First, on a shop of many customers, days that touch one customer in a hundred: the sequences step as the night runs it
beside a Delta MERGE of the same new rows into a table of every customer (deltalake's, and SQL's on Sail; the rows
are ready before it begins) and beside building every customer. Then ingest and sequences of the same new days on a
history and on one eight times as long. Contenders take turns in one process, and a ratio is that of one turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from deltalake import DeltaTable, write_deltalake

from jobs.ingest import step as ingest
from jobs.lake import engine as engines
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.run import Run
from jobs.sequences import step as sequences
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS

FIRST = date(2026, 1, 1)
LONGER = 8
TYPES = np.array(["click", "click", "click", "save", "bag", "purchase"])
SOURCE = """-- events
SELECT event_id, customer_id, product_id, event_type, event_ts, market FROM events;
-- catalogue
SELECT product_id FROM products;
-- availability
SELECT product_id, market, 'true' AS available FROM products
"""


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("customers", 1_000_000), ("events", 20), ("days", 30), ("products", 50_000),
                          ("history-days", 15), ("day-events", 20_000), ("repeats", 3)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--touched", type=float, default=0.01)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    engine = engines.start("sail")
    folder = Path(tempfile.mkdtemp())
    try:
        result = {"update": beside_merge(Lake(folder / "update", lambda: engine), given)}
        print(json.dumps(result, indent=1), flush=True)
        result["history"] = by_history(engine, folder, given)
        print(json.dumps(result["history"], indent=1))
    finally:
        engine.stop()
        shutil.rmtree(folder)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def run_of(as_of: date) -> Run:
    """The run of a night."""
    return Run(as_of, f"bench-{as_of}", datetime(2026, 1, 1, tzinfo=UTC))


def timed(do: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    do()
    return round(time.perf_counter() - start, 3)


def events_of(day: date, customers: np.ndarray, products: int, rng: np.random.Generator) -> pa.Table:
    """One event for each of the customers given, at random times of the day."""
    n = len(customers)
    at = np.datetime64(day, "us") + rng.integers(0, 86_400_000_000, n).astype("timedelta64[us]")
    return pa.table({
        "event_id": pc.binary_join_element_wise(f"{day}-", pa.array(np.arange(n)).cast(pa.string()), ""),
        "customer_id": pc.binary_join_element_wise("C", pa.array(customers).cast(pa.string()), ""),
        "product_id": pc.binary_join_element_wise("P", pa.array(rng.zipf(1.3, n) % products).cast(pa.string()), ""),
        "event_type": pa.array(TYPES[rng.integers(0, len(TYPES), n)]),
        "event_ts": pa.array(at, pa.timestamp("us", "UTC")),
        "market": pa.array(np.array(["GB", "FR", "DE"])[customers % 3]),
    })  # fmt: skip


def add_day(lake: Lake, day: date, rows: pa.Table) -> None:
    """The day's events as the night after it ingests them."""
    n = rows.num_rows
    rows = rows.append_column("basket_id", pa.nulls(n, pa.string())).append_column("quantity", pa.array([1] * n))
    rows = rows.append_column("price", pa.nulls(n, pa.float64())).append_column("event_date", pa.array([day] * n))
    own = [name for name in arrow_schema(EVENTS).names if name not in ("as_of", "run_id")]
    lake.replace(EVENTS, rows.select(own), run_of(day + timedelta(days=1)))


def beside_merge(lake: Lake, given: argparse.Namespace) -> dict[str, Any]:
    """The step beside MERGE and a full build, on new days that touch a share of the customers."""
    rng = np.random.default_rng(7)
    for day in range(given.days):
        owners = rng.integers(0, given.customers, given.customers * given.events // given.days)
        add_day(lake, FIRST + timedelta(days=day), events_of(FIRST + timedelta(days=day), owners, given.products, rng))
    config = sequences.SequencesConfig()
    first = FIRST + timedelta(days=given.days)
    full = [timed(lambda: sequences.execute(lake, run_of(first), config))]
    peers = {name: lake.root / name for name in ("deltalake", "sail")}
    whole = lake.arrow(CUSTOMER_SEQUENCES, as_of=first)
    for path in peers.values():
        write_deltalake(str(path), whole)
    del whole
    turns = []
    for turn in range(given.repeats):
        day = first + timedelta(days=turn)
        owners = rng.choice(given.customers, int(given.customers * given.touched), replace=False)
        add_day(lake, day, events_of(day, np.repeat(owners, 2), given.products, rng))
        night = day + timedelta(days=1)
        seconds = {"ours": timed(lambda night=night: sequences.execute(lake, run_of(night), config))}
        rows = lake.changed(CUSTOMER_SEQUENCES, CUSTOMER_SEQUENCES.names, day, night)
        seconds["rows"] = rows.num_rows
        seconds["MERGE, deltalake"] = timed(lambda rows=rows: merge(peers["deltalake"], rows))
        seconds["MERGE, SQL on Sail"] = timed(lambda rows=rows: merge_sql(lake, peers["sail"], rows))
        turns.append(seconds)
    full.append(timed(lambda: sequences.execute(lake, run_of(first), config)))
    best = [min(t["MERGE, deltalake"], t["MERGE, SQL on Sail"]) / t["ours"] for t in turns]
    return {
        "turns": turns, "full build": full, "faster than the faster MERGE by": [round(ratio, 1) for ratio in best],
        "share of a full build": round(median(t["ours"] for t in turns) / median(full), 3),
    }  # fmt: skip


def merge(path: Path, rows: pa.Table) -> None:
    """Deltalake's MERGE by customer."""
    merger = DeltaTable(str(path)).merge(rows, "t.customer_id = s.customer_id", source_alias="s", target_alias="t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()


def merge_sql(lake: Lake, path: Path, rows: pa.Table) -> None:
    """The same in SQL; the rows lie in a Delta table beside."""
    source = path.with_name("source")
    write_deltalake(str(source), rows, mode="overwrite")
    lake.spark.sql(
        f"MERGE INTO delta.`{path}` t USING delta.`{source}` s ON t.customer_id = s.customer_id "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    ).collect()


def by_history(engine: engines.Engine, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Ingest and sequences of the same new days on histories of two lengths."""
    (folder / "shop.sql").write_text(SOURCE)
    last = FIRST + timedelta(days=LONGER * given.history_days)
    rng = np.random.default_rng(8)
    days = [last - timedelta(days=back) for back in range(LONGER * given.history_days, 0, -1)]
    shops = {f"{times}x": folder / f"{times}x" for times in (1, LONGER)}
    products = "product_id,market\n" + "".join(f"P{n},GB\n" for n in range(given.products))
    for root in shops.values():
        (root / "raw" / "products").mkdir(parents=True)
        (root / "raw" / "products" / "all.csv").write_text(products)
        (root / "raw" / "events").mkdir()
    customers = given.customers // 10
    for number, day in enumerate(days):
        write_day(
            list(shops.values())[0 if number >= len(days) - given.history_days else 1 :], day, given, customers, rng
        )
    lakes = {name: Lake(root / "lake", lambda: engine) for name, root in shops.items()}

    def night(name: str, as_of: date) -> dict[str, float]:
        config = ingest.IngestConfig(folder / "shop.sql", shops[name] / "raw")
        run, lake = run_of(as_of), lakes[name]
        return {
            "ingest": timed(lambda: ingest.execute(lake, run, config)),
            "sequences": timed(lambda: sequences.execute(lake, run, sequences.SequencesConfig())),
        }

    first = {name: night(name, last) for name in shops}
    turns = []
    for turn in range(given.repeats):
        day = last + timedelta(days=turn)
        write_day(list(shops.values()), day, given, customers, rng)
        order = list(shops) if turn % 2 else list(shops)[::-1]
        turns.append({name: night(name, day + timedelta(days=1)) for name in order})
    ratios = [sum(t[f"{LONGER}x"].values()) / sum(t["1x"].values()) for t in turns]
    return {"first night": first, "turns": turns, "longer by": [round(ratio, 3) for ratio in ratios]}


def write_day(
    roots: list[Path], day: date, given: argparse.Namespace, customers: int, rng: np.random.Generator
) -> None:
    """The day's file, the same in every drop zone; a day touches a share of the customers."""
    owners = rng.integers(0, customers, max(int(customers * given.touched), 1))
    rows = events_of(day, owners[rng.integers(0, len(owners), given.day_events)], given.products, rng)
    rows = rows.set_column(4, "event_ts", pc.strftime(rows["event_ts"], "%Y-%m-%dT%H:%M:%SZ"))
    for root in roots:
        pa.csv.write_csv(rows, root / "raw" / "events" / f"{day}.csv")


if __name__ == "__main__":
    main()
