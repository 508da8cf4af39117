"""The lists of products: all are made every night, those that say something else than the night before are written."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import feather

from jobs.index import ProductIndex, read_index
from jobs.lake import storage
from jobs.lake.change_tables import replace_coded
from jobs.lake.changes import may_hold_changes, night_before
from jobs.lake.lake import Lake
from jobs.lake.storage import write_whole
from jobs.lists.builder import ListBuilder
from jobs.lists.candidates import CandidateRetriever
from jobs.lists.touch_points import CAROUSELS, TouchPoint
from jobs.policy.variants import Variant
from jobs.run import Run
from jobs.tables.shop import SOURCES
from jobs.tables.table import GONE, Table
from models.arrays import BoolMask, Digests, Rows
from models.assembly.assembly import Assembled, Owners
from models.assembly.rulebook import Rulebook
from models.contract import Compute
from models.digests import begun, of_words
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jobs.lists.config import ListsConfig

# What a night's lists of products say, as one number a list: the next night writes those that say something else.

FORMAT = 1
"""Raised when equal lists have other digests than before: the next night then writes all of them."""
Group = tuple[str, str]
"""(market, variant)."""


@dataclass(frozen=True)
class ListDigests:
    """One night's lists of one touch point. 0 is no list; that a list has it, or two that differ have the same, happens
    once in 10^12 nights of 10 million lists.
    """

    products: Vocabulary
    groups: Mapping[Group, Digests]
    """Each [products]."""

    def over(self, products: Vocabulary) -> Callable[[Group], Digests]:
        """A group's digests over another vocabulary [products]."""
        rows = self.products.encode(products.ids, missing="negative")
        there = rows >= 0

        def of(group: Group) -> Digests:
            return np.where(there, self.groups[group][rows], np.uint64(0))

        return of

    def write(self, lake: Lake, table: Table, run: Run) -> None:
        """Keep them as the night's."""
        columns = {json.dumps(group): pa.array(found) for group, found in self.groups.items()}
        rows = pa.table({"product_id": self.products.ids} | columns)
        metadata = {"format": str(FORMAT), "run_id": run.run_id}
        content = pa.BufferOutputStream()
        feather.write_feather(rows.replace_schema_metadata(metadata), content, compression="uncompressed")
        write_whole(_path(lake, table, run.as_of), content.getvalue().to_pybytes())


def read_digests(lake: Lake, table: Table, as_of: date) -> ListDigests | None:
    """Those of a night; None where it has none that can be read."""
    try:
        rows = feather.read_table(pa.BufferReader(_path(lake, table, as_of).read_bytes()), memory_map=False)
        if (rows.schema.metadata or {})[b"format"] != str(FORMAT).encode():
            return None
        names = rows.column_names[1:]
        groups = {tuple(json.loads(name)): np.asarray(rows[name].combine_chunks()) for name in names}
        return ListDigests(Vocabulary(rows["product_id"].combine_chunks()), groups)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def forget_digests(lake: Lake, table: Table, as_of: date) -> None:
    """From now on the night's lists are not what its digests say."""
    _path(lake, table, as_of).unlink(missing_ok=True)


def digests_of(
    products: Vocabulary, categories: Vocabulary, category: Rows | None, model_id: str
) -> Callable[[Assembled, Rulebook], Digests]:
    """Lists to their digests [Q], over all that their rows say; `category` [products] where the rows name it."""
    from models.digest_kernels import add_places, add_values

    of_row, of_label = of_words(products.ids.to_pylist()).copy(), of_words(list(SOURCES))
    if category is not None:
        add_values(of_row, of_words([*categories.ids.to_pylist(), None])[category])
    begin = begun(1)
    add_values(begin, of_words([model_id]))

    def made(lists: Assembled, book: Rulebook) -> Digests:
        found = np.repeat(begin, len(lists.rows))
        of_rule = of_words([*book.names, None])
        add_places(
            found, lists.rows, lists.scores.view(np.uint32), lists.labels, lists.rules.astype(np.int16), of_row,
            of_label, of_rule,
        )  # fmt: skip
        return np.where(found == 0, np.uint64(1), found)

    return made


