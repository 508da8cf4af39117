"""Gates: what stands between staged lists and services. A failed gate changes nothing that anybody reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check, decide
from jobs.errors import UserError
from jobs.gate.config import GateConfig
from jobs.gate.counts import AT_ONCE, forget_counts, read_catalogue, stamp_of, write_counts
from jobs.gate.lists import Lists, Shop, churn, read_lists, read_shop
from jobs.gate.models import model_checks
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.live import live_night
from jobs.policy.compile import read_policy
from jobs.run import Counts, Run
from jobs.steps import STAGING
from jobs.tables.records import GATES, RUNS
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    LISTS,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table

CHECKED = (*LISTS, MARKET_RANKING)
REMADE = (PEOPLE_ALSO_BOUGHT, BAG_EXTRAS, MARKET_RANKING)
"""Lists of what is counted anew every night, in the same way: no contest puts another model behind them."""
FEWEST_LISTS, FEWEST_PRODUCTS = 20, 50
"""A market with fewer lists, or fewer live products, has no share of best-sellers worth the name."""


def execute(lake: Lake, run: Run, config: GateConfig) -> Counts:
    """Check the staged night, record every figure, and raise GateError when one fails."""
    live = live_night(lake)
    live = None if live == run.as_of else live
    again = _bought_again(lake, run)
    shop = read_shop(lake, run, again)
    expected, before = _expected_rows(lake, run, shop), _figures(lake, live)
    checks, models, counts = [stale_check(lake, run)], {}, {}
    catalogue = read_catalogue(lake, run.as_of)
    forget_counts(lake, run.as_of)

    def read(table: Table) -> tuple[Table, str, Lists]:
        one_in, stamp = max(1, round(expected[table] / config.churn_lists)), stamp_of(lake, table)
        return table, stamp, read_lists(lake, table, run.as_of, shop, one_in, live)

    with ThreadPoolExecutor(AT_ONCE) as pool:  # what reads and looks through lists is compiled
        for place, (table, stamp, found) in enumerate(pool.map(read, CHECKED)):
            run.progress("tables checked", place + 1, len(CHECKED))
            models[table], counts[table.name] = found.models, found.counts(shop, catalogue, stamp)
            checks += _list_checks(config, table, found, shop, expected[table])
            if found.rows:
                checks += _spread_checks(config, table, found, shop, before)
            if live:
                checks += _change_checks(config, table, found, live)
    checks += model_checks(lake, run, config, models)
    if live:
        checks += _customer_checks(lake, run, config, live)
    unknown = set(config.accepted) - {check.gate for check in checks}
    if unknown:
        raise UserError(f"--accept {sorted(unknown)}: no such gate; there are {', '.join(c.gate for c in checks)}")
    decide(lake, run, "gate", checks, config.accepted)
    write_counts(lake, run.as_of, counts)
    return Counts(len(checks), len(checks), note=f"{len(checks)} gates passed")


def _bought_again(lake: Lake, run: Run) -> pa.Array:
    """Products that a policy allows to be recommended to somebody who bought them.

    Whether one may return, and after how many days, depends on market and variant, so none of them is checked.
    """
    categories = [rule.value for rule in read_policy(lake, run.as_of).rules if rule.kind == "repeat_purchase"]
    products = lake.arrow(CATALOGUE, ("product_id", "category"), run.as_of)
    may = pc.is_in(products["category"], value_set=pa.array(categories, pa.string()))
    return products["product_id"].filter(may).combine_chunks()


def _figures(lake: Lake, live: date | None) -> dict[str, float]:
    """What the gates found on the live night."""
    if live is None:
        return {}
    return {row["gate"]: row["value"] for row in lake.arrow(GATES, ("gate", "value"), live).to_pylist()}


def _expected_rows(lake: Lake, run: Run, shop: Shop) -> dict[Table, int]:
    """Rows that each table must have for one variant."""
    categories = lake.arrow(CATALOGUE, ("category",), run.as_of)["category"]
    return dict.fromkeys(LISTS, int(shop.available.sum())) | {
        RECOMMENDED_FOR_YOU: len(shop.customers),
        MARKET_RANKING: len(shop.markets) * (int(pc.count_distinct(categories).as_py()) + 1),
    }


def _list_checks(config: GateConfig, table: Table, found: Lists, shop: Shop, expected: int) -> Iterator[Check]:
    name, rows = table.name, found.rows
    expected *= max(len(found.variants), 1) if "variant" in table.key else 1
    detail = f"{rows:,} of {expected:,}"
    yield Check(f"{name}_coverage", rows / max(expected, 1), least=config.min_coverage, detail=detail)
    if not rows:
        return
    if table not in (BAG_EXTRAS, MARKET_RANKING):
        yield Check(f"{name}_full", found.full / rows, least=config.min_full, detail="lists without a short_reason")
    yield Check(f"{name}_explained", found.explained / rows, least=1.0, detail="empty lists need a short_reason")
    yield Check(f"{name}_repeats", found.repeats, most=0, detail="lists with a product twice")
    yield Check(f"{name}_uneven", found.uneven, most=0, detail="lists with more or fewer sources than products")
    if table.key[0] == "product_id":
        yield Check(f"{name}_selves", found.selves, most=0, detail="lists that show the product itself")
    yield Check(f"{name}_unavailable", found.unavailable, most=0, detail="places not for sale in the market")
    if table is RECOMMENDED_FOR_YOU:
        yield Check(f"{name}_bought", found.bought, most=0, detail="places the customer bought before")
    else:
        large = shop.available.sum(axis=1) >= FEWEST_PRODUCTS
        empty = shop.markets.ids.filter(pa.array(large & (found.shown.sum(axis=1) == 0))).to_pylist()
        detail = f"markets without a product in any list{': ' if empty else ''}{', '.join(empty[:10])}"
        yield Check(f"{name}_empty_markets", len(empty), most=0, detail=detail)


def _spread_checks(
    config: GateConfig, table: Table, found: Lists, shop: Shop, before: Mapping[str, float]
) -> Iterator[Check]:
    """How many products get a place at all, and how many places the best-sellers take."""
    name, places = table.name, found.places
    live = shop.available.any(axis=0)
    shown = int(((found.shown.sum(axis=0) > 0) & live).sum())
    share = shown / max(min(int(live.sum()), places), 1)
    least = max(config.min_catalogue, config.min_catalogue_of_last_night * before.get(f"{name}_catalogue", 0.0))
    detail = f"{shown:,} of {int(live.sum()):,} live products stand in a list"
    yield Check(f"{name}_catalogue", share, least=least, detail=detail)
    if table is MARKET_RANKING:  # shows what is popular, and all of it
        return
    most = min(config.max_fallbacks, before.get(f"{name}_fallbacks", 1.0) + config.max_fallbacks_gained)
    detail = "share of the places that come from popularity alone"
    yield Check(f"{name}_fallbacks", found.fallbacks, most=most, detail=detail)
    worst = max(_concentrations(found, shop), default=None)
    if worst:
        detail = f"of the places that the most shown 1 % of the products could hold, they hold so many in {worst[1]}"
        most = config.max_concentration_extras if table is BAG_EXTRAS else config.max_concentration
        yield Check(f"{name}_concentration", worst[0], most=most, detail=detail)


def _concentrations(found: Lists, shop: Shop) -> Iterator[tuple[float, str]]:
    """(share of the places they could hold that the most shown hundredth of the products holds, market)."""
    products = shop.available.sum(axis=1)
    for market in np.flatnonzero((found.lists >= FEWEST_LISTS) & (products >= FEWEST_PRODUCTS)):
        places, top = int(found.shown[market].sum()), -(-int(products[market]) // 100)
        held = int(np.sort(found.shown[market])[-top:].sum())
        yield held / max(min(places, top * int(found.lists[market])), 1), shop.markets.ids[market].as_py()


def _change_checks(config: GateConfig, table: Table, found: Lists, live: date) -> Iterator[Check]:
    """What became of the live night's lists."""
    rows = found.rows / max(found.live_rows, 1)
    least = config.min_customers_of_last_night if table is RECOMMENDED_FOR_YOU else config.min_rows_of_last_night
    yield Check(f"{table.name}_rows", rows, least=least, detail=f"rows as a share of {live}'s")
    if not found.rows or not found.live_rows:
        return
    now, then = pa.Table.from_batches(found.sample), pa.Table.from_batches(found.live_sample)
    share = churn(now, then, table.key)
    if share is not None:
        same = table in REMADE or found.models == set(pc.unique(then["model_id"]).to_pylist())
        most = config.max_churn_same_model if same else config.max_churn
        detail = f"of {live}'s positions are gone, {'the model is the same' if same else 'the model is another'}"
        yield Check(f"{table.name}_churn", share, most=most, detail=detail)


