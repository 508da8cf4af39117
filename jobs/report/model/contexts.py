"""Finds products that different customers met, and ranks the alternatives in each customer's context."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from jobs.report.examples import ListPlace, ShownProduct, Touch
from jobs.report.model.sample import Ints, ModelSample, unit
from models.contract import FloatMatrix
from models.popularity import in_context, same_category

FEWEST_BEFORE = 8
"""Fewest events before the product that make a context."""
RECENT = 10
"""Events before the product that are compared with each other: alike ones make a clear context."""
PRODUCTS, MEETINGS = 150, 16
"""Products with the most meetings, and customers of each, that are searched."""
FEWEST_ALTERNATIVES = 4
"""Fewest other products on sale in the product's category."""
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
    """Events that the model reads, the one with the product included."""
    alternatives: tuple[ListPlace, ...]
    """The best of the category in this context, each with its rank in the others."""


@dataclass(frozen=True)
class ContextView:
    """A product as two or three customers met it."""

    product: ShownProduct
    among: int
    """How many products of the category are ranked."""
    contexts: tuple[Context, ...]
    shared: int
    """How many products are among the best in every context."""
    cosine: float
    """Cosine of the two states that differ most."""


def context_view(sample: ModelSample, customers: int = 3, shown: int = 6, around: int = 5) -> ContextView | None:
    """The product whose customers' states differ most, for so many of them; None where no two met one product.

    `around` events before it are shown of each history, and up to two after it. A customer's state is the model's
    vector after the events up to and including the product.
    """
    found = widest(sample, customers, 1)
    if not found:
        return None
    product, rows, ends, states = found[0].product, found[0].rows, found[0].ends, found[0].states
    among = np.flatnonzero(alternatives(sample, product) & sample.on_sale)
    orders = [in_context(state, sample.vectors, among) for state in states]
    ranks = [{int(p): place for place, p in enumerate(order, start=1)} for order in orders]
    contexts = []
    for number, (row, end) in enumerate(zip(rows.tolist(), ends.tolist(), strict=True)):
        others = [other for other in range(len(rows)) if other != number]
        places = [
            ListPlace(sample.products[p], ", ".join(f"{ordinal(ranks[o][int(p)])} for {LETTERS[o]}" for o in others))
            for p in orders[number][:shown]
        ]
        events = sample.touches(row, max(0, end - 1 - around), min(int(sample.sequences.lengths[row]), end + 2))
        met = min(around, end - 1)
        contexts.append(
            Context(
                LETTERS[number], sample.customers[row], events[:met], events[met], events[met + 1 :], end, tuple(places)
            )
        )
    shared = set.intersection(*({int(p) for p in order[:shown]} for order in orders))
    cosines = unit(states) @ unit(states).T
    return ContextView(sample.products[product], len(orders[0]), tuple(contexts), len(shared), float(cosines.min()))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, .., 11th."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def alternatives(sample: ModelSample, product: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """[V], the other products of a product's category."""
    kinds = np.unique(sample.categories, return_inverse=True)[1]  # products without a category are a kind of their own
    return same_category(kinds, product)


@dataclass(frozen=True)
class Meeting:
    """Customers who met one product, with the model's states after they met it."""

    product: int
    rows: Ints
    """[k] customers of the sample."""
    ends: Ints
    """[k] events up to and including the product."""
    states: FloatMatrix
    """[k, d + 1]."""


def widest(sample: ModelSample, customers: int, wanted: int, looked_at: int = PRODUCTS) -> list[Meeting]:
    """At most `wanted` products, of different categories, whose customers are furthest apart; the widest first.

    Chosen among the `looked_at` products that are met most, each with the `customers` (or fewer) of its customers that
    differ most. Of equals the product met most comes first.
    """
    met = _meetings(sample, looked_at)
    if not met:
        return []
    rows, ends = (np.concatenate(parts) for parts in zip(*met.values(), strict=True))
    states, directions = sample.states(rows, ends), unit(sample.vectors)
    found: list[tuple[float, Meeting]] = []
    start = 0
    for product, (rows, ends) in met.items():
        own = states[start : start + len(rows)]
        start += len(rows)
        apart = (1 - unit(own) @ unit(own).T) * _same_kind(sample, directions, rows, ends)
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
        category = sample.categories[best[-1].product]
        found = [
            (w, m) for w, m in found if m is not best[-1] and (not category or sample.categories[m.product] != category)
        ]
    return best


def _meetings(sample: ModelSample, wanted: int) -> dict[int, tuple[Ints, Ints]]:
    """Product -> (rows, events up to and including it) of the customers who met it last after enough other events."""
    lengths = sample.sequences.lengths
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - np.repeat(sample.sequences.offsets[:-1], lengths)
    late = np.flatnonzero((place >= FEWEST_BEFORE) & sample.on_sale[sample.sequences.products])
    last = {(int(sample.sequences.products[at]), int(row[at])): int(place[at]) + 1 for at in late}
    by_product: dict[int, list[tuple[int, int]]] = {}
    for (product, customer), end in last.items():
        by_product.setdefault(product, []).append((customer, end))
    on_sale = Counter(category for category, on in zip(sample.categories, sample.on_sale, strict=True) if on)
    usable = [
        product
        for product, found in by_product.items()
        if len(found) > 1 and on_sale[sample.categories[product]] > FEWEST_ALTERNATIVES
    ]
    most_met = sorted(usable, key=lambda product: (-len(by_product[product]), product))[:wanted]
    pairs = {product: np.array(sorted(by_product[product])[:MEETINGS], dtype=np.int64) for product in most_met}
    return {product: (found[:, 0], found[:, 1]) for product, found in pairs.items()}


def _same_kind(sample: ModelSample, directions: FloatMatrix, rows: Ints, ends: Ints) -> FloatMatrix:
    """[k, k]: how alike two customers' own events before the product are; a mixed history makes no clear context."""
    recent = [sample.history(row, end - 1)[-RECENT:] for row, end in zip(rows, ends, strict=True)]
    kinds = np.array([np.linalg.norm(directions[products].mean(0)) for products in recent])
    return np.asarray(np.sqrt(np.outer(kinds, kinds)), dtype=np.float32)


def _furthest(apart: FloatMatrix, wanted: int) -> list[int]:
    """The two rows that are furthest apart, then repeatedly the row that is furthest from those picked."""
    picked = [int(index) for index in np.unravel_index(int(apart.argmax()), apart.shape)]
    if picked[0] == picked[1]:  # all the same: any two
        picked = [0, 1]
    while len(picked) < min(wanted, len(apart)):
        nearest = apart[:, picked].min(1)
        nearest[picked] = -np.inf
        picked.append(int(nearest.argmax()))
    return picked
