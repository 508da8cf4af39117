"""What a night's lists look like, summed in one pass over each table: streamed, over numbers instead of ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.gate.counts import Catalogue, ListCounts
from jobs.lake.lake import Lake
from jobs.lake.rows import codes_of, decoded
from jobs.lists.assortment import read_availability
from jobs.run import Run
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU
from jobs.tables.table import Table
from jobs.text import clean
from models.arrays import BoolMask, Rows
from models.vocabulary import Vocabulary

FALLBACKS = ("category popularity", "market popularity", "global popularity")
"""Sources of places that nothing better was known for."""
BATCH = 131_072
COLUMNS = ("market", "product_ids", "sources", "short_reason", "model_id")


@dataclass(frozen=True)
class Shop:
    """What lists may show tonight; M markets, P products."""

    products: Vocabulary
    markets: Vocabulary
    available: BoolMask
    """[M, P]."""
    customers: pa.Array
    """[C] ids, in no promised order."""
    bought: tuple[Rows, npt.NDArray[np.int32]]
    """(offsets [C + 1], products that the customer bought and must not be shown)."""


@dataclass
class Lists:
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
    """[M, P], in how many lists of a market a product stands."""
    lists: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """[M], lists of a market."""
    models: set[str] = field(default_factory=set)
    variants: set[str] = field(default_factory=set)
    sample: list[pa.RecordBatch] = field(default_factory=list)
    """Keys, products and model of some lists, to be compared with the live night's."""
    live_rows: int = 0
    """Lists that are live."""
    live_sample: list[pa.RecordBatch] = field(default_factory=list)
    """Those of the same owners among them."""

    @property
    def places(self) -> int:
        """Filled places of all lists."""
        return int(self.shown.sum())

    @property
    def fallbacks(self) -> float:
        """Share of the places whose source is named that come from popularity alone."""
        return sum(self.sources[source] for source in FALLBACKS) / max(self.sources.total(), 1)

    def counts(self, shop: Shop, catalogue: Catalogue, stamp: str) -> ListCounts:
        """What the pages of the night and of later ones say of the lists."""
        markets = shop.markets.ids.filter(pa.array(self.lists > 0)).to_pylist()
        of_products = self.shown.sum(axis=0)
        there = np.flatnonzero(of_products)
        shown = dict(zip(shop.products.decode(there).to_pylist(), of_products[there].tolist(), strict=True))
        return ListCounts.of(
            self.rows, self.rows - self.full, self.sources, shown, markets, self.variants, catalogue, stamp
        )


def read_shop(lake: Lake, run: Run, again: pa.Array) -> Shop:
    """What may be shown; products of which a policy says that they are bought `again` are not held against a list."""
    catalogue = lake.arrow(CATALOGUE, ("product_id", "launched_at"), run.as_of)
    products, markets, available = read_availability(lake, run, catalogue)
    bound = ~np.asarray(pc.is_in(products.ids, value_set=again))
    ids, lengths, bought = [], [np.zeros(1, np.int64)], []
    lake.create(CUSTOMER_SEQUENCES)  # a lake from before it named what was bought
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "bought"), run.as_of, BATCH):
        ids.append(batch["customer_id"])
        code = products.encode(pc.list_flatten(batch["bought"]), missing="negative")
        owner = np.asarray(pc.list_parent_indices(batch["bought"]))
        kept = (code >= 0) & bound[code]
        lengths.append(np.bincount(owner[kept], minlength=batch.num_rows))
        bought.append(code[kept])
    offsets = np.cumsum(np.concatenate(lengths))
    customers = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
    return Shop(products, markets, available, customers, (offsets, np.concatenate([np.empty(0, np.int32), *bought])))


def read_lists(lake: Lake, table: Table, as_of: date, shop: Shop, one_in: int, live: date | None) -> Lists:
    """The figures of a table's night, and how many lists are live; those of about one owner in `one_in` are kept as
    the samples of both nights.
    """
    found = Lists(shown=np.zeros(shop.available.shape, np.int32), lists=np.zeros(len(shop.markets), np.int64))
    columns = list(dict.fromkeys((*table.key, *COLUMNS, "variant")))
    for batch, there in lake.snapshot(table).encoded_nights(columns, [as_of, live] if live else [as_of], BATCH):
        drawn = _drawn(batch[table.key[0]], one_in)
        kept = batch.select([*table.key, "product_ids", "model_id"])
        samples = (found.sample, found.live_sample)
        for sample, mask in zip(samples, there, strict=False):
            sample.append(decoded(kept.filter(pa.array(drawn & mask)), table))
        found.live_rows += int(there[-1].sum()) if live else 0
        if there[0].any():
            _add(found, table, batch, there[0], shop)
    return found


def churn(now: pa.Table, then: pa.Table, key: tuple[str, ...]) -> float | None:
    """Mean share of the products of a list of `then` that its list of `now` lacks; None where no key is in both."""
    from models.assembly.list_kernels import lacking

    left = now.select(key).append_column("now", pa.array(np.arange(len(now))))
    right = then.select(key).append_column("then", pa.array(np.arange(len(then))))
    both = left.join(right, keys=list(key), join_type="inner")
    if not len(both):
        return None
    old = then["product_ids"].take(both["then"]).combine_chunks()
    new = now["product_ids"].take(both["now"]).combine_chunks()
    known = Vocabulary.build(pa.chunked_array([old.flatten(), new.flatten()]))
    then_at, now_at = _offsets(old), _offsets(new)
    gone = lacking(then_at, known.encode(old.flatten()), now_at, known.encode(new.flatten()), len(known))
    share = (gone / np.maximum(np.diff(then_at), 1)).mean()
    return round(float(share), 9)  # the pairs come in no promised order, and equal nights have equal figures


