"""A process that has imported everything slow and forks a child for each job that comes in on its standard input.

A job is one line of JSON: {"what": one of JOBS, "root": .., "out": .., ..}; the answer is one line with the
child's exit status as the system gives it. What the child prints goes to OUT.log, what it found to OUT.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

SLOW = (
    "deltalake.table", "faiss", "feast", "feast.infra.registry.file", "feast.infra.online_stores.sqlite",
    "feature_repo.definitions", "pandas",
    "pyspark.sql.connect.readwriter", "pyspark.sql.connect.session", "pyarrow.dataset", "pyarrow.parquet",
)  # fmt: skip
"""What steps import inside functions."""


def load() -> None:
    """Import what steps import, without starting a thread: a thread does not survive a fork."""
    import jobs

    for module in pkgutil.walk_packages(jobs.__path__, "jobs."):
        if module.name != "jobs.__main__":
            importlib.import_module(module.name)
    for name in SLOW:
        importlib.import_module(name)


def run(job: dict[str, Any]) -> Any:
    """Run steps of a night, dying at the point job["kill_at"] of the last one; returns the points passed in it."""
    from jobs.config import quick
    from jobs.lake import engine
    from jobs.lake.lake import Lake
    from jobs.nights.ledger import run_step
    from jobs.run import Run
    from tests.support.faults.points import Points, install

    root = Path(job["root"])
    config = quick(Path(job["source"]), Path(job["raw"]))
    if settings := job.get("feature_store"):
        config = replace(config, publish=replace(config.publish, feature_store=Path(settings)))
    lake = Lake(root, lambda: engine.start("sail"))
    night = date.fromisoformat(job["as_of"])
    points = Points(root, job.get("kill_at"))
    now = datetime(2026, 5, 1, night.day, job.get("hour", 0), tzinfo=UTC)
    for step in job["steps"]:
        if job.get("watched") and step == job["steps"][-1]:
            install(points)
        run_step(step, lake, Run(night, f"{night}-{config.hash[:8]}", now), config, "test", lambda: now)
    return points.names


def disk(job: dict[str, Any]) -> Any:
    """Give the file system at job["root"], made where it is not there yet, so many bytes that are free."""
    place, free = job["root"], int(job["free"])
    if not os.path.ismount(place):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", place], check=True)
        shutil.copytree(job["lake"], Path(place) / "lake")
    size = os.statvfs(place)
    used = (size.f_blocks - size.f_bfree) * size.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used + free}", place], check=True)


def describe(job: dict[str, Any]) -> Any:
    """What is in a lake: see `tests.support.faults.state`."""
    from tests.support.faults.state import describe as state

    given = {"settings": Path(job["feature_store"])} if "feature_store" in job else {}
    return state(Path(job["root"]), job.get("visible_only", False), **given)


JOBS: dict[str, Callable[[dict[str, Any]], Any]] = {"run": run, "describe": describe, "disk": disk}


def child(job: dict[str, Any]) -> None:
    """Do one job and leave, without what an interpreter does at its end."""
    out = Path(job["out"])
    log = os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["NIGHTRAIL_FEAST"] = str(Path(job["root"]) / "feast")
    os.environ |= job.get("environment", {})
    code = 1
    try:
        out.write_text(json.dumps(JOBS[job["what"]](job)))
        code = 0
    except BaseException as error:
        traceback.print_exc()
        code = getattr(error, "exit_code", 1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Answer jobs until the input ends."""
    warnings.simplefilter("ignore")
    load()
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(job)
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), flush=True)


if __name__ == "__main__":
    main()
