"""Which products, markets, variants and customers the shop window shows: chosen by the data, not by chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.lake import Lake
from jobs.list_counts import ListCounts
from jobs.reading import Tally, of_night, scan
from jobs.recent import LONG_HISTORY, Recent
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
