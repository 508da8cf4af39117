"""Estimates how the night's lists would have done on the day before, from what was shown then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.experiments.days import BATCH_ROWS
from jobs.experiments.touch_points import BLOCKS, in_visit
from jobs.lake.digests import TextDigests, digests
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow
from jobs.run import Run
from jobs.tables.experiments import OFF_POLICY
from jobs.tables.impressions import OUTCOMES
from jobs.tables.shop import PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from models.arrays import Digests, Rows
from models.digests import of_texts
from models.experiments.comparison import FEWEST
from models.experiments.off_policy import Logged, OffPolicy, off_policy

OWNERS = {YOU_MIGHT_ALSO_LIKE: "owner", PEOPLE_ALSO_BOUGHT: "owner", RECOMMENDED_FOR_YOU: "customer_id"}
"""Touch point whose shown list is a stored one -> column of OUTCOMES with the owner of the list."""
MOST_ROWS = 2_000_000
"""Impressions of a touch point, about, that are read: all of some lists, drawn by their owners."""
CLICKED = ("clicked", "last_clicked")
PLACES = 24
"""First places of a list that are compared."""


@dataclass(frozen=True)
class _Shown:
    """Impressions of some lists of one touch point."""

    contexts: Digests
    """[x] owners and markets of the lists, as digests, ascending."""
    rows: pa.Table
    """place, product_id, CLICKED, and context, its number; group, that of the customer."""


def estimate(lake: Lake, run: Run) -> None:
    """Write the night's rows of OFF_POLICY; none of a touch point with too few clicks on the day before."""
    rows = [row for table, owner in OWNERS.items() for row in _rows_of(lake, run, table, owner)]
    if rows or lake.exists(OFF_POLICY):
        lake.replace_rows(OFF_POLICY, rows, run)


def _rows_of(lake: Lake, run: Run, table: Table, owner: str) -> Iterator[StoredRow]:
    shown = _shown(lake, run, table, owner)
    if shown is None or not lake.exists(table):
        return
    products = shown.rows["product_id"].combine_chunks().dictionary_encode()
    logged = Logged(
        np.asarray(shown.rows["context"]),
        np.asarray(shown.rows["place"]) - 1,
        np.asarray(products.indices, np.int64),
        in_visit(shown.rows, "clicked"),
        np.asarray(shown.rows["group"]),
    )
    if logged.clicked.sum() < FEWEST:
        return
    for variant, lists in sorted(_lists(lake, run, table, shown.contexts, products.dictionary).items()):
        found = off_policy(logged, lists)
        if found:
            yield {"touch_point": table.name, "variant": variant, **_columns(found)}


def _columns(found: OffPolicy) -> StoredRow:
    row: StoredRow = {name: getattr(found, name) for name in ("impressions", "shown", "support")}
    for name in ("robust", "gained", "weighted"):
        part = getattr(found, name)
        row |= {name: part.value, f"{name}_low": part.low, f"{name}_high": part.high}
    return {name: None if value != value else value for name, value in row.items()}  # NaN: no place has support


def _shown(lake: Lake, run: Run, table: Table, owner: str) -> _Shown | None:
    """The impressions of the day before, of all lists of a touch point or of some; None without any."""
    where = (pc.field("shown_date") == pa.scalar(run.as_of - timedelta(1))) & (pc.field("touch_point") == table.name)
    where &= (pc.field("place") >= 1) & (pc.field("place") <= PLACES) & pc.field(owner).is_valid()
    one_in = np.uint64(1 + lake.dataset(OUTCOMES).count_rows(filter=where) // MOST_ROWS)
    columns = dict.fromkeys([owner, "market", "customer_id", "place", "product_id", *CLICKED])
    texts, parts, keys = TextDigests(), [], []
    for batch in lake.batches(OUTCOMES, list(columns), rows=BATCH_ROWS, where=where):
        key = digests(batch, (owner, "market"), texts)
        kept = np.flatnonzero(key % one_in == 0)
        keys.append(key[kept])
        parts.append(batch.take(pa.array(kept)))
    rows = pa.Table.from_batches(parts) if parts else None
    if not rows:
        return None
    contexts, context = np.unique(np.concatenate(keys), return_inverse=True)
    group = of_texts(rows["customer_id"].combine_chunks())[:, 0] % np.uint64(BLOCKS)
    rows = rows.select(["place", "product_id", *CLICKED]).append_column("context", pa.array(context))
    return _Shown(contexts, rows.append_column("group", pa.array(group.astype(np.int64))))


def _lists(lake: Lake, run: Run, table: Table, contexts: Digests, products: pa.Array) -> dict[str, Rows]:
    """Variant -> [x, PLACES] products of the night's lists, by their place in `products`; others come after these."""
    key, texts = (table.key[0], "market"), TextDigests()
    found: dict[str, Rows] = {}
    others: dict[str, int] = {}

    def wanted(batch: pa.RecordBatch) -> np.ndarray:
        return np.isin(digests(batch, key, texts), contexts)

    for batch in lake.chosen(table, (*key, "variant", "product_ids"), run.as_of, wanted):
        if not batch.num_rows:
            continue
        context = np.searchsorted(contexts, digests(batch, key, texts))
        lists = pc.list_slice(batch["product_ids"], 0, PLACES)
        lengths = np.asarray(pc.list_value_length(lists), np.int64)
        flat = pc.list_flatten(lists)
        codes = np.asarray(pc.fill_null(pc.index_in(flat, value_set=products), -1), np.int64)
        for at in np.flatnonzero(codes < 0).tolist():
            codes[at] = len(products) + others.setdefault(flat[at].as_py(), len(others))
        places = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        variants = np.array([name or "" for name in batch["variant"].to_pylist()])
        for variant in np.unique(variants).tolist():
            own = variants[owners] == variant
            matrix = found.setdefault(variant, np.full((len(contexts), PLACES), -1, np.int64))
            matrix[context[owners[own]], places[own]] = codes[own]
    return found
