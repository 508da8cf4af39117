"""Measures every experiment that runs: each variant, market and metric against the control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveFloat, PositiveInt

from jobs.checks import warn
from jobs.experiments.days import SUMS, batches_between, customer_numbers, newest_nights, summed, update_days
from jobs.experiments.sides import Experiment, read_experiments
from jobs.experiments.summary import drift_checks, read_touch_points
from jobs.experiments.touch_points import count_days
from jobs.experiments.unseen import estimate
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, scan
from jobs.lake.rows import codes_of
from jobs.run import Run
from jobs.settings import StepSettings
from jobs.tables.experiments import ALL_MARKETS, CUSTOMER_DAYS, EXPERIMENTS
from jobs.tables.impressions import OUTCOMES
from jobs.tables.shop import EVENTS
from models.arrays import BoolMask, Rows
from models.experiments.comparison import Uplift, split_p, uplift
from models.experiments.moments import FloatVector, Moments, moments_of

METRICS = {
    "clicks": "clicks",
    "saves": "saves",
    "bag-adds": "bags",
    "purchases": "purchases",
    "revenue": "revenue",
}
"""Metric -> its column of CUSTOMER_DAYS; all are per impression, revenue per customer."""
PER_CUSTOMER = ("revenue",)
LATEST = 7
"""Days after an impression in which its outcomes can still change: an experiment is measured so long after its end."""
UNTRUSTED = 0.001
"""Probability of the split of customers by chance, below which nothing is said about an uplift."""


@dataclass(frozen=True)
class ExperimentsConfig(StepSettings):
    """How experiments are measured."""

    before_days: PositiveInt = 28
    """Days before the start whose behaviour is taken off."""
    expected_uplift: PositiveFloat = 0.05
    """Uplift, as a fraction, that the intervals for daily looks are shortest for; choose it before an experiment."""


def measure(lake: Lake, run: Run, config: ExperimentsConfig) -> list[str]:
    """Write what the night knows of touch points and experiments; nothing where nobody logs what was shown.

    Returns warnings of touch points that did far worse on the last day than before.
    """
    if not lake.exists(OUTCOMES):
        return []
    update_days(lake, run)
    count_days(lake, run)
    estimate(lake, run)
    due = [one for one in read_experiments(lake, run.as_of) if one.last_day + timedelta(LATEST) >= run.as_of]
    rows = [row for one in due for row in _rows_of(lake, one, config)]
    if rows or lake.exists(EXPERIMENTS):
        lake.replace_rows(EXPERIMENTS, rows, run)
    return warn(lake, run, drift_checks(read_touch_points(lake, run.as_of), run.as_of))


@dataclass(frozen=True)
class CustomerSums:
    """What customers of an experiment did who saw one variant alone: a row for each customer and market."""

    customers: Rows
    """[n], 0 to m - 1."""
    sides: Rows
    """[n] places of their variants in the experiment."""
    markets: Rows
    """[n] places of the markets in `names`."""
    names: Sequence[str]
    figures: Mapping[str, FloatVector]
    """[n] sums of each of SUMS in the days of the experiment."""
    before: Mapping[str, FloatVector]
    """[m] for each column of METRICS: what customers did before the start, beyond what others would have done."""
    mixed: int
    """Customers who saw several variants and are left out."""

    def by_customer(self, values: FloatVector) -> FloatVector:
        """[m] sums of `values` [n] over all markets of a customer."""
        return np.bincount(self.customers, weights=values).astype(np.float64)


def _rows_of(lake: Lake, experiment: Experiment, config: ExperimentsConfig) -> Iterator[StoredRow]:
    """The night's rows of one experiment; none before its first impression."""
    sums = _read(lake, experiment, config)
    if not len(sums.customers):
        return
    days = sum(experiment.first_day <= day <= experiment.last_day for day in newest_nights(lake, CUSTOMER_DAYS))
    for metric in METRICS:
        for market, sides in _moments(sums, metric, len(experiment.variants)):
            p = split_p([side.customers for side in sides], experiment.shares)
            for place, side in enumerate(sides):
                found = uplift(side, sides[0], config.expected_uplift) if place else None
                told = place and market == ALL_MARKETS
                yield {
                    "experiment": experiment.name,
                    "variant": experiment.variants[place],
                    "market": market,
                    "metric": metric,
                    "control": experiment.variants[0],
                    "customers": side.customers,
                    "value": side.ratio if side.customers else None,
                    "days": days,
                    "mixed": sums.mixed,
                    "sample_ratio_p": p,
                    "verdict": verdict(experiment.variants[place], metric, found, days, p) if told else None,
                    **({name: getattr(found, column) for name, column in ENDS.items()} if found else {}),
                }


ENDS = {"uplift": "value"} | {name: name for name in ("low", "high", "always_low", "always_high")}
"""Column of EXPERIMENTS -> field of Uplift."""


