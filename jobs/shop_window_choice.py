"""Which products, markets, variants and customers the shop window shows: chosen by the data, not by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow.compute as pc

from jobs.examples import LONG_HISTORY, recent_customers, recent_events
from jobs.lake import Lake
from jobs.reading import Tally, count_rows, of_night, scan
from jobs.shop_window_config import ContextPair, ShopWindowConfig
from jobs.tables import BAG_EXTRAS, CATALOGUE, MARKET_RANKING, PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE, Table
from jobs.variants import DEFAULT

PRODUCT_LISTS = (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, BAG_EXTRAS)
"""Lists of a product in a market."""


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


def chosen_of(lake: Lake, as_of: date, config: ShopWindowConfig, contexts: Sequence[ContextPair]) -> Chosen:
    """The most wanted products, those of the contexts among them, and as many of the busiest markets as fit."""
    night = of_night(as_of)
    events = recent_events(lake, as_of)
    wanted = {product: -sum(counts.values()) for product, counts in events.items()}
    catalogue = {p for batch in scan(lake, CATALOGUE, ("product_id",), night) for p in batch["product_id"].to_pylist()}
    ordered = sorted(catalogue, key=lambda product: (wanted.get(product, 0), product))
    needed = {pair.product for pair in contexts} & catalogue
    rest = [product for product in ordered if product not in needed][: max(config.products - len(needed), 0)]
    products = sorted([*needed, *rest], key=lambda product: (wanted.get(product, 0), product))
    busy = Counter(dict.fromkeys(_all_markets(lake, as_of), 0))
    for counts in events.values():
        busy.update({market: count for market, count in counts.items() if market in busy})
    variants = _variants(lake, as_of)
    tables = [table for table in PRODUCT_LISTS if count_rows(lake, table, as_of)]
    each = sum(places_of(table, config) for table in tables) * max(len(products), 1) * len(variants)
    fitting = min(config.markets, max(1, config.positions // max(each, 1)))
    markets = sorted(busy, key=lambda market: (-busy[market], market))[:fitting]
    return Chosen(products, markets, variants, tables, {"products": len(catalogue), "markets": len(busy)})


def places_of(table: Table, config: ShopWindowConfig) -> int:
    """Places that the page holds of each list of a table of PRODUCT_LISTS."""
    return config.bag_places if table is BAG_EXTRAS else config.places


def _all_markets(lake: Lake, as_of: date) -> set[str]:
    tally = Tally(("market",))
    for table in (YOU_MIGHT_ALSO_LIKE, MARKET_RANKING):
        for batch in scan(lake, table, ("market",), of_night(as_of)):
            tally.add(batch.columns)
    return {market for market, _ in tally.most_first()}


def _variants(lake: Lake, as_of: date) -> list[str]:
    """The variants of the night's lists, `default` first."""
    tally = Tally(("variant",))
    for table in (*PRODUCT_LISTS, MARKET_RANKING):
        for batch in scan(lake, table, ("variant",), of_night(as_of)):
            tally.add([pc.fill_null(batch["variant"], DEFAULT)])
    return sorted({name for name, _ in tally.most_first()} or {DEFAULT}, key=lambda name: (name != DEFAULT, name))


def customers_of(
    lake: Lake, as_of: date, wanted: int, markets: Sequence[str], contexts: Iterable[ContextPair]
) -> dict[str, str]:
    """Customer -> market: those of the contexts, then the most recent with a long history, markets taking turns."""
    recent = recent_customers(lake, as_of, LONG_HISTORY) or recent_customers(lake, as_of, 1)
    turns: Counter[str] = Counter()
    queue = []
    for place, (customer, market) in enumerate(recent.items()):
        if market in markets:
            queue.append((turns[market], place, customer))
            turns[market] += 1
    chosen = {side.customer_id: pair.market for pair in contexts for side in pair.sides}
    for _, _, customer in sorted(queue):
        if len(chosen) >= wanted:
            break
        chosen.setdefault(customer, recent[customer])
    return chosen
