"""One product in different customers' hands: what the model offers beside it after each one's history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from jobs.report.examples import Place, Product, Touch
from jobs.report.model.shop import Ints, Shop, unit
from models.contract import FloatMatrix
from models.popularity import in_context, same_category

FEWEST_BEFORE = 8
"""Events before the product that make a context."""
RECENT = 10
"""Events before the product that say how much of one kind a context is."""
PRODUCTS, MEETINGS = 150, 16
"""Most met products that are looked at, and customers of each."""
FEWEST_ALTERNATIVES = 4
"""Other products on sale that a product's category must hold."""
LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Context:
    """One customer around the product."""

    letter: str
    customer: str
    before: tuple[Touch, ...]
    """The events just before the product, oldest first."""
    met: Touch
    after: tuple[Touch, ...]
    """The events after it, which the model has not read here."""
    read: int
    """Events read, the product's included."""
    stands_out: tuple[str, ...]
    """Words that the history holds far oftener than the catalogue."""
    alternatives: tuple[Place, ...]
    """The best of the category in this context; each says where it stands in the others."""


@dataclass(frozen=True)
class ContextView:
    """A product as two or three customers met it."""

    product: Product
    among: int
    """Products of the category that are ranked."""
    contexts: tuple[Context, ...]
    shared: int
    """Products that every context has among its best."""
    cosine: float
    """Of the two states that differ most."""


def context_view(shop: Shop, customers: int = 3, shown: int = 6, around: int = 5) -> ContextView | None:
    """The product whose customers' states differ most, for so many of them; None where no two met one product.

    `around` events before it are shown of each history, and up to two after it. A customer's state is the model's
    vector after the events up to and including the product.
    """
    found = widest(shop, customers, 1)
    if not found:
        return None
    product, rows, ends, states = found[0].product, found[0].rows, found[0].ends, found[0].states
    among = np.flatnonzero(alternatives(shop, product) & shop.on_sale)
    orders = [in_context(state, shop.vectors, among) for state in states]
    ranks = [{int(p): place for place, p in enumerate(order, start=1)} for order in orders]
    contexts = []
    for number, (row, end) in enumerate(zip(rows.tolist(), ends.tolist(), strict=True)):
        others = [other for other in range(len(rows)) if other != number]
        places = [
            Place(shop.products[p], ", ".join(f"{ordinal(ranks[o][int(p)])} for {LETTERS[o]}" for o in others))
            for p in orders[number][:shown]
        ]
        events = shop.touches(row, max(0, end - 1 - around), min(int(shop.sequences.lengths[row]), end + 2))
        met = min(around, end - 1)
        contexts.append(
            Context(
                LETTERS[number], shop.customers[row], events[:met], events[met], events[met + 1 :], end,
                shop.stands_out(row, end), tuple(places),
            )
        )  # fmt: skip
    shared = set.intersection(*({int(p) for p in order[:shown]} for order in orders))
    cosines = unit(states) @ unit(states).T
    return ContextView(shop.products[product], len(orders[0]), tuple(contexts), len(shared), float(cosines.min()))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, .., 11th."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def alternatives(shop: Shop, product: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """[V], the other products of a product's category."""
    kinds = np.unique(shop.categories, return_inverse=True)[1]  # products without a category are a kind of their own
    return same_category(kinds, product)


@dataclass(frozen=True)
class Meeting:
    """Customers who met one product, as the model sees them then."""

    product: int
    rows: Ints
    """[k] customers of the shop."""
    ends: Ints
    """[k] events up to and including the product."""
    states: FloatMatrix
    """[k, d + 1]."""


def widest(shop: Shop, customers: int, wanted: int, looked_at: int = PRODUCTS) -> list[Meeting]:
    """At most `wanted` products, of different categories, whose customers are furthest apart; the widest first.

    Chosen among the `looked_at` products that are met most, each with the `customers` (or fewer) of its customers that
    differ most. Of equals the product met most comes first.
    """
    met = _meetings(shop, looked_at)
    if not met:
        return []
    rows, ends = (np.concatenate(parts) for parts in zip(*met.values(), strict=True))
    states, directions = shop.states(rows, ends), unit(shop.vectors)
    found: list[tuple[float, Meeting]] = []
    start = 0
    for product, (rows, ends) in met.items():
        own = states[start : start + len(rows)]
        start += len(rows)
        apart = (1 - unit(own) @ unit(own).T) * _same_kind(shop, directions, rows, ends)
        picked = _furthest(apart, customers)
        width = float(min(apart[a, b] for a, b in combinations(picked, 2)))
        found.append((width, Meeting(product, rows[picked], ends[picked], own[picked])))
    best: list[Meeting] = []
    while found and len(best) < wanted:
        first = 0
        for at, (width, _) in enumerate(found):
            if width > found[first][0] + 1e-6:
                first = at
        best.append(found[first][1])
        category = shop.categories[best[-1].product]
        found = [
            (w, m) for w, m in found if m is not best[-1] and (not category or shop.categories[m.product] != category)
        ]
    return best


def _meetings(shop: Shop, wanted: int) -> dict[int, tuple[Ints, Ints]]:
    """Product -> (rows, events up to and including it) of the customers who met it last after enough other events."""
    lengths = shop.sequences.lengths
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - np.repeat(shop.sequences.offsets[:-1], lengths)
    late = np.flatnonzero((place >= FEWEST_BEFORE) & shop.on_sale[shop.sequences.products])
    last = {(int(shop.sequences.products[at]), int(row[at])): int(place[at]) + 1 for at in late}
    by_product: dict[int, list[tuple[int, int]]] = {}
    for (product, customer), end in last.items():
        by_product.setdefault(product, []).append((customer, end))
    on_sale = Counter(category for category, on in zip(shop.categories, shop.on_sale, strict=True) if on)
    usable = [
        product for product, found in by_product.items()
        if len(found) > 1 and on_sale[shop.categories[product]] > FEWEST_ALTERNATIVES
    ]  # fmt: skip
    most_met = sorted(usable, key=lambda product: (-len(by_product[product]), product))[:wanted]
    pairs = {product: np.array(sorted(by_product[product])[:MEETINGS], dtype=np.int64) for product in most_met}
    return {product: (found[:, 0], found[:, 1]) for product, found in pairs.items()}


def _same_kind(shop: Shop, directions: FloatMatrix, rows: Ints, ends: Ints) -> FloatMatrix:
    """[k, k]: how much of one kind two customers' events before the product are; a jumble is no context to tell."""
    recent = [shop.history(row, end - 1)[-RECENT:] for row, end in zip(rows, ends, strict=True)]
    kinds = np.array([np.linalg.norm(directions[products].mean(0)) for products in recent])
    return np.asarray(np.sqrt(np.outer(kinds, kinds)), dtype=np.float32)


def _furthest(apart: FloatMatrix, wanted: int) -> list[int]:
    """The two rows that are furthest apart, then each time the one that is furthest from those picked."""
    picked = [int(index) for index in np.unravel_index(int(apart.argmax()), apart.shape)]
    if picked[0] == picked[1]:  # all the same: any two
        picked = [0, 1]
    while len(picked) < min(wanted, len(apart)):
        nearest = apart[:, picked].min(1)
        nearest[picked] = -np.inf
        picked.append(int(nearest.argmax()))
    return picked


# How a customer's recommendations move: with the last session, and with a style that shifts over months.

SESSION_GAP = 30 * 60
"""Seconds without an event that end a session, as web analytics count."""
FEWEST_BEFORE_HOUR = 8
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
        if start >= FEWEST_BEFORE_HOUR and length - start in SESSION_EVENTS:
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