def verdict(variant: str, metric: str, found: Uplift | None, days: int, p: float) -> str:
    """The result of a variant in one metric, in words; `p` is the probability of the split of customers by chance."""
    since = f"after {days} day{'' if days == 1 else 's'}"
    if p < UNTRUSTED:
        return (
            f"not to be trusted: customers are split as chance would do once in {1 / max(p, 1e-9):,.0f} "
            "experiments, so something else than chance decides who sees what"
        )
    if found is None:
        return f"too few {metric} to tell {since}"
    low, high = found.always_low, found.always_high
    if not found.decided:
        return f"not decided in {metric}: between {low:+.1%} and {high:+.1%} {since}"
    near, far = sorted((abs(low), abs(high)))
    word = "ahead" if found.value > 0 else "behind"
    size = f"{100 * abs(found.value):.1f} % [{100 * near:.1f}, {100 * far:.1f}]"
    return f"{variant} is {word} by {size} in {metric}, {since}"


def _moments(sums: CustomerSums, metric: str, count: int) -> Iterator[tuple[str, list[Moments]]]:
    """(market, the moments of each variant) of a metric: all markets first, then each where there are several."""
    column = METRICS[metric]
    value = sums.figures[column]
    base = np.ones(len(value)) if metric in PER_CUSTOMER else sums.figures["impressions"]
    before = sums.before[column]
    of_customer = np.zeros(len(before), np.int64)
    of_customer[sums.customers] = sums.sides
    # A customer of several markets is one customer of all of them together.
    whole = np.ones(len(before)) if metric in PER_CUSTOMER else sums.by_customer(base)
    yield ALL_MARKETS, moments_of(of_customer, count, sums.by_customer(value), whole, before)
    if len(sums.names) > 1:
        groups = sums.markets * count + sums.sides
        parts = moments_of(groups, count * len(sums.names), value, base, before[sums.customers])
        for place, name in enumerate(sums.names):
            yield name, parts[count * place : count * (place + 1)]


def _read(lake: Lake, experiment: Experiment, config: ExperimentsConfig) -> CustomerSums:
    first, last = experiment.first_day, experiment.last_day
    rows = summed(batches_between(lake, first, last, experiment.variants), ("customer", "market", "variant"))
    customers, sides = np.asarray(rows["customer"]), _places(rows["variant"], experiment.variants)
    starts = np.flatnonzero(np.diff(customers, prepend=customers[:1] - 1))
    mixed = np.minimum.reduceat(sides, starts) < np.maximum.reduceat(sides, starts) if len(rows) else np.zeros(0, bool)
    kept = np.repeat(~mixed, np.diff(starts, append=len(rows)))
    rows, known = rows.filter(pa.array(kept)), customers[starts][~mixed]
    markets, names = codes_of(pc.fill_null(rows["market"], "").combine_chunks())
    return CustomerSums(
        np.searchsorted(known, np.asarray(rows["customer"])),
        sides[kept],
        markets,
        [name or "" for name in names[:-1]],
        {name: np.asarray(rows[name], np.float64) for name in SUMS},
        _before(lake, known, first - timedelta(config.before_days), first - timedelta(1)),
        int(mixed.sum()),
    )


def _places(names: pa.ChunkedArray, variants: Sequence[str]) -> Rows:
    return np.asarray(pc.index_in(names, value_set=pa.array(variants, pa.string())), np.int64)


def _before(lake: Lake, customers: Rows, first: date, last: date) -> dict[str, FloatVector]:
    """`CustomerSums.before` of the customers in some days: from impressions, or from events where none were logged."""
    rows = summed(batches_between(lake, first, last, None), ("customer",))
    if not len(rows):
        return dict.fromkeys(METRICS.values(), _events_of(lake, customers, first, last))
    at, there = _found(customers, np.asarray(rows["customer"]))
    found = {}
    for metric, column in METRICS.items():
        value, shown = (np.asarray(rows[name], np.float64) for name in (column, "impressions"))
        # The part of a ratio's error that a customer would have had before, see `Moments.linear`.
        beyond = value if metric in PER_CUSTOMER else value - shown * value.sum() / max(shown.sum(), 1.0)
        found[column] = np.zeros(len(customers))
        found[column][at[there]] = beyond[there]
    return found


def _events_of(lake: Lake, customers: Rows, first: date, last: date) -> FloatVector:
    """[customers] events of each in some days."""
    counted, day = np.zeros(len(customers)), pc.field("event_date")
    where = Wanted(where=(day >= pa.scalar(first)) & (day <= pa.scalar(last)))
    for batch in scan(lake, EVENTS, ("customer_id",), where):
        at, there = _found(customers, customer_numbers(batch["customer_id"]))
        counted += np.bincount(at[there], minlength=len(customers))
    return counted


def _found(customers: Rows, wanted: Rows) -> tuple[Rows, BoolMask]:
    """(place of each of `wanted` among ascending customers, whether it is there)."""
    at = np.minimum(np.searchsorted(customers, wanted), max(len(customers) - 1, 0))
    return at, customers[at] == wanted if len(customers) else np.zeros(len(wanted), bool)
