"""How a customer's recommendations move: with the last session, and with a style that shifts over months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jobs.examples import Place, Touch
from jobs.model_report_contexts import ordinal
from jobs.model_report_shop import Ints, Shop

SESSION_GAP = 30 * 60
"""Seconds without an event that end a session, as web analytics count."""
FEWEST_BEFORE = 8
"""Events before the last session that make a list worth comparing with."""
SESSION_EVENTS = range(3, 13)
"""Events of a last session that are shown whole."""
LOOKED_AT = 1_000
"""Customers whose last session, and whose shift, is computed."""
MOMENTS = 4
"""Points in time of a shift, after equal numbers of events."""
FEWEST_EVENTS, FEWEST_DAYS = 24, 30
"""A history that can show a shift."""
LIST = 20
"""Recommendations whose mix is shown."""
NAMES = 5
"""Categories or departments with a colour of their own; the others are one."""
OTHERS = "others"
NAMELESS = "without one"


@dataclass(frozen=True)
class SessionView:
    """A customer's list before and after the last session."""

    customer: str
    read: int
    """Events before the session."""
    session: tuple[Touch, ...]
    before: tuple[Place, ...]
    after: tuple[Place, ...]
    stay: int
    """Products of the list before that are in the list after."""
    usual: float
    """The same for the median customer that was looked at."""
    looked_at: int


@dataclass(frozen=True)
class Moment:
    """A point in a history."""

    label: str
    events: int
    """Events since the moment before."""
    did: tuple[float, ...]
    """Shares of those events, in the order of `Mix.names`."""
    shown: tuple[float, ...]
    """Shares of the first recommendations after them."""


@dataclass(frozen=True)
class Mix:
    """What a customer did and was recommended at several moments, by category or department."""

    title: str
    names: tuple[str, ...]
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class ShiftView:
    """A customer whose style shifts."""

    customer: str
    days: int
    """From the first event to the last."""
    recommended: int
    """Recommendations that each mix is of."""
    mixes: tuple[Mix, ...]


def session_view(shop: Shop, shown: int = 10) -> SessionView | None:
    """The customer whose last session changes most of the first `shown` products; None where nobody has one."""
    rows, starts = _last_sessions(shop)
    if not len(rows):
        return None
    lengths = shop.sequences.lengths[rows]
    before, after = shop.states(rows, starts), shop.states(rows, lengths)
    old_lists = shop.first_not_bought(rows, starts, before, shown)
    new_lists = shop.first_not_bought(rows, lengths, after, shown)
    stay = np.array([len(np.intersect1d(*lists)) for lists in zip(old_lists, new_lists, strict=True)])
    cosines = np.einsum("ij,ij->i", before[:, :-1], after[:, :-1]) / np.maximum(
        np.linalg.norm(before[:, :-1], axis=1) * np.linalg.norm(after[:, :-1], axis=1), 1e-9
    )
    pick = int(np.lexsort((rows, np.round(cosines, 4), stay))[0])
    row, start = int(rows[pick]), int(starts[pick])
    old = shop.order(before[pick], shop.not_bought(row, start))
    new = shop.order(after[pick], shop.not_bought(row))
    return SessionView(
        shop.customers[row], start, shop.touches(row, start, int(lengths[pick])),
        _placed(shop, old, new, shown, "after"), _placed(shop, new, old, shown, "before"),
        int(stay[pick]), float(np.median(stay)), len(rows),
    )  # fmt: skip


def _placed(shop: Shop, order: Ints, other: Ints, shown: int, word: str) -> tuple[Place, ...]:
    ranks = {int(product): place for place, product in enumerate(other, start=1)}
    return tuple(
        Place(shop.products[p], f"{ordinal(ranks[int(p)])} {word}" if int(p) in ranks else f"bought, not shown {word}")
        for p in order[:shown]
    )


