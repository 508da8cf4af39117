"""Time one whole night under Airflow and judge its lists: `python -m tests.benchmarks.whole_night [--raw DIR ..]`.

Prints seconds and memory of each step from the ledger, wall-clock seconds and the peak resident memory of the whole
process tree, the parse time of the DAG folder, and, for the sample shop, how many of the first six products of each
carousel are true alternatives or complements, beside the market's most popular products.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from jobs.lake.lake import Lake
from jobs.sample_shop import SIZES, truth
from jobs.tables.records import RUNS
from jobs.tables.shop import EVENTS, PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST = 6
ENOUGH_EVENTS, ENOUGH_PURCHASES = 20, 20
PARSE = "from airflow.dag_processing.dagbag import DagBag as D; import sys, time; t = time.perf_counter(); " \
    "b = D(sys.argv[1]); assert not b.import_errors, b.import_errors; print(time.perf_counter() - t)"  # fmt: skip


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=REPOSITORY / "jobs/sources/sample.sql")
    parser.add_argument("--raw", type=Path, help="raw files; the sample shop is made where this is left out")
    parser.add_argument("--as-of", default=SIZES["sample"].as_of.isoformat())
    parser.add_argument("--engine", default="sail")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "lake"
        command = [sys.executable, "-m", "jobs", "night", "--as-of", given.as_of, "--root", str(root)]
        command += ["--source", str(given.source.resolve()), "--engine", given.engine]
        command += ["--raw", str(given.raw.resolve())] if given.raw else ["--raw", str(_sample(Path(scratch)))]
        seconds, memory = _measure(command)
        print(f"night {given.as_of} on {given.engine}: {seconds:.0f} s, peak {memory / 2**20:,.0f} MiB, all processes")
        lake = Lake(root)
        steps = pl.from_arrow(lake.arrow(RUNS))
        assert isinstance(steps, pl.DataFrame)
        took = (pl.col("ended_at") - pl.col("started_at")).dt.total_milliseconds() / 1000
        for step, duration, rows, own in (
            steps.sort("started_at").select("step", took, "rows_out", "memory_mb").iter_rows()
        ):
            print(f"  {step:<10} {duration:>7.1f} s  {rows:>10,} rows out  {own:>7,.0f} MiB")
        print(f"DAG folder parsed in {_parse_seconds(scratch):.2f} s (without Airflow's own import)")
        if given.raw is None:
            _judge(lake, date.fromisoformat(given.as_of))


def _sample(scratch: Path) -> Path:
    raw = scratch / "raw"
    subprocess.run([sys.executable, "-m", "jobs", "sample", "--raw", str(raw)], check=True, stdout=subprocess.DEVNULL)
    return raw


def _measure(command: list[str]) -> tuple[float, int]:
    """(seconds, peak resident bytes summed over the process tree), sampled four times a second."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    peak = 0
    stopped = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stopped.wait(0.25):
            try:
                tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak = max(peak, sum(p.memory_info().rss for p in tree if p.is_running()))
            except psutil.Error:
                continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = process.wait()
    stopped.set()
    watcher.join()
    if code:
        raise SystemExit(f"the night failed with exit code {code}")
    return time.perf_counter() - began, peak


def _parse_seconds(scratch: str) -> float:
    home = Path(scratch) / "airflow"
    environment = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                                "PYTHONPATH": str(REPOSITORY)}  # fmt: skip
    dags = str(REPOSITORY / "dags")
    done = subprocess.run(
        [sys.executable, "-c", PARSE, dags], env=environment, capture_output=True, text=True, check=True
    )
    shutil.rmtree(home, ignore_errors=True)
    return float(done.stdout.split()[-1])


def _judge(lake: Lake, as_of: date) -> None:
    shop = truth(SIZES["sample"])
    events = pl.from_arrow(lake.arrow(EVENTS, ("product_id", "event_type", "market")))
    assert isinstance(events, pl.DataFrame)
    bought = events.filter(pl.col("event_type") == "purchase")
    popular = {
        market[0]: rows["product_id"].value_counts(sort=True)["product_id"].head(FIRST).to_list()
        for market, rows in events.group_by("market")
    }
    cases = (
        (YOU_MIGHT_ALSO_LIKE, shop.alternatives, _frequent(events, ENOUGH_EVENTS), "alternatives"),
        (PEOPLE_ALSO_BOUGHT, shop.complements, _frequent(bought, ENOUGH_PURCHASES), "complements"),
    )
    for table, true, products, name in cases:
        ours, theirs, lists = _precision(lake, table, as_of, true, products, popular)
        print(
            f"{table.name}: {ours:.1%} of the first {FIRST} are true {name} (popularity: {theirs:.1%}), {lists:,} lists"
        )


def _frequent(events: pl.DataFrame, least: int) -> set[str]:
    counts = events.group_by("product_id").len()
    return set(counts.filter(pl.col("len") >= least)["product_id"])


def _precision(lake, table: Table, as_of: date, true, products: set[str], popular) -> tuple[float, float, int]:  # type: ignore[no-untyped-def]
    ours, theirs = [], []
    rows = lake.arrow(table, ("product_id", "market", "product_ids"), as_of).to_pylist()
    for row in rows:
        if row["product_id"] in products:
            right = true(row["product_id"])
            ours.append(np.mean([shown in right for shown in row["product_ids"][:FIRST]]))
            theirs.append(np.mean([shown in right for shown in popular[row["market"]]]))
    return float(np.mean(ours)), float(np.mean(theirs)), len(ours)


if __name__ == "__main__":
    main()
