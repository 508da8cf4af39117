"""Whether the two sides' outputs are equal where they must be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from tests.benchmarks.documented_stack.task import StackTask

Check = tuple[str, bool, str]
"""What is compared, whether it is equal, and the figures."""
MARKETS_SEARCHED = 5
"""Markets whose lists are searched again, those with the most customers."""
CLOSE = 1e-4


def equal_rows(what: str, peer: pa.Table, ours: pa.Table, key: tuple[str, ...]) -> Check:
    """Whether two tables hold the same rows in any order; columns by the peer's names."""
    order = [(name, "ascending") for name in key]
    one = peer.cast(ours.select(peer.column_names).schema, safe=False).sort_by(order)
    two = ours.select(peer.column_names).sort_by(order)
    if one.num_rows != two.num_rows:
        return what, False, f"{one.num_rows:,} rows of the peer, {two.num_rows:,} of ours"
    other = [name for name in one.column_names if not _equal(one[name], two[name])]
    return what, not other, f"{two.num_rows:,} rows" + (f"; {', '.join(other)} differ" if other else "")


def _equal(one: pa.ChunkedArray, two: pa.ChunkedArray) -> bool:
    if pa.types.is_floating(one.type):
        return bool(np.allclose(one.to_numpy(), two.to_numpy(), rtol=1e-6))
    return bool(one.combine_chunks().equals(two.combine_chunks()))


def equal_lists(
    what: str, peer: tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]],
    ours: tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]],
) -> Check:  # fmt: skip
    """Whether two searches found the same: (scores, rows) [q, n] each, rows of equal scores in any order."""
    if peer[1].shape != ours[1].shape:
        return what, False, f"{peer[1].shape} places of the peer, {ours[1].shape} of ours"
    same = peer[1] == ours[1]
    close = np.isclose(peer[0], ours[0], rtol=CLOSE, atol=CLOSE) | ((peer[1] < 0) & (ours[1] < 0))
    wrong = int((~close).sum())
    return what, not wrong, f"{same.size:,} places, {same.mean():.2%} the same product, {wrong:,} of another score"


def checks(task: StackTask, lake_root: Path) -> Iterator[Check]:
    """Every comparison of a whole run with our lake."""
    from jobs.config import standard
    from jobs.lake import engine
    from jobs.lake.lake import Lake
    from jobs.run import Run

    night = datetime.fromisoformat(f"{task.as_of}T00:00:00+00:00")
    started = engine.start("sail")
    lake = Lake(lake_root, lambda: started)
    run = Run(night.date(), "check", night)
    try:
        yield _events(task, lake)
        yield _sequences(task, lake, run)
        yield from _counts(task, lake, run, standard(Path(task.raw), Path(task.raw)))
        yield _searched(task)
    finally:
        started.stop()


def _events(task: StackTask, lake: Any) -> Check:
    from jobs.tables.shop import EVENTS

    columns = ["event_id", "customer_id", "product_id", "event_type", "market", "price"]
    theirs, ours = _table(task, "events", columns), lake.arrow(EVENTS, columns)
    filled = [pa.table(dict(zip(columns, rows.columns, strict=True))) for rows in (theirs, ours)]
    filled = [t.set_column(5, "price", pc.fill_null(t["price"], -1.0)) for t in filled]
    return equal_rows("events accepted", filled[0], filled[1], ("event_id",))


def _sequences(task: StackTask, lake: Any, run: Any) -> Check:
    from jobs.tables.shop import CUSTOMER_SEQUENCES

    columns = ["customer_id", "product_ids", "event_types", "market"]
    return equal_rows(
        "sequences", _table(task, "customer_sequences", columns), lake.arrow(CUSTOMER_SEQUENCES, columns, run.as_of),
        ("customer_id",),
    )  # fmt: skip


def _counts(task: StackTask, lake: Any, run: Any, config: Any) -> Iterator[Check]:
    """Popularity of every product in every market, and baskets of every pair."""
    from jobs.index import basket_rows, to_baskets
    from jobs.lists.assortment import read_assortment
    from jobs.tables.shop import EVENTS
    from models.copurchase.pairs import count_together

    lists = config.lists
    assortment = read_assortment(lake, run, lists.popular, lists.young_days)
    markets, products = np.nonzero(assortment.popular.wanted)
    ours = pa.table(
        {
            "market": assortment.markets.decode(markets),
            "product_id": assortment.products.decode(products),
            "weight": pa.array(assortment.popular.wanted[markets, products].astype(np.float64)),
        }
    )
    theirs = _table(task, "popularity", ["market", "product_id", "weight"])
    yield equal_rows("popularity", theirs, ours, ("market", "product_id"))
    rows = basket_rows(lake.frame(EVENTS), run.midnight, config.index.basket_days)
    baskets = to_baskets(rows.toArrow(), assortment.products)
    pairs = count_together(baskets.offsets, baskets.products, np.ones(len(baskets)), len(assortment.products))
    ids = assortment.products.ids
    ours = pa.table({
        "product_id": ids.take(pa.array(pairs.owners)), "other_id": ids.take(pa.array(pairs.columns)),
        "baskets": pa.array(pairs.values.astype(np.int64)),
    })  # fmt: skip
    theirs = _table(task, "co_purchases", ["product_id", "other_id", "baskets"])
    yield equal_rows("co-purchase", theirs, ours, ("product_id", "other_id"))


def _searched(task: StackTask) -> Check:
    """The peer's lists beside our exact search over the same vectors."""
    from models.search.search import exact_top_n
    from tests.benchmarks.documented_stack.faiss import matrix, read_shop

    shop = read_shop(task)
    customers = _table(task, "customer_embeddings", ["customer_id", "vector"])
    ids, vectors = customers["customer_id"].combine_chunks(), matrix(customers["vector"])
    found = _table(task, "recommended_for_you", ["customer_id", "market", "product_ids", "scores"])
    full = found.filter(pc.equal(pc.list_value_length(found["product_ids"]), task.top_n))
    counted = {row["values"]: row["counts"] for row in pc.value_counts(full["market"]).to_pylist()}
    theirs: list[list[Any]] = [[], []]
    ours: list[list[Any]] = [[], []]
    for market in sorted(counted, key=lambda name: -counted[name])[:MARKETS_SEARCHED]:
        rows = full.filter(pc.equal(full["market"], market))
        theirs[0].append(matrix(rows["scores"]))
        flat = pc.list_flatten(rows["product_ids"]).combine_chunks()
        theirs[1].append(np.asarray(pc.index_in(flat, shop.products)).reshape(len(rows), -1))
        queries = vectors[np.asarray(pc.index_in(rows["customer_id"].combine_chunks(), ids))]
        scores, best = exact_top_n(queries, shop.vectors, task.top_n, shop.available[shop.markets.index(market)])
        ours[0].append(scores)
        ours[1].append(best)
    if not ours[0]:
        return "search", False, "no list to compare"
    one, two = ((np.concatenate(side[0]), np.concatenate(side[1])) for side in (theirs, ours))
    return equal_lists("search, the same vectors", one, two)


def _table(task: StackTask, name: str, columns: list[str]) -> pa.Table:
    return DeltaTable(task.table(name)).to_pyarrow_table(columns=columns)
