"""Recommended for you: each customer's own list in their market."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import bought
from jobs.bought import Bought
from jobs.changes import replace_changed
from jobs.histories import matrix
from jobs.lake import Lake
from jobs.list_basis import Basis, ProductVectors, candidates_of, forget_basis
from jobs.list_changes import due_customers
from jobs.list_maker import ListMaker
from jobs.list_rows import no_lists
from jobs.run import Run
from jobs.tables import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from jobs.touch_points import COLD, FOR_YOU, MODEL
from jobs.variants import Variant, variant_of
from models.assembly import Assembled, Candidates, Owners
from models.contract import Compute, FloatMatrix
from models.lists import top_n_excluding
from models.search import placed
from models.top_n import Rows

if TYPE_CHECKING:
    from jobs.lists import ListsConfig


def stage_customer_lists(lake: Lake, maker: ListMaker, vectors: ProductVectors, config: ListsConfig, run: Run) -> int:
    """Write the night's lists that may differ from those of the night before, or all; returns the rows written.

    The night's basis is there only beside finished lists.
    """
    basis = Basis.of(maker, vectors, config)
    due = due_customers(lake, run, basis)
    forget_basis(lake, run.as_of)
    rows = customer_lists(lake, maker, vectors, config, run, None if due is None else due.customers)
    if due is None:
        written = lake.replace(FOR_YOU.table, rows, run)
    else:
        written = replace_changed(lake, FOR_YOU.table, rows, due.customers, due.before, run)
    basis.write(lake, run)
    return written


def customer_lists(
    lake: Lake, maker: ListMaker, vectors: ProductVectors, config: ListsConfig, run: Run,
    chosen: pa.Array | None = None,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """Rows of recommended_for_you, batch after batch of customers: of everybody, or of those `chosen`."""
    search = _Search(vectors, maker, Compute(config.device))
    where = None if chosen is None else pc.field("customer_id").isin(chosen)
    columns = ("customer_id", "market", *bought.COLUMNS)
    homes = pa.Table.from_batches(list(lake.batches(CUSTOMER_SEQUENCES, columns, run.as_of, where=where)))
    ids = homes["customer_id"].combine_chunks()
    done = 0
    for batch in lake.batches(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), run.as_of, config.batch_customers, where):
        if batch.num_rows:
            at = pc.index_in(batch["customer_id"], value_set=ids)
            yield from _of_batch(batch, homes.take(at), search, maker, config, run)
            done += batch.num_rows
            run.progress("customers ranked", done, len(homes))


def _of_batch(
    batch: pa.RecordBatch, homes: pa.Table, search: _Search, maker: ListMaker, config: ListsConfig, run: Run
) -> Iterator[pa.RecordBatch]:
    """The lists of some customers, market by market; `homes` has their rows of customer_sequences."""
    shelf = maker.shelf
    home = homes["market"].combine_chunks()
    markets = shelf.markets.encode(home, missing="negative")
    sees = np.array([variant_of(c, config.experiment, config.variants) for c in batch["customer_id"].to_pylist()])
    owned, customers = Bought.of(homes, shelf.products, run.midnight), matrix(batch["vector"])
    for variant in config.variants:
        for market in np.unique(markets[sees == variant.name]):
            chosen = np.flatnonzero((markets == market) & (sees == variant.name))
            at = pa.array(chosen)
            keys = {"customer_id": batch["customer_id"].take(at)}
            if market < 0:
                names = pa.repeat(variant.name, len(chosen))
                empty = no_lists(keys | {"market": home.take(at)}, names, search.model_id)
                yield empty.append_column("reach", pa.nulls(len(chosen), pa.float32()))
                continue
            mine = _kept_out(owned[chosen], maker, int(market), variant)
            n = FOR_YOU.places or config.top_n
            found = search.best(customers[chosen], int(market), candidates_of(maker, int(market), variant, n), mine)
            owners = Owners.of_customers(mine.offsets, mine.products)
            rows, made = maker.batch(FOR_YOU, int(market), variant, n, keys, found, owners, search.model_id)
            yield rows.append_column("reach", _reach(found, made))


def _kept_out(owned: Bought, maker: ListMaker, market: int, variant: Variant) -> Bought:
    """What customers bought but for what a policy says is bought again by now."""
    again = maker.rulebooks.repeat_purchase_days(maker.shelf.markets.ids[market].as_py(), variant)
    return owned if np.isinf(again).all() else owned.where(owned.lasting(maker.shelf.attributes.category, again))


def _reach(found: Candidates, made: Assembled) -> pa.Array:
    """The score of the last candidate that each list depends on; null where it depends on more than candidates."""
    last = np.maximum(made.read - 1, 0)
    return pa.array(found.scores[np.arange(len(last)), last], pa.float32(), mask=made.read < 1)


class _Search:
    """Candidates of customers; rows are the shelf's products."""

    def __init__(self, products: ProductVectors, maker: ListMaker, compute: Compute) -> None:
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
        scores[known], found = top_n_excluding(
            customers[known], self.vectors, depth, mine.offsets, self.to_index[mine.products], allowed
        )
        rows[known] = np.where(found >= 0, self.to_shelf[found], -1)
        return Candidates(rows, scores, np.where(rows >= 0, self.label[rows], -1).astype(np.int8))
