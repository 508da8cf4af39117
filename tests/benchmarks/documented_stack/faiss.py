"""The documented stack's search: one FAISS Flat index over all products, an `IDSelectorBitmap` for each market's
products handed over in `SearchParameters(sel=..)`, all queries of a market in one batch, all threads; lists go to
Delta as a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from tests.benchmarks.documented_stack.task import Progress, StackTask, run_stage

FloatMatrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shop:
    """What is searched."""

    products: pa.Array
    """[p] ids; row i of the index is product i."""
    vectors: FloatMatrix
    """[p, d]."""
    markets: list[str]
    available: npt.NDArray[np.bool_]
    """[markets, p]."""


def recommended(task: StackTask, progress: Progress) -> None:
    """Table recommended_for_you: every customer's best products of the own market."""
    shop = read_shop(task)
    customers = _table(task, "customer_embeddings", "customer_id", "vector")
    known = _table(task, "customer_sequences", "customer_id", "market")
    market = known["market"].take(pc.index_in(customers["customer_id"], known["customer_id"].combine_chunks()))
    number = np.asarray(pc.fill_null(pc.index_in(market, pa.array(shop.markets)), -1))
    ids, vectors = customers["customer_id"].combine_chunks(), matrix(customers["vector"])
    index = flat(shop)

    def batches() -> Iterator[pa.RecordBatch]:
        done = 0
        for at in range(len(shop.markets)):
            own = np.flatnonzero(number == at)
            if len(own):
                scores, rows = search(index, shop, at, vectors[own], task.top_n)
                yield lists(task, shop, at, "customer_id", ids.take(pa.array(own)), scores, rows)
            done += len(own)
            if not progress.tell(done, int((number >= 0).sum())):
                return

    _write(task, "recommended_for_you", "customer_id", batches())


def alike(task: StackTask, progress: Progress) -> None:
    """Table you_might_also_like: for each product of each market the nearest others, by inner product."""
    shop = read_shop(task)
    index = flat(shop)

    def batches() -> Iterator[pa.RecordBatch]:
        done = 0
        for at, available in enumerate(shop.available):
            own = np.flatnonzero(available)
            for part in np.array_split(own, 1 + len(own) // 8_192):
                scores, rows = without_own(part, *search(index, shop, at, shop.vectors[part], task.top_n + 1))
                yield lists(task, shop, at, "product_id", shop.products.take(pa.array(part)), scores, rows)
                done += len(part)
                if not progress.tell(done, int(shop.available.sum())):
                    return

    _write(task, "you_might_also_like", "product_id", batches())


def flat(shop: Shop) -> faiss.IndexFlatIP:
    """The index over all products."""
    index = faiss.IndexFlatIP(shop.vectors.shape[1])
    index.add(shop.vectors)
    return index


def search(index: faiss.IndexFlatIP, shop: Shop, market: int, queries: FloatMatrix, n: int) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]) among the market's products; row -1 where it has fewer."""
    bits = np.packbits(shop.available[market], bitorder="little")
    scores, rows = index.search(queries, n, params=_parameters(bits))
    return scores, rows


def _parameters(bits: Any) -> Any:
    """FAISS's own types know its C++ signatures alone, not what its Python wrapper takes."""
    selectors: Any = faiss
    return selectors.SearchParameters(sel=selectors.IDSelectorBitmap(bits))


def without_own(own: Rows, scores: FloatMatrix, rows: Rows) -> tuple[FloatMatrix, Rows]:
    """One place less: the product itself where it is there, else the last one."""
    order = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def lists(
    task: StackTask, shop: Shop, market: int, key: str, ids: pa.Array, scores: FloatMatrix, rows: Rows
) -> pa.RecordBatch:
    """Rows of a table of lists."""
    there = rows >= 0
    offsets = pa.array(np.concatenate(([0], np.cumsum(there.sum(axis=1)))).astype(np.int32))
    columns = {
        key: ids,
        "market": pa.repeat(shop.markets[market], len(rows)),
        "product_ids": pa.ListArray.from_arrays(offsets, shop.products.take(pa.array(rows[there]))),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(scores[there])),
        "event_timestamp": pa.repeat(pa.scalar(task.published_at, pa.timestamp("us", "UTC")), len(rows)),
    }
    return pa.RecordBatch.from_pydict(columns, schema=_schema(key))


def read_shop(task: StackTask) -> Shop:
    """Vectors, and what is launched and for sale where."""
    rows = _table(task, "product_embeddings", "product_id", "vector")
    products = rows["product_id"].combine_chunks()
    catalogue = _table(task, "catalogue", "product_id", "launched_at")
    night = pa.scalar(np.datetime64(task.as_of, "D").item())
    launched = catalogue["product_id"].filter(pc.less(catalogue["launched_at"], night)).combine_chunks()
    pairs = _table(task, "availability", "product_id", "market", "available")
    pairs = pairs.filter(pc.and_(pairs["available"], pc.is_in(pairs["product_id"], value_set=launched)))
    markets = sorted(pc.unique(pairs["market"]).to_pylist())
    available = np.zeros((len(markets), len(products)), dtype=bool)
    row = np.asarray(pc.fill_null(pc.index_in(pairs["product_id"], products), -1))
    market = np.asarray(pc.index_in(pairs["market"], pa.array(markets)))
    available[market[row >= 0], row[row >= 0]] = True
    return Shop(products, matrix(rows["vector"]), markets, available)


def matrix(column: pa.ChunkedArray) -> FloatMatrix:
    """[n, d] of a column of equally long lists."""
    flattened = np.asarray(pc.list_flatten(column).combine_chunks()).astype(np.float32)
    return np.ascontiguousarray(flattened.reshape(len(column), -1))


def _schema(key: str) -> pa.Schema:
    return pa.schema([
        (key, pa.string()), ("market", pa.string()), ("product_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())), ("event_timestamp", pa.timestamp("us", "UTC")),
    ])  # fmt: skip


def _table(task: StackTask, name: str, *columns: str) -> pa.Table:
    return DeltaTable(task.table(name)).to_pyarrow_table(columns=list(columns))


def _write(task: StackTask, name: str, key: str, batches: Iterator[pa.RecordBatch]) -> None:
    rows = pa.RecordBatchReader.from_batches(_schema(key), batches)
    write_deltalake(task.table(name), rows, mode="overwrite")


if __name__ == "__main__":
    run_stage({"recommended": recommended, "alike": alike})
