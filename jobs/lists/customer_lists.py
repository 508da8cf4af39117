"""Recommended for you: each customer's own list in their market."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import model_inputs
from jobs.lake.changes import replace_changed
from jobs.lake.executors import Parcel, computed, only, own_columns, spread
from jobs.lake.lake import Lake
from jobs.lists.assortment import Assortment
from jobs.lists.builder import ListBuilder, Tally, candidates_of, no_lists
from jobs.lists.customer_changes import InputSnapshot, due_customers, forget_basis
from jobs.lists.touch_points import COLD, FOR_YOU, MODEL
from jobs.model_inputs import Bought, ProductVectors, matrix
from jobs.policy.compile import policy_on
from jobs.policy.parse import rules_of
from jobs.policy.variants import DefaultRules, Variant, variant_of
from jobs.run import Run
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from jobs.tables.table import Column
from models.arrays import Rows
from models.assembly.assembly import Assembled, Candidates, Owners
from models.assembly.rulebook import Attributes
from models.contract import Compute, FloatMatrix
from models.popularity import Popularity
from models.search.search import exact_top_n, placed
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jobs.lists.config import ListsConfig


def stage_customer_lists(lake: Lake, maker: ListBuilder, vectors: ProductVectors, config: ListsConfig, run: Run) -> int:
    """Write the night's lists that may differ from those of the night before, or all; returns the rows written.

    The night's basis is there only beside finished lists.
    """
    basis = InputSnapshot.of(maker, vectors, config)
    due = due_customers(lake, run, basis)
    forget_basis(lake, run.as_of)
    ranker = Ranker.on(maker, vectors, config, run)
    with customer_lists(lake, ranker, config, run, None if due is None else due.customers) as lists:
        rows = _counted(lists, maker)
        if due is None:
            written = lake.replace(FOR_YOU.table, rows, run)
        else:
            written = replace_changed(lake, FOR_YOU.table, rows, due.customers, due.before, run)
    basis.write(lake, run)
    return written


@contextmanager
def customer_lists(
    lake: Lake, ranker: Ranker, config: ListsConfig, run: Run, chosen: pa.Array | None = None
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Batches of the ranker's columns: of everybody's lists, or of those of the customers `chosen`."""
    of_homes, of_vectors = ("customer_id", "market", *model_inputs.BOUGHT_COLUMNS), ("customer_id", "vector")
    if lake.on_executors:
        vectors, homes = (
            only(lake, lake.frame(table, run.as_of), "customer_id", chosen).select(*columns)
            for table, columns in ((CUSTOMER_EMBEDDINGS, of_vectors), (CUSTOMER_SEQUENCES, of_homes))
        )
        total = lake.count(CUSTOMER_SEQUENCES, run.as_of) if chosen is None else len(chosen)
        vectors, homes = (
            spread(lake, frame, "customer_id", total, config.batch_customers) for frame in (vectors, homes)
        )
        # In the order of markets: each is searched by many customers at once.
        joined = vectors.join(homes, "customer_id", "left").sortWithinPartitions("market", "customer_id")
        with computed(lake, joined, ranker, FOR_YOU.table, run, "tasks of customers ranked") as rows:
            yield rows
        return
    where = None if chosen is None else pc.field("customer_id").isin(chosen)
    homes_here = pa.Table.from_batches(list(lake.batches(CUSTOMER_SEQUENCES, of_homes, run.as_of, where=where)))
    stored = lake.batches(CUSTOMER_EMBEDDINGS, of_vectors, run.as_of, config.batch_customers, where)
    yield ranker(_told(_with_homes(stored, homes_here), run, len(homes_here)))


def _with_homes(batches: Iterator[pa.RecordBatch], homes: pa.Table) -> Iterator[pa.RecordBatch]:
    """Customers' vectors beside their rows of customer_sequences."""
    ids = homes["customer_id"].combine_chunks()
    for batch in batches:
        if batch.num_rows:
            own = homes.take(pc.index_in(batch["customer_id"], value_set=ids)).drop_columns(["customer_id"])
            columns = [*batch.columns, *(column.combine_chunks() for column in own.columns)]
            yield pa.RecordBatch.from_arrays(columns, [*batch.schema.names, *own.column_names])


def _told(batches: Iterator[pa.RecordBatch], run: Run, total: int) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += batch.num_rows  # asked for the next one: this one's lists are made
        run.progress("customers ranked", done, total)


def _counted(batches: Iterator[pa.RecordBatch], maker: ListBuilder) -> Iterator[pa.RecordBatch]:
    """Rows of recommended_for_you; what was counted of them is added to the maker's."""
    for batch in batches:
        for text in batch[TALLY.name].drop_null().to_pylist():
            add_tallies(maker, text)
        yield batch.drop_columns([TALLY.name])


