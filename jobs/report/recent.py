"""Reads recent events by product and market, and the most recent customers, once for all pages of a night."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, of_night, scan
from jobs.lake.rows import among, arrow_schema, codes_of
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS
from models.arrays import Rows

RECENT_DAYS = (7, 90, 36_500)
"""Days before the night whose events are counted: the first of these that hold an event."""
LONG_HISTORY = 8
"""Events of a long history; customers with shorter ones are shown only if nobody has so many."""
RECENT_CUSTOMERS = 500
"""Most recent customers that examples are chosen from, so that their markets can differ."""
CANDIDATES = 4
"""Times as many customers have their histories read first, so that enough of them are long."""
Key = TypeVar("Key", bound=Hashable)
HISTORY = ("customer_id", "market", "product_ids", "event_types", "event_timestamps")


@dataclass(frozen=True)
class RecentEvents:
    """Counts of recent events by product and market."""

    products: Sequence[str] = ()
    markets: Sequence[str] = ()
    pairs: Rows = field(default_factory=lambda: np.zeros((3, 0), np.int64))
    """[3, n]: product, market, events; each pair once."""

    @cached_property
    def of_products(self) -> dict[str, int]:
        """Product -> its events in all markets."""
        return self._summed(0, self.products)

    @cached_property
    def of_markets(self) -> dict[str, int]:
        """Market -> its events."""
        return self._summed(1, self.markets)

    def in_markets(self, products: Iterable[str]) -> dict[tuple[str, str], int]:
        """(product, market) -> events, of some products."""
        wanted = set(products)
        kept = self.pairs[:, np.array([product in wanted for product in self.products], dtype=bool)[self.pairs[0]]]
        return {(self.products[p], self.markets[m]): count for p, m, count in kept.T.tolist()}

    def _summed(self, axis: int, names: Sequence[str]) -> dict[str, int]:
        counted = np.zeros(len(names), np.int64)
        np.add.at(counted, self.pairs[axis], self.pairs[2])
        return {name: count for name, count in zip(names, counted.tolist(), strict=True) if count}


@dataclass(frozen=True)
class Recent:
    """Recent events and customers of a night; keeps what it has read."""

    lake: Lake
    as_of: date
    looked_at: int = RECENT_CUSTOMERS
    """Most recent customers that are kept."""
    _read: dict[int, pa.Table] = field(default_factory=dict)

    @cached_property
    def events(self) -> RecentEvents:
        """The events of the last days before the night."""
        day = pc.field("event_date")
        for days in RECENT_DAYS:
            where = (day >= pa.scalar(self.as_of - timedelta(days=days))) & (day < pa.scalar(self.as_of))
            found = scan(self.lake, EVENTS, ("product_id", "market"), Wanted(where=where))
            coded = [pa.Table.from_arrays([pc.dictionary_encode(c) for c in b.columns], b.schema.names) for b in found]
            if coded:
                return _counted(pa.concat_tables(coded).unify_dictionaries().combine_chunks())
        return RecentEvents()

    def customers(self, least: int) -> pa.Table:
        """Columns HISTORY of the most recent customers with at least `least` events, most recent first."""
        if least not in self._read:
            self._read[least] = self._most_recent(least)
        return self._read[least]

    def homes(self, least: int) -> dict[str, str]:
        """Customer -> market of at most RECENT_CUSTOMERS of those customers."""
        rows = self.customers(least).slice(0, RECENT_CUSTOMERS)
        return dict(zip(rows["customer_id"].to_pylist(), rows["market"].to_pylist(), strict=True))

    def histories(self, customers: Iterable[str], columns: Sequence[str] = HISTORY) -> dict[str, StoredRow]:
        """Customer -> columns of HISTORY; only customers who are not among those read already are read."""
        wanted = pa.array(sorted(set(customers)), pa.string())
        read = [*dict.fromkeys(("customer_id", *columns))]
        found: dict[str, StoredRow] = {}
        for kept in self._read.values():
            rows = kept.filter(pc.is_in(kept["customer_id"], value_set=wanted)).select(read)
            found |= {row["customer_id"]: row for row in rows.to_pylist()}
        missing = wanted.filter(pc.invert(pc.is_in(wanted, value_set=pa.array(list(found), pa.string()))))
        if len(missing):
            where = of_night(self.as_of) & pc.field("customer_id").isin(missing)
            for batch in scan(self.lake, CUSTOMER_SEQUENCES, read, where):
                found |= {row["customer_id"]: row for row in batch.to_pylist()}
        return found

    def _most_recent(self, least: int) -> pa.Table:
        """Decodes the histories of few candidates, and of all customers only if too few candidates have a long one."""
        night, few = of_night(self.as_of), CANDIDATES * self.looked_at
        last = scan(self.lake, CUSTOMER_SEQUENCES, ("customer_id", "last_event_at"), night)
        candidates = _newest(last, few)["customer_id"].to_pylist()
        columns = (*HISTORY, "last_event_at")
        read = self.lake.chosen(
            CUSTOMER_SEQUENCES, columns, self.as_of, lambda batch: among(batch["customer_id"], candidates)
        )
        long = (b.filter(pc.greater_equal(pc.list_value_length(b["event_types"]), least)) for b in read)
        found = _newest(long, self.looked_at)
        if len(found) < self.looked_at and len(candidates) == few:
            where = night & (pc.list_value_length(pc.field("event_types")) >= least)
            found = _newest(scan(self.lake, CUSTOMER_SEQUENCES, columns, where), self.looked_at)
        return found.select(list(HISTORY))


def first_of_each(order: Iterable[Key], group: Mapping[Key, str]) -> list[Key]:
    """The keys in `order`, but the first of each group before all others; keys without a group come with the first."""
    seen: set[str] = set()
    first: list[Key] = []
    rest: list[Key] = []
    for key in order:
        name = group.get(key, "")
        (rest if name in seen else first).append(key)
        seen |= {name} - {""}
    return first + rest


def _newest(batches: Iterable[pa.RecordBatch], most: int) -> pa.Table:
    """The `most` rows with the newest last event, newest first, in memory for so many rows."""
    schema = arrow_schema(CUSTOMER_SEQUENCES)
    kept = pa.schema([schema.field(name) for name in (*HISTORY, "last_event_at")]).empty_table()
    order = [("last_event_at", "descending"), ("customer_id", "ascending")]
    for number, batch in enumerate(batches):
        part = pa.Table.from_batches([batch])
        both = pa.concat_tables([kept, part]) if number else part
        kept = both.take(pc.select_k_unstable(both, most, sort_keys=order))
    return kept


def _counted(rows: pa.Table) -> RecentEvents:
    (product, products), (market, markets) = (codes_of(column.chunk(0)) for column in rows.columns)
    pairs, counts = np.unique(product * len(markets) + market, return_counts=True)
    return RecentEvents(_named(products), _named(markets), np.array([*np.divmod(pairs, len(markets)), counts]))


def _named(words: Sequence[str | None]) -> list[str]:
    return [word or "" for word in words]
