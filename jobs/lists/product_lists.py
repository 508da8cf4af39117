"""Rebuilds all product lists nightly and writes only those that changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.index import ProductIndex, read_index
from jobs.lake import storage
from jobs.lake.changes import may_hold_changes, night_before
from jobs.lake.lake import Lake
from jobs.lists.assortment import Assortment
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.candidates import CandidateRetriever
from jobs.lists.config import ListsConfig
from jobs.lists.digests import Group, GroupDigests, read_digests
from jobs.lists.touch_points import CAROUSELS, Find, TouchPoint
from jobs.run import Run
from jobs.tables.shop import SOURCES
from jobs.tables.table import GONE, Table
from models.arrays import BoolMask, Digests, Rows
from models.assembly.assembly import Assembled, Owners
from models.contract import Compute
from models.digests import begun, of_texts, of_words
from models.vocabulary import Vocabulary

LAYOUT = 4
"""Raised when equal lists have other digests than before: the next night then writes all of them."""
AT_ONCE = 2
"""Markets whose lists are built at the same time."""


def read_indexes(lake: Lake, config: ListsConfig, run: Run) -> dict[Table, ProductIndex]:
    """The night's index behind each touch point of a product; raises UserError where one is absent or was changed."""
    tables, compute = dict.fromkeys(point.index for point in CAROUSELS if point.index), Compute(config.device)
    return {table: read_index(lake, run, table, compute) for table in tables}


def stage_product_lists(
    lake: Lake, builder: ListBuilder, indexes: dict[Table, ProductIndex], cold: BoolMask, config: ListsConfig, run: Run
) -> int:
    """Write the night's lists of every product touch point that changed since the night before, or all of them;
    returns the rows written.

    Nights that fit an index or take a new snapshot of popularity write all: then most lists change. `cold` is
    [products].
    """
    steady = builder.assortment.settled != run.as_of and not any(_fitted(index, run) for index in indexes.values())
    shown: dict[Table, dict[Group, Rows]] = {}
    retrievers: dict[tuple[Find | None, int], CandidateRetriever] = {}
    written = 0
    for point in CAROUSELS:
        assert point.index is not None, f"{point.table.name} has lists of products, which come from an index"
        before = night_before(lake, point.table, run.as_of)
        known = _known(lake, point.table, before, builder.assortment, config, run) if before and steady else None
        delete_digests(lake, point.table, run.as_of)
        depth = builder.places(point) * config.search_depth
        retriever = retrievers.setdefault(
            (point.find, depth), CandidateRetriever(point, indexes[point.index], builder.assortment, cold, depth)
        )
        build = _TouchPointBuild(point, retriever, builder, shown, config, run, known)
        since = lake.since(point.table, before) if before and known is not None else None
        written += lake.replace_encoded(point.table, build.batches(), run, since)
        digests = GroupDigests(builder.assortment.products, build.digests)
        digests.write(_path(lake, point.table, run.as_of), {"layout": LAYOUT})
        for night in lake.nights(point.table):
            # The next night compares with this one alone, and later nights may be stale now.
            if (before and night < before) or night > run.as_of:
                delete_digests(lake, point.table, night)
        del build, digests, known  # before the next ones are there
    return written


def read_list_digests(lake: Lake, table: Table, as_of: date) -> GroupDigests | None:
    """The digests of a night's lists; None where the night has none that can be read."""
    found = read_digests(_path(lake, table, as_of), LAYOUT)
    return None if found is None else found[0]


def delete_digests(lake: Lake, table: Table, as_of: date) -> None:
    """Mark the digests of a night's lists as unknown."""
    _path(lake, table, as_of).unlink(missing_ok=True)


def _path(lake: Lake, table: Table, as_of: date) -> Path:
    return lake.directory(storage.LISTS, as_of) / f"{table.name}.arrow"


def _fitted(index: ProductIndex, run: Run) -> bool:
    """Whether tonight fitted a model behind the index; the index of alternatives has none where no visit has views."""
    return bool({"config", "co_views"} & index.manifest.keys()) and index.manifest["fit"]["on"] == run.as_of.isoformat()


def _known(
    lake: Lake, table: Table, before: date, assortment: Assortment, config: ListsConfig, run: Run
) -> GroupDigests | None:
    """The digests of the night before, if tonight may hold changes against it.

    A night that is complete stays complete when it runs again: later nights may refer to it.
    """
    if run.as_of in lake.nights(table) and lake.since(table, run.as_of) == run.as_of:
        return None
    found = read_list_digests(lake, table, before)
    groups = set(product(assortment.markets.ids.to_pylist(), (variant.name for variant in config.variants)))
    if found is None or found.groups.keys() != groups or not may_hold_changes(lake, table, before):
        return None
    return found


def digester(builder: ListBuilder, table: Table, model_id: str) -> Callable[[Assembled, ListGroup], Digests]:
    """A function from lists of a group to digests [lists] of all that their rows contain."""
    from models.digest_kernels import add_places, add_values

    assortment = builder.assortment
    of_row, of_label = of_texts(assortment.products.ids)[:, 0].copy(), of_words(list(SOURCES))
    if "categories" in table.names:
        add_values(of_row, of_words([*assortment.categories.ids.to_pylist(), None])[assortment.attributes.category])
    start = begun(1)
    add_values(start, of_words([model_id]))

    def digests(lists: Assembled, group: ListGroup) -> Digests:
        found, of_rule = np.repeat(start, len(lists.rows)), of_words([*builder.book(group).names, None])
        bits, rules = lists.scores.view(np.uint32), lists.rules.astype(np.int16)
        add_places(found, lists.rows, bits, lists.labels, rules, of_row, of_label, of_rule)
        reasons, reason_of = builder.reasons(group, lists)
        add_values(found, of_words(reasons)[reason_of])
        return np.where(found == 0, np.uint64(1), found)

    return digests


