"""What a night's lists hold: counted by the gate, which reads them all, and kept for the pages of nights to come."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import changes, storage
from jobs.lake.lake import Lake
from jobs.lake.reading import of_night, scan
from jobs.lake.storage import write_whole
from jobs.tables.shop import CATALOGUE
from jobs.tables.table import Table
from jobs.text import clean
from models.arrays import BoolMask

FILE = "lists.json"
"""Beside a night's pages."""
ROWS = 16_384
"""Lists counted at once."""
AT_ONCE = 2
"""Tables read side by side; each holds a row group of lists."""
Catalogue = Mapping[str, tuple[str, str]]
"""Product -> (brand, category), empty where the catalogue has none."""


@dataclass(frozen=True)
class ListCounts:
    """One table's lists of one night. Files of older code have lists and sources alone."""

    lists: int
    sources: Mapping[str, int]
    """Source -> the places it filled."""
    short: int = 0
    """Lists with a short_reason."""
    products: int = 0
    """Products that stand in at least one of the lists."""
    markets: Sequence[str] = ()
    variants: Sequence[str] = ()
    """As the table names them; without a name where it knows none."""
    brands: Mapping[str, int] = field(default_factory=dict)
    """Brand -> the places of its products; '' for products without one. So are the categories."""
    categories: Mapping[str, int] = field(default_factory=dict)
    stamp: str = ""
    """Of the table and of the catalogue, as they were read."""

    @staticmethod
    def of(
        lists: int, short: int, sources: Mapping[str, int], shown: Mapping[str, int], markets: Iterable[str],
        variants: Iterable[str], catalogue: Catalogue, stamp: str,
    ) -> ListCounts:  # fmt: skip
        """Summed up from the places of each product in `shown`."""
        brands, categories = Counter[str](), Counter[str]()
        for product, count in shown.items():
            brand, category = catalogue.get(product, ("", ""))
            brands[brand] += count
            categories[category] += count
        return ListCounts(
            lists, dict(sources), short, len(shown), sorted(markets), sorted(variants), dict(brands), dict(categories),
            stamp,
        )  # fmt: skip


def counts_of(lake: Lake, as_of: date, tables: Sequence[Table], catalogue: Catalogue) -> dict[str, ListCounts]:
    """Name of each table that holds lists of the night -> what they hold.

    As the gate counted them, or counted now: before the gate, after a failed one, and where the table changed since.
    """
    kept = read_counts(lake, as_of)

    def found(table: Table) -> ListCounts:
        known, now = kept.get(table.name), stamp_of(lake, table)
        return known if known and now and known.stamp == now else _counted(lake, as_of, table, catalogue, now)

    with ThreadPoolExecutor(AT_ONCE) as pool:  # Arrow reads and numpy counts without Python's lock
        counts = dict(zip((table.name for table in tables), pool.map(found, tables), strict=True))
    return {name: one for name, one in counts.items() if one.lists}


def write_counts(lake: Lake, as_of: date, counts: Mapping[str, ListCounts]) -> None:
    """Keep the counts of the tables by their names."""
    found = {table: asdict(one) for table, one in counts.items() if one.lists}
    write_whole(_path(lake, as_of), json.dumps(found, ensure_ascii=False, indent=1).encode())


def read_counts(lake: Lake, as_of: date) -> dict[str, ListCounts]:
    """Table -> what was last counted of its night; empty where nothing was."""
    try:
        found = json.loads(_path(lake, as_of).read_bytes())
        known = {own.name for own in fields(ListCounts)}  # newer code may have written more
        return {table: ListCounts(**{k: v for k, v in one.items() if k in known}) for table, one in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def forget_counts(lake: Lake, as_of: date) -> None:
    """From now on the night's lists are not what was counted."""
    _path(lake, as_of).unlink(missing_ok=True)


def stamp_of(lake: Lake, table: Table) -> str:
    """Of a table of lists and of the catalogue as they are now; empty where the table is not there."""
    if not lake.exists(table):
        return ""
    return " ".join(changes.stamp(lake, one) for one in (table, CATALOGUE) if lake.exists(one))


def read_catalogue(lake: Lake, as_of: date) -> Catalogue:
    """Of the night."""
    found: dict[str, tuple[str, str]] = {}
    for batch in scan(lake, CATALOGUE, ("product_id", "brand", "category"), of_night(as_of)):
        ids, brands, categories = (column.to_pylist() for column in batch.columns)
        found |= {p: (clean(b), clean(c)) for p, b, c in zip(ids, brands, categories, strict=True)}
    return found


def _path(lake: Lake, as_of: date) -> Path:
    return lake.directory(storage.REPORTS, as_of) / FILE


def _counted(lake: Lake, as_of: date, table: Table, catalogue: Catalogue, stamp: str) -> ListCounts:
    columns = ("market", "variant", "product_ids", "sources", "short_reason")
    read = lake.snapshot(table).encoded_nights(columns, [as_of], ROWS) if stamp else ()
    markets, variants, products, sources = (_Texts() for _ in range(4))
    lists = short = 0
    for batch, (there,) in read:
        lists += int(there.sum())
        short += int((np.asarray(batch["short_reason"].is_valid()) & there).sum())
        markets.add(batch["market"], there)
        variants.add(batch["variant"], there)
        for name, counts in (("product_ids", products), ("sources", sources)):
            counts.add(pc.list_flatten(batch[name]), _of_places(batch[name], there))
    return ListCounts.of(
        lists, short, _cleaned(sources.counts()), products.counts(), markets.counts(), variants.counts(), catalogue,
        stamp,
    )  # fmt: skip


def _cleaned(counts: Mapping[str, int]) -> dict[str, int]:
    return {clean(text): count for text, count in counts.items()}


def _of_places(lists: pa.Array, there: BoolMask) -> BoolMask:
    """[places], whether the list of each is `there`."""
    return np.repeat(there, np.asarray(pc.fill_null(pc.list_value_length(lists), 0)))


class _Texts:
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

    def counts(self) -> dict[str, int]:
        """Text -> how often it was there."""
        self._settle()
        return dict(self._texts)

    def _settle(self) -> None:
        words = [*self._words.to_pylist(), ""]
        self._texts.update({words[code] or "": int(self._counts[code]) for code in np.flatnonzero(self._counts)})
        self._counts[:] = 0
