"""Builds each customer's own list, Recommended for you, from the vectors of customers and products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.changes import replace_changed
from jobs.lake.executors import Parcel, computed, only, own_columns, spread
from jobs.lake.lake import Lake
from jobs.lists.assortment import Assortment
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.config import ListsConfig
from jobs.lists.customer_changes import InputSnapshot, delete_snapshot, stale_lists
from jobs.lists.sizes import SIZE_COLUMNS, CategoryOf, Sizes, UsualSizes, usual_sizes
from jobs.lists.touch_points import COLD, FOR_YOU, MODEL
from jobs.model_inputs import Bought, ProductVectors, matrix
from jobs.policy.compile import policy_on
from jobs.policy.parse import rules_of
from jobs.policy.variants import DefaultRules, Variant, variant_of
from jobs.run import Run
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from jobs.tables.table import Column
from models.arrays import Rows
from models.assembly.arrays import Fit
from models.assembly.assembly import Assembled, Candidates, Owners
from models.assembly.rulebook import Attributes
from models.contract import Compute, FloatMatrix
from models.popularity import ProductPopularity
from models.search.search import exact_top_n, placed
from models.vocabulary import Vocabulary

COUNTED = Column("counted", "STRING", "counts of a batch of lists, JSON, in its first row; null in all others")
DEEPER = 2
"""So many times as many candidates are searched where some may lack the customer's size."""
AT_ONCE = 64
"""Customers whose search leaves out what does not fit, at once."""
CUTOFF = "reach"
"""Column of the cutoff score: the score of the last candidate that a list depends on."""


def stage_customer_lists(
    lake: Lake, builder: ListBuilder, vectors: ProductVectors, config: ListsConfig, run: Run
) -> int:
    """Write the night's lists that may differ from the night before, or all of them; returns the rows written.

    The night's input snapshot exists only beside finished lists.
    """
    snapshot = InputSnapshot.of(builder, vectors, config)
    stale = stale_lists(lake, run, snapshot, builder.assortment)
    delete_snapshot(lake, run.as_of)
    ranker = Ranker.on(builder, vectors, config, run)
    with customer_lists(lake, ranker, config, run, None if stale is None else stale.customers) as lists:
        rows = _counted(lists, builder)
        if stale is None:
            written = lake.replace_encoded(FOR_YOU.table, rows, run)
        else:
            written = replace_changed(lake, FOR_YOU.table, rows, stale.customers, stale.before, run, encoded=True)
    snapshot.write(lake, run)
    return written


