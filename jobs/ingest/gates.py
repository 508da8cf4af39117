"""Compares the figures of a night's input with those of earlier nights, and stops the night where they differ too much.

A shop's first nights have nothing to compare with: catalogue, availability, columns and prices, which hardly change,
are compared from the second night on, events from the fourth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median, median_low

import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check, decide
from jobs.errors import UserError
from jobs.ingest import figures as names
from jobs.ingest.figures import COLUMNS
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching
from jobs.run import Run
from jobs.tables.records import INPUTS
from jobs.tables.shop import CATALOGUE

LOADS = 7
"""Earlier nights whose median is the usual value."""
WEEKS = 4
"""Weeks in which the same weekday is searched."""
FIRST_LOADS, SAME_WEEKDAYS = 3, 2
"""Fewest earlier nights to compare events with, and fewest of the same weekday to compare with those alone."""
MARKET, TYPE, COLUMN = "market ", "type ", "column "
"""Prefixes of the names of slices."""
FEW_EVENTS, FEW_PRICES, FEW_PAIRS, FEW_PRODUCTS = 20, 100, 10, 20
"""Slices that usually have fewer are not compared, nor are shares and means of fewer rows: chance moves them."""
_CHECKED = ("events", "markets", "types", "products", "pairs", "market_pairs", "prices", "nulls", "columns", "age")
GATES = tuple(f"input_{name}" for name in _CHECKED)
"""Every gate of the input, checked tonight or not."""


@dataclass(frozen=True)
class InputGates:
    """The limits; `ingest --accept GATE` lets one failed gate pass on purpose, which is recorded."""

    min_events: float = 0.6
    """Least new events of the night, as a share of the usual number of the weekday."""
    max_events: float = 10.0
    """Most new events, as a multiple of the usual number."""
    min_slice: float = 0.2
    """Least events of any one market or type, as a share of the usual number."""
    min_products: float = 0.7
    """Least products of the catalogue, and available pairs in all, as a share of the usual number."""
    min_market_pairs: float = 0.5
    """Least available pairs of any one market, as a share of the usual number."""
    max_price_factor: float = 2.0
    """Greatest factor by which the mean price of the catalogue, or of the events, may rise or fall."""
    max_null_gain: float = 0.2
    """Greatest growth of the share of rows without a value in any column."""
    max_age_days: float = 7.0
    """Most days from the newest event to the night."""


NightFigures = Mapping[tuple[str, str], float]
"""(figure, slice) -> value of one night."""


@dataclass(frozen=True)
class _Inputs:
    """Tonight's figures and those of earlier nights, the newest first."""

    as_of: date
    now: NightFigures
    before: list[tuple[date, NightFigures]]

    def value(self, figure: str, part: str = names.ALL) -> float:
        """Tonight's figure; 0 where the slice is not there."""
        return self.now.get((figure, part), 0.0)

    def usual(self, figure: str, part: str = names.ALL) -> float:
        """The median of the earlier nights; a slice that a night lacks counts as 0."""
        return median(of.get((figure, part), 0.0) for _, of in self.before[:LOADS])

    def usual_where_known(self, figure: str, part: str) -> float | None:
        """The median of the earlier nights that have the slice: a share or mean of no rows is not 0."""
        known = [of[figure, part] for _, of in self.before[:LOADS] if (figure, part) in of]
        return median(known) if known else None

    def usual_of_weekday(self, part: str = names.ALL) -> float | None:
        """Usual events of this weekday; None on a shop's first nights. Days without events do not count.

        The median of the same weekday; where too few of them are known, the fewest of the last loads, since shops have
        quiet weekdays.
        """
        open_days = [(day, of) for day, of in self.before if of.get((names.EVENTS_READ, names.ALL), 0.0) > 0]
        if len(open_days) < FIRST_LOADS:
            return None
        recent = [(day, of) for day, of in open_days if (self.as_of - day).days <= 7 * WEEKS]
        same = [of for day, of in recent if (self.as_of - day).days % 7 == 0]
        if len(same) >= SAME_WEEKDAYS:
            # The lower of two: the other one may be the load of a whole history.
            return median_low(of.get((names.EVENTS_READ, part), 0.0) for of in same)
        return min(of.get((names.EVENTS_READ, part), 0.0) for _, of in open_days[:LOADS])

    def slices(self, figure: str, prefix: str) -> list[str]:
        """Slices of a figure that tonight or an earlier night has."""
        nights = (self.now, *(of for _, of in self.before[:LOADS]))
        return sorted({part for of in nights for name, part in of if name == figure and part.startswith(prefix)})


def check_inputs(lake: Lake, run: Run, config: InputGates, may_be_empty: bool = False) -> list[Check]:
    """Every check of the night's input that can be compared; `may_be_empty`: the shop was closed on the last day."""
    found = _read(lake, run)
    checks: list[Check] = []
    if not (may_be_empty and found.value(names.EVENTS_READ) == 0):
        checks += _event_checks(found, config)
    if found.before:
        checks += [*_stock_checks(found, config), *_content_checks(found, config)]
    if (names.AGE, names.ALL) in found.now:
        detail = "days from the newest event to the night"
        checks.append(Check("input_age", found.value(names.AGE), most=config.max_age_days, detail=detail))
    return checks


def decide_inputs(lake: Lake, run: Run, checks: Sequence[Check], accepted: Collection[str]) -> None:
    """Record the checks; raises GateError where one failed, UserError where `accepted` names an unknown gate."""
    if unknown := set(accepted) - set(GATES):
        raise UserError(f"--accept {sorted(unknown)}: no such gate of the input; there are {', '.join(GATES)}")
    decide(lake, run, "ingest", checks, accepted)


