"""Checks a staged night before services may see it. A failed gate changes nothing that services read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check, decide, gates_of, outcomes
from jobs.errors import UserError
from jobs.gate.audiences import audience_checks
from jobs.gate.config import GateConfig
from jobs.gate.counts import AT_ONCE, delete_counts, stamp_of, write_counts
from jobs.gate.lists import GateInputs, ListFigures, churn, read_inputs, read_lists
from jobs.gate.models import model_checks, read_models
from jobs.gate.outfits import OUTFIT_GATES, outfit_checks
from jobs.gate.sizes import MISFITS, SIZED, size_checks
from jobs.index_manifest import check_index, read_manifest
from jobs.lake.lake import Lake
from jobs.lake.live import Published, compared_with
from jobs.lake.reading import of_night
from jobs.run import Counts, Run
from jobs.steps import STAGING
from jobs.tables.records import GATES, RUNS
from jobs.tables.shop import (
    BAG_EXTRAS,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_LISTS,
    RECENTLY_VIEWED,
    RECOMMENDED_FOR_YOU,
    STANDING,
    TOUCH_POINTS,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from jobs.train.champions import ModelRow, champion
from models.networks.artefacts import POPULARITY

COUNTED = (PEOPLE_ALSO_BOUGHT, BAG_EXTRAS, MARKET_RANKING)
"""Lists whose model only counts events: no model comparison replaces it."""
CO_PURCHASED = (PEOPLE_ALSO_BOUGHT, BAG_EXTRAS)
BASKETS = "co_purchase_baskets"
"""Gate whose figure is the baskets that the night's co-purchase model counts; any number will do."""
GROWTH = 1.2
"""Baskets, as a multiple of the live night's, above which a co-purchase model is another."""
INDEXED = (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT)
"""Tables that the night's two indexes are named after."""
SELDOM = {"customers", "champion_quality", "champion_fresh", MISFITS, SIZED, *OUTFIT_GATES} | {
    f"{table.name}_{kind}"
    for table in TOUCH_POINTS
    for kind in ("rows", "churn", "full", "bestsellers", "concentration", "fallbacks", "catalogue", "empty_markets")
}
"""Gates that not every night can check. A whole night may accept them all the same: the nights of one backfill share
what is accepted."""
FEWEST_LISTS, FEWEST_PRODUCTS = 20, 50
"""A market with fewer lists, or fewer available products, is too small for a share of best-sellers."""


def execute(lake: Lake, run: Run, config: GateConfig) -> Counts:
    """Check the staged night, record every figure, and raise GateError when one fails."""
    live = compared_with(lake)
    inputs, manifests = read_inputs(lake, run), {t: check_index(lake, run.as_of, t) for t in INDEXED}
    expected, before = _expected_rows(inputs), _figures(lake, live)
    baskets = manifests[PEOPLE_ALSO_BOUGHT]["baskets"]
    grown = live is not None and baskets > GROWTH * _baskets_of(lake, run, live, before)
    best = champion(lake, run)
    informed = _informed(best, manifests)
    checks, models, counts = [stale_check(lake, run, manifests)], {}, {}
    delete_counts(lake, run.as_of)

    def read(table: Table) -> tuple[Table, str, ListFigures]:
        one_in, stamp = max(1, round(expected[table] / config.churn_lists)), stamp_of(lake, table)
        return table, stamp, read_lists(lake, table, run.as_of, inputs, one_in, None if table in STANDING else live)

    with ThreadPoolExecutor(AT_ONCE) as pool:  # reading and checking is compiled code without Python's lock
        measured = pool.submit(read_models, lake, run, config)
        for place, (table, stamp, found) in enumerate(pool.map(read, TOUCH_POINTS)):
            run.progress("tables checked", place + 1, len(TOUCH_POINTS))
            models[table], counts[table.name] = found.models, found.counts(inputs, stamp)
            checks += _list_checks(found, table)
            if table in STANDING:  # as many and as long as there is something to show
                continue
            checks += _coverage_checks(config, table, found, inputs, expected[table], informed[table])
            if found.rows:
                checks += _spread_checks(config, table, found, inputs, before, informed[table])
            if live:
                checks += _change_checks(config, table, found, live.night, grown and table in CO_PURCHASED)
    checks += outfit_checks(lake, run, config, inputs, live)
    known = len(inputs.customers)
    checks += model_checks(measured.result(), known, config, models, manifests)
    checks += size_checks(lake, run, inputs, before)
    checks += audience_checks(lake, run, inputs)
    checks.append(
        Check(BASKETS, baskets, least=0, detail="baskets that People Also Bought and add-ons are counted from")
    )
    if live:
        checks += _customer_checks(lake, run, config, live)
    unknown = set(config.accepted) - {check.gate for check in checks} - SELDOM
    if unknown:
        raise UserError(f"--accept {sorted(unknown)}: no such gate; there are {', '.join(c.gate for c in checks)}")
    decide(lake, run, "gate", checks, config.accepted)
    write_counts(lake, run.as_of, counts)
    return Counts(len(checks), len(checks), note=f"gates: {outcomes(gates_of(lake, of_night(run.as_of)))}")


