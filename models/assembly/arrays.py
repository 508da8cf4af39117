"""Typed array tuples that the compiled assembly loop reads and writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

Array = npt.NDArray[Any]
NONE = -1


AVAILABLE, YOUNG, EXCLUDED, BRAND, CATEGORY, DEPARTMENT, PRICE, PLACES = range(8)
"""Columns of `Stock.facts`."""


class Stock(NamedTuple):
    """A market's products as rules see them; see `models.assembly.rulebook`."""

    facts: Array
    """[P, 8] float32, one cache line or two products to it: what is asked of a candidate lies together."""
    brands: int
    categories: int


class Book(NamedTuple):
    """`models.assembly.rulebook.Rulebook` as the kernel takes it."""

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
    """Whether candidates keep their order: nothing is moved, pinned or explored, and only caps leave some out."""
    guards: bool
    """Whether some department may not show another one's products."""
    prices: bool
    """Whether there is a price window."""
    excludes: bool
    """Whether a rule takes a product out of all lists."""


class Offers(NamedTuple):
    """What Q lists may be filled from; see `models.assembly.assembly.assemble`."""

    row_of: Array
    """[Q], where each list's candidates stand in the next three."""
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
    """[Q], the row of `skips` that leaves nothing out for a list; -1: none does."""
    skips: Array
    """[any, tier_rows], the first place from each on that department and price do not refuse."""


class Pool(NamedTuple):
    """Working memory of a thread: the pool's candidates, and what is known of every product [P] for this list."""

    product: Array
    score: Array
    label: Array
    brand: Array
    category: Array
    key: Array
    gone: Array
    """Already placed, or over a cap."""
    mark: Array
    """The rule that held the candidate back."""
    taken: Array
    """[P], number of the list that must not show the product again, or has it in its pool."""
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
