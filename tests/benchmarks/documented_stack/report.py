"""The two sides stage by stage, what an unfinished stage would have taken, and what a larger shop would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid


@dataclass(frozen=True)
class Group:
    """Work that both sides do."""

    name: str
    peer: tuple[str, ...]
    """Stages of the documented stack."""
    ours: tuple[str, ...]
    """Steps of the night."""
    contains: str
    """What each side does in it, where they differ."""


GROUPS = (
    Group("raw files to events", ("ingest",), ("ingest",),
          "both: valid events once each, catalogue, availability, Delta; ours also: every rejected row with its "
          "reason, corrections of earlier nights, input gates"),
    Group("customer sequences", ("sequences",), ("sequences",),
          "both: last 100 events per customer; the peer also: popularity, and products as numbers for its model; ours "
          "also: what was ever bought, and when"),
    Group("vectors", ("encode",), ("embed",),
          "both: customers and products, the same width, layers and length; ours reads event types, times and "
          "attributes, and gives new products a vector"),
    Group("candidates and lists", ("bought", "recommended", "alike"), ("index", "lists"),
          "both: top 24 per market for customers and products, co-purchase; ours also: popularity, bag extras, ranked "
          "pages, nothing twice on a page or bought already, rules, fallbacks, reasons, co-views, measured recall"),
    Group("online store", ("materialize",), ("publish",),
          "both: sequences, vectors and lists; ours also: catalogue, bag extras, ranked pages, one flip for all"),
)  # fmt: skip
BEYOND = ("audiences", "gate", "report", "clean")
"""Steps of ours that the documented stack has nothing for; in the whole night's total alone."""


@dataclass(frozen=True)
class Spent:
    """What a stage took."""

    seconds: float
    cpu_seconds: float
    memory_mb: float
    finished: bool = True
    done: int = 0
    total: int = 0
    """How much of its work it did; 0 of 0 where it does not say."""
    whole_seconds: float | None = None
    """Extrapolated to all of its work; None where it finished, or did not say how far it was."""

    def __add__(self, other: Spent) -> Spent:
        whole = None
        if self.whole_seconds is not None or other.whole_seconds is not None:
            whole = self.estimate + other.estimate
        return Spent(
            self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds, max(self.memory_mb, other.memory_mb),
            self.finished and other.finished, self.done + other.done, self.total + other.total, whole,
        )  # fmt: skip

    @property
    def estimate(self) -> float:
        """Seconds of the whole work: measured, or extrapolated, or the limit that was not enough."""
        return self.seconds if self.whole_seconds is None else self.whole_seconds

    @property
    def cpu_estimate(self) -> float:
        """Processor seconds of the whole work, in proportion."""
        return self.cpu_seconds * self.estimate / self.seconds


def whole_seconds(progress: Sequence[tuple[float, int, int]]) -> float | None:
    """Seconds of all the work: what is left, at the rate of the time in which something was done; None where nothing
    was.

    `progress` is (seconds since the start, done, total), oldest first. Time between two words with nothing done in it,
    preparation, is not extrapolated: that favours the peer.
    """
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(progress) if b[1] > a[1]]
    if not steps:
        return None
    last, done, total = progress[-1]
    return last + (total - done) * sum(step[0] for step in steps) / sum(step[1] for step in steps)


def linear(sizes: Sequence[float], seconds: Sequence[float], size: float) -> float:
    """Seconds at `size` by least squares of a + b * size; neither a nor b is below 0. One point: in proportion.

    Raises ValueError without a point.
    """
    if not len(sizes):
        raise ValueError("nothing was measured, so nothing can be extrapolated")
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    if len(set(sizes)) == 1:
        return float(y.mean() * size / x[0])
    (a, b), *_ = np.linalg.lstsq(np.stack([np.ones_like(x), x], axis=1), y, rcond=None)
    if b < 0:
        a, b = y.mean(), 0.0
    elif a < 0:
        a, b = 0.0, (x @ y) / (x @ x)
    return float(a + b * size)


def grouped(stages: Mapping[str, Spent], names: Sequence[str]) -> Spent | None:
    """The sum of some stages; None where one of them is missing."""
    found = [stages[name] for name in names if name in stages]
    if len(found) < len(names):
        return None
    whole = found[0]
    for one in found[1:]:
        whole += one
    return whole


def totals(peer: Mapping[str, Spent], ours: Mapping[str, Spent]) -> dict[str, float]:
    """Seconds over the groups that both sides did, of all of our night, and how many times as long the peer takes."""
    sides = [(grouped(peer, group.peer), grouped(ours, group.ours)) for group in GROUPS]
    both = [(one, two) for one, two in sides if one and two]
    if not both:
        return {"peer s": sum(one.estimate for one in peer.values())}
    theirs, same = sum(one.estimate for one, _ in both), sum(two.seconds for _, two in both)
    peer_cpu, cpu = sum(one.cpu_estimate for one, _ in both), sum(two.cpu_seconds for _, two in both)
    night = sum(one.seconds for one in ours.values())
    return {"peer s": theirs, "ours s": same, "ratio": theirs / same, "peer cpu s": peer_cpu, "ours cpu s": cpu,
            "ratio of cpu": peer_cpu / cpu, "our whole night s": night,
            "ratio to our whole night": theirs / night}  # fmt: skip