@dataclass
class _BuiltGroup:
    """The lists of one market and variant."""

    group: ListGroup
    name: Group
    owners: Rows
    """List i belongs to the product `owners[i]`."""
    lists: Assembled
    digests: Digests


@dataclass
class _TouchPointBuild:
    """Builds the lists of one touch point."""

    point: TouchPoint
    retriever: CandidateRetriever
    """It may be another touch point's with the same candidates."""
    builder: ListBuilder
    shown: dict[Table, dict[Group, Rows]]
    """First places of the lists whose products another touch point of the page must not repeat; added to, and taken by
    that one."""
    config: ListsConfig
    run: Run
    before: GroupDigests | None
    """Digests of the night before; None where all lists are to be written."""
    digests: dict[Group, Digests] = field(default_factory=dict)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of the table, dictionary-encoded with equal dictionaries."""
        wrote, table, assortment = False, self.point.table, self.builder.assortment
        total = len(self.config.variants) * len(assortment.markets)
        first_places = self.shown[table] = {}
        places = self.config.beside_places if any(other.beside is table for other in CAROUSELS) else 0
        for done, built in enumerate(self._built()):
            self.builder.count(built.group, built.lists)
            first_places[built.name] = built.lists.rows[:, :places].astype(np.int32)
            self.digests[built.name] = np.zeros(len(assortment.products), np.uint64)
            self.digests[built.name][built.owners] = built.digests
            # A night without a row would not exist: its first list is written in any case.
            batch = self._rows(built, at_least_one=not wrote)
            self.run.progress(f"markets of {table.name}", done + 1, total)
            if batch.num_rows:
                wrote = True
                yield batch
        if not wrote:  # nothing is sold out anywhere
            keys = {"product_id": self._products.coded(np.zeros(1, np.int64))}
            nothing = built.lists.chosen(np.empty(0, np.int64), 1)
            ended = self.builder.rows(built.group, keys, nothing, self.model_id)
            yield ended.append_column(GONE, pa.array([True]))

    def _built(self) -> Iterator[_BuiltGroup]:
        """The lists of one market and variant after the other; some are built at once, since not all loops are
        compiled ones that use all cores.
        """
        builder, assortment, point = self.builder, self.builder.assortment, self.point
        n, retriever = builder.places(point), self.retriever
        digests = digester(builder, point.table, self.model_id)

        def build(group: ListGroup) -> _BuiltGroup:
            there = assortment.sold_out if point.sold_out else assortment.available
            products = np.flatnonzero(there[group.market])
            name = (builder.market_name(group.market), group.variant.name)
            owners = Owners.of_products(products, self.shown[point.beside].pop(name) if point.beside else None)
            lists = builder.build(group, retriever.in_market(group.market, n, products), owners)
            return _BuiltGroup(group, name, products, lists, digests(lists, group))

        retriever.prepare()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = deque[Future[_BuiltGroup]]()
            for variant, market in product(self.config.variants, range(len(assortment.markets))):
                running.append(pool.submit(build, ListGroup(point, market, variant)))
                if len(running) > AT_ONCE:
                    yield running.popleft().result()
            yield from (one.result() for one in running)

    @property
    def model_id(self) -> str:
        """The model that found the candidates."""
        return str(self.retriever.index.manifest["model_id"])

    def _rows(self, built: _BuiltGroup, at_least_one: bool) -> pa.RecordBatch:
        """The lists of a group that changed since the night before, and those that were deleted."""
        owners, products = built.owners, self._products
        chosen, deleted = np.arange(len(owners)), np.empty(0, np.int64)
        if self.before is not None:
            now, then = np.zeros(len(products), np.uint64), self.before.at(built.name, self._rows_before)
            now[owners] = built.digests
            chosen = np.flatnonzero(now[owners] != then[owners])
            deleted = np.flatnonzero((then != 0) & (now == 0))
            if at_least_one:
                chosen = np.union1d(chosen, np.arange(min(1, len(owners))))
        keys = {"product_id": products.coded(np.concatenate([owners[chosen], deleted]))}
        lists = built.lists.chosen(chosen, len(deleted))
        rows = self.builder.rows(built.group, keys, lists, self.model_id)
        gone = np.arange(rows.num_rows) >= len(chosen)
        return rows.append_column(GONE, pa.array(gone, mask=~gone))

    @cached_property
    def _rows_before(self) -> Rows:
        """[_products], rows of the night before; -1 for a product that it lacks."""
        assert self.before is not None
        return self.before.products.encode(self._products.ids, missing="negative").astype(np.int64)

    @cached_property
    def _products(self) -> Vocabulary:
        """The night's products, then those of the night before that have left the catalogue."""
        products = self.builder.assortment.products
        if self.before is None:
            return products
        left = np.flatnonzero(products.encode(self.before.products.ids, missing="negative") < 0)
        return Vocabulary(pa.concat_arrays([products.ids, self.before.products.decode(left)]))
