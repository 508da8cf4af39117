"""Defines the array tuples that the compiled assembly loops read and write."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
NONE = -1


class FlatLists(NamedTuple):
    """n lists of numbers, as compiled loops take a `models.ragged.Ragged`: list i is
    `values[offsets[i] : offsets[i + 1]]`.
    """

    offsets: Array
    values: Array


class Fit(NamedTuple):
    """Which products fit the owners of Q lists: list q may show p where `in_stock[run[p], usual[q, category[p]]]`.

    Legend: C categories, S sizes; products of one run have the same sizes in stock.
    """

    usual: Array
    """[Q, C + 1], each owner's usual size in a category, S where it is not known; the last column is no category."""
    run: Array
    """[P], the run of sizes of a product."""
    in_stock: Array
    """[runs, S + 1], whether a run has a size in stock; true where its sizes are not known, and for size S."""


NO_SIZES = Fit(np.empty((0, 0), np.int32), np.empty(0, np.int32), np.empty((0, 0), np.bool_))
"""That of lists without an owner's size."""

FACTS = np.dtype([("brand", "i4"), ("category", "i4"), ("department", "i4"), ("excluded", "i2"), ("places", "i2")])
"""What rules read of every candidate: 16 bytes, so that a shop's products stay in a processor's cache."""


class Stock(NamedTuple):
    """A market's products as rules see them; see `models.assembly.rulebook`."""

    available: Array
    """[P]."""
    young: Array
    """[P], whether exploration may show the product."""
    facts: Array
    """[P] of FACTS."""
    price: Array
    """[P], NaN where there is none."""
    brands: int
    categories: int


class Book(NamedTuple):
    """A `ListShape` and a `models.assembly.rulebook.Rulebook` as the kernels take them."""

    n: int
    """Places of a list."""
    pin_label: int
    mover: Array
    pins: Array
    pin_places: Array
    pin_rules: Array
    brand_cap: int
    brand_cap_rule: int
    category_cap: int
    category_cap_rule: int
    mixes: Array
    guard_rule: int
    low: float
    high: float
    price_rule: int
    diversity: float
    explore_place: int
    other_category: bool
    explore_own_category: bool
    most_up: int
    plain: bool
    """Whether candidates keep their order: no boost, bury, diversity, pin or exploration; only caps leave some out."""
    guards: bool
    """Whether some department may not show another one's products."""
    prices: bool
    """Whether there is a price window."""
    excludes: bool
    """Whether a rule takes a product out of all lists."""


class Offers(NamedTuple):
    """What Q lists may be filled from; see `models.assembly.assembly.assemble`."""

    most: int
    """Most candidates that a list can have, tiers included."""
    row_of: Array
    """[Q], the row of each list's candidates in the next three."""
    rows: Array
    scores: Array
    labels: Array
    anchors: Array
    blocked_offsets: Array
    blocked_rows: Array
    beside: Array
    tier_of: Array
    tier_offsets: Array
    tier_rows: Array
    tier_scores: Array
    tier_labels: Array
    skip_of: Array
    """[Q], the row of `skips` that is safe for a list; -1: none is."""
    fit: Fit
    skips: Array
    """[any, tier_rows], the first place from each on whose product passes the department guard and the price window."""


class Pool(NamedTuple):
    """Working memory of a thread: the candidates of the current list, and its notes on every product [P]."""

    product: Array
    score: Array
    label: Array
    brand: Array
    category: Array
    key: Array
    dropped: Array
    """Already placed, or over a cap."""
    mark: Array
    """The rule that moved the candidate down."""
    taken: Array
    """[P], number of the last list that must not show the product again, or has it in its pool."""
    reason: Array
    """[P], the rule behind `taken`."""
    of_brand: Array
    of_category: Array
    placed: Array
    """[categories], products of each in the list's places; `of_category` counts the gathered ones."""
    brand_full: Array
    """[brands], the place with which each reached its cap."""
    category_full: Array
    credited: Array
    """[rules], the last list that was counted for a rule."""
    before: Array
    """[rules], the counts before this list."""


class Lists(NamedTuple):
    """The lists that a kernel writes; see `models.assembly.assembly.Assembled`."""

    rows: Array
    scores: Array
    labels: Array
    rules: Array
    effects: Array
    """[rules], of one thread."""
    read: Array