def _customer_checks(lake: Lake, run: Run, config: GateConfig, live: date) -> Iterator[Check]:
    now, then = lake.count(CUSTOMER_SEQUENCES, run.as_of), lake.count(CUSTOMER_SEQUENCES, live)
    detail = f"{now:,} customers, {then:,} on {live}"
    yield Check("customers", now / max(then, 1), least=config.min_customers_of_last_night, detail=detail)


# Whether a night's steps ran in their order: what was made before its input was made anew is of another night.


def stale_check(lake: Lake, run: Run) -> Check:
    """How many staged things are older than what they are made from, by the ledger and by the indexes' manifests."""
    ended: dict[str, datetime] = {}
    for row in lake.arrow(RUNS, ("step", "ended_at", "status"), run.as_of).to_pylist():
        if row["status"] == "done":
            ended[row["step"]] = max(row["ended_at"], ended.get(row["step"], row["ended_at"]))
    steps = [step for step in STAGING if step in ended]
    late = [
        f"{step} ran before {earlier}" for at, step in enumerate(steps) for earlier in steps[:at]
        if ended[step] < ended[earlier]
    ]  # fmt: skip
    for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT):
        path = lake.directory(storage.INDEXES, run.as_of) / table.name / "manifest.json"
        if path.is_file() and (of := json.loads(path.read_text("utf-8")).get("as_of")) != run.as_of.isoformat():
            late.append(f"the index of {table.name} is of {of}")
    detail = "; ".join(late) or "every step ran after those before it"
    return Check("stale", len(late), most=0, detail=detail)
