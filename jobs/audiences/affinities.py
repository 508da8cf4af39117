"""Writes what each customer turns to, for the customers whose events changed or for all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.audiences.config import AudiencesConfig
from jobs.audiences.settled import (
    SettledShop,
    going_on,
    sequence_rows,
    settle,
    unfinished,
    weights_of,
)
from jobs.lake.changes import changed_customers, known_since, night_before, replace_changed
from jobs.lake.lake import Lake
from jobs.lake.rows import among
from jobs.model_inputs import Histories
from jobs.run import Run
from jobs.tables.audiences import AFFINITIES, AFFINITY_COLUMNS
from jobs.tables.shop import CUSTOMER_SEQUENCES
from models.affinities import Numbers, best_values, mean_levels
from models.ragged import offsets_of


def shop_of(lake: Lake, run: Run, config: AudiencesConfig) -> tuple[SettledShop, tuple[date, pa.Array] | None]:
    """(what the night's affinities are relative to, and the night before with the products that are new since then);
    None where all customers are computed.
    """
    before = night_before(lake, AFFINITIES, run.as_of)
    goes_on = before is not None and known_since(lake, CUSTOMER_SEQUENCES, before, run.as_of)
    found = going_on(lake, before, run, config.affinities) if before and goes_on else None
    if before is None or found is None:
        return settle(lake, run, config.affinities, config.batch_customers), None
    shop, new = found
    return shop, (before, new)


def stage_affinities(
    lake: Lake, run: Run, shop: SettledShop, since: tuple[date, pa.Array] | None, config: AudiencesConfig
) -> int:
    """Rows written, given `shop_of`; the next night goes on from finished ones alone."""
    unfinished(lake, run.as_of)
    if since is None:
        written = lake.replace(AFFINITIES, _rows(lake, run, shop, config, None), run)
    else:
        before, new = since
        changed = pc.field("as_of") > pa.scalar(before)
        customers = changed_customers(lake, CUSTOMER_SEQUENCES, before, run.as_of)
        # Events of a product from before it was in the catalogue: their customers' rows may be old.
        early = _unchanged_with(lake, run.as_of, new, before, config.batch_customers)
        filters = [changed] + [~changed & pc.field("customer_id").isin(early)] * bool(len(early))
        rows = _rows(lake, run, shop, config, filters)
        written = replace_changed(lake, AFFINITIES, rows, pa.concat_arrays([customers, early]), before, run)
    shop.write(lake, run.as_of)
    return written


def _unchanged_with(lake: Lake, as_of: date, products: pa.Array, before: date, rows: int) -> pa.Array:
    """Customers with events of one of `products` and none since the night `before`."""
    found, wanted = [pa.array([], pa.string())], products.to_pylist()
    read = lake.snapshot(CUSTOMER_SEQUENCES).encoded(("customer_id", "product_ids", "as_of"), as_of, rows)
    for batch in read if wanted else ():
        old = batch.filter(pc.less_equal(batch["as_of"], pa.scalar(before)))
        has = pa.array(among(pc.list_flatten(old["product_ids"]), wanted))
        owners = pc.unique(pc.list_parent_indices(old["product_ids"]).filter(has))
        found.append(old["customer_id"].take(owners).cast(pa.string()))
    return pa.concat_arrays(found)


def best_of(
    shop: SettledShop, histories: Histories, weights: Numbers, kind: str, config: AudiencesConfig
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(values [n, places] of a kind, their lifts) of some customers; -1 where there are fewer."""
    values, row = shop.codes[kind][histories.sequences.products], shop.rows_of(histories.markets)
    settings = config.affinities
    return best_values(histories.sequences, values, weights, (shop.usual[kind], row), settings.prior, settings.places)


def _rows(
    lake: Lake, run: Run, shop: SettledShop, config: AudiencesConfig, filters: list[pc.Expression] | None
) -> Iterator[pa.RecordBatch]:
    done = 0
    for rows in sequence_rows(lake, run.as_of, filters, config.batch_customers):
        if rows.num_rows:
            yield _batch(shop, shop.histories(rows), config)
            done += rows.num_rows
            run.progress("customers' affinities", done, done)


def _batch(shop: SettledShop, histories: Histories, config: AudiencesConfig) -> pa.RecordBatch:
    """Rows of affinities."""
    weights = weights_of(histories, config.affinities)
    columns: dict[str, pa.Array] = {"customer_id": histories.customers}
    for kind, (names, of_names) in AFFINITY_COLUMNS.items():
        values, lifts = best_of(shop, histories, weights, kind, config)
        filled = values >= 0
        offsets = pa.array(offsets_of(filled.sum(axis=1)).astype(np.int32))
        columns[names] = pa.ListArray.from_arrays(offsets, shop.words[kind].decode(values[filled]))
        columns[of_names] = pa.ListArray.from_arrays(offsets, pa.array(lifts[filled], pa.float32()))
    levels = shop.levels[histories.sequences.products]
    mean = mean_levels(histories.sequences, levels, weights, config.affinities.prior)
    columns["price_level"] = pa.array(mean, from_pandas=True)
    return pa.RecordBatch.from_pydict(columns)
