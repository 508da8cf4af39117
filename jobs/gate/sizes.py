"""Checks that customers' own lists show what is there in their usual sizes, and that sizes are still known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check
from jobs.gate.lists import GateInputs
from jobs.lake.lake import Lake
from jobs.lists.sizes import SIZE_COLUMNS, CategoryOf, Sizes, has_sizes, read_sizes, usual_sizes
from jobs.model_inputs import list_offsets
from jobs.run import Run
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU
from models.digests import TextRows
from models.vocabulary import Vocabulary

BATCH = 131_072
MISFITS, SIZED = f"{RECOMMENDED_FOR_YOU.name}_sizes", f"{RECOMMENDED_FOR_YOU.name}_sized"
"""Gates of a shop with sizes."""
LEAST_OF_LAST_NIGHT = 0.5
"""Least share of sized products as a share of the live night's."""


def size_checks(lake: Lake, run: Run, inputs: GateInputs, before: Mapping[str, float]) -> Iterator[Check]:
    """Places without the customer's usual size, and the share of products with sizes; none for a shop without sizes.

    `before` are the live night's figures.
    """
    if not has_sizes(lake, run.as_of) and not before.get(SIZED):
        return
    column = lake.arrow(CATALOGUE, ("category",), run.as_of)["category"]
    names = Vocabulary.build(column)
    category = CategoryOf.named(names.encode(column, missing="negative").astype(np.int64), names)
    sizes = read_sizes(lake, run.as_of, inputs.products, inputs.markets, category)
    sized = 0 if sizes is None else int(((sizes.run > 0) & inputs.available).sum())
    share, pairs = sized / max(int(inputs.available.sum()), 1), int(inputs.available.sum())
    detail = f"{sized:,} of {pairs:,} products in markets have sizes"
    yield Check(SIZED, share, least=LEAST_OF_LAST_NIGHT * before.get(SIZED, 0.0), detail=detail)
    if sizes is not None:
        misfits, known = _misfits(lake, run, inputs, sizes, category)
        detail = f"places without the customer's usual size; {known:,} usual sizes are known"
        yield Check(MISFITS, misfits, most=0, detail=detail)


def _misfits(lake: Lake, run: Run, inputs: GateInputs, sizes: Sizes, category: CategoryOf) -> tuple[int, int]:
    """(places that lack their customer's usual size, usual sizes of all customers)."""
    customers, keys, usual = [pa.array([], pa.string())], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    of, done = len(category.digests) + 1, 0
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "market", *SIZE_COLUMNS), run.as_of, BATCH):
        found = usual_sizes(batch, inputs.products, category, sizes.names, sizes.made)
        keys.append((found.owners + done) * of + found.categories)
        usual.append(found.sizes)
        customers.append(batch["customer_id"])
        done += batch.num_rows
    rows, key, size, misfits = TextRows(pa.concat_arrays(customers)), np.concatenate(keys), np.concatenate(usual), 0
    columns = ("customer_id", "market", "product_ids")
    for batch in lake.batches(RECOMMENDED_FOR_YOU, columns, run.as_of, BATCH) if len(key) else ():
        place = inputs.products.encode(pc.list_flatten(batch["product_ids"]), missing="negative").astype(np.int64)
        owner = np.repeat(np.arange(batch.num_rows), np.diff(list_offsets(batch["product_ids"])))
        market = inputs.markets.encode(batch["market"], missing="negative")[owner]
        customer = rows.of(batch["customer_id"])[owner]
        known = (place >= 0) & (market >= 0) & (customer >= 0)
        place, market, customer = place[known], market[known], customer[known]
        wanted = customer * of + np.where(category.number[place] < 0, of - 1, category.number[place])
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        held = sizes.in_stock[sizes.run[market, place], size[at]]
        misfits += int(((key[at] == wanted) & ~held).sum())
    return misfits, len(key)