# A ListMaker as a Parcel, and back: the shelf's arrays, and the rules as rows that are checked again when read.

VOCABULARIES = ("products", "markets", "brands", "categories", "departments")
FILLING = tuple(field.name for field in fields(Popularity))
ATTRIBUTES = tuple(field.name for field in fields(Attributes))


def packed_maker(maker: ListBuilder) -> Parcel:
    """What makes the same lists elsewhere; not what it has counted."""
    shelf, policy = maker.shelf, maker.policy
    header = {name: getattr(shelf, name).ids.to_pylist() for name in VOCABULARIES} | {
        "as_of": policy.as_of.isoformat(),
        "settled": shelf.settled.isoformat(),
        "rules": [
            {name: value.isoformat() if isinstance(value, date) else value for name, value in rule.model_dump().items()}
            for rule in policy.rules
        ],
    }
    arrays = {"available": shelf.available} | {name: getattr(shelf.filling, name) for name in FILLING}
    return Parcel(header, arrays | {name: getattr(shelf.attributes, name) for name in ATTRIBUTES})


def unpacked_maker(parcel: Parcel) -> ListBuilder:
    """The maker that the parcel came from."""
    attributes = Attributes(**{name: parcel.arrays[name] for name in ATTRIBUTES})
    parts: dict[str, Any] = {name: Vocabulary(parcel.header[name]) for name in VOCABULARIES}
    filling = Popularity(**{name: parcel.arrays[name] for name in FILLING})
    settled = date.fromisoformat(parcel.header["settled"])
    # Pages of what is popular tonight are made in the step's own process.
    shelf = Assortment(**parts, available=parcel.arrays["available"], attributes=attributes, popular=filling,
                  filling=filling, settled=settled)  # fmt: skip
    policy = policy_on(rules_of(parcel.header["rules"]), date.fromisoformat(parcel.header["as_of"]))
    return ListBuilder(shelf, policy)


def variant_from(plain: Mapping[str, Any]) -> Variant:
    """A variant of `dataclasses.asdict`."""
    standing = {table: DefaultRules(**rules) for table, rules in plain["standing"].items()}
    return Variant(**{**plain, "standing": standing})


# Customers' vectors to their own lists, batch by batch: in the step's own process or on Spark's executors.

TALLY = Column("tally", "STRING", "what was counted of a batch of lists, JSON, in its first row; null in all others")


@dataclass(frozen=True)
class Ranker:
    """Whatever a customer's list is made from beside the customer's own row."""

    columns: ClassVar[tuple[Column, ...]] = (*own_columns(FOR_YOU.table), TALLY)

    maker: ListBuilder
    """One of its own: it counts what is yielded."""
    products: ProductVectors
    places: int
    variants: tuple[Variant, ...]
    experiment: str
    midnight: datetime
    device: str = "auto"
    """Where customers' candidates are searched: auto, cpu or cuda, of whoever does the ranking."""

    @staticmethod
    def on(maker: ListBuilder, products: ProductVectors, config: ListsConfig, run: Run) -> Ranker:
        """That of a night."""
        places = FOR_YOU.places or config.top_n
        return Ranker(
            maker.counting_anew(), products, places, config.variants, config.experiment, run.midnight, config.device
        )

    @cached_property
    def search(self) -> _Search:
        """Over the product vectors."""
        return _Search(self.products, self.maker, Compute(self.device))

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows of recommended_for_you with TALLY, from customer_id, vector, market, bought and bought_at; null in the
        last three for a customer without a sequence.
        """
        for batch in batches:
            if batch.num_rows:
                for rows in self._of_batch(batch):
                    yield rows.append_column(TALLY.name, self._tally(rows.num_rows))

    def _of_batch(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The lists of some customers, market by market."""
        shelf, model_id = self.maker.shelf, self.products.model_id
        home = batch["market"]
        markets = shelf.markets.encode(home, missing="negative")
        sees = np.array([variant_of(c, self.experiment, self.variants) for c in batch["customer_id"].to_pylist()])
        owned, customers = Bought.of(batch, shelf.products, self.midnight), matrix(batch["vector"])
        for variant in self.variants:
            for market in np.unique(markets[sees == variant.name]):
                chosen = np.flatnonzero((markets == market) & (sees == variant.name))
                at = pa.array(chosen)
                keys = {"customer_id": batch["customer_id"].take(at)}
                if market < 0:
                    names = pa.repeat(variant.name, len(chosen))
                    empty = no_lists(keys | {"market": home.take(at)}, names, model_id)
                    yield empty.append_column("reach", pa.nulls(len(chosen), pa.float32()))
                    continue
                mine = _kept_out(owned[chosen], self.maker, int(market), variant)
                depth = candidates_of(self.maker, int(market), variant, self.places)
                found = self.search.best(customers[chosen], int(market), depth, mine)
                owners = Owners.of_customers(mine.offsets, mine.products)
                rows, made = self.maker.batch(FOR_YOU, int(market), variant, self.places, keys, found, owners, model_id)
                yield rows.append_column("reach", _reach(found, made))

    def _tally(self, rows: int) -> pa.Array:
        """What was counted since the last call, in the first of so many rows."""
        counted = {
            variant: [tally.lists, tally.short, tally.moved, dict(tally.rules)]
            for (_, variant), tally in self.maker.tallies.items()
        }
        self.maker.tallies.clear()
        return pa.array([json.dumps(counted)] * bool(counted) + [None] * (rows - bool(counted)), pa.string())

    def parcel(self) -> Parcel:
        """The shelf, the policy and the product vectors."""
        header = {
            "places": self.places, "variants": [asdict(variant) for variant in self.variants],
            "experiment": self.experiment, "midnight": self.midnight.isoformat(), "model_id": self.products.model_id,
            "products": self.products.ids.ids.to_pylist(), "device": self.device,
        }  # fmt: skip
        arrays = {"vectors": self.products.vectors, "cold": self.products.cold}
        maker = packed_maker(self.maker)
        return Parcel({"ranker": header, "maker": maker.header}, {**arrays, **maker.arrays})

    @classmethod
    def of(cls, parcel: Parcel) -> Self:
        """The ranker that the parcel came from."""
        header, arrays = parcel.header["ranker"], parcel.arrays
        products = ProductVectors(Vocabulary(header["products"]), arrays["vectors"], arrays["cold"], header["model_id"])
        return cls(
            unpacked_maker(Parcel(parcel.header["maker"], arrays)), products, header["places"],
            tuple(variant_from(plain) for plain in header["variants"]), header["experiment"],
            datetime.fromisoformat(header["midnight"]), header["device"],
        )  # fmt: skip


