"""What the shop window shows of a night: the products, markets and customers chosen, and all their lists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from jobs.gate.counts import ListCounts
from jobs.lake.change_tables import among
from jobs.lake.lake import Lake
from jobs.lake.reading import Tally, count_rows, matching, of_night, scan
from jobs.policy.variants import DEFAULT
from jobs.report.recent import LONG_HISTORY, Recent
from jobs.report.window.lists import Block, Ints, Names, no_names, place_in, read_block
from jobs.settings import Settings
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    PRODUCT_LISTS,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from jobs.text import clean
from models.arrays import BoolMask

# Which products, markets, variants and customers the shop window shows: chosen by the data, not by chance.


@dataclass(frozen=True)
class Chosen:
    """What lists of products are shown of."""

    products: list[str]
    """Most wanted first."""
    markets: list[str]
    """Busiest first."""
    variants: list[str]
    tables: list[Table]
    """Of PRODUCT_LISTS, those with rows of the night."""
    totals: dict[str, int]


def chosen_of(
    lake: Lake, config: ShopWindowConfig, contexts: Sequence[ContextPair], recent: Recent,
    lists: Mapping[str, ListCounts],
) -> Chosen:  # fmt: skip
    """The most wanted products, those of the contexts among them, and as many of the busiest markets as fit."""
    night = of_night(recent.as_of)
    events = recent.events.of_products
    catalogue = {p for batch in scan(lake, CATALOGUE, ("product_id",), night) for p in batch["product_id"].to_pylist()}
    ordered = sorted(catalogue, key=lambda product: (-events.get(product, 0), product))
    needed = {pair.product for pair in contexts} & catalogue
    rest = [product for product in ordered if product not in needed][: max(config.products - len(needed), 0)]
    products = sorted([*needed, *rest], key=lambda product: (-events.get(product, 0), product))
    tables = [table for table in PRODUCT_LISTS if table.name in lists]
    ranked, variants = Tally(("market", "variant")), {v for table in tables for v in lists[table.name].variants}
    for batch in scan(lake, MARKET_RANKING, ranked.keys, night):
        ranked.add(batch.columns)
    of_rankings = ranked.most_first()
    variants |= {variant for _, variant, _ in of_rankings}
    there = {market for market, *_ in of_rankings}
    if YOU_MIGHT_ALSO_LIKE in tables:
        there.update(lists[YOU_MIGHT_ALSO_LIKE.name].markets)
    busy = {market: recent.events.of_markets.get(market, 0) for market in there}
    named = sorted({name or DEFAULT for name in variants} or {DEFAULT}, key=lambda name: (name != DEFAULT, name))
    each = sum(places_of(table, config) for table in tables) * max(len(products), 1) * len(named)
    fitting = min(config.markets, max(1, config.positions // max(each, 1)))
    markets = sorted(busy, key=lambda market: (-busy[market], market))[:fitting]
    return Chosen(products, markets, named, tables, {"products": len(catalogue), "markets": len(busy)})


def places_of(table: Table, config: ShopWindowConfig) -> int:
    """Places that the page holds of each list of a table of PRODUCT_LISTS."""
    return config.bag_places if table is BAG_EXTRAS else config.places


def customers_of(
    wanted: int, markets: Sequence[str], contexts: Iterable[ContextPair], recent: Recent
) -> dict[str, str]:  # fmt: skip
    """Customer -> market: those of the contexts, then the most recent with a long history, markets taking turns."""
    homes = recent.homes(LONG_HISTORY) or recent.homes(1)
    turns: Counter[str] = Counter()
    queue = []
    for place, (customer, market) in enumerate(homes.items()):
        if market in markets:
            queue.append((turns[market], place, customer))
            turns[market] += 1
    chosen = {side.customer_id: pair.market for pair in contexts for side in pair.sides}
    for _, _, customer in sorted(queue):
        if len(chosen) >= wanted:
            break
        chosen.setdefault(customer, homes[customer])
    return chosen


# How much the shop window holds, and the contexts that others compute for it.


@dataclass(frozen=True)
class ShopWindowConfig(Settings):
    """How much the page holds; what does not fit is left out, and the page says so."""

    products: PositiveInt = 5_000
    """Products with lists, the most wanted of late first; others that stand in a list are shown in it."""
    places: PositiveInt = 12
    """Places of each list."""
    bag_places: PositiveInt = 24
    """Places of the lists that a bag combines: as many as they have, or the combination is not the service's."""
    markets: PositiveInt = 60
    """Markets, the busiest first, if `positions` has room for them."""
    positions: PositiveInt = 1_200_000
    """Places of products' lists in all markets and variants together; each takes about 4 bytes of the page."""
    customers: PositiveInt = 200
    """Customers with a long history, of different markets."""
    history: PositiveInt = 40
    """Most recent events of each customer."""


