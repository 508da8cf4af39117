"""Reads example products and customers of a night with their lists, for the report and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.forgotten import own_salt
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, matching, of_night
from jobs.lake.rows import among
from jobs.lake.snapshot import KeysAmong
from jobs.report.recent import LONG_HISTORY, Recent, RecentEvents, first_of_each
from jobs.tables.shop import CATALOGUE, PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from jobs.text import clean

KNOWN_PER_EXAMPLE = 40
"""Well-known products that each example is chosen from, so that their categories can differ."""
SIGNS = {"GBP": "£", "EUR": "€", "USD": "$"}


@dataclass(frozen=True)
class ShownProduct:
    """A product as pages show it; texts are clean, and empty where the catalogue has none."""

    product_id: str
    name: str
    brand: str = ""
    category: str = ""
    colour: str = ""
    price: float | None = None
    currency: str = ""

    @property
    def price_text(self) -> str:
        """The price with its currency; empty without a price."""
        if self.price is None:
            return ""
        sign = SIGNS.get(self.currency)
        return f"{sign}{self.price:,.2f}" if sign else f"{self.price:,.2f} {self.currency}".strip()

    @property
    def short_name(self) -> str:
        """The name without the brand in front and the colour behind."""
        name = self.name
        if self.brand and name.lower().startswith(f"{self.brand.lower()} "):
            name = name[len(self.brand) :].strip()
        if self.colour and name.lower().endswith(f", {self.colour.lower()}"):
            name = name[: -len(self.colour) - 2].strip()
        return name or self.name


@dataclass(frozen=True)
class ListPlace:
    """One position of a list."""

    product: ShownProduct
    source: str
    """Why the product is there."""


@dataclass(frozen=True)
class ProductExample:
    """A product with its two carousels in one market."""

    product: ShownProduct
    market: str
    events: int
    """Recent events in all markets."""
    alternatives: tuple[ListPlace, ...]
    """You Might Also Like, best first."""
    bought: tuple[ListPlace, ...]
    """People Also Bought, best first."""


@dataclass(frozen=True)
class Touch:
    """One event of a customer's history."""

    product: ShownProduct
    event_type: str
    at: datetime | None


@dataclass(frozen=True)
class CustomerExample:
    """A customer's history, most recent last, and their own list, best first."""

    customer: str
    """The pseudonym."""
    market: str
    history: tuple[Touch, ...]
    places: tuple[ListPlace, ...]


def product_examples(
    lake: Lake, as_of: date, wanted: int, markup_name: bool = False, recent: Recent | None = None
) -> list[ProductExample]:
    """The products with the most recent events, of different categories where there are any.

    With `markup_name` the last one is, where there is one, the best known product whose name holds a `<`: a page that
    shows it proves that names cannot become markup. `recent` is what the caller has read already.
    """
    events = (recent or Recent(lake, as_of)).events
    order = sorted(events.of_products, key=lambda product: (-events.of_products[product], product))
    known = order[: wanted * KNOWN_PER_EXAMPLE]
    odd = _odd_names(lake, as_of, order) if markup_name else []
    markets = _listed_markets(lake, as_of, [*known, *odd], events)
    categories = {product: shown.category for product, shown in read_products(lake, as_of, known).items()}
    chosen = first_of_each((product for product in known if product in markets), categories)[:wanted]
    extra = [product for product in odd if product in markets][:1]
    if extra and extra[0] not in chosen:
        chosen = [*chosen[: wanted - 1], *extra]
    return _pages(lake, as_of, chosen, markets, events)


