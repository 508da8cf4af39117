"""Recommended for you: each customer's own list in their market."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from jobs import bought
from jobs.changes import replace_changed
from jobs.executors import computed, only, spread
from jobs.lake import Lake
from jobs.list_basis import Basis, ProductVectors, forget_basis
from jobs.list_changes import due_customers
from jobs.list_maker import ListMaker
from jobs.ranker import TALLY, Ranker, add_tallies
from jobs.run import Run
from jobs.tables import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from jobs.touch_points import FOR_YOU

if TYPE_CHECKING:
    from jobs.lists import ListsConfig


def stage_customer_lists(lake: Lake, maker: ListMaker, vectors: ProductVectors, config: ListsConfig, run: Run) -> int:
    """Write the night's lists that may differ from those of the night before, or all; returns the rows written.

    The night's basis is there only beside finished lists.
    """
    basis = Basis.of(maker, vectors, config)
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
    of_homes, of_vectors = ("customer_id", "market", *bought.COLUMNS), ("customer_id", "vector")
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


def _counted(batches: Iterator[pa.RecordBatch], maker: ListMaker) -> Iterator[pa.RecordBatch]:
    """Rows of recommended_for_you; what was counted of them is added to the maker's."""
    for batch in batches:
        for text in batch[TALLY.name].drop_null().to_pylist():
            add_tallies(maker, text)
        yield batch.drop_columns([TALLY.name])
