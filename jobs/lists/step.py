"""Builds every touch point's lists for every market and stages them under the night's date."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from jobs.experiments.sides import record_variants
from jobs.lake.lake import Lake
from jobs.lists.assortment import read_assortment
from jobs.lists.assortments import stage_assortments
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.config import ListsConfig
from jobs.lists.customer_lists import stage_customer_lists
from jobs.lists.outfits import stage_outfits
from jobs.lists.product_lists import read_indexes, stage_product_lists
from jobs.lists.standing import page_owners, stage_standing_lists
from jobs.lists.touch_points import CAROUSELS, RANKED_PAGE
from jobs.model_inputs import ProductVectors
from jobs.policy.compile import note as policy_note
from jobs.policy.compile import read_policy
from jobs.policy.variants import DEFAULT
from jobs.run import Counts, Run
from jobs.tables.shop import (
    BAG_EXTRAS,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    YOU_MIGHT_ALSO_LIKE,
)
from models.networks.artefacts import POPULARITY


def execute(lake: Lake, run: Run, config: ListsConfig) -> Counts:
    """Stage the night's lists; services see none of them before the step publish."""
    assortment = read_assortment(lake, run, config.popular, config.young_days)
    builder = ListBuilder(assortment, read_policy(lake, run.as_of, config.variants), config.top_n)
    vectors, indexes = ProductVectors.read(lake, run.as_of), read_indexes(lake, config, run)
    cold = np.zeros(len(assortment.products), dtype=bool)
    cold[assortment.products.encode(vectors.ids.ids.filter(pa.array(vectors.cold)))] = True
    others = builder.without_counts()
    with ThreadPoolExecutor(1) as pool:  # lists of customers leave cores idle at times, and all of them on a cluster
        product_lists = pool.submit(stage_product_lists, lake, builder, indexes, cold, config, run)
        outfits = pool.submit(stage_outfits, lake, builder, indexes, config.outfits, config.variants, run)
        stage_customer_lists(lake, others, vectors, config, run)
        stage_standing_lists(lake, others, config, run)
        lake.replace_encoded(RANKED_PAGE.table, _ranked_pages(others, config, run), run)
        written, without_outfits = product_lists.result(), outfits.result()
    builder.counts |= others.counts
    stage_assortments(lake, builder, config, run)
    lake.replace_rows(RULE_EFFECTS, builder.effects(), run)
    record_variants(lake, run, config.experiment, config.variants, (config.starts_on, config.ends_on))
    bought = indexes[PEOPLE_ALSO_BOUGHT].manifest
    lacking = [*_lacking(vectors.model_id, bought.get("paired", 1.0)), *filter(None, [without_outfits])]
    return _counts(builder, written, lacking)


def _lacking(model_id: str, paired: float) -> list[str]:
    """What the night's lists could not be made from, in words; `paired` is the share of the products that were ever
    bought together with another.
    """
    told = []
    if model_id.startswith(POPULARITY):
        told.append(
            f"no model serves ({model_id}): {RECOMMENDED_FOR_YOU.name} shows what is popular, and so does "
            f"{YOU_MIGHT_ALSO_LIKE.name} where no visit has the product with another"
        )
    if not paired:
        told.append(
            f"no product was bought together with another: {PEOPLE_ALSO_BOUGHT.name} shows what is popular, and "
            f"{BAG_EXTRAS.name} the best-sellers of other categories, where the catalogue has categories"
        )
    return told


def _counts(builder: ListBuilder, written: int, lacking: list[str]) -> Counts:
    """Lists by table and variant, short ones, how many of the product lists were `written`, and what was `lacking`."""
    parts = []
    for (table, variant), count in builder.counts.items():
        name = table.name if variant == DEFAULT else f"{table.name} {variant}"
        short = count.short and table is not RANKED_PAGE.table  # a page shows all of its category
        parts.append(f"{count.lists:,} {name}" + (f" ({count.short:,} short)" if short else ""))
    note = f"{', '.join(parts)} in {len(builder.assortment.markets)} markets"
    built = sum(count.lists for count in builder.counts.values())
    carousels = [point.table for point in CAROUSELS]
    product_lists = sum(count.lists for (table, _), count in builder.counts.items() if table in carousels)
    if written < product_lists:
        note += f"; {written:,} product lists changed since the night before"
    if moved := sum(count.moved for count in builder.counts.values()):
        note += f"; rules moved {moved:,} positions"
    if rules := builder.policy.rules:
        notes = builder.rulebooks.notes(builder.assortment.markets, builder.assortment.available)
        note += f"; {policy_note(len(rules), notes)}"
    note = "; ".join([note, *lacking])
    return Counts(int(builder.assortment.available.sum()), built - product_lists + written, note=note)


def _ranked_pages(builder: ListBuilder, config: ListsConfig, run: Run) -> Iterator[pa.RecordBatch]:
    """The order of every category page, and of all products, for customers without a history."""
    assortment = builder.assortment
    pages, owners = page_owners(assortment)
    for variant in config.variants:
        for market in range(len(assortment.markets)):
            candidates = builder.category_pages(market, 2 * builder.places(RANKED_PAGE))
            group = ListGroup(RANKED_PAGE, market, variant)
            yield builder.batch(group, {"category": pages}, candidates, owners, f"popularity-{run.run_id}")[0]
            run.progress(f"markets of {RANKED_PAGE.table.name}", market + 1, len(assortment.markets))
