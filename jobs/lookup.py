"""What a service gets from Feast online, printed with product names."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from jobs.errors import UserError
from jobs.online import OnlineStore
from jobs.reading import clean


def print_customer(store: OnlineStore, customer: str, market: str | None, console: Console) -> None:
    """A customer's history and own list; raises UserError for one who is not online."""
    history = store.read("customer_history_v1", [{"customer_id": customer}])[0]
    if history["product_ids"] is None:
        raise UserError(f"customer {customer!r} is not online; the night knows customers with an event before it")
    market = market or history["market"]
    found = store.read("home_v1", [{"customer_id": customer, "market": market}])[0]
    console.print(f"Customer [bold]{_plain(customer)}[/], market {_plain(market)}, night {history['night']}")
    events = list(zip(history["product_ids"], history["event_types"], strict=True))[-10:]
    _print_list(store, console, "Last events, newest at the bottom", [e[0] for e in events], [e[1] for e in events],
                "event")  # fmt: skip
    _print_recommendations(store, console, "Recommended for you", found, market)


def print_product(store: OnlineStore, product: str, market: str | None, console: Console) -> None:
    """A product's two carousels in a market; raises UserError without a market or for an unknown product."""
    if market is None:
        raise UserError("a product's carousels are per market; give --market as well")
    details = store.read("product_details_v1", [{"product_id": product}])[0]
    if details["name"] is None:
        raise UserError(f"product {product!r} is not in the live catalogue")
    found = store.read("product_page_v1", [{"product_id": product, "market": market}])[0]
    console.print(f"Product [bold]{_plain(product)}[/] {_plain(details['name'])}, market {_plain(market)}, "
                  f"night {details['night']}")  # fmt: skip
    for view, title in (("you_might_also_like", "You Might Also Like"), ("people_also_bought", "People Also Bought")):
        _print_recommendations(
            store, console, title, {k: found[f"{view}__{k}"] for k in ("product_ids", "sources")}, market
        )


def _print_recommendations(
    store: OnlineStore, console: Console, title: str, found: dict[str, Any], market: str
) -> None:
    if not found["product_ids"]:
        console.print(f"{title}: nothing online for market {_plain(market)}")
        return
    _print_list(store, console, title, found["product_ids"], found["sources"])


def _print_list(
    store: OnlineStore, console: Console, title: str, ids: list[str], notes: list[str], note: str = "why"
) -> None:
    details = store.read("product_details_v1", [{"product_id": product} for product in ids])
    grid = Grid(title=title, title_justify="left", box=None, padding=(0, 1))
    for heading in ("", "product", "name", "brand", "price", note):
        grid.add_column(heading, justify="right" if heading in ("", "price") else "left")
    for place, (product, detail, text) in enumerate(zip(ids, details, notes, strict=True), start=1):
        price = "" if detail["price"] is None else f"{detail['price']:.2f} {detail['currency'] or ''}"
        grid.add_row(str(place), _plain(product), _plain(detail["name"] or "(no longer sold)"),
                     _plain(detail["brand"] or ""), _plain(price), _plain(text))  # fmt: skip
    console.print(grid)


def _plain(text: str) -> str:
    return escape(clean(text))