def _figures(lake: Lake, live: Published | None) -> dict[str, float]:
    """Gate -> its value when the live night was published."""
    if live is None:
        return {}
    rows = lake.at(live.versions).arrow(GATES, ("gate", "value"), live.night).to_pylist()
    return {row["gate"]: row["value"] for row in rows}


def _expected_rows(inputs: GateInputs) -> dict[Table, int]:
    """Rows that each table must have for one variant."""
    return {
        **dict.fromkeys(PRODUCT_LISTS, int(inputs.available.sum())),
        RECOMMENDED_FOR_YOU: len(inputs.customers),
        **dict.fromkeys((MARKET_RANKING, *STANDING), len(inputs.markets) * (inputs.categories + 1)),
    }


def _informed(best: ModelRow | None, manifests: Mapping[Table, Mapping[str, Any]]) -> dict[Table, float]:
    """Share of the lists of a table that a model knows something for; what is popular fills the others.

    Where popularity serves, no list is the champion's; a product that was never bought with another has no companions.
    """
    trained = float(best is None or best["kind"] != POPULARITY)
    paired = float(manifests[PEOPLE_ALSO_BOUGHT].get("paired", 1.0))  # older code did not count them
    return {
        **dict.fromkeys((YOU_MIGHT_ALSO_LIKE, RECOMMENDED_FOR_YOU), trained),
        **dict.fromkeys((PEOPLE_ALSO_BOUGHT, BAG_EXTRAS), paired),
        MARKET_RANKING: 1.0,
    }


def _coverage_checks(
    config: GateConfig, table: Table, found: ListFigures, inputs: GateInputs, expected: int, informed: float
) -> Iterator[Check]:
    """Whether every owner has a list, most of them a full one, and every market a product."""
    name, rows = table.name, found.rows
    expected *= max(len(found.variants), 1) if "variant" in table.key else 1
    detail = f"{rows:,} of {expected:,}"
    yield Check(f"{name}_coverage", rows / max(expected, 1), least=config.min_coverage, detail=detail)
    if not rows:
        return
    large = inputs.available.sum(axis=1) >= FEWEST_PRODUCTS
    if table not in (BAG_EXTRAS, MARKET_RANKING) and found.lists[large].any():
        full = found.full_lists[large].sum() / found.lists[large].sum()
        yield Check(f"{name}_full", float(full), least=config.min_full, detail="lists without a short_reason")
    if table is not RECOMMENDED_FOR_YOU:
        if table is BAG_EXTRAS:  # without co-purchases, a catalogue without categories has no add-ons
            large &= informed * inputs.available.sum(axis=1) >= FEWEST_LISTS
        empty = inputs.markets.ids.filter(pa.array(large & (found.shown.sum(axis=1) == 0))).to_pylist()
        detail = f"markets without a product in any list{': ' if empty else ''}{', '.join(empty[:10])}"
        yield Check(f"{name}_empty_markets", len(empty), most=0, detail=detail)


