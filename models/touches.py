"""Tells which events followed which impressions: in which window, as whose last touch, and with what revenue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Digests, Rows

SHOWN, EVENT, END = range(3)
"""What an element of the sequence of a pair is, in the order of those of one instant."""
PARTS = 1_000_000
"""Amounts are added as whole millionths, so that a sum does not depend on other pairs."""
MOST = 9e12
"""A greater amount is no price."""


@dataclass(frozen=True)
class Pairs:
    """Something that happened to pairs of customer and product."""

    pair: Digests
    """[n, 2] digests of the pairs."""
    at: Rows
    """[n] microseconds since 1970."""


@dataclass(frozen=True)
class Followed(Pairs):
    """Events of pairs."""

    kind: npt.NDArray[np.int8]
    """[n] number of the kind of event."""
    amount: npt.NDArray[np.float64]
    """[n] what was paid; NaN for other events and where it is not known."""


@dataclass(frozen=True)
class Touches:
    """What came of each of n impressions."""

    window: npt.NDArray[np.int8]
    """[n, kinds] number of the narrowest window in which an event of the kind followed; -1: none did."""
    last: BoolMask
    """[n, kinds] whether it is the last touch of an event of the kind."""
    revenue: npt.NDArray[np.float64]
    """[n] amounts of the events in the widest window; NaN where none has one."""
    last_revenue: npt.NDArray[np.float64]
    """[n] the same of the events whose last touch it is."""


def touches(shown: Pairs, events: Followed, windows: Sequence[int], kinds: int) -> Touches:
    """What came of impressions; `windows` are microseconds, ascending, of which an event at the very end is within.

    An event follows the impressions of its pair at or before its time, within the widest window. The last of these is
    its last touch; of several at one time, the last as given.
    """
    n, m, widest = len(shown.at), len(events.at), windows[-1]
    time = np.concatenate([shown.at, events.at, shown.at + widest])
    part = np.repeat(np.array([SHOWN, EVENT, END], np.int8), [n, m, n])
    pair = np.concatenate([shown.pair, events.pair, shown.pair])
    order = np.lexsort((part, time, pair[:, 1], pair[:, 0]))
    pair = pair[order]
    segment = np.concatenate([[0], np.cumsum((pair[1:] != pair[:-1]).any(axis=1))]) if len(order) else order
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    here, event_at, end = np.split(place, [n, n + m])
    time, part = time[order], part[order]
    window = np.full((n, kinds), -1, np.int8)
    for kind in range(kinds):
        following = np.full(len(order) + 1, len(order))
        of_kind = event_at[events.kind == kind]
        following[of_kind] = of_kind
        following = np.minimum.accumulate(following[::-1])[::-1][here]
        there = following < len(order)
        there[there] = segment[following[there]] == segment[here[there]]
        found = np.searchsorted(windows, time[following[there]] - shown.at[there])
        window[there, kind] = np.where(found < len(windows), found, -1)
    before = np.maximum.accumulate(np.where(part == SHOWN, np.arange(len(order)), -1))[event_at]
    touched = before >= 0
    touched[touched] = segment[before[touched]] == segment[event_at[touched]]
    touched[touched] = time[event_at[touched]] - time[before[touched]] <= widest
    owner = order[before[touched]]
    last = np.zeros((n, kinds), np.bool_)
    last[owner, events.kind[touched]] = True
    known = np.abs(events.amount) < MOST  # false for NaN
    money = np.round(np.where(known, events.amount, 0.0) * PARTS).astype(np.int64)
    counted = known.astype(np.int64)
    sums = [_between(np.cumsum(_placed(values, event_at, len(order))), here, end) for values in (money, counted)]
    of_last = [np.zeros(n, np.int64), np.zeros(n, np.int64)]
    for total, values in zip(of_last, (money, counted), strict=True):
        np.add.at(total, owner, values[touched])
    return Touches(window, last, _in_units(*sums), _in_units(*of_last))


def _placed(values: npt.NDArray[np.int64], at: Rows, length: int) -> Rows:
    found = np.zeros(length, np.int64)
    found[at] = values
    return found


def _between(sums: Rows, start: Rows, end: Rows) -> Rows:
    return np.asarray(sums[end] - sums[start])


def _in_units(money: Rows, known: Rows) -> npt.NDArray[np.float64]:
    return np.where(known > 0, money / PARTS, np.nan)
