"""Examples of a night's lists by product name, for the report and the terminal: chosen by the data, not by chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.reading import Tally, Wanted, clean, matching, of_night, scan
from jobs.tables import (
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
    Table,
)

RECENT_DAYS = (7, 90, 36_500)
"""Days of events that make a product well known: the first that hold an event."""
KNOWN_PER_EXAMPLE = 40
"""Well-known products looked at for each example, so that categories can differ."""
LONG_HISTORY = 8
"""Events that make a customer's history worth showing; shorter ones only where there is no such customer."""
RECENT_CUSTOMERS = 500
"""Most recent customers looked at, so that markets can differ."""
SIGNS = {"GBP": "£", "EUR": "€", "USD": "$"}


@dataclass(frozen=True)
class Product:
    """A product as it is shown; texts are clean, empty where the catalogue has none."""

    product_id: str
    name: str
    brand: str = ""
    category: str = ""
    colour: str = ""
    price: float | None = None
    currency: str = ""

    @property
    def price_text(self) -> str:
        """The price for people; empty where there is none."""
        if self.price is None:
            return ""
        sign = SIGNS.get(self.currency)
        return f"{sign}{self.price:,.2f}" if sign else f"{self.price:,.2f} {self.currency}".strip()


@dataclass(frozen=True)
class Place:
    """One position of a list."""

    product: Product
    source: str
    """Why the product stands there."""


@dataclass(frozen=True)
class ProductPage:
    """A product with its two carousels in one market."""

    product: Product
    market: str
    events: int
    """Recent events in all markets."""
    alternatives: tuple[Place, ...]
    """You Might Also Like, best first."""
    bought: tuple[Place, ...]
    """People Also Bought, best first."""


@dataclass(frozen=True)
class Touch:
    """One event of a customer's history."""

    product: Product
    event_type: str
    at: datetime | None


@dataclass(frozen=True)
class CustomerPage:
    """A customer's history, most recent last, and their own list, best first."""

    customer_id: str
    market: str
    history: tuple[Touch, ...]
    places: tuple[Place, ...]


def product_pages(lake: Lake, as_of: date, wanted: int, awkward: bool = False) -> list[ProductPage]:
    """The products with the most recent events, of different categories where there are any.

    With `awkward` the last one is, where there is one, the best known product whose name holds a `<`: a page that
    shows it proves that names cannot become markup.
    """
    events = recent_events(lake, as_of)
    order = sorted(events, key=lambda product: (-sum(events[product].values()), product))
    known = order[: wanted * KNOWN_PER_EXAMPLE]
    odd = _odd_names(lake, as_of, order) if awkward else []
    markets = _listed_markets(lake, as_of, [*known, *odd], events)
    chosen = _of_different(known, {p: d.category for p, d in _products(lake, as_of, known).items()}, markets, wanted)
    extra = [product for product in odd if product in markets][:1]
    if extra and extra[0] not in chosen:
        chosen = [*chosen[: wanted - 1], *extra]
    return _pages(lake, as_of, chosen, markets, events)


def customer_pages(lake: Lake, as_of: date, wanted: int) -> list[CustomerPage]:
    """The customers with the most recent events among those with a long history, of different markets."""
    ids: list[str] = []
    for least in (LONG_HISTORY, 1):
        recent = recent_customers(lake, as_of, least)
        ids = _of_different(list(recent), recent, recent, wanted)
        if ids:
            break
    where = of_night(as_of) & pc.field("customer_id").isin(pa.array(ids, pa.string()))
    columns = ("customer_id", "market", "product_ids", "event_types", "event_timestamps")
    histories = {row["customer_id"]: row for row in matching(lake, CUSTOMER_SEQUENCES, columns, where)}
    rows = matching(lake, RECOMMENDED_FOR_YOU, ("customer_id", "market", "product_ids", "sources"), where)
    lists = {(row["customer_id"], row["market"]): row for row in rows}
    shown = {p for row in [*histories.values(), *lists.values()] for p in row["product_ids"]}
    products = _products(lake, as_of, shown)
    pages = []
    for customer in ids:
        row = histories[customer]
        events = zip(row["product_ids"], row["event_types"], row["event_timestamps"], strict=True)
        history = tuple(Touch(_named(products, p), clean(kind), at) for p, kind, at in events)
        places = _places(lists.get((customer, row["market"])), products)
        pages.append(CustomerPage(clean(customer), clean(row["market"]), history, places))
    return pages


def recent_events(lake: Lake, as_of: date) -> dict[str, dict[str, int]]:
    """Product -> market -> events of the last days before the night."""
    day = pc.field("event_date")
    counted: dict[str, dict[str, int]] = {}
    for days in RECENT_DAYS:
        tally = Tally(("product_id", "market"))
        where = (day >= pa.scalar(as_of - timedelta(days=days))) & (day < pa.scalar(as_of))
        for batch in scan(lake, EVENTS, tally.keys, Wanted(where=where)):
            tally.add(batch.columns)
        for product, market, count in tally.most_first():
            counted.setdefault(product, {})[market] = count
        if counted:
            break
    return counted


