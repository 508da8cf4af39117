"""What the night's lists are made of: where positions come from, and which brands and categories hold them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coded import coded_batches, codes_of
from jobs.lake import Lake
from jobs.reading import clean, of_night, scan
from jobs.report_figures import TITLES
from jobs.tables import CATALOGUE, LISTS, RECOMMENDED_FOR_YOU

UNNAMED = "without one"
ROWS = 131_072
"""Lists read at once."""


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


def shares_of(lake: Lake, as_of: date, most: int) -> Shares:
    """Counted over every position of every list; brands and categories, at most `most`, over customers' lists."""
    lists, shown = [], {}
    for table in LISTS:
        summed, products = _list_shares(lake, as_of, table.name)
        if summed.lists:
            lists.append(summed)
        shown[table.name] = products
    catalogue = _catalogue(lake, as_of)
    customers = shown[RECOMMENDED_FOR_YOU.name]
    return Shares(
        tuple(lists),
        len(catalogue),
        _groups({p: brand for p, (brand, _) in catalogue.items()}, customers, most),
        _groups({p: category for p, (_, category) in catalogue.items()}, customers, most),
    )


def _list_shares(lake: Lake, as_of: date, name: str) -> tuple[ListShares, dict[str, int]]:
    from jobs.touch_points import SOURCES  # reads models and FAISS, which the page needs not to show examples

    table = next(table for table in LISTS if table.name == name)
    columns = ("market", "product_ids", "sources", "short_reason")
    whole = lake.exists(table) and table is not RECOMMENDED_FOR_YOU
    read = coded_batches(lake, table, columns, as_of, ROWS) if whole else scan(lake, table, columns, of_night(as_of))
    sources, products, markets = Counter[str](), Counter[str](), Counter[str]()
    lists = short = 0
    for batch in read:
        lists += batch.num_rows
        short += batch.num_rows - batch["short_reason"].null_count
        for texts, into in ((batch["market"], markets), (pc.list_flatten(batch["product_ids"]), products),
                            (pc.list_flatten(batch["sources"]), sources)):  # fmt: skip
            _count(texts, into)
    counted = {clean(source): count for source, count in sorted(sources.items(), key=lambda one: (-one[1], one[0]))}
    names = [*SOURCES, *(source for source in counted if source not in SOURCES)]
    positions = sum(counted.values())
    parts = tuple(Share(n, counted.get(n, 0), counted.get(n, 0) / max(positions, 1)) for n in names)
    summed = ListShares(name, TITLES[name], lists, positions, len(markets), short, parts, len(products))
    return summed, dict(products)


def _count(texts: pa.Array, into: Counter[str]) -> None:
    """Count texts, each of a batch's words once."""
    codes, words = codes_of(texts)
    counts = np.bincount(codes, minlength=len(words))
    into.update({words[code] or "": int(counts[code]) for code in np.flatnonzero(counts)})


def _catalogue(lake: Lake, as_of: date) -> dict[str, tuple[str, str]]:
    """Product -> (brand, category), empty where the catalogue has none."""
    found: dict[str, tuple[str, str]] = {}
    for batch in scan(lake, CATALOGUE, ("product_id", "brand", "category"), of_night(as_of)):
        ids, brands, categories = (column.to_pylist() for column in batch.columns)
        found |= {p: (clean(b), clean(c)) for p, b, c in zip(ids, brands, categories, strict=True)}
    return found


def _groups(group: dict[str, str], shown: dict[str, int], most: int) -> tuple[GroupShare, ...]:
    """The groups with the most positions; none where no product has a group."""
    if not any(group.values()):
        return ()
    held: Counter[str] = Counter()
    for product, count in shown.items():
        held[group.get(product) or UNNAMED] += count
    stocked = Counter(name or UNNAMED for name in group.values())
    order = sorted(held, key=lambda name: (-held[name], name))[:most]
    return tuple(GroupShare(n, held[n] / max(sum(held.values()), 1), stocked[n] / max(len(group), 1)) for n in order)