def _offsets(lists: pa.Array) -> Rows:
    """[rows + 1], where each list's places begin among those of all; a null list is an empty one."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    return np.concatenate(([0], np.cumsum(lengths)))


def _add(found: Lists, table: Table, batch: pa.RecordBatch, there: BoolMask, shop: Shop) -> None:
    """Count the rows that are `there`; to filter them first would copy their lists."""
    from models.assembly.list_kernels import look_through

    if table is RECOMMENDED_FOR_YOU and not there.all():
        batch, there = batch.filter(pa.array(there)), there[there]
    market = shop.markets.encode(batch["market"], missing="negative")
    offsets = _offsets(batch["product_ids"])
    lengths = np.diff(offsets)
    place = shop.products.encode(pc.list_flatten(batch["product_ids"]), missing="negative")
    owned = table.key[0] == "product_id"
    own = shop.products.encode(batch["product_id"], "negative") if owned else np.full(batch.num_rows, -1, np.int32)
    twice, selves, unavailable = look_through(offsets, place, market, own, there, shop.available, found.shown)
    full = np.asarray(pc.is_null(batch["short_reason"]))
    found.rows += int(there.sum())
    found.full += int((full & there).sum())
    found.explained += int((((lengths > 0) | ~full) & there).sum())
    found.repeats += twice
    found.selves += selves
    found.unavailable += unavailable
    found.lists += np.bincount(market[(market >= 0) & there], minlength=len(shop.markets))
    named = np.asarray(pc.fill_null(pc.list_value_length(batch["sources"]), 0))
    found.uneven += int(((named != lengths) & there).sum())
    sources, words = codes_of(pc.list_flatten(batch["sources"]))
    counted = np.bincount(sources[np.repeat(there, named)], minlength=len(words))
    found.sources.update({clean(words[code]): int(counted[code]) for code in np.flatnonzero(counted)})
    if table is RECOMMENDED_FOR_YOU:
        customers = batch["customer_id"].cast(pa.string())
        found.bought += _bought_before(_padded(place.astype(np.int64), lengths), customers, shop)
    found.models |= set(pc.unique(batch["model_id"].filter(pa.array(there))).to_pylist())
    found.variants |= {name or "" for name in pc.unique(batch["variant"].filter(pa.array(there))).to_pylist()}


def _padded(places: Rows, lengths: Rows) -> npt.NDArray[np.int32]:
    """[rows, longest], the places of each list, -1 past its end and for products nobody knows."""
    matrix = np.full((len(lengths), int(lengths.max(initial=1))), -1, dtype=np.int32)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = places
    return matrix


def _bought_before(matrix: npt.NDArray[np.int32], customers: pa.Array, shop: Shop) -> int:
    """Places of the lists [rows, n] of `customers` that they bought."""
    offsets, products = shop.bought
    at = np.asarray(pc.fill_null(pc.index_in(customers, value_set=shop.customers), -1)).astype(np.int64)
    lengths = np.where(at >= 0, np.diff(offsets)[at], 0) if len(offsets) > 1 else np.zeros(len(at), np.int64)
    total = 0
    for first in _runs(lengths):
        rows = np.arange(first.start, first.stop)
        owner = np.repeat(rows, lengths[rows])
        inside = np.arange(len(owner)) - np.repeat(np.cumsum(lengths[rows]) - lengths[rows], lengths[rows])
        total += int((matrix[owner] == products[offsets[at[owner]] + inside][:, None]).sum())
    return total


def _runs(lengths: Rows, most: int = 1_000_000) -> Iterator[slice]:
    """The rows in runs of at most about `most` bought products, so that memory is bounded."""
    ends = np.cumsum(lengths)
    cuts = np.unique(np.searchsorted(ends, np.arange(most, int(ends[-1]) if len(ends) else 0, most)))
    for start, stop in zip([0, *cuts], [*cuts, len(lengths)], strict=True):
        yield slice(int(start), int(stop))


def _drawn(owners: pa.Array, one_in: int) -> BoolMask:
    """Which owners are in the sample: by the last 8 bytes of their id, the same on every night and engine."""
    if one_in <= 1 or not len(owners):
        return np.ones(len(owners), dtype=bool)
    codes, words = codes_of(owners)
    return _drawn_words(pa.array(words, pa.string()), one_in)[codes]


def _drawn_words(owners: pa.Array, one_in: int) -> BoolMask:
    _, offsets, text = owners.buffers()
    ends = np.frombuffer(offsets, np.int32)[owners.offset : owners.offset + len(owners) + 1].astype(np.int64)
    letters = np.frombuffer(text, np.uint8)
    mixed = np.zeros(len(owners), dtype=np.uint64)
    for back in range(1, 9):
        at = ends[1:] - back
        mixed ^= np.where(at >= ends[:-1], letters[at], 0).astype(np.uint64)
        mixed *= np.uint64(0x100000001B3)  # FNV-1a
    drawn: BoolMask = (mixed >> np.uint64(32)) % np.uint64(one_in) == 0
    return drawn
