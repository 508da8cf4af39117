"""What a service gets from Feast online, printed with product names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from jobs.bag import bag_lists
from jobs.errors import UserError
from jobs.online import OnlineStore
from jobs.ranking import page_of, rank
from jobs.reading import clean
from jobs.variants import DEFAULT
from models.bag import BagList, combine

PLACES = 12
"""Extras shown for a bag."""
CAROUSELS = (("you_might_also_like", "You Might Also Like"), ("people_also_bought", "People Also Bought"))


def print_customer(store: OnlineStore, customer: str, market: str | None, console: Console) -> None:
    """A customer's history and own list; raises UserError for one who is not online."""
    history = _history(store, customer)
    market = market or str(history["market"])
    found = store.read("home_v1", [{"customer_id": customer, "market": market}])[0]
    console.print(f"Customer [bold]{_plain(customer)}[/], market {_plain(market)}, night {history['night']}")
    events = list(zip(history["product_ids"], history["event_types"], strict=True))[-10:]
    print_products(store, console, "Last events, newest at the bottom", [product for product, _ in events],
                   {"event": [kind for _, kind in events]})  # fmt: skip
    _print_recommendations(store, console, "Recommended for you", found, market)


def print_product(
    store: OnlineStore, product: str, market: str | None, console: Console, variant: str = DEFAULT
) -> None:
    """A product's two carousels; raises UserError without a market, and for a product that is not sold any more."""
    if market is None:
        raise UserError("a product's carousels are per market; give --market as well")
    details = store.read("product_details_v1", [{"product_id": product}])[0]
    if details["name"] is None:
        raise UserError(f"product {product!r} is not in the live catalogue")
    found = store.read("product_page_v2", [{"product_id": product, "market": market, "variant": variant}])[0]
    console.print(f"Product [bold]{_plain(product)}[/] {_plain(details['name'])}, market {_plain(market)}, "
                  f"variant {_plain(variant)}, night {details['night']}")  # fmt: skip
    for view, title in CAROUSELS:
        _print_recommendations(
            store, console, title, {k: found[f"{view}__{k}"] for k in ("product_ids", "sources")}, market
        )


def print_ranking(
    store: OnlineStore, customer: str, market: str | None, category: str | None, products: Sequence[str] | None,
    console: Console, variant: str = DEFAULT,
) -> None:  # fmt: skip
    """The products of a category page, or those given, in the customer's order.

    Raises UserError without a market for a customer who is not online, and for a category that has no ranking.
    """
    market = market or str(_history(store, customer, "; give --market for somebody new")["market"])
    candidates = list(products) if products is not None else page_of(store, market, str(category), variant)
    ranked = rank(store, customer, market, variant, candidates, category)
    what = f"category {_plain(category)}" if products is None else f"{len(ranked)} products"
    console.print(f"Customer [bold]{_plain(customer)}[/], market {_plain(market)}, {what}")
    scores = ["" if place.score is None else f"{place.score:.4f}" for place in ranked]
    print_products(store, console, "In this customer's order", [place.product_id for place in ranked],
                   {"score": scores, "by": [place.source for place in ranked]})  # fmt: skip


def print_products(
    store: OnlineStore, console: Console, title: str, ids: Sequence[str], notes: Mapping[str, Sequence[str]]
) -> None:
    """Products in their order with names and prices; `notes` are further columns by their headings."""
    details = store.read("product_details_v1", [{"product_id": product} for product in ids])
    grid = Grid(title=title, title_justify="left", box=None, padding=(0, 1))
    for heading in ("", "product", "name", "brand", "price", *notes):
        grid.add_column(heading, justify="right" if heading in ("", "price", "score") else "left")
    for place, (product, detail) in enumerate(zip(ids, details, strict=True)):
        price = "" if detail["price"] is None else f"{detail['price']:.2f} {detail['currency'] or ''}"
        texts = (product, detail["name"] or "(no longer sold)", detail["brand"], price)
        grid.add_row(str(place + 1), *(_plain(text) for text in texts), *(_plain(notes[name][place]) for name in notes))
    console.print(grid)


def print_bag(store: OnlineStore, products: Sequence[str], market: str, console: Console, variant: str) -> None:
    """A Little Something Extra for a bag; raises UserError for an empty bag."""
    found = bag_lists(store, products, market, variant)
    lists = [
        BagList(product, extras.product_ids, extras.scores, extras.categories,
                [found.prices.get(shown) for shown in extras.product_ids])
        for product, extras in zip(found.products, found.lists, strict=True)
    ]  # fmt: skip
    known = [found.prices[product] for product in found.products if product in found.prices]
    best = combine(lists, found.categories, PLACES, sum(known) if known else None)
    bag = ", ".join(_plain(product) for product in found.products)
    if not best:
        console.print(f"A Little Something Extra for {bag}: nothing online for market {_plain(market)}")
        return
    title = f"A Little Something Extra for {bag}, market {_plain(market)}, night {found.night}"
    scores = [f"{score:.4f}" for _, score in best]
    print_products(store, console, title, [product for product, _ in best], {"score": scores})


def _history(store: OnlineStore, customer: str, remedy: str = "") -> dict[str, Any]:
    found = store.read("customer_history_v1", [{"customer_id": customer}])[0]
    if found["product_ids"] is None:
        raise UserError(f"customer {customer!r} is not online; the night knows those with an event before it{remedy}")
    return found


def _print_recommendations(
    store: OnlineStore, console: Console, title: str, found: dict[str, Any], market: str
) -> None:
    if not found["product_ids"]:
        console.print(f"{title}: nothing online for market {_plain(market)}")
        return
    print_products(store, console, title, found["product_ids"], {"why": found["sources"]})


def _plain(text: str | None) -> str:
    return escape(clean(text))
