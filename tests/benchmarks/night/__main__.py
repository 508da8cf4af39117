"""A whole night of a synthetic shop, step by step, then a second one with one new day.

`python -m tests.benchmarks.night --shop million --json OUT [--customers 100000] [--density 2] [--markets 20]
[--folder DIR] [--engine spark] [--accept GATE] [--nights 1]`

Each step is a process of its own, as under Airflow. For each: seconds, rows a second, peak memory, and where the main
thread's time went (cProfile): our own Python, imports, the rest being the libraries' and waiting for them. The step
train is not measured: a transformer is fitted on some customers, so that there is a model to serve. Raw files are
made once and kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from jobs.sample_shop import SIZES, ShopSize, write_days, write_shop
from jobs.steps import STEPS
from tests.support.repository import REPOSITORY

UNMEASURED = "train"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", choices=sorted(SIZES), default="tiny")
    parser.add_argument("--customers", type=int, help="the shop with so many customers, and as many events each")
    parser.add_argument("--density", type=float, default=1.0, help="as many times the events of each customer")
    parser.add_argument("--markets", type=int, help="the shop with so many markets")
    parser.add_argument("--engine", default="sail")
    parser.add_argument("--accept", default="", metavar="GATE,GATE", help="gates that may fail")
    parser.add_argument("--nights", type=int, choices=(1, 2), default=2)
    parser.add_argument("--folder", type=Path, help="where raw files and lake go; a temporary one by default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    os.environ["NIGHTRAIL_ACCEPT"] = given.accept  # for the steps' processes
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        result = run(
            scaled(SIZES[given.shop], given.customers, given.density, given.markets), given.engine, folder, given.nights
        )
    print_result(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def scaled(size: ShopSize, customers: int | None, density: float = 1.0, markets: int | None = None) -> ShopSize:
    """The shop with another number of customers, of events of each or of markets; products stay."""
    wanted = customers or size.customers, markets or size.markets
    if wanted == (size.customers, size.markets) and density == 1:
        return size
    events = round(size.daily_events * wanted[0] / size.customers * density)
    name = f"{size.name}_{wanted[0]}_{density:g}_{wanted[1]}"
    return replace(size, name=name, customers=wanted[0], daily_events=events, markets=wanted[1])


def run(size: ShopSize, engine: str, folder: Path, nights: int = 2) -> dict[str, Any]:
    """One night or both in a fresh lake below `folder`."""
    raw, lake = folder / f"raw_{size.name}", folder / f"lake_{size.name}_{engine}"
    if not (raw / "SYNTHETIC.txt").exists():
        shutil.rmtree(raw, ignore_errors=True)
        write_shop(raw, size, lambda *_: None, folder / f"truth_{size.name}")
    for late in raw.rglob(f"*{size.as_of}*"):
        late.unlink()  # the second night's day, of a run before
    shutil.rmtree(lake, ignore_errors=True)
    first = [step_of(name, size.as_of.isoformat(), lake, raw, engine) for name in STEPS]
    second = []
    if nights > 1:
        write_days(raw, size, range(size.days, size.days + 1), lambda *_: None)
        next_night = (size.as_of + timedelta(days=1)).isoformat()
        second = [step_of(name, next_night, lake, raw, engine) for name in STEPS]
    shop = {name: getattr(size, name) for name in ("name", "customers", "products", "markets", "days", "daily_events")}
    return {"shop": shop, "engine": engine, "first night": first, "second night": second,
            "seconds": [total(night) for night in (first, second) if night],
            "peak memory MB": max(s["memory_mb"] for s in (*first, *second) if s["step"] != UNMEASURED)}  # fmt: skip


def step_of(name: str, as_of: str, lake: Path, raw: Path, engine: str) -> dict[str, Any]:
    """One step in its own process; ends the benchmark where it fails."""
    command = [sys.executable, "-m", "tests.benchmarks.night.step", name, as_of, str(lake), str(raw), engine]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} of {as_of} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{as_of} {name:<10} {found['seconds']:>8.1f} s  {found['memory_mb']:>7,.0f} MB  {found['note']}", flush=True)
    return found


def total(steps: list[dict[str, Any]]) -> float:
    """Seconds of the measured steps, process start included."""
    return float(sum(step["seconds"] for step in steps if step["step"] != UNMEASURED))


def print_result(result: dict[str, Any]) -> None:
    """The steps of both nights side by side."""
    shop = result["shop"]
    grid = Grid(title=f"{shop['name']}: {shop['customers']:,} customers, {shop['products']:,} products and more, "
                      f"{shop['markets']} markets, {shop['days']} days of {shop['daily_events']:,} events; "
                      f"engine {result['engine']}")  # fmt: skip
    for title in ("step", "s", "processor s", "rows/s", "MB", "imports", "our Python", "libraries", "second night, s"):
        grid.add_column(title, justify="left" if title == "step" else "right")
    for one, two in zip_longest(result["first night"], result["second night"]):
        spent = one["spent"]
        whole = sum(spent.values()) or 1.0
        grid.add_row(
            one["step"] + (" (not counted)" if one["step"] == UNMEASURED else ""), f"{one['seconds']:.1f}",
            f"{one['processor_seconds']:.1f}",
            f"{one['rows'] / one['seconds']:,.0f}", f"{one['memory_mb']:,.0f}",
            *[f"{spent[name] / whole:.0%}" for name in ("imports", "our Python", "libraries")],
            f"{two['seconds']:.1f}" if two else "",
        )  # fmt: skip
    console = Console(width=120)
    console.print(grid)
    first, *second = result["seconds"]
    then = f", then {second[0]:.0f} s ({second[0] / first:.0%})" if second else ""
    console.print(f"{first:.0f} s without training{then}; peak memory {result['peak memory MB']:,.0f} MB")


if __name__ == "__main__":
    main()
