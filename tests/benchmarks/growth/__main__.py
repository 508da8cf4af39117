"""How a night's cost grows with customers, and what it takes for thirty million: computed from measured nights.

    python -m tests.benchmarks.growth [--take A.json B.json C.json] [--write]

`--take` keeps figures of results of `tests.benchmarks.night --json` in growth.json beside this file; `--write` puts
the table into the documentation, where a test holds it to the file. A step's processor seconds and memory are a sum:
something for the step itself, and so much for each pair of product and market, each customer and each event: of all
days on a first night, on a later one the customers that changed and the events of the new day. The shops that are
measured differ in all three, so that each has its own share (least squares of relative errors, no share below 0).

A later night never costs more than a first one: where more than half of the customers changed, `sequences` builds all
of them, and then `embed` and `lists` do so too (`MOST_CHANGED`). So a step's figure of a later night ends at that of a
first one: the sum over a day's events holds only while few customers have more than one of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.steps import STEPS
from tests.benchmarks.common.docs import write_table

FILE = Path(__file__).with_name("growth.json")
CUSTOMERS, EVENTS, DAYS = 30_000_000, 100_000_000, 84
"""The shop that is planned for: customers with a history, events a day, and days before its first night."""
PAIRS = 46_400 * 200
"""Its products times its markets."""
CORES = 16
"""Of each machine."""
MACHINES = (1, 4, 16)
ON_EXECUTORS = ("ingest", "sequences", "embed")
"""Steps whose work is the executors'; of `lists`, what grows with customers is."""
UNMEASURED = "train"
"""The step that the benchmark replaces by a quick one."""


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float
    processor_seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Shop:
    """A measured shop's two nights."""

    pairs: int
    """Products times markets."""
    customers: int
    """Those with a history."""
    events: int
    """Of all days before the first night."""
    new_events: int
    """Of the second night's day."""
    changed: int
    """Customers that the second night's day changed."""
    first: dict[str, Cost]
    """Step -> what it took."""
    second: dict[str, Cost]
    """Empty where only the first night was measured."""


@dataclass(frozen=True)
class Law:
    """What a step takes, in parts."""

    itself: float
    a_pair: float
    a_customer: float
    an_event: float

    def at(self, pairs: float, customers: float, events: float) -> tuple[float, float]:
        """(what the step and the assortment take, what customers and events do)."""
        return self.itself + self.a_pair * pairs, self.a_customer * customers + self.an_event * events


def fitted(sizes: npt.NDArray[np.float64], figures: npt.NDArray[np.float64]) -> Law:
    """The law through figures [shops] of shops with these pairs, customers and events [shops, 3]."""
    terms = np.column_stack([np.ones(len(sizes)), sizes])
    scale = terms.max(axis=0)
    relative, best, least = terms / scale / figures[:, None], np.zeros(terms.shape[1]), np.inf
    for count in range(1, len(best) + 1):
        for some in map(list, combinations(range(len(best)), count)):  # the best of those without a negative share
            shares = np.linalg.lstsq(relative[:, some], np.ones(len(figures)))[0]
            wrong = float(np.square(relative[:, some] @ shares - 1).sum())
            if shares.min() >= 0 and wrong < least - 1e-12:
                best, least = np.zeros(len(best)), wrong
                best[some] = shares
    return Law(*(float(share) for share in best / scale))


def measured_steps(shops: list[Shop]) -> tuple[str, ...]:
    """The steps that every shop has figures of, in the night's order."""
    return tuple(step for step in STEPS if all(step in shop.first for shop in shops))


def taken(result: dict[str, Any]) -> Shop:
    """The figures of a result of `tests.benchmarks.night`."""
    first, second = ({step["step"]: step for step in result[night]} for night in ("first night", "second night"))
    costs = [
        {name: Cost(*(float(f"{night[name][key]:.4g}") for key in ("seconds", "processor_seconds", "memory_mb")))
         for name in STEPS if name in night and name != UNMEASURED}
        for night in (first, second)
    ]  # fmt: skip
    new_events = second["sequences"]["rows"] if second else 0
    customers, changed = (
        int(night["sequences"]["note"].split()[0].replace(",", "")) if night else 0 for night in (first, second)
    )  # the step's own words begin with them
    pairs = result["shop"]["products"] * result["shop"]["markets"]
    return Shop(pairs, customers, first["sequences"]["rows"], new_events, changed, *costs)


def read(file: Path = FILE) -> tuple[str, list[Shop]]:
    """(when and where, the shops by size)."""
    plain = json.loads(file.read_text())

    def costs(steps: dict[str, Any]) -> dict[str, Cost]:
        return {name: Cost(**cost) for name, cost in steps.items()}

    shops = [Shop(**shop | {name: costs(shop[name]) for name in ("first", "second")}) for shop in plain["shops"]]
    return plain["measured"], shops


