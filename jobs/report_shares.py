"""What the night's lists are made of: where positions come from, and which brands and categories hold them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.coded import coded_nights
from jobs.lake import Lake
from jobs.reading import clean, of_night, scan
from jobs.report_figures import TITLES
from jobs.storage import write_whole
from jobs.tables import CATALOGUE, LISTS, Table
from models.top_n import BoolMask

FOLDER = "reports"
FIGURES = "lists.json"
"""Beside a night's pages: what the pages of later nights compare with."""
UNNAMED = "without one"
ROWS = 16_384
"""Lists counted at once."""
AT_ONCE = 2
"""Tables read side by side; each holds a row group of lists."""


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
    markets: frozenset[str]
    variants: frozenset[str]
    """As the table names them; without a name where it knows none."""
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
    lists, customers = summed_lists(lake, as_of, LISTS)
    catalogue = _catalogue(lake, as_of)
    return Shares(
        lists,
        len(catalogue),
        _groups({p: brand for p, (brand, _) in catalogue.items()}, customers, most),
        _groups({p: category for p, (_, category) in catalogue.items()}, customers, most),
    )


def summed_lists(lake: Lake, as_of: date, tables: Sequence[Table]) -> tuple[tuple[ListShares, ...], dict[str, int]]:
    """(those of the tables that hold lists, product -> its positions in the last table)."""
    with ThreadPoolExecutor(AT_ONCE) as pool:  # Arrow reads and numpy counts without Python's lock
        found = list(pool.map(lambda table: _summed(lake, as_of, table), tables))
    return tuple(summed for summed, _ in found if summed.lists), found[-1][1]


def write_figures(lake: Lake, as_of: date, lists: Sequence[ListShares]) -> None:
    """Keep how many lists and places by source there are, for the nights to come."""
    found = {
        summed.name: {
            "lists": summed.lists,
            "sources": {part.name: part.count for part in summed.sources if part.count},
        }
        for summed in lists
    }
    write_whole(lake.directory(FOLDER, as_of) / FIGURES, json.dumps(found, ensure_ascii=False, indent=1).encode())


def read_figures(lake: Lake, as_of: date) -> dict[str, tuple[int, dict[str, int]]]:
    """Table -> (lists, source -> places) as the night's report counted them; empty where there was none."""
    try:
        found = json.loads((lake.directory(FOLDER, as_of) / FIGURES).read_bytes())
    except FileNotFoundError:
        return {}
    return {table: (row["lists"], row["sources"]) for table, row in found.items()}


def _summed(lake: Lake, as_of: date, table: Table) -> tuple[ListShares, dict[str, int]]:
    from jobs.touch_points import SOURCES  # reads models and FAISS, which the page needs not to show examples

    varied = "variant" in table.key
    columns = ("market", "product_ids", "sources", "short_reason", *(("variant",) if varied else ()))
    read = coded_nights(lake, table, columns, [as_of], ROWS) if lake.exists(table) else ()
    markets, variants, products, sources = (_Counts() for _ in range(4))
    lists = short = 0
    for batch, (there,) in read:
        lists += int(there.sum())
        short += int((np.asarray(batch["short_reason"].is_valid()) & there).sum())
        markets.add(batch["market"], there)
        if varied:
            variants.add(batch["variant"], there)
        for name, counts in (("product_ids", products), ("sources", sources)):
            counts.add(pc.list_flatten(batch[name]), _of_places(batch[name], there))
    counted = {clean(source): n for source, n in sorted(sources.texts().items(), key=lambda one: (-one[1], one[0]))}
    names = [*SOURCES, *(source for source in counted if source not in SOURCES)]
    positions, shown = sum(counted.values()), products.texts()
    parts = tuple(Share(n, counted.get(n, 0), counted.get(n, 0) / max(positions, 1)) for n in names)
    summed = ListShares(
        table.name, TITLES[table.name], lists, positions, frozenset(markets.texts()), frozenset(variants.texts()),
        short, parts, len(shown),
    )  # fmt: skip
    return summed, shown


def _of_places(lists: pa.Array, there: BoolMask) -> BoolMask:
    """[places], whether the list of each is `there`."""
    return np.repeat(there, np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))


class _Counts:
    """How often each text stands in coded columns; texts are looked at only where the next ones are others."""

    def __init__(self) -> None:
        self._texts = Counter[str]()
        self._words = pa.array([], pa.string())
        self._counts = np.zeros(1, np.int64)

    def add(self, texts: pa.Array, there: BoolMask) -> None:
        """Count those of a column that are `there`; a null counts as the empty text."""
        coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        if not coded.dictionary.equals(self._words):
            self._settle()
            self._words, self._counts = coded.dictionary, np.zeros(len(coded.dictionary) + 1, np.int64)
        codes = pc.fill_null(coded.indices, len(self._words)) if coded.null_count else coded.indices
        counted = np.asarray(codes) if there.all() else np.asarray(codes)[there]
        self._counts += np.bincount(counted, minlength=len(self._counts))

    def texts(self) -> dict[str, int]:
        """Text -> how often it was there."""
        self._settle()
        return dict(self._texts)

    def _settle(self) -> None:
        words = [*self._words.to_pylist(), ""]
        self._texts.update({words[code] or "": int(self._counts[code]) for code in np.flatnonzero(self._counts)})
        self._counts[:] = 0


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