def print_run(result: Mapping[str, Any]) -> None:
    """The table of one size."""
    shop, peer, ours = result["shop"], result["peer"], result["ours"]
    grid = Grid(title=f"{shop['name']}: {shop['customers']:,} customers, {shop['products']:,} products and more, "
                      f"{shop['markets']} markets, {shop['days']} days of {shop['daily_events']:,} events; "
                      f"{result['online']}; load average before, between and after the two sides "
                      f"{', '.join(f'{load:.1f}' for load in result['load'])}")  # fmt: skip
    for title in ("stage", "peer, s", "peer, whole s", "ours, s", "ratio", "peer cpu s", "ours cpu s", "peer MB",
                  "ours MB"):  # fmt: skip
        grid.add_column(title, justify="left" if title == "stage" else "right")
    for group in GROUPS:
        grid.add_row(group.name, *_cells(grouped(peer, group.peer), grouped(ours, group.ours)))
        for name in group.peer if len(group.peer) > 1 else ():
            grid.add_row(f"  {name}", *_cells(peer.get(name), None))
    for name in BEYOND:
        if name in ours:
            grid.add_row(f"{name} (ours alone)", *_cells(None, ours[name]))
    console = Console(width=140)
    console.print(grid)
    for group in GROUPS:
        console.print(f"{group.name}: {', '.join(group.peer)} beside {', '.join(group.ours)}; {group.contains}")
    for name, spent in peer.items():
        if not spent.finished:
            share = f", {spent.done:,} of {spent.total:,} done" if spent.total else ", it does not say how far it was"
            console.print(f"{name} not finished after {spent.seconds:.0f} s{share}"
                          + (f"; at its rate {spent.whole_seconds:,.0f} s" if spent.whole_seconds else ""))  # fmt: skip
    found = result["totals"]
    if "ratio" in found:
        same = f"{found['peer s']:,.0f} s, ours {found['ours s']:,.0f} s, {found['ratio']:.1f} times"
        night = f"{found['our whole night s']:,.0f} s, {found['ratio to our whole night']:.1f} times"
        cpu = f"{found['peer cpu s']:,.0f} s, ours {found['ours cpu s']:,.0f} s, {found['ratio of cpu']:.1f} times"
        console.print(f"the same outputs: the documented stack {same}; with our gates, report and clean-up {night}")
        console.print(f"processor seconds, which other programs on the machine disturb less: the peer {cpu}")


def _cells(peer: Spent | None, ours: Spent | None) -> list[str]:
    ratio = f"{peer.estimate / ours.seconds:.1f}" if peer and ours else ""
    return [
        f"{peer.seconds:.1f}" + ("" if peer.finished else ", cut") if peer else "",
        f"{peer.estimate:,.1f}" if peer and not peer.finished else "",
        f"{ours.seconds:.1f}" if ours else "", ratio,
        f"{peer.cpu_seconds:.1f}" if peer else "", f"{ours.cpu_seconds:.1f}" if ours else "",
        f"{peer.memory_mb:,.0f}" if peer else "", f"{ours.memory_mb:,.0f}" if ours else "",
    ]  # fmt: skip


def extrapolated(runs: Sequence[Mapping[str, Any]], customers: int) -> dict[str, float]:
    """Seconds of each stage of the peer for a shop of so many customers, from runs of other sizes."""
    names = [name for name in runs[0]["peer"] if all(name in run["peer"] for run in runs)]
    sizes = [run["shop"]["customers"] for run in runs]
    return {name: linear(sizes, [run["peer"][name].estimate for run in runs], customers) for name in names}


def print_extrapolation(found: Mapping[str, float], customers: int, ours: Mapping[str, float]) -> None:
    """The peer's extrapolated seconds beside ours, measured; `ours` are seconds by step, empty where not given.

    A group with a stage that some size did not come to is not known, and counts on neither side.
    """
    grid = Grid(title=f"EXTRAPOLATED, not measured: the documented stack with {customers:,} customers")
    for title in ("stage", "peer, s (extrapolated)", "ours, s (measured)", "ratio"):
        grid.add_column(title, justify="left" if title == "stage" else "right")
    sums = [0.0, 0.0]
    for group in GROUPS:
        night = sum(ours.get(name, 0.0) for name in group.ours)
        if not all(name in found for name in group.peer):
            grid.add_row(group.name, "not known", f"{night:,.0f}" if night else "", "")
            continue
        peer = sum(found[name] for name in group.peer)
        sums = [sums[0] + peer, sums[1] + night]
        beside = [f"{night:,.0f}", f"{peer / night:.1f}"] if night else ["", ""]
        grid.add_row(group.name, f"{peer:,.0f}", *beside)
    own = [f"{sums[1]:,.0f}", f"{sums[0] / sums[1]:.1f}"] if sums[1] else ["", ""]
    grid.add_row("together", f"{sums[0]:,.0f}", *own)
    Console(width=140).print(grid)