def add_tallies(maker: ListBuilder, text: str) -> None:
    """Count what TALLY says of a batch."""
    for variant, (lists, short, moved, rules) in json.loads(text).items():
        maker.tallies[FOR_YOU.table, variant].join(Tally(lists, short, moved, Counter(rules)))


def _kept_out(owned: Bought, maker: ListBuilder, market: int, variant: Variant) -> Bought:
    """What customers bought but for what a policy says is bought again by now."""
    again = maker.rulebooks.repeat_purchase_days(maker.shelf.markets.ids[market].as_py(), variant)
    return owned if np.isinf(again).all() else owned.where(owned.lasting(maker.shelf.attributes.category, again))


def _reach(found: Candidates, made: Assembled) -> pa.Array:
    """The score of the last candidate that each list depends on; null where it depends on more than candidates."""
    last = np.maximum(made.read - 1, 0)
    return pa.array(found.scores[np.arange(len(last)), last], pa.float32(), mask=made.read < 1)


class _Search:
    """Candidates of customers; rows are the shelf's products."""

    def __init__(self, products: ProductVectors, maker: ListBuilder, compute: Compute) -> None:
        self.vectors, self.model_id, self.shelf = placed(products.vectors, compute), products.model_id, maker.shelf
        self.to_shelf: Rows = self.shelf.products.encode(products.ids.ids).astype(np.int64)
        self.to_index: Rows = np.full(len(self.shelf.products), -1)
        self.to_index[self.to_shelf] = np.arange(len(self.to_shelf))
        self.label: Rows = np.full(len(self.shelf.products), MODEL)
        self.label[self.to_shelf[products.cold]] = COLD

    def best(self, customers: FloatMatrix, market: int, depth: int, owned: Bought) -> Candidates:
        """The model's best `depth` for customers it knows anything of; nothing for the others."""
        rows = np.full((len(customers), depth), -1, dtype=np.int64)
        scores = np.full((len(customers), depth), -np.inf, dtype=np.float32)
        known = np.flatnonzero((customers[:, :-1] != 0).any(axis=1))
        mine = owned[known]
        mine = mine.where(self.to_index[mine.products] >= 0)
        allowed = self.shelf.available[market, self.to_shelf]
        scores[known], found = exact_top_n(
            customers[known], self.vectors, depth, allowed, (mine.offsets, self.to_index[mine.products])
        )
        rows[known] = np.where(found >= 0, self.to_shelf[found], -1)
        return Candidates(rows, scores, np.where(rows >= 0, self.label[rows], -1).astype(np.int8))
