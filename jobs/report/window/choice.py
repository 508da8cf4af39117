"""Chooses the products, markets and customers that the shop window shows, by the data and not by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import PositiveInt

from jobs.gate.counts import ListCounts
from jobs.lake.lake import Lake
from jobs.lake.reading import Tally, of_night, scan
from jobs.policy.variants import DEFAULT
from jobs.report.recent import LONG_HISTORY, Recent
from jobs.settings import StepSettings
from jobs.tables.shop import BAG_EXTRAS, CATALOGUE, MARKET_RANKING, PRODUCT_LISTS, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table

Axes = Sequence[tuple[str, Mapping[str, int]]]
"""(column, value -> number) of each part of a list's key on the page."""


@dataclass(frozen=True)
class ShopWindowConfig(StepSettings):
    """How much the page holds; the page says what is left out."""

    products: PositiveInt = 5_000
    """Products with lists, those with the most recent events first; their lists may show others."""
    places: PositiveInt = 12
    """Places of each list."""
    bag_places: PositiveInt = 24
    """Places of the lists that a bag combines: as many as they have, or the combination is not the service's."""
    markets: PositiveInt = 60
    """Markets, the busiest first, if `positions` has room for them."""
    positions: PositiveInt = 1_200_000
    """Places of products' lists in all markets and variants together; each takes about 5 bytes of the page."""
    customers: PositiveInt = 200
    """Customers with a long history, of different markets."""
    history: PositiveInt = 40
    """Most recent events of each customer."""


@dataclass(frozen=True)
class ContextSide:
    """The alternatives that the model offers one customer beside a product."""

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


@dataclass(frozen=True)
class Chosen:
    """The products, markets and variants whose lists are shown."""

    products: list[str]
    """Those with the most recent events first."""
    markets: list[str]
    """Busiest first."""
    variants: list[str]
    tables: list[Table]
    """Those of PRODUCT_LISTS with rows of the night."""
    products_in_all: int
    markets_in_all: int

    @property
    def market_axes(self) -> Axes:
        """The parts of a key that all lists of a market have."""
        return [("market", numbers_of(self.markets)), ("variant", numbers_of(self.variants))]


def places_of(table: Table, config: ShopWindowConfig) -> int:
    """Places that the page holds of each list of a table of PRODUCT_LISTS."""
    return config.bag_places if table is BAG_EXTRAS else config.places


def choose(
    lake: Lake,
    config: ShopWindowConfig,
    contexts: Sequence[ContextPair],
    recent: Recent,
    counts: Mapping[str, ListCounts],
) -> Chosen:
    """The products with the most recent events, those of the contexts among them, and the busiest markets that fit."""
    night, events = of_night(recent.as_of), recent.events.of_products
    catalogue = {p for batch in scan(lake, CATALOGUE, ("product_id",), night) for p in batch["product_id"].to_pylist()}
    needed = {pair.product for pair in contexts} & catalogue
    ordered = sorted(catalogue, key=lambda product: (-events.get(product, 0), product))
    rest = [product for product in ordered if product not in needed][: max(config.products - len(needed), 0)]
    products = sorted([*needed, *rest], key=lambda product: (-events.get(product, 0), product))
    tables = [table for table in PRODUCT_LISTS if table.name in counts]
    ranked = Tally(("market", "variant"))
    for batch in scan(lake, MARKET_RANKING, ranked.keys, night):
        ranked.add(batch.columns)
    rankings = ranked.most_first()
    variants = {variant for _, variant, _ in rankings} | {v for table in tables for v in counts[table.name].variants}
    named = sorted({name or DEFAULT for name in variants} or {DEFAULT}, key=lambda name: (name != DEFAULT, name))
    there = {market for market, *_ in rankings}
    if YOU_MIGHT_ALSO_LIKE in tables:
        there.update(counts[YOU_MIGHT_ALSO_LIKE.name].markets)
    each = sum(places_of(table, config) for table in tables) * max(len(products), 1) * len(named)
    fitting = min(config.markets, max(1, config.positions // max(each, 1)))
    markets = sorted(there, key=lambda market: (-recent.events.of_markets.get(market, 0), market))[:fitting]
    return Chosen(products, markets, named, tables, len(catalogue), len(there))


def choose_customers(
    wanted: int, markets: Sequence[str], contexts: Iterable[ContextPair], recent: Recent
) -> dict[str, str]:
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


def numbers_of(texts: Iterable[str]) -> dict[str, int]:
    """Text -> its place among the texts."""
    return {text: number for number, text in enumerate(texts)}
