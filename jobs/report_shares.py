"""What the night's lists are made of: where positions come from, and which brands and categories hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.list_counts import Catalogue, ListCounts
from jobs.report_figures import TITLES
from jobs.tables import RECOMMENDED_FOR_YOU

UNNAMED = "without one"


@dataclass(frozen=True)
class Share:
    """A name with its share of a whole."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class ListShares:
    """One list: how many there are, how full, and where their positions come from."""

    name: str
    title: str
    lists: int
    positions: int
    markets: int
    """That have such lists."""
    short: int
    """Lists with a short_reason."""
    sources: tuple[Share, ...]
    """Every source, in the order lists are filled."""
    products: int
    """Products that stand in at least one of the lists."""


@dataclass(frozen=True)
class GroupShare:
    """A brand or category: its share of what customers are shown beside its share of the catalogue."""

    name: str
    shown: float
    catalogue: float


@dataclass(frozen=True)
class Shares:
    """The lists of a night, summed up."""

    lists: tuple[ListShares, ...]
    products: int
    """Products of the catalogue."""
    brands: tuple[GroupShare, ...]
    categories: tuple[GroupShare, ...]


def shares_of(counts: Mapping[str, ListCounts], catalogue: Catalogue, most: int) -> Shares:
    """Of every position of every list; brands and categories, at most `most`, of customers' lists."""
    customers = counts.get(RECOMMENDED_FOR_YOU.name, ListCounts(0, {}))
    return Shares(
        tuple(_summed(name, found) for name, found in counts.items()),
        len(catalogue),
        _groups([brand for brand, _ in catalogue.values()], customers.brands, most),
        _groups([category for _, category in catalogue.values()], customers.categories, most),
    )


def _summed(name: str, found: ListCounts) -> ListShares:
    from jobs.touch_points import SOURCES  # reads models and FAISS, which the page needs not to show examples

    positions = sum(found.sources.values())
    counted = sorted(found.sources, key=lambda source: (-found.sources[source], source))
    names = [*SOURCES, *(source for source in counted if source not in SOURCES)]
    parts = tuple(Share(n, found.sources.get(n, 0), found.sources.get(n, 0) / max(positions, 1)) for n in names)
    return ListShares(
        name, TITLES[name], found.lists, positions, len(found.markets), found.short, parts, found.products
    )


def _groups(group: Sequence[str], held: Mapping[str, int], most: int) -> tuple[GroupShare, ...]:
    """The groups with the most positions; none where no product has a group."""
    if not any(group):
        return ()
    stocked = Counter(group)
    order = sorted(held, key=lambda name: (-held[name], name or UNNAMED))[:most]
    shown = max(sum(held.values()), 1)
    return tuple(GroupShare(n or UNNAMED, held[n] / shown, stocked[n] / max(len(group), 1)) for n in order)