def _last_sessions(shop: Shop) -> tuple[Ints, Ints]:
    """(rows, events before the last session) of at most LOOKED_AT customers with enough events on both sides."""
    rows, starts = [], []
    for row, length in enumerate(shop.sequences.lengths):
        end = int(shop.sequences.offsets[row + 1])
        times = shop.sequences.times[end - length : end]
        gaps = np.flatnonzero(np.diff(times) > SESSION_GAP)
        start = int(gaps[-1]) + 1 if len(gaps) else 0
        if start >= FEWEST_BEFORE and length - start in SESSION_EVENTS:
            rows.append(row)
            starts.append(start)
    return np.array(rows[:LOOKED_AT], np.int64), np.array(starts[:LOOKED_AT], np.int64)


def shift_view(shop: Shop) -> ShiftView | None:
    """The customer whose events move most between departments and categories, chosen by events alone.

    None where no history is long enough, or the catalogue names neither.
    """
    groups = {"department": shop.departments, "category": shop.categories}
    groups = {name: of for name, of in groups.items() if len({group for group in of if group}) > 1}
    best: tuple[float, int] | None = None
    for row in _long_histories(shop):
        moved = sum(_moved(shop, row, of) for of in groups.values())
        if best is None or moved > best[0] + 1e-9:
            best = (moved, row)
    if best is None or not groups:
        return None
    row = best[1]
    times = shop.sequences.times[shop.sequences.offsets[row] : shop.sequences.offsets[row + 1]]
    mixes = tuple(_mix(shop, row, of, f"By {name}") for name, of in groups.items())
    return ShiftView(shop.customers[row], int(times[-1] - times[0]) // 86_400, LIST, mixes)


def _long_histories(shop: Shop) -> list[int]:
    lengths = shop.sequences.lengths
    long = [
        row for row in np.flatnonzero(lengths >= FEWEST_EVENTS).tolist()
        if shop.sequences.times[shop.sequences.offsets[row + 1] - 1] - shop.sequences.times[shop.sequences.offsets[row]]
        >= FEWEST_DAYS * 86_400
    ]  # fmt: skip
    return long[:LOOKED_AT]


def _moved(shop: Shop, row: int, of: Sequence[str]) -> float:
    """How far apart the groups of the first and the second half of a history are: 0 the same, 1 nothing in common."""
    groups = [of[product] for product in shop.history(row)]
    half = len(groups) // 2
    names = sorted(set(groups))
    first, second = _share(groups[:half], names), _share(groups[half:], names)
    return 0.5 * float(np.abs(np.array(first) - np.array(second)).sum())


def _share(groups: Sequence[str], names: Sequence[str]) -> tuple[float, ...]:
    return tuple(groups.count(name) / len(groups) if len(groups) else 0.0 for name in names)


def _mix(shop: Shop, row: int, of: Sequence[str], title: str) -> Mix:
    products = shop.history(row)
    ends = np.linspace(0, len(products), MOMENTS + 1).astype(np.int64)
    states = shop.states(np.full(MOMENTS, row), ends[1:])
    did = [[of[p] for p in products[start:end]] for start, end in pairwise(ends)]
    shown = [
        [of[p] for p in shop.first(state, shop.not_bought(row, int(end)), LIST)]
        for state, end in zip(states, ends[1:], strict=True)
    ]
    every = [group for groups in [*did, *shown] for group in groups]
    common = sorted(set(every), key=lambda group: (-every.count(group), group))
    kept = common if len(common) <= NAMES + 1 else common[:NAMES]
    names = kept if len(kept) == len(common) else [*kept, OTHERS]

    def shares(groups: Sequence[str]) -> tuple[float, ...]:
        return _share([group if group in kept else OTHERS for group in groups], names)

    last = [shop.touches(row, int(end) - 1, int(end))[0].at for end in ends[1:]]
    moments = tuple(
        Moment(f"up to {at:%Y-%m-%d}", len(d), shares(d), shares(s)) for at, d, s in zip(last, did, shown, strict=True)
    )
    return Mix(title, tuple(name or NAMELESS for name in names), moments)