def law_of(shops: list[Shop], night: str, step: str, value: Callable[[Cost], float]) -> Law:
    """The law of a step's figure in first nights or in later ones ("second")."""
    measured = [shop for shop in shops if getattr(shop, night)]
    sizes = [
        (shop.pairs, *((shop.customers, shop.events) if night == "first" else (shop.changed, shop.new_events)))
        for shop in measured
    ]
    figures = [value(getattr(shop, night)[step]) for shop in measured]
    return fitted(np.array(sizes, np.float64), np.array(figures, np.float64))


def planned(shops: list[Shop], night: str, step: str, value: Callable[[Cost], float]) -> tuple[float, float]:
    """(what does not grow with customers, what does) of the step in such a night of the planned shop.

    As many of its events a day are one customer's as in the measured shop that has the most of them.
    """
    law = law_of(shops, night, step, value)
    if night == "first":
        return law.at(PAIRS, CUSTOMERS, EVENTS * DAYS)
    of_one = max(shop.new_events / shop.changed for shop in shops if shop.changed)
    return law.at(PAIRS, min(CUSTOMERS, EVENTS / of_one), EVENTS)


def way(shops: list[Shop], night: str, step: str) -> str:
    """The night whose figures hold for the step in such a night of the planned shop: a later one's, where that is
    cheaper than a first one.
    """
    later = planned(shops, "second", step, lambda c: c.processor_seconds)
    return night if sum(later) < sum(planned(shops, "first", step, lambda c: c.processor_seconds)) else "first"


def parallel(cost: Cost) -> float:
    """The share of a step's work that two cores did side by side (Amdahl's law, from its seconds on two cores)."""
    return float(np.clip(2 * (1 - cost.seconds / max(cost.processor_seconds, 1e-9)), 0, 1))


def hours(shops: list[Shop], night: str, machines: int) -> float:
    """Of a night of the planned shop on so many machines, its steps one after the other, training apart."""
    total = 0.0
    for step in measured_steps(shops):
        taken = way(shops, night, step)
        share = parallel(getattr(shops[-1], taken)[step])
        start, grown = planned(shops, taken, step, lambda c: c.processor_seconds)
        here, spread = (start, grown) if step in ON_EXECUTORS or step == "lists" else (start + grown, 0.0)
        total += here * (share / CORES + 1 - share) + spread / (machines * CORES)
    return total / 3600


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def law(shops: list[Shop]) -> str:
    """Seconds and memory of the shops, as markdown."""
    lines = [
        "| customers with a history | events of each | pairs of product and market | first night, s (processor s) "
        "| peak memory | later night, s (processor s) | share of the first | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for shop in shops:
        cells = [f"{shop.events / shop.customers:.0f}", f"{shop.pairs:,}"]
        for costs in (shop.first, shop.second):
            wall, work = sum(c.seconds for c in costs.values()), sum(c.processor_seconds for c in costs.values())
            step, most = max(costs.items(), key=lambda item: item[1].memory_mb, default=("", None))
            cells.append(f"{wall:,.0f} ({work:,.0f})" if costs else "")
            if costs is shop.second:
                first = sum(c.processor_seconds for c in shop.first.values())
                cells.append(f"{work / first:.0%}" if costs else "")
            cells.append(f"{most.memory_mb / 1e3:,.1f} GB, {step}" if most else "")
        lines.append(_row(f"{shop.customers:,}", cells))
    return "\n".join(lines)


def plan(shops: list[Shop]) -> str:
    """What the planned shop takes, as markdown."""
    of = f"{CUSTOMERS / 1e6:.0f} M customers, {EVENTS / 1e6:.0f} M events a day"
    lines = [_row(of, ["first night", "each later night"]), "|---|---|---|"]
    for step in measured_steps(shops):
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
    """(the first night's step that reaches so much memory in one process with the fewest customers, how many), with as
    many events a customer as the largest measured shop has.
    """
    reach, largest = {}, max(shops, key=lambda shop: shop.customers)
    for step in measured_steps(shops):
        law = law_of(shops, "first", step, lambda c: c.memory_mb)
        start, one_customer = law.at(PAIRS, 1, largest.events / largest.customers)
        if one_customer:
            reach[step] = (gigabytes * 1e3 - start) / one_customer
    step = min(reach, key=lambda name: reach[name])
    return step, reach[step]


def text(measured: str, shops: list[Shop]) -> str:
    """What the documentation shows."""
    step, customers = breaks_first(shops)
    days = EVENTS / max(shop.new_events for shop in shops)
    return (
        f"{law(shops)}\n\n{plan(shops)}\n\n"
        f"Sums of what the shops above say, far beyond them ({days:,.0f} times the largest day seen): they are orders\n"
        "of magnitude. Where more than half of the customers changed, a later night makes all anew, as a\n"
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