def _odd_names(lake: Lake, as_of: date, order: Sequence[str]) -> list[str]:
    where = of_night(as_of) & pc.match_substring(pc.field("name"), "<")
    rank = {product: place for place, product in enumerate(order)}
    odd = [row["product_id"] for row in matching(lake, CATALOGUE, ("product_id",), where)]
    return sorted(odd, key=lambda product: (rank.get(product, len(rank)), product))[:KNOWN_PER_EXAMPLE]


def _listed_markets(
    lake: Lake, as_of: date, products: Sequence[str], events: dict[str, dict[str, int]]
) -> dict[str, str]:
    """Product -> the market it is most wanted in among those it has a list in."""
    where = of_night(as_of) & pc.field("product_id").isin(pa.array(products, pa.string()))
    best: dict[str, tuple[int, str]] = {}
    for row in matching(lake, YOU_MIGHT_ALSO_LIKE, ("product_id", "market"), where):
        product, market = row["product_id"], row["market"]
        here = (-events.get(product, {}).get(market, 0), market)
        best[product] = min(best.get(product, here), here)
    return {product: market for product, (_, market) in best.items()}


def _of_different(order: Sequence[str], group: dict[str, str], usable: Iterable[str], wanted: int) -> list[str]:
    """The first `wanted` usable keys in `order`, one of each group first; an empty group is nobody's."""
    usable = set(usable)
    candidates = [key for key in order if key in usable]
    seen: set[str] = set()
    first = []
    for key in candidates:
        name = group.get(key, "")
        if not name or name not in seen:
            first.append(key)
            seen.add(name)
    rest = [key for key in candidates if key not in set(first)]
    return [*first, *rest][:wanted]


def _pages(
    lake: Lake, as_of: date, chosen: Sequence[str], markets: dict[str, str], events: dict[str, dict[str, int]]
) -> list[ProductPage]:
    where = (
        of_night(as_of)
        & pc.field("product_id").isin(pa.array(chosen, pa.string()))
        & pc.field("market").isin(pa.array(sorted({markets[product] for product in chosen}), pa.string()))
    )

    def lists(table: Table) -> dict[tuple[str, str], dict[str, Any]]:
        rows = matching(lake, table, ("product_id", "market", "product_ids", "sources"), where)
        return {(row["product_id"], row["market"]): row for row in rows}

    alternatives, bought = lists(YOU_MIGHT_ALSO_LIKE), lists(PEOPLE_ALSO_BOUGHT)
    keys = [(product, markets[product]) for product in chosen]
    shown = {p for key in keys for rows in (alternatives, bought) if key in rows for p in rows[key]["product_ids"]}
    products = _products(lake, as_of, shown | set(chosen))
    return [
        ProductPage(
            _named(products, product), clean(market), sum(events.get(product, {}).values()),
            _places(alternatives.get((product, market)), products), _places(bought.get((product, market)), products),
        )
        for product, market in keys
    ]  # fmt: skip


def recent_customers(lake: Lake, as_of: date, least: int) -> dict[str, str]:
    """Customer -> market of the most recent customers with at least `least` events, most recent first."""
    where = of_night(as_of) & (pc.list_value_length(pc.field("event_types")) >= least)
    kept: pa.Table | None = None
    for batch in scan(lake, CUSTOMER_SEQUENCES, ("customer_id", "market", "last_event_at"), where):
        part = pa.Table.from_batches([batch])
        both = part if kept is None else pa.concat_tables([kept, part])
        order = [("last_event_at", "descending"), ("customer_id", "ascending")]
        kept = both.take(pc.select_k_unstable(both, RECENT_CUSTOMERS, sort_keys=order))
    return {} if kept is None else dict(zip(kept["customer_id"].to_pylist(), kept["market"].to_pylist(), strict=True))


def _products(lake: Lake, as_of: date, ids: Iterable[str]) -> dict[str, Product]:
    where = of_night(as_of) & pc.field("product_id").isin(pa.array(sorted(ids), pa.string()))
    columns = ("product_id", "name", "brand", "category", "colour", "price", "currency")
    found = {}
    for row in matching(lake, CATALOGUE, columns, where):
        text = {name: clean(row[name]) for name in columns if name != "price"}
        found[row["product_id"]] = Product(**(text | {"name": text["name"] or text["product_id"]}), price=row["price"])
    return found


def _named(products: dict[str, Product], product: str) -> Product:
    """The product, under its id where tonight's catalogue has it no more."""
    return products.get(product) or Product(clean(product), clean(product))


def _places(row: dict[str, Any] | None, products: dict[str, Product]) -> tuple[Place, ...]:
    if row is None:
        return ()
    return tuple(Place(_named(products, p), clean(s)) for p, s in zip(row["product_ids"], row["sources"], strict=True))