def _list_checks(found: ListFigures, table: Table) -> Iterator[Check]:
    """What no list may ever show."""
    name = table.name
    if not found.rows:
        return
    yield Check(f"{name}_explained", found.explained / found.rows, least=1.0, detail="empty lists need a short_reason")
    yield Check(f"{name}_repeats", found.repeats, most=0, detail="lists with a product twice")
    yield Check(f"{name}_uneven", found.uneven, most=0, detail="lists with more or fewer sources than products")
    if table.key[0] == "product_id":
        yield Check(f"{name}_selves", found.selves, most=0, detail="lists that show the product itself")
    yield Check(f"{name}_unavailable", found.unavailable, most=0, detail="places not for sale in the market")
    if table in (RECOMMENDED_FOR_YOU, RECENTLY_VIEWED):
        yield Check(f"{name}_bought", found.bought, most=0, detail="places the customer bought before")


def _spread_checks(
    config: GateConfig,
    table: Table,
    found: ListFigures,
    inputs: GateInputs,
    before: Mapping[str, float],
    informed: float,
) -> Iterator[Check]:
    """The share of products with a place, and how alike the lists are; `informed` is the share of the lists that a
    model knows something for.
    """
    name, places = table.name, found.places
    live = inputs.available.any(axis=0)
    if live.sum() >= FEWEST_PRODUCTS:
        shown = int(((found.shown.sum(axis=0) > 0) & live).sum())
        share = shown / max(min(int(live.sum()), places), 1)
        of_last = config.min_catalogue_of_last_night * before.get(f"{name}_catalogue", 0.0) if informed else 0.0
        detail = f"{shown:,} of {int(live.sum()):,} available products are in a list"
        yield Check(f"{name}_catalogue", share, least=max(config.min_catalogue * informed, of_last), detail=detail)
    if table is MARKET_RANKING:  # shows what is popular, and all of it
        return
    most = 1 - (1 - config.max_fallbacks) * informed
    if informed:
        most = min(most, before.get(f"{name}_fallbacks", 1.0) + config.max_fallbacks_gained)
    detail = "share of the places padded from popularity"
    yield Check(f"{name}_fallbacks", found.fallbacks, most=most, detail=detail)
    if informed:
        yield from _likeness_checks(config, table, found, inputs, before)


def _likeness_checks(
    config: GateConfig, table: Table, found: ListFigures, inputs: GateInputs, before: Mapping[str, float]
) -> Iterator[Check]:
    """How alike the lists of the market are in which they are most alike, and in how many the best-sellers are."""
    name, products = table.name, inputs.available.sum(axis=1)
    concentrations, best = list[tuple[float, str]](), list[tuple[float, str]]()
    for market in np.flatnonzero((found.lists >= FEWEST_LISTS) & (products >= FEWEST_PRODUCTS)):
        which, of = inputs.markets.ids[market].as_py(), int(products[market])
        figure = concentration(found.shown[market] - found.padded[market], of, found.longest)
        concentrations += [(figure, which)] if figure is not None else []
        best.append((bestsellers(found.shown[market], of, int(found.lists[market])), which))
    if concentrations:
        value, which = max(concentrations)
        most = config.max_concentration
        if table in COUNTED:
            most = min(1.0, before.get(f"{name}_concentration", 1.0) + config.max_concentration_gained)
        detail = f"0 where the places are spread evenly over the products, 1 where every list is the same, in {which}"
        yield Check(f"{name}_concentration", value, most=most, detail=detail)
    if best:
        value, which = max(best)
        most = min(1.0, before.get(f"{name}_bestsellers", 1.0) + config.max_bestsellers_gained)
        detail = f"share of the places the most shown 1 % of products could hold that they do hold, in {which}"
        yield Check(f"{name}_bestsellers", value, most=most, detail=detail)


