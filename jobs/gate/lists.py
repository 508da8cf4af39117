"""Measures a night's lists in one pass over each table, streamed, with numbers instead of ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.gate.counts import Catalogue, ListCounts, brands_and_categories
from jobs.lake.changes import unchanged
from jobs.lake.digests import TextDigests
from jobs.lake.lake import Lake
from jobs.lake.live import Published
from jobs.lake.rows import codes_of, decoded
from jobs.model_inputs import list_offsets, read_availability
from jobs.policy.compile import read_policy
from jobs.run import Run
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, RECENTLY_VIEWED, RECOMMENDED_FOR_YOU
from jobs.tables.table import Table
from jobs.text import clean
from models.arrays import BoolMask, Rows
from models.assembly.arrays import FlatLists
from models.digests import TextRows
from models.vocabulary import Vocabulary

FALLBACKS = ("category popularity", "market popularity", "global popularity")
"""Sources that pad short lists."""
BATCH = 131_072
COLUMNS = ("market", "product_ids", "sources", "short_reason", "model_id")


@dataclass(frozen=True)
class GateInputs:
    """What lists may show tonight; M markets, P products, C customers."""

    products: Vocabulary
    markets: Vocabulary
    available: BoolMask
    """[M, P]."""
    catalogue: Catalogue
    categories: int
    """Distinct categories of the catalogue."""
    customers: pa.Array
    """[C] ids, in no promised order."""
    customer_rows: TextRows
    """Where they are."""
    bought: FlatLists
    """[C], products that each customer bought and must not be shown."""


@dataclass
class ListFigures:
    """The figures of one table's lists of one night."""

    rows: int = 0
    full: int = 0
    """Lists without a short_reason."""
    explained: int = 0
    """Lists that have a product or a short_reason."""
    repeats: int = 0
    """Lists with a product twice."""
    selves: int = 0
    """Lists of a product that show it."""
    unavailable: int = 0
    """Places that cannot be bought in the list's market."""
    bought: int = 0
    """Places that the customer bought before."""
    sources: Counter[str] = field(default_factory=Counter)
    """Source -> the places it filled."""
    uneven: int = 0
    """Lists that name more or fewer sources than products."""
    shown: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    """[M, P], lists of a market that show a product."""
    padded: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    """[M, P], those of them where the place is padded from popularity."""
    longest: int = 0
    """Most places of a list."""
    lists: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """[M], lists of a market."""
    full_lists: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """[M], those of them without a short_reason."""
    models: set[str] = field(default_factory=set)
    variants: set[str] = field(default_factory=set)
    sample: list[pa.RecordBatch] = field(default_factory=list)
    """Keys, products and model of some lists, to be compared with the live night's."""
    live_rows: int = 0
    """Lists of the live night."""
    live_sample: list[pa.RecordBatch] = field(default_factory=list)
    """Those of the same owners among them."""

    @property
    def places(self) -> int:
        """Filled places of all lists."""
        return int(self.shown.sum())

    @property
    def fallbacks(self) -> float:
        """Share of the places that are padded from popularity, of those that name a source."""
        return sum(self.sources[source] for source in FALLBACKS) / max(self.sources.total(), 1)

    def counts(self, inputs: GateInputs, stamp: str) -> ListCounts:
        """The counts that the pages of this night and of later ones show."""
        markets = inputs.markets.ids.filter(pa.array(self.lists > 0)).to_pylist()
        of_products = self.shown.sum(axis=0)
        at = np.flatnonzero(of_products)
        shown = dict(zip(inputs.products.decode(at).to_pylist(), of_products[at].tolist(), strict=True))
        counts = ListCounts(self.rows, dict(self.sources), self.rows - self.full, len(shown), stamp=stamp)
        return counts.with_groups(shown, markets, self.variants, inputs.catalogue)


def read_inputs(lake: Lake, run: Run) -> GateInputs:
    """What lists may show tonight.

    A product that the policy allows to be recommended again after a purchase is not checked against purchases: from
    which day on depends on market and variant.
    """
    catalogue = lake.arrow(CATALOGUE, ("product_id", "brand", "category", "launched_at"), run.as_of)
    products, markets, available = read_availability(lake, run.as_of, catalogue)
    again = [rule.value for rule in read_policy(lake, run.as_of).rules if rule.kind == "repeat_purchase"]
    bound = ~np.asarray(pc.is_in(catalogue["category"], value_set=pa.array(again, pa.string())))
    ids, lengths, bought = [pa.array([], pa.string())], [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
    lake.create(CUSTOMER_SEQUENCES)  # adds the column `bought` to a table that older code wrote
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "bought"), run.as_of, BATCH):
        ids.append(batch["customer_id"])
        code = products.encode(pc.list_flatten(batch["bought"]), missing="negative")
        owner = np.asarray(pc.list_parent_indices(batch["bought"]))
        kept = (code >= 0) & bound[code]
        lengths.append(np.bincount(owner[kept], minlength=batch.num_rows))
        bought.append(code[kept])
    customers = pa.concat_arrays(ids)
    return GateInputs(
        products,
        markets,
        available,
        brands_and_categories(catalogue),
        int(pc.count_distinct(catalogue["category"]).as_py()),
        customers,
        TextRows(customers),
        FlatLists(np.cumsum(np.concatenate(lengths)), np.concatenate(bought)),
    )


