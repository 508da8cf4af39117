"""A whole night on the embedded engine and on a Spark cluster, by configuration alone.

`python -m tests.benchmarks.cluster [--shop tiny|sample] [--kill [STEP]] [--folder DIR]`

The cluster is a standalone master, two workers of one core and a Spark Connect server, each a process of its own on
loopback. Both nights are `python -m jobs night`; only NIGHTRAIL_ENGINE and SPARK_REMOTE differ. Prints the seconds of
each step, what ran in which executor's Python processes, and whether all tables are equal. `--kill` ends a worker and
its executor with SIGKILL while the step (embed) has tasks running.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from jobs.lake.lake import Lake
from jobs.sample_shop import SIZES, ShopSize, write_shop
from jobs.steps import STEPS
from jobs.tables.records import RUNS
from tests.benchmarks.cluster.nights import Killer, compare, executed, on_cluster, run_night
from tests.night.test_whole_night import COMPARED
from tests.support.spark_cluster import running_cluster


def main() -> None:
    """Run both nights and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", choices=("tiny", "sample"), default="tiny")
    parser.add_argument("--kill", nargs="?", const="embed", choices=STEPS)
    parser.add_argument("--folder", type=Path, help="where raw files, lakes and logs go; a temporary one by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, size = (given.folder or Path(scratch)).resolve(), SIZES[given.shop]
        raw = raw_files(size, folder)
        embedded = run_night(folder / "embedded", raw, size.as_of)
        with running_cluster(folder / "cluster") as cluster:
            began = time.perf_counter()
            killer = Killer(cluster, given.kill) if given.kill else None
            spark = run_night(folder / "spark", raw, size.as_of, on_cluster(cluster), killer)
            print(f"the night on the cluster took {time.perf_counter() - began:.0f} s")
        print_steps(embedded, spark)
        print_executors(folder / "cluster")
        if killer:
            print(killer.said or "nobody was killed: the step had no task running that could be hit")
        differing = compare(embedded, spark)
        print(f"{len(COMPARED) - len(differing)} of {len(COMPARED)} tables are equal")
        print(*differing, sep="\n")
    raise SystemExit(bool(differing) or bool(killer and not killer.said))


def raw_files(size: ShopSize, folder: Path) -> Path:
    """The shop's raw files, made where they are not there."""
    raw = folder / f"raw_{size.name}"
    if not (raw / "SYNTHETIC.txt").exists():
        write_shop(raw, size, lambda *_: None, folder / f"truth_{size.name}")
    return raw


def print_steps(embedded: Lake, spark: Lake) -> None:
    """Seconds of each step on both engines."""
    seconds = [
        {row["step"]: row["seconds"] for row in lake.arrow(RUNS, ("step", "seconds")).to_pylist()}
        for lake in (embedded, spark)
    ]
    print(f"{'step':<12}{'embedded, s':>12}{'cluster, s':>12}")
    for step in STEPS:
        print(f"{step:<12}{seconds[0][step]:>12.1f}{seconds[1][step]:>12.1f}")
    print(f"{'all':<12}{sum(seconds[0].values()):>12.1f}{sum(seconds[1].values()):>12.1f}")


def print_executors(folder: Path) -> None:
    """What ran where, from the executors' own logs."""
    for (executor, process, work), counts in executed(folder).items():
        print(f"{executor}, Python process {process}: {work} read its parcel {counts['reads']} times, "
              f"{counts['partitions']} partitions, {counts['rows']:,} rows")  # fmt: skip


if __name__ == "__main__":
    main()
