"""Records which variants a night's lists were built for, and reads the experiments of the nights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching
from jobs.policy.variants import Variant
from jobs.run import Run
from jobs.tables.experiments import VARIANTS


@dataclass(frozen=True)
class Experiment:
    """One experiment as a night knows it."""

    name: str
    variants: tuple[str, ...]
    """The control first."""
    shares: tuple[float, ...]
    first_day: date
    last_day: date
    """The last day that counts, at most the one before the night."""
    running: bool
    """Whether days after the night will count too."""


def record_variants(
    lake: Lake, run: Run, experiment: str, variants: Sequence[Variant], days: tuple[date | None, date | None]
) -> None:
    """Write the night's variants, with the first and the last day that count; nothing where there is but one."""
    several = len(variants) > 1
    if not several and not lake.exists(VARIANTS):
        return
    rows = [
        {
            "experiment": experiment,
            "variant": variant.name,
            "position": position,
            "share": variant.share,
            "starts_on": days[0],
            "ends_on": days[1],
        }
        for position, variant in enumerate(variants if several else ())
    ]
    lake.replace_rows(VARIANTS, rows, run)


def read_experiments(lake: Lake, as_of: date) -> list[Experiment]:
    """The experiments of the nights up to `as_of` that have a day before it, by name; their last night defines them."""
    rows = matching(lake, VARIANTS, VARIANTS.names, Wanted(where=pc.field("as_of") <= pa.scalar(as_of)))
    found = []
    for name in sorted({row["experiment"] for row in rows}):
        own = [row for row in rows if row["experiment"] == name]
        nights = sorted({row["as_of"] for row in own})
        sides = sorted((row for row in own if row["as_of"] == nights[-1]), key=lambda row: row["position"])
        # The lists of a night are served from some hour of its day on, until those of the next night are. Who came
        # earlier that day saw other lists, so the first whole day is the one after.
        end = min(nights[-1], sides[0]["ends_on"] or nights[-1])
        first, last = sides[0]["starts_on"] or nights[0] + timedelta(days=1), min(end, as_of - timedelta(days=1))
        if first <= last:
            names, shares = (tuple(side[column] for side in sides) for column in ("variant", "share"))
            found.append(Experiment(name, names, shares, first, last, end == as_of))
    return found
