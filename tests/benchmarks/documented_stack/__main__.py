"""Our night beside the stack that each project's own documentation composes, on the same raw files.

    python -m tests.benchmarks.documented_stack --shop sample [--customers 2000,8000] [--folder DIR] [--json OUT]

The peer: Spark on the JVM with window functions and Delta Lake, Transformers4Rec's own batch evaluation, FAISS Flat
with a selector for each market, and `feast materialize`; its documented fast options are on (the modules beside this
one say which). Ours: the steps of the night. Every stage and every step is a process of its own, as under Airflow, and
its start counts. Both sides start from the raw files that `jobs.sample_shop` writes once, and end with customer
sequences, vectors, lists in Delta tables, and everything in Feast's online store of the same kind. Neither side's
training is counted: a model is fitted briefly.

Where both must agree they are compared, and a difference ends the benchmark with exit code 1: events accepted,
sequences, popularity, co-purchase counts, and search over the same vectors. A stage of the peer that passes
`--limit` seconds is ended; where it says how far it was, its whole time is extrapolated at its own rate, and marked.
With several `--customers`, or `--target` customers, the peer's seconds are extrapolated by a + b * customers a stage.
`--ours JSON` (of `tests.benchmarks.night`) puts our measured night of that shop beside it; `--peer-only` runs no night.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jobs.index import IndexConfig
from jobs.lists.config import ListsConfig
from jobs.sample_shop import SIZES, ShopSize, write_shop
from jobs.sequences.step import SequencesConfig
from jobs.steps import STEPS
from tests.benchmarks.documented_stack.process import Measured, measured
from tests.benchmarks.documented_stack.report import (
    Spent,
    extrapolated,
    print_extrapolation,
    print_run,
    totals,
    whole_seconds,
)
from tests.benchmarks.documented_stack.task import StackTask
from tests.benchmarks.night.__main__ import UNMEASURED, scaled
from tests.support.repository import REPOSITORY

MODULE = "tests.benchmarks.documented_stack."
STAGES = {
    "ingest": "spark", "sequences": "spark", "bought": "spark", UNMEASURED: "t4rec", "encode": "t4rec",
    "recommended": "faiss", "alike": "faiss", "materialize": "feast",
}  # fmt: skip
"""Stages of the peer in order, and the module of each."""
LISTED, LOADED = ("recommended", "alike"), "materialize"
"""Stages whose rows the last one loads, and that one."""
OURS_LIMIT = 7_200.0


def main(arguments: list[str] | None = None) -> int:
    """Run, print and write; 1 where a comparison failed."""
    given = _arguments(arguments)
    os.environ.setdefault("RUST_LOG", "error")  # the embedded engine's
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Makefile has it: beside other load, for both sides
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        for customers in given.customers or [None]:
            size = scaled(SIZES[given.shop], customers)
            if given.markets:
                size = replace(size, name=f"{size.name}_{given.markets}m", markets=given.markets)
            runs.append(run(size, folder, given.limit, given.online, given.peer_only))
            print_run(runs[-1])
            result: dict[str, Any] = {"runs": [_plain(one) for one in runs]}
            _write(given.json, result)
    if given.target or len(runs) > 1:
        target = given.target or SIZES[given.shop].customers
        found = extrapolated(runs, target)
        ours = _night(given.ours) if given.ours else {}
        print_extrapolation(found, target, ours)
        result |= {"extrapolated to": target, "extrapolated s": found, "ours s": ours}
        _write(given.json, result)
    return int(any(not equal for one in runs for _, equal, _ in one["checks"]))


def run(size: ShopSize, folder: Path, limit: float, online: str, peer_only: bool) -> dict[str, Any]:
    """One shop: our night, the peer's stages, and what is compared."""
    raw, lake, stack = folder / f"raw_{size.name}", folder / f"lake_{size.name}", folder / f"stack_{size.name}"
    if not (raw / "SYNTHETIC.txt").exists():
        shutil.rmtree(raw, ignore_errors=True)
        write_shop(raw, size, lambda *_: None)
    for made in (lake, stack):
        shutil.rmtree(made, ignore_errors=True)
    stack.mkdir(parents=True)
    result: dict[str, Any] = {"shop": {name: getattr(size, name) for name in (
        "name", "customers", "products", "markets", "days", "daily_events")}, "online": online, "ours": {},
        "checks": []}  # fmt: skip
    with ExitStack() as servers:
        stores = ["", ""]
        if online == "redis":
            from tests.support.redis_server import running_redis

            stores = [f"127.0.0.1:{servers.enter_context(running_redis()).port}" for _ in range(2)]
        load = [os.getloadavg()[0]]
        if not peer_only:
            result["ours"] = our_night(size, raw, lake, stack, stores[0])
        load.append(os.getloadavg()[0])
        task = task_of(size, raw, stack, stores[1])
        result["peer"] = the_peer(task, stack, limit)
    result["load"] = [*load, os.getloadavg()[0]]
    if not peer_only:
        result["checks"] = compared(task, lake, result["peer"])
    result["totals"] = totals(result["peer"], result["ours"])
    return result


