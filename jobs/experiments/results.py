"""Reads what nights measured of experiments, for pages and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from jobs.experiments.measure import METRICS, UNTRUSTED
from jobs.experiments.sides import read_experiments
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, matching
from jobs.tables.experiments import ALL_MARKETS, EXPERIMENTS

ORDER = [*METRICS]


@dataclass(frozen=True)
class Results:
    """The newest results of one experiment."""

    name: str
    night: date
    """The night that measured them."""
    running: bool
    rows: Sequence[StoredRow]
    """Of EXPERIMENTS."""

    @property
    def headline(self) -> str:
        """The results in one sentence: what is decided first, then the names of the metrics that are not."""
        told = [row for row in self.rows if row["verdict"]]
        parts = [row["verdict"] for row in told if is_decided(row) or row["sample_ratio_p"] < UNTRUSTED]
        variants = [*dict.fromkeys(row["variant"] for row in told)]
        for variant in variants:
            open_ones = [row for row in told if row["variant"] == variant and row["verdict"] not in parts]
            if open_ones:
                days, names = open_ones[0]["days"], [row["metric"] for row in open_ones]
                of = f"{variant} is " if len(variants) > 1 else ""
                since = "" if parts else f" after {days} day{'' if days == 1 else 's'}"
                parts.append(f"{of}not decided in {listed(names)}{since}")
        return "; ".join(dict.fromkeys(parts))

    @property
    def markets(self) -> list[str]:
        """The single markets, where there are several."""
        return sorted({row["market"] for row in self.rows} - {ALL_MARKETS})

    @property
    def customers(self) -> list[tuple[str, int]]:
        """(variant, its customers), the control first."""
        return [(row["variant"], row["customers"]) for row in self.of(metric=ORDER[0])]

    def of(self, market: str = ALL_MARKETS, metric: str | None = None) -> list[StoredRow]:
        """The rows of a market in one metric or in all, the control's first."""
        return [row for row in self.rows if row["market"] == market and metric in (None, row["metric"])]


def read_results(lake: Lake, as_of: date) -> list[Results]:
    """The experiments measured up to the night, running ones first, then by the night that measured them last."""
    nights = matching(lake, EXPERIMENTS, ("experiment", "as_of"), Wanted(where=pc.field("as_of") <= pa.scalar(as_of)))
    newest = {row["experiment"]: row["as_of"] for row in sorted(nights, key=lambda row: row["as_of"])}
    running = {one.name for one in read_experiments(lake, as_of) if one.running}
    found = []
    for name, night in newest.items():
        rows = matching(lake, EXPERIMENTS, EXPERIMENTS.names, Wanted(night, pc.field("experiment") == name))
        rows.sort(key=lambda row: (ORDER.index(row["metric"]), row["market"], row["variant"] != row["control"]))
        found.append(Results(name, night, name in running, rows))
    return sorted(found, key=lambda one: (not one.running, -one.night.toordinal(), one.name))


def is_decided(row: StoredRow) -> bool:
    """Whether the interval for daily looks leaves out 0."""
    return row["always_low"] is not None and (row["always_low"] > 0 or row["always_high"] < 0)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: clicks, saves and revenue."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