def _read(lake: Lake, run: Run) -> _Inputs:
    up_to_now = Wanted(where=pc.field("as_of") <= pa.scalar(run.as_of))
    by_night: dict[date, dict[tuple[str, str], float]] = {}
    for row in matching(lake, INPUTS, ("figure", "slice", "value", "as_of"), up_to_now):
        by_night.setdefault(row["as_of"], {})[row["figure"], row["slice"]] = row["value"]
    now = by_night.pop(run.as_of, {})
    return _Inputs(run.as_of, now, sorted(by_night.items(), key=lambda item: item[0], reverse=True))


def _event_checks(found: _Inputs, config: InputGates) -> Iterator[Check]:
    usual = found.usual_of_weekday()
    if not usual:
        return
    events = found.value(names.EVENTS_READ)
    detail = f"{events:,.0f} new events, usually {usual:,.0f}"
    yield Check("input_events", events / usual, config.min_events, config.max_events, detail)
    for gate, prefix in (("input_markets", MARKET), ("input_types", TYPE)):
        shares = {}
        for part in found.slices(names.EVENTS_READ, prefix):
            expected = found.usual_of_weekday(part) or 0.0
            if expected >= FEW_EVENTS:
                shares[part] = (found.value(names.EVENTS_READ, part), expected)
        yield from _least(gate, shares, config.min_slice, "events")


def _stock_checks(found: _Inputs, config: InputGates) -> Iterator[Check]:
    for gate, figure in (("input_products", names.PRODUCTS), ("input_pairs", names.PAIRS)):
        now, usual = found.value(figure), found.usual(figure)
        if usual >= FEW_PRODUCTS:
            detail = f"{now:,.0f} {figure}, usually {usual:,.0f}"
            yield Check(gate, now / usual, least=config.min_products, detail=detail)
    shares = {}
    for part in found.slices(names.PAIRS, MARKET):
        usual = found.usual(names.PAIRS, part)
        if usual >= FEW_PAIRS:
            shares[part] = (found.value(names.PAIRS, part), usual)
    yield from _least("input_market_pairs", shares, config.min_market_pairs, "available pairs")


def _least(gate: str, shares: Mapping[str, tuple[float, float]], least: float, what: str) -> Iterator[Check]:
    """A check of the slice that lost most; none where every slice is too small to compare."""
    if not shares:
        return
    worst = min(shares, key=lambda part: shares[part][0] / shares[part][1])
    now, usual = shares[worst]
    others = [part for part in shares if part != worst and shares[part][0] / shares[part][1] < least]
    detail = f"{worst}: {now:,.0f} {what}, usually {usual:,.0f}" + (f"; also {', '.join(others[:9])}" if others else "")
    yield Check(gate, now / usual, least=least, detail=detail)


def _content_checks(found: _Inputs, config: InputGates) -> Iterator[Check]:
    yield from _prices(found, config)
    gains = {}
    for part in found.slices(names.NULLS, COLUMN):
        usual = found.usual_where_known(names.NULLS, part)
        if (names.NULLS, part) in found.now and usual is not None and not _few_rows(found, part):
            gains[part] = found.value(names.NULLS, part) - usual
    if gains:
        worst = max(gains, key=lambda part: gains[part])
        detail = f"{worst}: {found.value(names.NULLS, worst):.0%} of the rows have no value"
        yield Check("input_nulls", gains[worst], most=config.max_null_gain, detail=detail)
    newest = found.before[0][1]
    then = {part for name, part in newest if name == COLUMNS}
    now = {part for name, part in found.now if name == COLUMNS}
    if then and now:
        gone, new = (sorted(part.removeprefix(COLUMN) for part in parts) for parts in (then - now, now - then))
        told = [f"gone: {', '.join(gone)}"] * bool(gone) + [f"new: {', '.join(new)}"] * bool(new)
        detail = "columns of the raw files that are gone; " + ("; ".join(told) or "they are those of the night before")
        yield Check("input_columns", len(gone), most=0, detail=detail)


def _few_rows(found: _Inputs, part: str) -> bool:
    """Whether the table of a column has too few rows tonight for shares and means to be compared."""
    if part.startswith(f"{COLUMN}{CATALOGUE.name}."):
        return found.value(names.PRODUCTS) < FEW_PRODUCTS
    return found.value(names.EVENTS_READ) < FEW_PRICES


def _prices(found: _Inputs, config: InputGates) -> Iterator[Check]:
    """The mean price that moved most, up or down; that of events only where there are enough of them."""
    factors = {}
    for figure in (names.PRODUCT_PRICE, names.EVENT_PRICE):
        now, usual = found.value(figure), found.usual_where_known(figure, names.ALL)
        few = _few_rows(found, f"{COLUMN}{CATALOGUE.name}.price" if figure == names.PRODUCT_PRICE else "")
        if usual and usual > 0 and (figure, names.ALL) in found.now and not few:
            factors[figure] = (max(now / usual, usual / now) if now > 0 else math.inf, now, usual)
    if factors:
        worst = max(factors, key=lambda figure: factors[figure][0])
        factor, now, usual = factors[worst]
        yield Check(
            "input_prices", factor, most=config.max_price_factor, detail=f"{worst} is {now:,.2f}, usually {usual:,.2f}"
        )