@dataclass(frozen=True)
class ContextSide:
    """What one customer is offered beside a product."""

    customer_id: str
    list: tuple[tuple[str, float], ...]
    """(product_id, score), best first."""


@dataclass(frozen=True)
class ContextPair:
    """One product in a market, in two customers' contexts."""

    product: str
    market: str
    sides: tuple[ContextSide, ContextSide]
    model_id: str = ""


DETAILS = ("product_id", "name", "brand", "category", "colour", "price", "currency")


@dataclass(frozen=True)
class Customer:
    """A customer with the events just before the night, oldest first."""

    customer_id: str
    market: str
    events: tuple[tuple[int, str, str], ...]
    """(product's number, event type, day)."""
    in_all: int
    """Events of the history, those not shown included."""


@dataclass(frozen=True)
class ShopWindow:
    """All that the page holds. Ids are as the tables have them; whoever shows one cleans it."""

    as_of: date
    run_id: str
    config: ShopWindowConfig
    products: tuple[str, ...]
    """Products with lists; they have the first numbers."""
    details: tuple[dict[str, Any], ...]
    """By product number: the columns DETAILS; of a product that the catalogue does not have, its id alone."""
    markets: tuple[str, ...]
    variants: tuple[str, ...]
    categories: tuple[str, ...]
    """Of the market rankings; `*` stands for all products."""
    customers: tuple[Customer, ...]
    blocks: dict[str, Block]
    """By table name. Rows: (product, market, variant) of PRODUCT_LISTS, customer of recommended_for_you,
    (market, category, variant) of market_ranking, the last one fastest. Tables without a list are not there."""
    names: Names
    reasons: dict[str, str]
    """Rule -> why it is there, in its author's words."""
    contexts: tuple[ContextPair, ...]
    totals: dict[str, int]
    """How many products, markets and customers there are in all."""


def read_window(
    lake: Lake, run_id: str, config: ShopWindowConfig, contexts: Sequence[ContextPair], recent: Recent,
    lists: Mapping[str, ListCounts],
) -> ShopWindow:  # fmt: skip
    """Read what the tables have of the night; a table that is not there leaves its part empty.

    `lists` says of the tables of PRODUCT_LISTS which markets and variants they hold.
    """
    as_of, chosen = recent.as_of, chosen_of(lake, config, contexts, recent, lists)
    names = no_names(chosen.products)
    blocks = {table.name: _product_block(lake, table, as_of, names, chosen, config) for table in chosen.tables}
    homes = customers_of(config.customers, chosen.markets, contexts, recent)
    blocks[RECOMMENDED_FOR_YOU.name] = _customer_block(lake, as_of, names, homes, config)
    categories, blocks[MARKET_RANKING.name] = _ranking_block(lake, as_of, names, chosen, config)
    customers = _histories(recent, names, homes, config.history)
    for pair in contexts:
        for side in pair.sides:
            names.products.of_texts(product for product, _ in side.list)
    totals = chosen.totals | {"customers": count_rows(lake, CUSTOMER_SEQUENCES, as_of)}
    return ShopWindow(
        as_of, run_id, config, tuple(chosen.products), _details(lake, as_of, names.products.texts),
        tuple(chosen.markets), tuple(chosen.variants), tuple(categories), tuple(customers),
        {name: block for name, block in blocks.items() if block.lists}, names, _reasons(lake, as_of), tuple(contexts),
        totals,
    )  # fmt: skip


