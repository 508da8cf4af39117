"""Lists: every touch point's top-N per market, staged under the night's date."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.lists.assortment import read_shelf
from jobs.lists.builder import ListBuilder
from jobs.lists.config import ListsConfig
from jobs.lists.customer_lists import stage_customer_lists
from jobs.lists.product_lists import read_indexes, stage_product_lists
from jobs.lists.touch_points import CAROUSELS, RANKED_PAGE
from jobs.model_inputs import ProductVectors
from jobs.policy.compile import names_nobody_has, read_policy
from jobs.policy.compile import note as policy_note
from jobs.policy.variants import DEFAULT
from jobs.run import Counts, Run
from jobs.tables.shop import RULE_EFFECTS
from models.assembly.assembly import Owners

WHOLE = "*"
"""Category of market_ranking that stands for all products."""


def execute(lake: Lake, run: Run, config: ListsConfig) -> Counts:
    """Stage the night's lists; nothing is live until publish."""
    shelf = read_shelf(lake, run, config.popular, config.young_days)
    maker = ListBuilder(shelf, read_policy(lake, run.as_of, config.variants))
    vectors = ProductVectors.read(lake, run.as_of)
    cold = np.zeros(len(shelf.products), dtype=bool)
    cold[shelf.products.encode(vectors.ids.ids.filter(pa.array(vectors.cold)))] = True
    of_customers, indexes = maker.counting_anew(), read_indexes(lake, config, run)
    with ThreadPoolExecutor(1) as aside:  # customers' lists leave cores idle now and then, and all of them on a cluster
        of_products = aside.submit(stage_product_lists, lake, maker, indexes, cold, config, run)
        stage_customer_lists(lake, of_customers, vectors, config, run)
        written = of_products.result()
    maker.tallies |= of_customers.tallies
    lake.replace(RANKED_PAGE.table, _ranked_pages(maker, config, run), run)
    lake.replace_rows(RULE_EFFECTS, maker.effects(), run)
    return _counts(maker, written)


def _counts(maker: ListBuilder, written: int) -> Counts:
    """How many lists there are, how many of them are short with a reason, and how many were `written` of products'."""
    parts, of_products = [], {point.table for point in CAROUSELS}
    for (table, variant), tally in maker.tallies.items():
        name = table.name if variant == DEFAULT else f"{table.name} {variant}"
        parts.append(f"{tally.lists:,} {name}" + (f" ({tally.short:,} short)" if tally.short else ""))
    note = f"{', '.join(parts)} in {len(maker.shelf.markets)} markets"
    made = sum(tally.lists for tally in maker.tallies.values())
    alike = sum(tally.lists for (table, _), tally in maker.tallies.items() if table in of_products)
    if written < alike:
        note += f"; of those of products {written:,} are others than the night before"
    if moved := sum(tally.moved for tally in maker.tallies.values()):
        note += f"; rules moved {moved:,} positions"
    if maker.policy.rules:
        unmatched = names_nobody_has(maker.policy.rules, maker.names, maker.shelf.markets)
        note += f"; {policy_note(len(maker.policy.rules), unmatched + maker.rulebooks.hidden_includes())}"
    return Counts(int(maker.shelf.available.sum()), made - alike + written, note=note)


def _ranked_pages(maker: ListBuilder, config: ListsConfig, run: Run) -> Iterator[pa.RecordBatch]:
    """The order of every category page, and of all products, for customers nobody knows."""
    shelf = maker.shelf
    pages = pa.concat_arrays([shelf.categories.ids, pa.array([WHOLE])])
    n = RANKED_PAGE.places or config.top_n
    owners = Owners.of_products(np.full(len(pages), -1))
    for variant in config.variants:
        for market in range(len(shelf.markets)):
            candidates = maker.pages(market, 2 * n)
            batch, _ = maker.batch(
                RANKED_PAGE, market, variant, n, {"category": pages}, candidates, owners, f"popularity-{run.run_id}"
            )
            yield batch
            run.progress(f"markets of {RANKED_PAGE.table.name}", market + 1, len(shelf.markets))