def _path(lake: Lake, table: Table, as_of: date) -> Path:
    return lake.directory(storage.LISTS, as_of) / f"{table.name}.arrow"


AT_ONCE = 2
"""Markets whose lists are made at once."""


def read_indexes(lake: Lake, config: ListsConfig, run: Run) -> dict[Table, ProductIndex]:
    """The night's index behind each touch point of a product; raises UserError where one is absent or was changed."""
    tables, compute = dict.fromkeys(point.index for point in CAROUSELS if point.index), Compute(config.device)
    return {table: read_index(lake, run, table, compute) for table in tables}


def stage_product_lists(
    lake: Lake, maker: ListBuilder, indexes: dict[Table, ProductIndex], cold: BoolMask, config: ListsConfig, run: Run
) -> int:
    """Write the night's lists of every touch point of a product that differ from those of the night before, or all;
    returns the rows written.

    All of them on nights that fit an index anew or settle what fills lists: then most differ. `cold` is [products].
    """
    steady = maker.shelf.settled != run.as_of and not any(_fitted(index, run) for index in indexes.values())
    shown: dict[Table, dict[Group, Rows]] = {}
    groups, written = _groups(maker, config), 0
    for point in CAROUSELS:
        assert point.index is not None, f"{point.table.name} has lists of products, which come from an index"
        before = night_before(lake, point.table, run.as_of)
        known = _known(lake, point.table, before, groups, run.as_of) if before and steady else None
        forget_digests(lake, point.table, run.as_of)
        making = _Making(point, indexes[point.index], maker, cold, groups, shown, config, run, known)
        since = lake.since(point.table, before) if before and known is not None else None
        written += replace_coded(lake, point.table, making.batches(), run, since)
        ListDigests(maker.shelf.products, making.digests).write(lake, point.table, run)
        for night in lake.nights(point.table):
            # Nobody goes on from nights before the last one, and later ones may not be what they were any more.
            if (before and night < before) or night > run.as_of:
                forget_digests(lake, point.table, night)
    return written


def _fitted(index: ProductIndex, run: Run) -> bool:
    """Whether tonight fitted a model behind the index; where nobody looks, there is none behind the alternatives'."""
    return bool({"config", "co_views"} & index.manifest.keys()) and index.manifest["fit"]["on"] == run.as_of.isoformat()


def _known(lake: Lake, table: Table, before: date, groups: list[Group], as_of: date) -> ListDigests | None:
    """What the night before said, where tonight can go on from it.

    A night that is complete stays so when it is made again: later ones may refer to it.
    """
    if as_of in lake.nights(table) and lake.since(table, as_of) == as_of:
        return None
    found = read_digests(lake, table, before)
    if found is None or found.groups.keys() != set(groups) or not may_hold_changes(lake, table, before):
        return None
    return found


def _groups(maker: ListBuilder, config: ListsConfig) -> list[Group]:
    """Every market and variant."""
    return [(market, v.name) for v in config.variants for market in maker.shelf.markets.ids.to_pylist()]