@contextmanager
def customer_lists(
    lake: Lake, ranker: Ranker, config: ListsConfig, run: Run, chosen: pa.Array | None = None
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Batches of the ranker's columns: the lists of all customers, or of those `chosen`."""
    of_homes, of_vectors = ("customer_id", "market", *SIZE_COLUMNS), ("customer_id", "vector")
    if lake.on_executors:
        total = lake.count(CUSTOMER_SEQUENCES, run.as_of) if chosen is None else len(chosen)
        vectors, homes = (
            spread(
                lake,
                only(lake, lake.frame(table, run.as_of), "customer_id", chosen).select(*columns),
                "customer_id",
                total,
                config.batch_customers,
            )
            for table, columns in ((CUSTOMER_EMBEDDINGS, of_vectors), (CUSTOMER_SEQUENCES, of_homes))
        )
        # Sorted by market, so that many customers search the same products at once.
        joined = vectors.join(homes, "customer_id", "left").sortWithinPartitions("market", "customer_id")
        with computed(lake, joined, ranker, FOR_YOU.table, run, "tasks of customers ranked") as rows:
            yield rows
        return
    where = None if chosen is None else pc.field("customer_id").isin(chosen)
    homes_here = pa.Table.from_batches(list(lake.batches(CUSTOMER_SEQUENCES, of_homes, run.as_of, where=where)))
    stored = lake.batches(CUSTOMER_EMBEDDINGS, of_vectors, run.as_of, config.batch_customers, where)
    yield ranker(_with_homes(_merged(stored, config.batch_customers), homes_here, run))


def _merged(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of at least `rows` rows but for the last: those of files end with the parts of the files."""
    some: list[pa.RecordBatch] = []

    def joined() -> pa.RecordBatch:
        whole = pa.concat_batches(some)
        some.clear()
        return whole

    for batch in batches:
        some.append(batch)
        del batch  # nothing here holds vectors that others work with
        if sum(one.num_rows for one in some) >= rows:
            yield joined()
    if some:
        yield joined()


def _with_homes(batches: Iterator[pa.RecordBatch], homes: pa.Table, run: Run) -> Iterator[pa.RecordBatch]:
    """Customers' vectors with their rows of customer_sequences; reports progress as batches are ranked."""
    ids, done = homes["customer_id"].combine_chunks(), 0

    def with_homes(batch: pa.RecordBatch) -> pa.RecordBatch:
        nonlocal done
        run.progress("customers ranked", done, len(homes))  # another batch is asked for: those before are finished
        done += batch.num_rows
        own = homes.take(pc.index_in(batch["customer_id"], value_set=ids)).drop_columns(["customer_id"])
        columns = [*batch.columns, *(column.combine_chunks() for column in own.columns)]
        return pa.RecordBatch.from_arrays(columns, [*batch.schema.names, *own.column_names])

    yield from map(with_homes, batches)
    run.progress("customers ranked", done, len(homes))


def _counted(batches: Iterator[pa.RecordBatch], builder: ListBuilder) -> Iterator[pa.RecordBatch]:
    """Rows of recommended_for_you; adds the counts of their rules to the builder's."""
    for batch in batches:
        for text in batch[COUNTED.name].drop_null().to_pylist():
            builder.add_counts(FOR_YOU, text)
        yield batch.drop_columns([COUNTED.name])


@dataclass(frozen=True)
class Ranker:
    """Turns customers' rows into lists, in this process or on Spark's executors."""

    columns: ClassVar[tuple[Column, ...]] = (*own_columns(FOR_YOU.table), COUNTED)

    builder: ListBuilder
    """One of its own: its counts leave with each batch."""
    products: ProductVectors
    variants: tuple[Variant, ...]
    experiment: str
    midnight: datetime
    device: str = "auto"
    """Where candidates are searched: auto, cpu or cuda, on the machine that ranks."""

    @staticmethod
    def on(builder: ListBuilder, products: ProductVectors, config: ListsConfig, run: Run) -> Ranker:
        """The ranker of a night."""
        return Ranker(
            builder.without_counts(), products, config.variants, config.experiment, run.midnight, config.device
        )

    @cached_property
    def search(self) -> _CandidateSearch:
        """Over the product vectors."""
        return _CandidateSearch(self.products, self.builder.assortment, Compute(self.device))

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows of recommended_for_you with COUNTED, from customer_id, vector, market and SIZE_COLUMNS; all but the
        first two are null for a customer without a sequence.
        """
        for rows in chain.from_iterable(map(self._of_batch, filter(len, batches))):  # which lets go of each batch
            counted = [self.builder.counts_as_json(FOR_YOU)] * bool(self.builder.counts)
            self.builder.counts.clear()
            texts = pa.array(counted + [None] * (rows.num_rows - len(counted)), pa.string())
            yield rows.append_column(COUNTED.name, texts)

    def _of_batch(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The lists of some customers, by variant and market."""
        assortment, model_id = self.builder.assortment, self.products.model_id
        markets = assortment.markets.encode(batch["market"], missing="negative")
        sees = np.array([variant_of(c, self.experiment, self.variants) for c in batch["customer_id"].to_pylist()])
        owned, customers = Bought.of(batch, assortment.products, self.midnight), matrix(batch["vector"])
        usual = self._usual_sizes(batch)
        for variant in self.variants:
            for market in np.unique(markets[sees == variant.name]).tolist():
                chosen = np.flatnonzero((markets == market) & (sees == variant.name))
                keys = {"customer_id": batch["customer_id"].take(pa.array(chosen))}
                if market < 0:
                    keys["market"] = batch["market"].take(pa.array(chosen))
                    yield _no_lists(keys, variant, model_id)
                    continue
                mine = self._kept_out(owned.take(chosen), market, variant)
                depth = self.builder.candidates_per_customer(market, variant)
                fit, left_out = self._fit(usual, chosen, market), 0
                if fit is None:
                    found = self.search.best(customers[chosen], market, depth, mine)
                else:
                    top = self.builder.places(FOR_YOU)
                    found, left_out = self.search.best_fitting(customers[chosen], market, (depth, top), mine, fit)
                owners = Owners.of_customers(mine.offsets, mine.products, fit)
                group = ListGroup(FOR_YOU, market, variant)
                lists, assembled = self.builder.batch(group, keys, found, owners, model_id, left_out)
                yield lists.append_column(CUTOFF, _cutoff_scores(found, assembled))

    def _usual_sizes(self, batch: pa.RecordBatch) -> UsualSizes | None:
        """Those of some customers; None for a shop without sizes."""
        assortment = self.builder.assortment
        if (sizes := assortment.sizes) is None:
            return None
        categories = CategoryOf.named(assortment.attributes.category, assortment.categories)
        return usual_sizes(batch, assortment.products, categories, sizes.names, sizes.made)

    def _fit(self, usual: UsualSizes | None, chosen: Rows, market: int) -> Fit | None:
        """What fits the `chosen` customers of a market."""
        assortment = self.builder.assortment
        if usual is None or assortment.sizes is None:
            return None
        return assortment.sizes.fit(market, usual.take(chosen), len(assortment.categories))

    def _kept_out(self, owned: Bought, market: int, variant: Variant) -> Bought:
        """Purchases that keep a product out of a list: all but those that the policy says are due again."""
        again = self.builder.repeat_purchase_days(market, variant)
        category = self.builder.assortment.attributes.category
        return owned if np.isinf(again).all() else owned.where(owned.lasting(category, again))

    def parcel(self) -> Parcel:
        """The builder and the product vectors."""
        header = {
            "variants": [asdict(variant) for variant in self.variants],
            "experiment": self.experiment,
            "midnight": self.midnight.isoformat(),
            "model_id": self.products.model_id,
            "products": self.products.ids.ids.to_pylist(),
            "device": self.device,
        }
        arrays = {"vectors": self.products.vectors, "cold": self.products.cold}
        builder = packed_builder(self.builder)
        return Parcel({"ranker": header, "builder": builder.header}, {**arrays, **builder.arrays})

    @classmethod
    def of(cls, parcel: Parcel) -> Self:
        """The ranker that `parcel` packed."""
        header, arrays = parcel.header["ranker"], parcel.arrays
        return cls(
            unpacked_builder(Parcel(parcel.header["builder"], arrays)),
            ProductVectors(Vocabulary(header["products"]), arrays["vectors"], arrays["cold"], header["model_id"]),
            tuple(variant_from(plain) for plain in header["variants"]),
            header["experiment"],
            datetime.fromisoformat(header["midnight"]),
            header["device"],
        )


def _cutoff_scores(found: Candidates, lists: Assembled) -> pa.Array:
    """[lists], the score of the last candidate that each list depends on; null where it depends on more than those."""
    last = np.maximum(lists.read - 1, 0)
    return pa.array(found.scores[np.arange(len(last)), last], pa.float32(), mask=lists.read < 1)


def _no_lists(keys: Mapping[str, pa.Array], variant: Variant, model_id: str) -> pa.RecordBatch:
    """Empty lists for customers of a market in which no product is available."""
    count = len(keys["customer_id"])
    empty = pa.array([[]] * count, pa.list_(pa.string()))
    nothing = pa.ListArray.from_arrays(empty.offsets, empty.values.dictionary_encode())
    columns = dict(keys) | {
        "market": keys["market"].dictionary_encode(),
        "product_ids": nothing,
        "sources": nothing,
        "rules": nothing,
        "scores": empty.cast(pa.list_(pa.float32())),
        "variant": pa.repeat(variant.name, count),
        "short_reason": pa.repeat("no product is available in the customer's market", count),
        "model_id": pa.repeat(model_id, count),
        CUTOFF: pa.nulls(count, pa.float32()),
    }
    return pa.RecordBatch.from_pydict(columns)


class _CandidateSearch:
    """Searches candidates of customers; rows are products of the assortment."""

    def __init__(self, products: ProductVectors, assortment: Assortment, compute: Compute) -> None:
        self.vectors, self.assortment = placed(products.vectors, compute), assortment
        self.to_assortment: Rows = assortment.products.encode(products.ids.ids).astype(np.int64)
        self.to_index: Rows = np.full(len(assortment.products), -1)
        self.to_index[self.to_assortment] = np.arange(len(self.to_assortment))
        self.label: Rows = np.full(len(assortment.products), MODEL)
        self.label[self.to_assortment[products.cold]] = COLD

    def best(self, customers: FloatMatrix, market: int, depth: int, owned: Bought) -> Candidates:
        """The model's best `depth` products for each customer with a vector; none for a vector of zeros."""
        candidates = Candidates.empty(len(customers), depth)
        known = np.flatnonzero((customers[:, :-1] != 0).any(axis=1))
        mine = owned.take(known)
        mine = mine.where(self.to_index[mine.products] >= 0)
        allowed = self.assortment.available[market, self.to_assortment]
        excluded = (mine.offsets, self.to_index[mine.products])
        scores, found = exact_top_n(customers[known], self.vectors, depth, allowed, excluded)
        rows = np.where(found >= 0, self.to_assortment[found], -1)
        candidates.put(known, Candidates(rows, scores, np.where(rows >= 0, self.label[rows], -1).astype(np.int8)))
        return candidates

    def best_fitting(
        self, customers: FloatMatrix, market: int, wanted: tuple[int, int], owned: Bought, fit: Fit
    ) -> tuple[Candidates, int]:
        """(`best` among the products that are there in each customer's usual size, lists from whose first places others
        were taken); `wanted` are the candidates of a list and its places.
        """
        from models.assembly.list_kernels import first_fitting

        (depth, places), category = wanted, self.assortment.attributes.category
        deep = self.best(customers, market, DEEPER * depth, owned)
        at, left_out = first_fitting(depth, places, deep.rows, category, fit)
        taken = np.maximum(at, 0).astype(np.int64)
        found = deep.reordered(taken)
        for array, empty in ((found.rows, -1), (found.scores, -np.inf), (found.labels, -1)):
            array[at < 0] = empty
        # Of some customers even the deeper candidates held too few: their search leaves out what does not fit.
        short = np.flatnonzero((at[:, -1] < 0) & (deep.rows[:, -1] >= 0))
        live = np.flatnonzero(self.assortment.available[market])
        for some in np.split(short, range(AT_ONCE, len(short), AT_ONCE)) if len(short) else ():
            fits = fit.in_stock[fit.run[live], fit.usual[some][:, category[live]]]
            found.put(some, self.best(customers[some], market, depth, owned.take(some).joined(~fits, live)))
        return found, int(left_out.sum())


# A ListBuilder as a Parcel and back: the assortment's arrays, and the rules as rows that are checked when read.

VOCABULARIES = ("products", "markets", "brands", "categories", "departments")
FILLING = tuple(field.name for field in fields(ProductPopularity))
ATTRIBUTES = tuple(field.name for field in fields(Attributes))
SIZES = tuple(field.name for field in fields(Sizes) if field.name != "names")


def packed_builder(builder: ListBuilder) -> Parcel:
    """A parcel from which `unpacked_builder` makes an equal builder, without its counts."""
    assortment, policy = builder.assortment, builder.policy
    header = {name: getattr(assortment, name).ids.to_pylist() for name in VOCABULARIES} | {
        "as_of": policy.as_of.isoformat(),
        "settled": assortment.settled.isoformat(),
        "top_n": builder.top_n,
        "rules": [
            {name: value.isoformat() if isinstance(value, date) else value for name, value in rule.model_dump().items()}
            for rule in policy.rules
        ],
    }
    arrays = {"available": assortment.available} | {name: getattr(assortment.filling, name) for name in FILLING}
    if assortment.sizes is not None:
        header["sizes"] = assortment.sizes.names.ids.to_pylist()
        arrays |= {name: getattr(assortment.sizes, name) for name in SIZES}
    return Parcel(header, arrays | {name: getattr(assortment.attributes, name) for name in ATTRIBUTES})


def unpacked_builder(parcel: Parcel) -> ListBuilder:
    """The builder that `packed_builder` packed; it lacks tonight's popularity, which customers' lists do not use."""
    filling, sizes = ProductPopularity(**{name: parcel.arrays[name] for name in FILLING}), parcel.header.get("sizes")
    assortment = Assortment(
        **{name: Vocabulary(parcel.header[name]) for name in VOCABULARIES},
        available=parcel.arrays["available"],
        attributes=Attributes(**{name: parcel.arrays[name] for name in ATTRIBUTES}),
        popular=filling,
        filling=filling,
        settled=date.fromisoformat(parcel.header["settled"]),
        sizes=Sizes(Vocabulary(sizes), **{name: parcel.arrays[name] for name in SIZES}) if sizes else None,
    )
    policy = policy_on(rules_of(parcel.header["rules"]), date.fromisoformat(parcel.header["as_of"]))
    return ListBuilder(assortment, policy, parcel.header["top_n"])


def variant_from(plain: Mapping[str, Any]) -> Variant:
    """The variant that `dataclasses.asdict` made plain."""
    standing = {table: DefaultRules(**rules) for table, rules in plain["standing"].items()}
    return Variant(**{**plain, "standing": standing})
