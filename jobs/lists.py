"""Lists: every touch point's top-N per market, staged under the night's date."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.customer_lists import stage_customer_lists
from jobs.errors import UserError
from jobs.lake import Lake
from jobs.list_basis import ProductVectors
from jobs.list_maker import ListMaker
from jobs.policy import read_policy
from jobs.policy_notes import names_nobody_has
from jobs.policy_notes import note as policy_note
from jobs.popular import PopularConfig
from jobs.product_lists import read_indexes, stage_product_lists
from jobs.run import Counts, Run
from jobs.shelf import read_shelf
from jobs.tables import RULE_EFFECTS
from jobs.touch_points import CAROUSELS, RANKED_PAGE
from jobs.variants import DEFAULT, Variant, check_variants
from models.assembly import Owners

WHOLE = "*"
"""Category of market_ranking that stands for all products."""


@dataclass(frozen=True)
class ListsConfig:
    """How long lists are and what fills the places a model leaves open."""

    top_n: int = 24
    """Products per list, where the touch point does not say otherwise."""
    search_depth: int = 4
    """Neighbours searched over all products, as a multiple of the list, before a market's own are searched exactly."""
    popular: PopularConfig = field(default_factory=PopularConfig)
    """What makes a product popular in a market."""
    young_days: int = 14
    """Products launched in so many days before the night are young: exploration keeps a place for them."""
    beside_places: int = 12
    """Places of a list that the other lists of its page do not repeat."""
    batch_customers: int = 200_000
    """Customers held in memory at once; each market's products are made ready anew for every batch."""
    device: str = "auto"
    """Where nearest products are searched: auto (CUDA where there is one, else CPU), cpu or cuda. The lists are the
    same to the bit."""
    experiment: str = "lists"
    """Salt of the buckets: another name deals the customers anew."""
    variants: tuple[Variant, ...] = (Variant(DEFAULT),)
    """What is tested against what."""

    def __post_init__(self) -> None:
        for name in ("top_n", "search_depth", "batch_customers"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)} must be at least 1")
        check_variants(self.variants)


def execute(lake: Lake, run: Run, config: ListsConfig) -> Counts:
    """Stage the night's lists; nothing is live until publish."""
    shelf = read_shelf(lake, run, config.popular, config.young_days)
    maker = ListMaker(shelf, read_policy(lake, run.as_of, config.variants))
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


def _counts(maker: ListMaker, written: int) -> Counts:
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


def _ranked_pages(maker: ListMaker, config: ListsConfig, run: Run) -> Iterator[pa.RecordBatch]:
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