def customer_examples(lake: Lake, as_of: date, wanted: int, recent: Recent | None = None) -> list[CustomerExample]:
    """The customers with the most recent events among those with a long history, of different markets."""
    recent = recent or Recent(lake, as_of)
    ids: list[str] = []
    for least in (LONG_HISTORY, 1):
        homes = recent.homes(least)
        ids = first_of_each(homes, homes)[:wanted]
        if ids:
            break
    histories = recent.histories(ids)
    columns = ("customer_id", "market", "product_ids", "sources")
    lists = {
        (row["customer_id"], row["market"]): row
        for batch in lake.chosen(RECOMMENDED_FOR_YOU, columns, as_of, lambda b: among(b["customer_id"], ids))
        for row in batch.to_pylist()
    }
    shown = {p for row in [*histories.values(), *lists.values()] for p in row["product_ids"]}
    products = read_products(lake, as_of, shown)
    salt, pages = own_salt(lake), []
    for customer in ids:
        row = histories[customer]
        events = zip(row["product_ids"], row["event_types"], row["event_timestamps"], strict=True)
        history = tuple(Touch(products[p], clean(kind), at) for p, kind, at in events)
        places = _places(lists.get((customer, row["market"])), products)
        pages.append(CustomerExample(salt.pseudonym(customer), clean(row["market"]), history, places))
    return pages


def _odd_names(lake: Lake, as_of: date, order: Sequence[str]) -> list[str]:
    where = of_night(as_of) & pc.match_substring(pc.field("name"), "<")
    rank = {product: place for place, product in enumerate(order)}
    odd = [row["product_id"] for row in matching(lake, CATALOGUE, ("product_id",), where)]
    return sorted(odd, key=lambda product: (rank.get(product, len(rank)), product))[:KNOWN_PER_EXAMPLE]


def _listed_markets(lake: Lake, as_of: date, products: Sequence[str], events: RecentEvents) -> dict[str, str]:
    """Product -> the market with its most recent events, among the markets where it has a list."""
    counted = events.in_markets(products)
    best: dict[str, tuple[int, str]] = {}
    keys = ("product_id", "market")
    for batch in lake.chosen(YOU_MIGHT_ALSO_LIKE, keys, as_of, lambda b: among(b["product_id"], products)):
        for product, market in zip(*(batch[name].to_pylist() for name in keys), strict=True):
            here = (-counted.get((product, market), 0), market)
            best[product] = min(best.get(product, here), here)
    return {product: market for product, (_, market) in best.items()}


def _pages(
    lake: Lake, as_of: date, chosen: Sequence[str], markets: dict[str, str], events: RecentEvents
) -> list[ProductExample]:
    wanted = KeysAmong({"market": {markets[product] for product in chosen}, "product_id": chosen})

    def lists(table: Table) -> dict[tuple[str, str], StoredRow]:
        columns = ("product_id", "market", "variant", "product_ids", "sources")
        found = [row for b in lake.chosen(table, columns, as_of, wanted) for row in b.to_pylist()]
        found.sort(key=lambda row: str(row["variant"]))  # of several variants the last one is shown
        return {(row["product_id"], row["market"]): row for row in found}

    alternatives, bought = lists(YOU_MIGHT_ALSO_LIKE), lists(PEOPLE_ALSO_BOUGHT)
    keys = [(product, markets[product]) for product in chosen]
    shown = {p for key in keys for rows in (alternatives, bought) if key in rows for p in rows[key]["product_ids"]}
    products = read_products(lake, as_of, shown | set(chosen))
    return [
        ProductExample(
            products[product],
            clean(market),
            events.of_products.get(product, 0),
            _places(alternatives.get((product, market)), products),
            _places(bought.get((product, market)), products),
        )
        for product, market in keys
    ]


def read_products(lake: Lake, as_of: date, ids: Iterable[str]) -> dict[str, ShownProduct]:
    """Product id -> the product; one that the night's catalogue does not have goes by its id."""
    wanted = sorted(set(ids))
    where = of_night(as_of) & pc.field("product_id").isin(pa.array(wanted, pa.string()))
    columns = ("product_id", "name", "brand", "category", "colour", "price", "currency")
    found = {product: ShownProduct(clean(product), clean(product)) for product in wanted}
    for row in matching(lake, CATALOGUE, columns, where):
        text = {name: clean(row[name]) for name in columns if name != "price"}
        text["name"] = text["name"] or text["product_id"]
        found[row["product_id"]] = ShownProduct(**text, price=row["price"])
    return found


def _places(row: StoredRow | None, products: dict[str, ShownProduct]) -> tuple[ListPlace, ...]:
    if row is None:
        return ()
    return tuple(ListPlace(products[p], clean(s)) for p, s in zip(row["product_ids"], row["sources"], strict=True))