@dataclass
class _Making:
    """The lists of one touch point."""

    point: TouchPoint
    index: ProductIndex
    maker: ListBuilder
    cold: BoolMask
    groups: list[Group]
    """Every market and variant, in the order of the rows."""
    shown: dict[Table, dict[Group, Rows]]
    """The first places of the lists that another one of the page stands beside; added to."""
    config: ListsConfig
    run: Run
    before: ListDigests | None
    """What the night before said, where only what differs is to be written."""
    digests: dict[Group, Digests] = field(default_factory=dict)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of the table, coded, with equal dictionaries."""
        groups, wrote, table = self.groups, False, self.point.table
        kept = self.shown[table] = {}
        places = self.config.beside_places if any(other.beside is table for other in CAROUSELS) else 0
        for done, (group, (market, variant, live, made, digests)) in enumerate(zip(groups, self._made(), strict=True)):
            self.maker.count(self.point, market, variant, made)
            kept[group] = made.rows[:, :places].astype(np.int32)
            self.digests[group] = np.zeros(len(self.maker.shelf.products), np.uint64)
            self.digests[group][live] = digests
            # A night without a row would not be there: its first list is written whatever it says.
            batch = self._rows(group, market, variant, live, made, must=not wrote)
            self.run.progress(f"markets of {table.name}", done + 1, len(groups))
            if batch.num_rows:
                wrote = True
                yield batch

    def _made(self) -> Iterator[tuple[int, Variant, Rows, Assembled, Digests]]:
        """(market, variant, its live products, their lists, the lists' digests), market by market.

        Some are made at once: what is no compiled loop keeps one core alone.
        """
        shelf, n = self.maker.shelf, self.point.places or self.config.top_n
        search = CandidateRetriever(self.point, self.index, shelf, self.cold, n * self.config.search_depth)
        category = shelf.attributes.category if "categories" in self.point.table.names else None
        digest = digests_of(shelf.products, shelf.categories, category, self.model_id)
        names = shelf.markets.ids.to_pylist()

        def make(variant: Variant, market: int) -> tuple[int, Variant, Rows, Assembled, Digests]:
            live = np.flatnonzero(shelf.available[market])
            beside = self.shown[self.point.beside][names[market], variant.name] if self.point.beside else None
            owners = Owners.of_products(live, beside)
            made = self.maker.made(self.point, market, variant, n, search.in_market(market, n), owners)
            return market, variant, live, made, digest(made, self.maker.book(self.point, market, variant))

        search.prepare()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            begun = deque[Future[tuple[int, Variant, Rows, Assembled, Digests]]]()
            for variant, market in product(self.config.variants, range(len(names))):
                begun.append(pool.submit(make, variant, market))
                if len(begun) > AT_ONCE:
                    yield begun.popleft().result()
            yield from (one.result() for one in begun)

    @property
    def model_id(self) -> str:
        """The model whose candidates the lists are made from."""
        return str(self.index.manifest["model_id"])

    def _rows(
        self, group: Group, market: int, variant: Variant, live: Rows, made: Assembled, must: bool
    ) -> pa.RecordBatch:  # fmt: skip
        """The lists of a market that differ from the night before, and those that ended."""
        named = self._named
        chosen, ended = np.arange(len(live)), np.empty(0, np.int64)
        if self.before is not None:
            now, then = np.zeros(len(named), np.uint64), self._then(group)
            now[: len(self.digests[group])] = self.digests[group]
            chosen = np.flatnonzero(now[live] != then[live])
            ended = np.flatnonzero((then != 0) & (now == 0))
            if must:
                chosen = np.union1d(chosen, np.arange(min(1, len(live))))
        keys = {"product_id": named.coded(np.concatenate([live[chosen], ended]))}
        lists = made.chosen(chosen, len(ended))
        rows = self.maker.rows(self.point, market, variant, keys, lists, self.model_id)
        gone = np.arange(rows.num_rows) >= len(chosen)
        return rows.append_column(GONE, pa.array(gone, mask=~gone))

    @cached_property
    def _then(self) -> Callable[[Group], Digests]:
        """The digests of a group's lists of the night before, over `_named`."""
        assert self.before is not None
        return self.before.over(self._named)

    @cached_property
    def _named(self) -> Vocabulary:
        """The night's products, then those of the night before that the catalogue lacks now."""
        products = self.maker.shelf.products
        if self.before is None:
            return products
        left = np.flatnonzero(products.encode(self.before.products.ids, missing="negative") < 0)
        return Vocabulary(pa.concat_arrays([products.ids, self.before.products.decode(left)]))
