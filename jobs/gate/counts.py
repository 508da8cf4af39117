"""Counts what a night's lists hold, and keeps the counts of the gate for the pages of this and later nights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import changes, storage
from jobs.lake.lake import Lake
from jobs.lake.reading import of_night, scan
from jobs.lake.storage import write_whole
from jobs.tables.shop import CATALOGUE
from jobs.tables.table import Table
from jobs.text import clean

FILE = "lists.json"
"""Beside a night's pages."""
ROWS = 131_072
"""Lists counted at once."""
AT_ONCE = 2
"""Tables read at the same time; each holds a row group of lists in memory."""
Catalogue = dict[str, tuple[str, str]]
"""Product -> (brand, category), empty where the catalogue has none."""


@dataclass(frozen=True)
class ListCounts:
    """Counts of one table's lists of one night. Files of older code have lists and sources alone."""

    lists: int
    sources: Mapping[str, int]
    """Source -> the places it filled."""
    short: int = 0
    """Lists with a short_reason."""
    products: int = 0
    """Products that at least one of the lists shows."""
    markets: Sequence[str] = ()
    variants: Sequence[str] = ()
    """Names in the table; empty ones where older code wrote none."""
    brands: Mapping[str, int] = field(default_factory=dict)
    """Brand -> the places of its products; '' for products without one. Likewise the categories."""
    categories: Mapping[str, int] = field(default_factory=dict)
    stamp: str = ""
    """Fingerprints of the table and of the catalogue, as they were read."""

    def with_groups(
        self, shown: Mapping[str, int], markets: Iterable[str], variants: Iterable[str], catalogue: Catalogue
    ) -> ListCounts:
        """The same with markets, variants, and the brands and categories of the places of each product in `shown`."""
        brands, categories = Counter[str](), Counter[str]()
        for product, count in shown.items():
            brand, category = catalogue.get(product, ("", ""))
            brands[brand] += count
            categories[category] += count
        return replace(
            self, markets=sorted(markets), variants=sorted(variants), brands=dict(brands), categories=dict(categories)
        )


def counts_of(lake: Lake, as_of: date, tables: Sequence[Table], catalogue: Catalogue) -> dict[str, ListCounts]:
    """Name of each table with lists of the night -> their counts: the gate's, or counted now where the gate did not
    finish, or the table changed since.
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
    """Table -> the counts kept of its night; empty where none were."""
    try:
        found = json.loads(_path(lake, as_of).read_bytes())
        known = {own.name for own in fields(ListCounts)}  # newer code may have written more
        return {table: ListCounts(**{k: v for k, v in one.items() if k in known}) for table, one in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def delete_counts(lake: Lake, as_of: date) -> None:
    """Delete the counts of a night whose lists are counted anew."""
    _path(lake, as_of).unlink(missing_ok=True)


def stamp_of(lake: Lake, table: Table) -> str:
    """Fingerprints of a table of lists and of the catalogue as they are now; empty where there is no table."""
    if not lake.exists(table):
        return ""
    return " ".join(changes.stamp(lake, one) for one in (table, CATALOGUE) if lake.exists(one))


def read_catalogue(lake: Lake, as_of: date) -> Catalogue:
    """The night's catalogue; empty where the night has none."""
    columns = ("product_id", "brand", "category")
    found: Catalogue = {}
    for batch in scan(lake, CATALOGUE, columns, of_night(as_of)):
        found |= brands_and_categories(batch)
    return found


def brands_and_categories(rows: pa.Table | pa.RecordBatch) -> Catalogue:
    """Rows of the catalogue by product."""
    ids, brands, categories = (rows[name].to_pylist() for name in ("product_id", "brand", "category"))
    return {p: (clean(b), clean(c)) for p, b, c in zip(ids, brands, categories, strict=True)}


def _path(lake: Lake, as_of: date) -> Path:
    return lake.directory(storage.REPORTS, as_of) / FILE


def _counted(lake: Lake, as_of: date, table: Table, catalogue: Catalogue, stamp: str) -> ListCounts:
    lists = short = 0
    counts = {name: Counter[str]() for name in ("market", "variant", "product_ids", "sources")}
    read = lake.snapshot(table).encoded_nights([*counts, "short_reason"], [as_of], ROWS) if stamp else ()
    for batch, (there,) in read:
        rows = batch if there.all() else batch.filter(pa.array(there))
        lists += rows.num_rows
        short += rows.num_rows - rows["short_reason"].null_count
        for name, counter in counts.items():
            texts = pc.list_flatten(rows[name]) if name in ("product_ids", "sources") else rows[name]
            found = pc.value_counts(texts)
            for text, count in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
                counter[clean(text or "") if name == "sources" else text or ""] += count
    shown = counts["product_ids"]
    whole = ListCounts(lists, dict(counts["sources"]), short, len(shown), stamp=stamp)
    return whole.with_groups(shown, counts["market"], counts["variant"], catalogue)
