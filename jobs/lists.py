"""Lists: every touch point's top-N per market, staged under the night's date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.coded import replace_coded
from jobs.customer_lists import stage_customer_lists
from jobs.errors import UserError
from jobs.index import ProductIndex, read_index
from jobs.lake import Lake
from jobs.list_basis import ProductVectors
from jobs.list_maker import ListMaker
from jobs.list_search import Searching
from jobs.policy import read_policy
from jobs.policy_notes import names_nobody_has
from jobs.policy_notes import note as policy_note
from jobs.run import Counts, Run
from jobs.shelf import read_shelf
from jobs.tables import RULE_EFFECTS, Table
from jobs.touch_points import CAROUSELS, RANKED_PAGE, TouchPoint
from jobs.variants import DEFAULT, Variant, check_variants
from models.assembly import Owners
from models.contract import Compute
from models.top_n import BoolMask, Rows

WHOLE = "*"
"""Category of market_ranking that stands for all products."""
Beside = dict[tuple[str, int], Rows]
"""(variant, market) -> the first places of the lists of its live products."""


@dataclass(frozen=True)
class ListsConfig:
    """How long lists are and what fills the places a model leaves open."""

    top_n: int = 24
    """Products per list, where the touch point does not say otherwise."""
    search_depth: int = 4
    """Neighbours searched over all products, as a multiple of the list, before a market's own are searched exactly."""
    popular_days: int = 28
    """Days of events that make a product popular in a market."""
    event_weights: dict[str, float] = field(
        default_factory=lambda: {"click": 1.0, "save": 2.0, "bag": 3.0, "purchase": 5.0}
    )
    """What each event counts for popularity."""
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
        for name in ("top_n", "search_depth", "popular_days", "batch_customers"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)} must be at least 1")
        check_variants(self.variants)


def execute(lake: Lake, run: Run, config: ListsConfig) -> Counts:
    """Stage the night's lists; nothing is live until publish."""
    shelf = read_shelf(lake, run, config.popular_days, config.event_weights, config.young_days)
    maker = ListMaker(shelf, read_policy(lake, run.as_of, config.variants))
    vectors = ProductVectors.read(lake, run.as_of)
    cold = np.zeros(len(shelf.products), dtype=bool)
    cold[shelf.products.encode(vectors.ids.ids.filter(pa.array(vectors.cold)))] = True
    beside: dict[Table, Beside] = {}
    tables, compute = dict.fromkeys(point.index for point in CAROUSELS if point.index), Compute(config.device)
    indexes = {table: read_index(lake, run, table, compute) for table in tables}
    for point in CAROUSELS:
        replace_coded(lake, point.table, _product_lists(point, indexes, maker, cold, beside, config, run), run)
    stage_customer_lists(lake, maker, vectors, config, run)
    lake.replace(RANKED_PAGE.table, _ranked_pages(maker, config, run), run)
    lake.replace_rows(RULE_EFFECTS, maker.effects(), run)
    return _counts(maker)


def _counts(maker: ListMaker) -> Counts:
    """How many lists there are, and how many of them are short with a reason."""
    parts = []
    for (table, variant), tally in maker.tallies.items():
        name = table.name if variant == DEFAULT else f"{table.name} {variant}"
        parts.append(f"{tally.lists:,} {name}" + (f" ({tally.short:,} short)" if tally.short else ""))
    note = f"{', '.join(parts)} in {len(maker.shelf.markets)} markets"
    if moved := sum(tally.moved for tally in maker.tallies.values()):
        note += f"; rules moved {moved:,} positions"
    if maker.policy.rules:
        unmatched = names_nobody_has(maker.policy.rules, maker.names, maker.shelf.markets)
        note += f"; {policy_note(len(maker.policy.rules), unmatched + maker.rulebooks.hidden_includes())}"
    return Counts(int(maker.shelf.available.sum()), sum(t.lists for t in maker.tallies.values()), note=note)


def _product_lists(
    point: TouchPoint, indexes: Mapping[Table, ProductIndex], maker: ListMaker, cold: BoolMask,
    beside: dict[Table, Beside], config: ListsConfig, run: Run,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    shelf, n = maker.shelf, point.places or config.top_n
    assert point.index is not None, f"{point.table.name} has lists of products, which come from an index"
    index = indexes[point.index]
    search = Searching(point, index, shelf, cold, n * config.search_depth)
    kept = beside[point.table] = {}
    for number, variant in enumerate(config.variants):
        for market, available in enumerate(shelf.available):
            live = np.flatnonzero(available)
            if not len(live):
                continue
            shown = beside[point.beside][variant.name, market] if point.beside else None
            keys = {"product_id": shelf.products.coded(live)}
            owners = Owners.of_products(live, shown)
            batch, made = maker.batch(
                point, market, variant, n, keys, search.in_market(market, n), owners, str(index.manifest["model_id"])
            )
            if any(other.beside is point.table for other in CAROUSELS):
                kept[variant.name, market] = made.rows[:, : config.beside_places].astype(np.int32)
            done = number * len(shelf.markets) + market + 1
            run.progress(f"markets of {point.table.name}", done, len(config.variants) * len(shelf.markets))
            yield batch


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
