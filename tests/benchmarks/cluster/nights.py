"""Runs a night in a new lake, kills a worker under it, and compares the tables of two lakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.model_inputs import matrix
from jobs.tables.records import EVALUATIONS, MODELS
from jobs.tables.shop import CUSTOMER_EMBEDDINGS
from jobs.tables.table import Table
from tests.night.test_whole_night import COMPARED
from tests.support.repository import REPOSITORY
from tests.support.spark_cluster import SparkCluster

STEP = re.compile(r"^(\w+) +started for")
LINE = re.compile(r"nightrail: process (\d+): (?P<work>\S+) (?:reads|made (?P<rows>\d+) rows)")
TOLERANCE = 1e-5
"""Of a vector's numbers, where the last bits differ: another CPU may add in another order."""


def on_cluster(cluster: SparkCluster) -> dict[str, str]:
    """All that the night has to be told."""
    return {"NIGHTRAIL_ENGINE": "spark", "SPARK_REMOTE": cluster.remote}


@dataclass
class Killer:
    """Kills a worker once, while a step has tasks running in its executor."""

    cluster: SparkCluster
    step: str
    said: str = ""
    """When it was."""
    now: str = field(default="", init=False)
    """The step that runs."""

    def watch(self, over: threading.Event) -> None:
        """Ask the driver what runs until it is done or the night is over."""
        while not over.wait(0.1) and not self.said:
            if self.now == self.step:
                with suppress(OSError, IndexError, KeyError):
                    self.strike()

    def strike(self) -> None:
        """Kill the worker of an executor with a running task, if there is one."""
        busy = [one for one in self.cluster.executors() if one["isActive"] and one["activeTasks"]]
        stages = self.cluster.ask("stages?status=active")
        if not busy or not stages:
            return
        number = self.cluster.worker_of(busy[0]["id"])
        gone = self.cluster.kill_worker(number)
        self.said = (
            f"killed worker {number} with its executor {busy[0]['id']} ({len(gone)} processes) in step {self.step}: "
            f"stage {stages[0]['stageId']} had {stages[0]['numCompleteTasks']} of {stages[0]['numTasks']} tasks done "
            f"and {busy[0]['activeTasks']} running there"
        )


def run_night(
    root: Path,
    raw: Path,
    as_of: date,
    changes: dict[str, str] | None = None,
    killer: Killer | None = None,
    airflow: bool = False,
) -> Lake:
    """A night in a new lake, under Airflow where asked; ends the benchmark where it fails."""
    command = [sys.executable, "-m", "jobs", "night", "--as-of", as_of.isoformat(), "--root", str(root), "--config",
               "quick", "--raw", str(raw), *(["--airflow"] if airflow else [])]  # fmt: skip
    over = threading.Event()
    if killer:
        threading.Thread(target=killer.watch, args=(over,), daemon=True).start()
    lines: list[str] = []
    try:
        with subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | (changes or {}), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if killer and (found := STEP.match(line)):
                    killer.now = found[1]
    finally:
        over.set()
    if process.returncode:
        raise SystemExit(f"the night failed with exit code {process.returncode}:\n{''.join(lines[-60:])}")
    return Lake(root)


def executed(folder: Path) -> dict[tuple[str, str, str], Counter[str]]:
    """(worker and executor, process, work) -> how often it read its parcel, its partitions and their rows."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for log in sorted(folder.glob("work-*/app-*/*/stderr")):
        executor = f"{log.parents[2].name}, executor {log.parent.name}"
        for line in LINE.finditer(log.read_text(errors="replace")):
            counts = found.setdefault((executor, line[1], line["work"]), Counter())
            counts.update({"partitions": 1, "rows": int(line["rows"])} if line["rows"] else {"reads": 1})
    return found


def compare(left: Lake, right: Lake) -> list[str]:
    """One line a table that is not equal."""
    found = []
    for table in COMPARED:
        mine, theirs = (settled(lake, table) for lake in (left, right))
        if mine.num_rows and same(table, mine, theirs):
            continue
        found.append(f"{table.name}: {mine.num_rows} rows and {theirs.num_rows}" + difference(mine, theirs))
    return found


def settled(lake: Lake, table: Table) -> pa.Table:
    """A table's rows in one order, without what a clock says."""
    rows = lake.arrow(table)
    if table is EVALUATIONS:
        rows = rows.filter(pc.not_equal(rows["slice"], "cost"))
    if table is MODELS:
        rows = rows.drop_columns(["reason"])  # it names what the candidates cost
    order = sorted(range(len(rows)), key=[repr(row) for row in rows.to_pylist()].__getitem__)
    return rows if table.key else rows.take(order)


def same(table: Table, mine: pa.Table, theirs: pa.Table) -> bool:
    """Whether rows are equal; vectors may differ by TOLERANCE."""
    if mine.equals(theirs):
        return True
    if table is not CUSTOMER_EMBEDDINGS or not mine.drop_columns(["vector"]).equals(theirs.drop_columns(["vector"])):
        return False
    off = np.abs(matrix(mine["vector"]) - matrix(theirs["vector"]))
    print(
        f"{int((off.max(axis=1) > 0).sum())} of {len(off)} vectors are not equal to the last bit: at most {off.max()}"
    )
    return bool(off.max() < TOLERANCE)


def difference(mine: pa.Table, theirs: pa.Table) -> str:
    """The first row of each that the other lacks."""
    rows: list[Any] = [{repr(row) for row in table.to_pylist()} for table in (mine, theirs)]
    one, two = min(rows[0] - rows[1], default=""), min(rows[1] - rows[0], default="")
    return f"; {len(rows[0] - rows[1])} and {len(rows[1] - rows[0])} differ:\n  {one:.600}\n  {two:.600}"