def concentration(chosen: npt.NDArray[np.integer], products: int, longest: int) -> float | None:
    """How alike a market's lists are: 0 where their places are spread evenly, 1 where a few products hold them all.

    `chosen` [P] is how many lists show each product, without padded places; the market sells `products`, and a list has
    at most `longest` places. Counted is the share of the places that the most shown products hold: 1 % of the
    products, but at least as many as fill a list, since fewer could not. What they would hold in any case, were the
    places spread evenly over the products, is taken off. None where they are all products, or all places.
    """
    places = int(chosen.sum())
    top, spread = max(-(-products // 100), longest), min(products, places)
    if top >= spread:
        return None
    held, even = float(np.partition(chosen, -top)[-top:].sum()) / places, top / spread
    return max(0.0, (held - even) / (1 - even))


def bestsellers(shown: npt.NDArray[np.integer], products: int, lists: int) -> float:
    """Of the places that the most shown 1 % of a market's `products` could hold in `lists`, the share they do hold.

    `shown` [P] is how many lists show each product.
    """
    top = -(-products // 100)
    return float(np.partition(shown, -top)[-top:].sum()) / max(min(int(shown.sum()), top * lists), 1)


def _baskets_of(lake: Lake, run: Run, live: Published, figures: Mapping[str, float]) -> float:
    """Baskets that the live night's co-purchase model counts; infinite where that is not known any more.

    A model of so many more baskets is another one: in a shop with some weeks of data every fit is.
    """
    if BASKETS in figures:
        return figures[BASKETS]
    if live.night == run.as_of:  # older code kept the count in the index alone, which was made again
        return float("inf")
    try:
        return float(read_manifest(lake, live.night, PEOPLE_ALSO_BOUGHT)["baskets"])
    except (UserError, KeyError):
        return float("inf")


def _change_checks(
    config: GateConfig, table: Table, found: ListFigures, live: date, grown: bool = False
) -> Iterator[Check]:
    """Rows and products of the live night's lists that are still there; `grown`: what is counted grew much."""
    rows = found.rows / max(found.live_rows, 1)
    least = config.min_customers_of_last_night if table is RECOMMENDED_FOR_YOU else config.min_rows_of_last_night
    yield Check(f"{table.name}_rows", rows, least=least, detail=f"rows as a share of {live}'s")
    if not found.rows or not found.live_rows:
        return
    now, then = pa.Table.from_batches(found.sample), pa.Table.from_batches(found.live_sample)
    share = churn(now, then, table.key)
    if share is not None:
        then_models = set(pc.unique(then["model_id"]).to_pylist())
        same = not grown and (table in COUNTED or found.models == then_models)
        most = config.max_churn_same_model if same else config.max_churn
        if not same and any(model.startswith(POPULARITY) for model in found.models | then_models):
            most = 1.0  # a model that knows something begins, or ceases, to serve
        model = "is the same" if same else f"counts over {GROWTH - 1:.0%} more baskets" if grown else "changed"
        detail = f"share of {live}'s positions that changed; the model {model}"
        yield Check(f"{table.name}_churn", share, most=most, detail=detail)


def _customer_checks(lake: Lake, run: Run, config: GateConfig, live: Published) -> Iterator[Check]:
    now = lake.count(CUSTOMER_SEQUENCES, run.as_of)
    then = lake.at(live.versions).count(CUSTOMER_SEQUENCES, live.night)
    detail = f"{now:,} customers, {then:,} on {live.night}"
    yield Check("customers", now / max(then, 1), least=config.min_customers_of_last_night, detail=detail)


def stale_check(lake: Lake, run: Run, manifests: Mapping[Table, Mapping[str, Any]]) -> Check:
    """Steps that are older than their inputs, by the ledger and by the indexes' manifests."""
    ended: dict[str, datetime] = {}
    for row in lake.arrow(RUNS, ("step", "ended_at", "status"), run.as_of).to_pylist():
        if row["status"] == "done":
            ended[row["step"]] = max(row["ended_at"], ended.get(row["step"], row["ended_at"]))
    steps = [step for step in STAGING if step in ended]
    late = [f"{b} ran before {a}" for a, b in combinations(steps, 2) if ended[b] < ended[a]]
    late += [
        f"the index of {table.name} is of {manifest['as_of']}"
        for table, manifest in manifests.items()
        if manifest["as_of"] != run.as_of.isoformat()
    ]
    return Check("stale", len(late), most=0, detail="; ".join(late) or "every step ran after those before it")