def _product_block(
    lake: Lake, table: Table, as_of: date, names: Names, chosen: Chosen, config: ShopWindowConfig
) -> Block:  # fmt: skip
    def row_of(batch: pa.RecordBatch) -> Ints:
        return _row((place_in(batch["product_id"], chosen.products), len(chosen.products)), *_scope(batch, chosen))

    def wanted(batch: pa.RecordBatch) -> BoolMask:
        return among(batch["market"], chosen.markets) & among(batch["product_id"], chosen.products)

    rows = len(chosen.products) * len(chosen.markets) * len(chosen.variants)
    return read_block(lake, table, as_of, wanted, names, (rows, places_of(table, config)), row_of)


def _customer_block(
    lake: Lake, as_of: date, names: Names, homes: dict[str, str], config: ShopWindowConfig
) -> Block:  # fmt: skip
    keys = [f"{market}\0{customer}" for customer, market in homes.items()]

    def row_of(batch: pa.RecordBatch) -> Ints:
        return place_in(pc.binary_join_element_wise(batch["market"], batch["customer_id"], "\0"), keys)

    def wanted(batch: pa.RecordBatch) -> BoolMask:
        return among(batch["customer_id"], homes)

    return read_block(lake, RECOMMENDED_FOR_YOU, as_of, wanted, names, (len(homes), config.places), row_of)


def _ranking_block(
    lake: Lake, as_of: date, names: Names, chosen: Chosen, config: ShopWindowConfig
) -> tuple[list[str], Block]:
    where = of_night(as_of) & pc.field("market").isin(pa.array(chosen.markets, pa.string()))
    tally = Tally(("category",))
    for batch in scan(lake, MARKET_RANKING, ("category",), where):
        tally.add(batch.columns)
    categories = sorted(name for name, _ in tally.most_first() if name)

    def row_of(batch: pa.RecordBatch) -> Ints:
        market, variant = _scope(batch, chosen)
        return _row(market, (place_in(batch["category"], categories), len(categories)), variant)

    def wanted(batch: pa.RecordBatch) -> BoolMask:
        return among(batch["market"], chosen.markets)

    rows = len(chosen.markets) * len(categories) * len(chosen.variants)
    return categories, read_block(lake, MARKET_RANKING, as_of, wanted, names, (rows, config.places), row_of)


def _scope(batch: pa.RecordBatch, chosen: Chosen) -> list[tuple[Ints, int]]:
    variant = place_in(pc.fill_null(batch["variant"], DEFAULT), chosen.variants)
    return [(place_in(batch["market"], chosen.markets), len(chosen.markets)), (variant, len(chosen.variants))]


def _row(*parts: tuple[Ints, int]) -> Ints:
    """Row numbers from (place, size) along each axis, the last one fastest; -1 where a place is missing."""
    row = np.zeros(len(parts[0][0]), dtype=np.int64)
    for place, size in parts:
        row = np.where((row < 0) | (place < 0), -1, row * size + place)
    return row


def _histories(recent: Recent, names: Names, chosen: dict[str, str], most: int) -> list[Customer]:
    columns = ("product_ids", "event_types", "event_timestamps")
    rows = recent.histories(chosen, columns)
    found = []
    for customer, market in chosen.items():
        row = rows.get(customer)
        ids, kinds, times = (row[name] if row else [] for name in columns)
        numbers = names.products.of_texts(ids[-most:])
        days = [f"{at:%Y-%m-%d}" if at else "" for at in times[-most:]]
        found.append(Customer(customer, market, tuple(zip(numbers, kinds[-most:], days, strict=True)), len(ids)))
    return found


def _details(lake: Lake, as_of: date, ids: Sequence[str]) -> tuple[dict[str, Any], ...]:
    where = of_night(as_of) & pc.field("product_id").isin(pa.array(list(ids), pa.string()))
    rows = {row["product_id"]: row for row in matching(lake, CATALOGUE, DETAILS, where)}
    return tuple(rows.get(product) or {"product_id": product} for product in ids)


def _reasons(lake: Lake, as_of: date) -> dict[str, str]:
    """Rule -> its reason, from the rules as they were that night."""
    found = {}
    for row in matching(lake, RULE_EFFECTS, ("rule_id", "rule"), of_night(as_of)):
        try:
            rule = json.loads(row["rule"] or "null")
        except ValueError:
            continue
        if isinstance(rule, dict) and isinstance(rule.get("reason"), str):
            found[str(row["rule_id"])] = clean(rule["reason"])
    return found
