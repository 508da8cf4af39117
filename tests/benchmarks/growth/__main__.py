"""How a night's cost grows with customers, and what it takes for thirty million: computed from measured nights.

    python -m tests.benchmarks.growth [--take A.json B.json C.json] [--write]

`--take` keeps figures of results of `tests.benchmarks.night --json` in growth.json beside this file; `--write` puts
the table into the documentation, where a test holds it to the file. A step's processor seconds and memory are a
straight line (least squares) over the shops that were measured: the first night's over customers, a later night's over
the new day's events. Products and markets are the same in all of them, so what they cost is the line's start.

A later night never costs more than a first one: where more than half of the customers changed, `sequences` builds all
of them, and then `embed` and `lists` do so too (`MOST_CHANGED`). So a step's figure of a later night ends at that of a
first one: the line over a day's events is straight only while few customers have more than one of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.steps import STEPS
from tests.benchmarks.common.docs import write_table

FILE = Path(__file__).with_name("growth.json")
CUSTOMERS, EVENTS = 30_000_000, 100_000_000
"""The shop that is planned for: customers with a history, and events a day."""
CORES = 16
"""Of each machine."""
MACHINES = (1, 4, 16)
ON_EXECUTORS = ("ingest", "sequences", "embed")
"""Steps whose work is the executors'; of `lists`, what grows with customers is."""
MEASURED = tuple(step for step in STEPS if step != "train")


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float
    processor_seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Shop:
    """A measured shop's two nights."""

    customers: int
    """Those with a history."""
    events: int
    """Of all days before the first night."""
    new_events: int
    """Of the second night's day."""
    first: dict[str, Cost]
    """Step -> what it took."""
    second: dict[str, Cost]
    """Empty where only the first night was measured."""


@dataclass(frozen=True)
class Line:
    """start + slope * x."""

    start: float
    slope: float

    def at(self, x: float) -> float:
        """Its value; no less than the start."""
        return self.start + self.slope * x


def fitted(x: list[float], y: list[float]) -> Line:
    """The line of least squares through at least two points, neither start nor slope below 0."""
    slope, start = (float(value) for value in np.polyfit(x, y, 1))
    if slope < 0:
        return Line(float(np.mean(y)), 0.0)
    if start < 0:
        return Line(0.0, float(np.dot(x, y) / np.dot(x, x)))
    return Line(start, slope)


def taken(result: dict[str, Any]) -> Shop:
    """The figures of a result of `tests.benchmarks.night`."""
    first, second = ({step["step"]: step for step in result[night]} for night in ("first night", "second night"))
    costs = [
        {name: Cost(*(float(f"{night[name][key]:.4g}") for key in ("seconds", "processor_seconds", "memory_mb")))
         for name in MEASURED if name in night}
        for night in (first, second)
    ]  # fmt: skip
    new_events = second["sequences"]["rows"] if second else 0
    customers = int(first["sequences"]["note"].split()[0].replace(",", ""))  # the step's own words begin with them
    return Shop(customers, first["sequences"]["rows"], new_events, *costs)


def read(file: Path = FILE) -> tuple[str, list[Shop]]:
    """(when and where, the shops by size)."""
    plain = json.loads(file.read_text())

    def costs(steps: dict[str, Any]) -> dict[str, Cost]:
        return {name: Cost(**cost) for name, cost in steps.items()}

    shops = [Shop(**shop | {name: costs(shop[name]) for name in ("first", "second")}) for shop in plain["shops"]]
    return plain["measured"], shops


def line_of(shops: list[Shop], night: str, step: str, value: Callable[[Cost], float]) -> Line:
    """A step's figure over customers (first night) or over the new day's events (second)."""
    measured = [shop for shop in shops if getattr(shop, night)]
    x = [float(shop.customers if night == "first" else shop.new_events) for shop in measured]
    return fitted(x, [value(getattr(shop, night)[step]) for shop in measured])


def way(shops: list[Shop], night: str, step: str) -> str:
    """The night whose figures hold for the step in such a night of the planned shop: a later one's, where that is
    cheaper than a first one.
    """
    later = planned(shops, "second", step, lambda c: c.processor_seconds)
    return night if sum(later) < sum(planned(shops, "first", step, lambda c: c.processor_seconds)) else "first"


def planned(shops: list[Shop], night: str, step: str, value: Callable[[Cost], float]) -> tuple[float, float]:
    """(what does not grow with customers, what does) of the step in such a night of the planned shop."""
    line = line_of(shops, night, step, value)
    return line.start, line.slope * (CUSTOMERS if night == "first" else EVENTS)