def our_night(size: ShopSize, raw: Path, lake: Path, stack: Path, redis: str) -> dict[str, Spent]:
    """The steps of `tests.benchmarks.night`, measured as the peer's stages are."""
    as_of, found = size.as_of.isoformat(), {}
    environment: dict[str, str] = {}
    if redis:
        settings = str(REPOSITORY / "feature_repo" / "redis.yaml")
        environment = {"NIGHTRAIL_REDIS": f"redis://{redis}/0", "NIGHTRAIL_FEATURE_STORE": settings}
    for step in STEPS:
        command = [sys.executable, "-m", "tests.benchmarks.night.step", step, as_of, str(lake), str(raw), "sail"]
        took = measured(command, REPOSITORY, stack / f"ours_{step}.log", OURS_LIMIT, environment)
        failed = re.search(r"NIGHTRAIL_ACCEPT=(\S+)", took.output)
        if step == "gate" and took.code and failed:
            # A shop cut down to few customers is no shop that the gates were set for; what it publishes is measured.
            print(f"ours  gates that fail and are accepted: {failed[1]}", flush=True)
            environment |= {"NIGHTRAIL_ACCEPT": failed[1]}
            took = measured(command, REPOSITORY, stack / f"ours_{step}.log", OURS_LIMIT, environment)
        _must_end(f"our step {step}", took)
        if step != UNMEASURED:
            found[step] = Spent(took.seconds, took.cpu_seconds, took.memory_mb)
        _say(f"ours  {step}", took)
    return found


def the_peer(task: StackTask, stack: Path, limit: float) -> dict[str, Spent]:
    """Every stage of the documented stack; what follows a stage that was ended works with what it left.

    Lists that were not made are missing where they should be loaded: those rows count as not yet loaded.
    """
    task.save(stack / "task.json")
    found: dict[str, Spent] = {}
    missing = 0
    for stage, module in STAGES.items():
        progress = stack / f"{stage}.progress"
        deadline = time.time() + (limit if stage != UNMEASURED else min(limit, 60.0))
        command = [sys.executable, "-m", MODULE + module, stage, str(stack / "task.json"), str(progress), str(deadline)]
        took = measured(command, REPOSITORY, stack / f"{stage}.log", limit, {}, progress)
        if took.code:
            raise SystemExit(f"the peer's stage {stage} failed, exit code {took.code}:\n{took.output}")
        _say(f"peer  {stage}", took)
        if stage == UNMEASURED:
            continue
        found[stage] = spent_of(took, missing if stage == LOADED else 0)
        if stage in LISTED:
            missing += found[stage].total - found[stage].done
        if took.code is None and not took.progress:
            break  # nothing for the next stage to work on
    return found


def spent_of(took: Measured, missing: int = 0) -> Spent:
    """What a stage took; unfinished where it was ended, stopped before its last part, or was not given all its rows."""
    progress = [(at, done, total + missing) for at, done, total in took.progress]
    done, total = progress[-1][1:] if progress else (0, 0)
    finished = took.code == 0 and done == total
    whole = None if finished else whole_seconds(progress)
    return Spent(took.seconds, took.cpu_seconds, took.memory_mb, finished, done, total, whole)


def task_of(size: ShopSize, raw: Path, stack: Path, redis: str) -> StackTask:
    """The settings of our own night for the peer."""
    from models.networks.transformer import TransformerConfig

    model, lists = TransformerConfig(), ListsConfig()
    return StackTask(
        str(raw), str(stack), size.as_of.isoformat(), model.width, model.layers, model.heads, model.max_length,
        SequencesConfig().max_length, lists.top_n, lists.popular.days, lists.popular.event_weights,
        IndexConfig().basket_days, os.cpu_count() or 1, redis,
    )  # fmt: skip


def compared(task: StackTask, lake: Path, peer: Mapping[str, Spent]) -> list[tuple[str, bool, str]]:
    """The comparisons, printed; none where the peer's stages were ended before there was anything to compare."""
    from tests.benchmarks.documented_stack.checks import checks

    if "recommended" not in peer:
        print("nothing compared: the peer did not get so far")
        return []
    found = list(checks(task, lake))
    for what, equal, figures in found:
        print(f"{'equal' if equal else 'NOT EQUAL'}: {what}: {figures}", flush=True)
    return found


def _night(path: Path) -> dict[str, float]:
    steps = json.loads(path.read_text("utf-8"))["first night"]
    return {step["step"]: float(step["seconds"]) for step in steps}


def _write(path: Path | None, result: Mapping[str, Any]) -> None:
    """After each run: a later one may fail."""
    if path:
        path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    sides = {side: {name: asdict(spent) for name, spent in one[side].items()} for side in ("peer", "ours")}
    return dict(one) | sides


def _must_end(what: str, took: Measured) -> None:
    if took.code != 0:
        raise SystemExit(f"{what} ended with exit code {took.code}:\n{took.output}")


def _say(what: str, took: Measured) -> None:
    print(f"{what:<20} {took.seconds:>8.1f} s  {took.cpu_seconds:>8.1f} cpu s  {took.memory_mb:>7,.0f} MB"
          + ("" if took.code == 0 else "  ended at the limit"), flush=True)  # fmt: skip


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shop", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--customers", type=_numbers, help="shops with so many customers, one run each: 5000,20000")
    parser.add_argument("--markets", type=int, help="the shop with so many markets")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of a stage of the peer")
    parser.add_argument("--online", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--target", type=int, help="customers of the shop to extrapolate to; default: the whole shop")
    parser.add_argument("--ours", type=Path, help="result of tests.benchmarks.night of the shop extrapolated to")
    parser.add_argument("--peer-only", action="store_true")
    parser.add_argument("--folder", type=Path, help="where raw files and tables go; a temporary one by default")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
