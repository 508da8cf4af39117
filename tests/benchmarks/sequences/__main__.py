"""What a later night's sequences cost, beside a Delta MERGE, and on eight times the history.

    python -m tests.benchmarks.sequences [--customers 1000000] [--history-days 15] [--json OUT]

First, on a shop of many customers, days that touch one customer in a hundred: the step `sequences` beside deltalake's
MERGE of the same new rows, which are ready before it begins, into a table of every customer, and beside building all
customers. Then the steps `ingest` and `sequences` of the same new days, on a tenth of the customers, after a history
and after one eight times as long. Contenders take turns in one process, and a ratio is that of one turn.
"""

from __future__ import annotations

import argparse
import json
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
from deltalake import DeltaTable, write_deltalake
from pyarrow import csv

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


def main(arguments: list[str] | None = None) -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("customers", 1_000_000), ("events", 20), ("days", 30), ("products", 50_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("history-days", 15), ("day-events", 20_000), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--touched", type=float, default=0.01, help="share of the customers that a day touches")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    spark = engines.start("sail")
    with tempfile.TemporaryDirectory() as folder:
        result = {"update": beside_merge(Lake(Path(folder) / "update", lambda: spark), given)}
        print(json.dumps(result, indent=1), flush=True)
        (Path(folder) / "shop.sql").write_text(SOURCE)
        result["history"] = by_history({times: Shop(Path(folder), times, spark) for times in (1, LONGER)}, given)
    print(json.dumps(result["history"], indent=1))
    spark.stop()
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def run_of(as_of: date) -> Run:
    """The run of a night."""
    return Run(as_of, f"bench-{as_of}", datetime(2026, 1, 1, tzinfo=UTC))


def timed(do: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    do()
    return round(time.perf_counter() - start, 3)


def make_sequences(lake: Lake, as_of: date) -> float:
    """Seconds of the step."""
    return timed(lambda: sequences.execute(lake, run_of(as_of), sequences.SequencesConfig()))


def events_of(day: date, customers: np.ndarray, products: int, rng: np.random.Generator) -> pa.Table:
    """One event for each of the customers given, at random times of the day."""
    n = len(customers)
    at = np.datetime64(day, "us") + rng.integers(0, 86_400_000_000, n).astype("timedelta64[us]")
    return pa.table(
        {
            "event_id": pc.binary_join_element_wise(f"{day}-", pa.array(np.arange(n)).cast(pa.string()), ""),
            "customer_id": pc.binary_join_element_wise("C", pa.array(customers).cast(pa.string()), ""),
            "product_id": pc.binary_join_element_wise("P", pa.array(rng.zipf(1.3, n) % products).cast(pa.string()), ""),
            "event_type": pa.array(TYPES[rng.integers(0, len(TYPES), n)]),
            "event_ts": pa.array(at, pa.timestamp("us", "UTC")),
            "market": pa.array(np.array(["GB", "FR", "DE"])[customers % 3]),
        }
    )


def add_day(lake: Lake, day: date, rows: pa.Table) -> None:
    """Put the day's events where the night after it has ingested them."""
    schema = arrow_schema(EVENTS)
    own = [schema.field(name) for name in schema.names if name not in ("as_of", "run_id")]
    known = dict(zip(rows.column_names, rows.columns, strict=True)) | {
        "event_date": pa.array([day] * rows.num_rows),
        "quantity": pa.array([1] * rows.num_rows),
    }
    columns = [known.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in own]
    lake.replace(EVENTS, pa.table(columns, names=[field.name for field in own]), run_of(day + timedelta(days=1)))


def beside_merge(lake: Lake, given: argparse.Namespace) -> dict[str, Any]:
    """The step beside MERGE and a full build, on new days that touch a share of the customers."""
    rng = np.random.default_rng(7)
    for day in (FIRST + timedelta(days=n) for n in range(given.days)):
        owners = rng.integers(0, given.customers, given.customers * given.events // given.days)
        add_day(lake, day, events_of(day, owners, given.products, rng))
    first = FIRST + timedelta(days=given.days)
    full = make_sequences(lake, first)
    peer = lake.root / "merged"
    write_deltalake(peer, lake.arrow(CUSTOMER_SEQUENCES, as_of=first))
    turns = []
    for turn in range(given.repeats):
        day, night = first + timedelta(days=turn), first + timedelta(days=turn + 1)
        owners = rng.choice(given.customers, int(given.customers * given.touched), replace=False)
        add_day(lake, day, events_of(day, np.repeat(owners, 2), given.products, rng))
        ours = make_sequences(lake, night)
        rows = lake.changed(CUSTOMER_SEQUENCES, CUSTOMER_SEQUENCES.names, day, night)
        merger = DeltaTable(peer).merge(rows, "t.customer_id = s.customer_id", source_alias="s", target_alias="t")
        merged = timed(merger.when_matched_update_all().when_not_matched_insert_all().execute)
        turns.append({"ours": ours, "MERGE": merged, "ratio": round(merged / ours, 1), "rows": rows.num_rows})
    share = median(turn["ours"] for turn in turns) / full
    return {"turns": turns, "full build": full, "share of a full build": round(share, 3)}


class Shop:
    """A drop zone and the lake that is made from it."""

    def __init__(self, folder: Path, history: int, spark: engines.Engine) -> None:
        self.history, self.raw = history, folder / f"{history}x" / "raw"
        self.lake, self.config = Lake(self.raw.with_name("lake"), lambda: spark), folder / "shop.sql"
        for name in ("products", "events"):
            (self.raw / name).mkdir(parents=True)

    def night(self, as_of: date) -> dict[str, float]:
        """Seconds of both steps."""
        config = ingest.IngestConfig(self.config, self.raw)
        spent = timed(lambda: ingest.execute(self.lake, run_of(as_of), config))
        return {"ingest": spent, "sequences": make_sequences(self.lake, as_of)}


def by_history(shops: dict[int, Shop], given: argparse.Namespace) -> dict[str, Any]:
    """Both steps of the same new days after histories of two lengths."""
    rng, customers = np.random.default_rng(8), given.customers // 10
    for shop in shops.values():
        lines = "".join(f"P{n},GB\n" for n in range(given.products))
        (shop.raw / "products" / "all.csv").write_text("product_id,market\n" + lines)

    def write(day: date, where: list[Shop]) -> None:
        owners = rng.integers(0, customers, max(int(customers * given.touched), 1))
        rows = events_of(day, owners[rng.integers(0, len(owners), given.day_events)], given.products, rng)
        rows = rows.set_column(4, "event_ts", pc.strftime(rows["event_ts"], "%Y-%m-%dT%H:%M:%SZ"))
        for shop in where:
            csv.write_csv(rows, shop.raw / "events" / f"{day}.csv")

    last = FIRST + timedelta(days=LONGER * given.history_days)
    for back in range(LONGER * given.history_days, 0, -1):
        write(
            last - timedelta(days=back), [shop for shop in shops.values() if back <= shop.history * given.history_days]
        )
    first = {f"{times}x": shop.night(last) for times, shop in shops.items()}
    turns: list[dict[str, Any]] = []
    for turn in range(given.repeats):
        write(last + timedelta(days=turn), list(shops.values()))
        order = list(shops)[:: 1 if turn % 2 else -1]
        spent = {times: shops[times].night(last + timedelta(days=turn + 1)) for times in order}
        ratio = sum(spent[LONGER].values()) / sum(spent[1].values())
        turns.append({f"{times}x": spent[times] for times in shops} | {"ratio": round(ratio, 3)})
    return {"first night": first, "turns": turns}


if __name__ == "__main__":
    main()