def parallel(cost: Cost) -> float:
    """The share of a step's work that two cores did side by side (Amdahl's law, from its seconds on two cores)."""
    return float(np.clip(2 * (1 - cost.seconds / max(cost.processor_seconds, 1e-9)), 0, 1))


def hours(shops: list[Shop], night: str, machines: int) -> float:
    """Of a night of the planned shop on so many machines, its steps one after the other, training apart."""
    total = 0.0
    for step in MEASURED:
        taken = way(shops, night, step)
        share = parallel(getattr(shops[-1], taken)[step])
        start, grown = planned(shops, taken, step, lambda c: c.processor_seconds)
        here, spread = (start, grown) if step in ON_EXECUTORS or step == "lists" else (start + grown, 0.0)
        total += here * (share / CORES + 1 - share) + spread / (machines * CORES)
    return total / 3600


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def law(shops: list[Shop]) -> str:
    """Seconds and memory by size, as markdown."""
    lines = [_row("customers with a history", [f"{shop.customers:,}" for shop in shops]), "|---|" + "---|" * len(shops)]
    for night in ("first", "second"):
        seconds, each, peaks = [], [], []
        for shop in shops:
            costs: dict[str, Cost] = getattr(shop, night)
            wall, work = sum(c.seconds for c in costs.values()), sum(c.processor_seconds for c in costs.values())
            seconds.append(f"{wall:,.0f} ({work:,.0f})" if costs else "")
            each.append(f"{1e3 * wall / shop.customers:,.2f}" if costs else "")
            step, most = max(costs.items(), key=lambda item: item[1].memory_mb, default=("", None))
            peaks.append(f"{most.memory_mb / 1e3:,.1f} GB, {step}" if most else "")
        lines += [
            _row(f"{night} night, s (processor s)", seconds),
            _row(f"{night} night, ms a customer", each),
            _row(f"{night} night, peak memory", peaks),
        ]
    return "\n".join(lines)


def plan(shops: list[Shop]) -> str:
    """What the planned shop takes, as markdown."""
    of = f"{CUSTOMERS / 1e6:.0f} M customers, {EVENTS / 1e6:.0f} M events a day"
    lines = [_row(of, ["first night", "each later night"]), "|---|---|---|"]
    for step in MEASURED:
        cells = []
        for night in ("first", "second"):
            taken = way(shops, night, step)
            work = sum(planned(shops, taken, step, lambda c: c.processor_seconds))
            memory = sum(planned(shops, taken, step, lambda c: c.memory_mb))
            cells.append(f"{work / 3600:,.1f} core hours, {memory / 1e3:,.0f} GB")
        where = "executors" if step in ON_EXECUTORS else "both" if step == "lists" else "one process"
        lines.append(_row(f"{step} ({where})", cells))
    for machines in MACHINES:
        name = f"hours on {machines} machine{'s' if machines > 1 else ''} of {CORES} cores"
        lines.append(_row(name, [f"{hours(shops, night, machines):,.1f}" for night in ("first", "second")]))
    return "\n".join(lines)


def breaks_first(shops: list[Shop], gigabytes: float = 24.0) -> tuple[str, float]:
    """(the first night's step that reaches so much memory in one process with the fewest customers, how many)."""
    reach = {}
    for step in MEASURED:
        line = line_of(shops, "first", step, lambda c: c.memory_mb)
        if line.slope:
            reach[step] = (gigabytes * 1e3 - line.start) / line.slope
    step = min(reach, key=lambda name: reach[name])
    return step, reach[step]


def text(measured: str, shops: list[Shop]) -> str:
    """What the documentation shows."""
    step, customers = breaks_first(shops)
    days = EVENTS / max(shop.new_events for shop in shops)
    return (
        f"{law(shops)}\n\n{plan(shops)}\n\n"
        f"Lines through the shops above, far beyond them ({days:,.0f} times the largest day that was seen): they are\n"
        "orders of magnitude. Where more than half of the customers changed, a later night makes all anew, as a\n"
        "first one does, so no step of it counts more than that. Memory is that of all processes of a step, of an\n"
        "executors' step the cluster's.\n"
        f"In one process, memory breaks first in `{step}`: 24 GB at {customers / 1e6:,.1f} M customers.\n"
        f"Measured {measured}."
    )


def main() -> None:
    """Take, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", type=Path, nargs="+", help="results of tests.benchmarks.night, smallest shop first")
    parser.add_argument("--measured", default="on two cores", help="when and on what, for the record")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.take:
        shops = [asdict(taken(json.loads(path.read_text()))) for path in given.take]
        FILE.write_text(json.dumps({"measured": given.measured, "shops": shops}, indent=1) + "\n")
    print(text(*read()))
    if given.write:
        write_table("growth", text(*read()))


if __name__ == "__main__":
    main()