def read_lists(
    lake: Lake, table: Table, as_of: date, inputs: GateInputs, one_in: int, live: Published | None
) -> ListFigures:
    """The figures of a table's night, and how many lists are live; keeps the lists of about one owner in `one_in` as
    the samples of both.
    """
    shape = inputs.available.shape
    shown, padded = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    lists, full_lists = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64)
    found = ListFigures(shown=shown, padded=padded, lists=lists, full_lists=full_lists)
    columns, texts = list(dict.fromkeys((*table.key, *COLUMNS, "variant"))), TextDigests()
    for batch, staged, published in _both(lake, table, columns, as_of, live):
        drawn = _drawn(batch[table.key[0]], one_in, texts)
        kept = batch.select([*table.key, "product_ids", "model_id"])
        for sample, mask in ((found.sample, staged), (found.live_sample, published)):
            if mask is not None:
                sample.append(decoded(kept.filter(pa.array(drawn & mask)), table))
        found.live_rows += 0 if published is None else int(published.sum())
        if staged is not None and staged.any():
            _add(found, table, batch, staged, inputs)
    return found


def _both(
    lake: Lake, table: Table, columns: Sequence[str], as_of: date, live: Published | None
) -> Iterator[tuple[pa.RecordBatch, BoolMask | None, BoolMask | None]]:
    """(rows, which of them the night has, which are live), in one pass where the table still has the live rows."""
    snapshot = lake.snapshot(table)
    version = live.versions.get(table.name) if live else None
    if live and live.night != as_of and (version is None or unchanged(lake, table, version, live.night)):
        for batch, (staged, published) in snapshot.encoded_nights(columns, [as_of, live.night], BATCH):
            yield batch, staged, published
        return
    for batch, (staged,) in snapshot.encoded_nights(columns, [as_of], BATCH):
        yield batch, staged, None
    if live:
        published_rows = lake.at(live.versions).snapshot(table)
        for batch, (published,) in published_rows.encoded_nights(columns, [live.night], BATCH):
            yield batch, None, published


def _add(found: ListFigures, table: Table, batch: pa.RecordBatch, counted: BoolMask, inputs: GateInputs) -> None:
    """Count the rows that are `counted`; filtering them first would copy their lists."""
    from models.assembly.list_kernels import check_lists

    market = inputs.markets.encode(batch["market"], missing="negative")
    places, product_of = inputs.products.codes(pc.list_flatten(batch["product_ids"]))
    lists = FlatLists(list_offsets(batch["product_ids"]), places)
    named, words = codes_of(pc.list_flatten(batch["sources"]))
    sources, filled = FlatLists(list_offsets(batch["sources"]), named), np.zeros(len(words), np.int64)
    own, customer = np.full(batch.num_rows, -1, np.int32), np.full(batch.num_rows, -1, np.int64)
    if table.key[0] == "product_id":
        own = inputs.products.encode(batch["product_id"], missing="negative")
    elif table in (RECOMMENDED_FOR_YOU, RECENTLY_VIEWED):
        customer = inputs.customer_rows.of(batch["customer_id"])
    lengths, full = np.diff(lists.offsets), np.asarray(pc.is_null(batch["short_reason"]))
    twice, selves, unavailable, bought = check_lists(
        lists,
        product_of,
        sources,
        np.array([word in FALLBACKS for word in words]),
        counted,
        market,
        own,
        customer,
        inputs.bought,
        inputs.available,
        found.shown,
        found.padded,
        filled,
    )
    found.rows += int(counted.sum())
    found.full += int((full & counted).sum())
    found.explained += int((((lengths > 0) | ~full) & counted).sum())
    found.repeats += twice
    found.selves += selves
    found.unavailable += unavailable
    found.bought += bought
    known = (market >= 0) & counted
    found.lists += np.bincount(market[known], minlength=len(inputs.markets))
    found.full_lists += np.bincount(market[known & full], minlength=len(inputs.markets))
    found.longest = max(found.longest, int(lengths[counted].max(initial=0)))
    found.uneven += int(((np.diff(sources.offsets) != lengths) & counted).sum())
    found.sources.update({clean(words[code]): int(filled[code]) for code in np.flatnonzero(filled)})
    found.models |= set(pc.unique(batch["model_id"].filter(pa.array(counted))).to_pylist())
    found.variants |= {name or "" for name in pc.unique(batch["variant"].filter(pa.array(counted))).to_pylist()}


def _drawn(owners: pa.Array, one_in: int, texts: TextDigests) -> BoolMask:
    """Which owners are in the sample, by a digest of their id: the same ones on every night and engine."""
    codes, found = texts.of(owners)
    return np.asarray(found[codes, 0] % np.uint64(max(one_in, 1)) == 0)


def churn(now: pa.Table, then: pa.Table, key: tuple[str, ...]) -> float | None:
    """Mean share of the products of a list of `then` that its list of `now` lacks; None where they share no key."""
    from models.assembly.list_kernels import lacking

    left = now.select(key).append_column("now", pa.array(np.arange(len(now))))
    right = then.select(key).append_column("then", pa.array(np.arange(len(then))))
    both = left.join(right, keys=list(key), join_type="inner")
    if not len(both):
        return None
    old = then["product_ids"].take(both["then"]).combine_chunks()
    new = now["product_ids"].take(both["now"]).combine_chunks()
    known = Vocabulary.build(pa.chunked_array([old.flatten(), new.flatten()]))
    before, after = (FlatLists(list_offsets(lists), known.encode(lists.flatten())) for lists in (old, new))
    share = (lacking(before, after, len(known)) / np.maximum(np.diff(before.offsets), 1)).mean()
    return round(float(share), 9)  # the pairs come in no promised order, and equal nights have equal figures
