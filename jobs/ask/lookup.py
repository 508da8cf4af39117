"""Prints the lists that a service gets from the online store, with the names and prices of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from feature_repo.client import History, OutfitPage, ProductList, Recommendations, TooManyError
from feature_repo.client.answers import FRESH, OWN
from feature_repo.client.arguments import Recent
from feature_repo.client.page import DEFAULT
from feature_repo.client.ranking import ALL_PRODUCTS
from jobs.errors import UserError
from jobs.text import clean

ADD_ONS = 12
"""Add-ons shown for a bag."""
EVENTS = 10
"""Most recent events shown of a customer's history."""


def print_customer(
    client: Recommendations, customer: str, market: str | None, console: Console, recent: Recent = ()
) -> None:
    """Print a customer's history and home page after `recent` events; raises UserError without a market for one who is
    not online.
    """
    history = client.history(customer) if market else _history(client, customer, "; give --market for a new customer")
    market = market or history.market
    page = client.home(customer, market, recent)
    console.print(f"Customer [bold]{_plain(customer)}[/], market {_plain(market)}, night {page.shown.night}")
    if history.known:
        events = {"event": history.event_types[-EVENTS:]}
        print_products(client, console, "Last events, newest at the bottom", history.product_ids[-EVENTS:], events)
    else:
        console.print("The night does not know the customer.")
    _print_list(client, console, "Recommended for you", page.list, market)


def print_product(
    client: Recommendations,
    product: str,
    market: str | None,
    console: Console,
    variant: str = DEFAULT,
    recent: Recent = (),
) -> None:
    """Print a product's two carousels, the first one after `recent` events, and its outfits; raises UserError without
    a market.
    """
    if market is None:
        raise UserError("a product's carousels are per market; give --market as well")
    details = client.product(product)
    page = client.product_page(product, market, variant, recent)
    console.print(
        f"Product [bold]{_plain(product)}[/] {_plain(details.name)}, market {_plain(market)}, "
        f"variant {_plain(variant)}, night {page.shown.night}"
    )
    if not details.known:
        console.print("The live catalogue does not have the product.")
    _print_list(client, console, "You Might Also Like", page.you_might_also_like, market)
    _print_list(client, console, "People Also Bought", page.people_also_bought, market)
    _print_looks(client, console, client.outfits(product, market, variant))


def print_ranking(
    client: Recommendations,
    customer: str,
    market: str | None,
    category: str | None,
    products: Sequence[str] | None,
    console: Console,
    variant: str = DEFAULT,
) -> None:
    """Print the products of a category page, or those given, in the customer's order.

    Raises UserError for a customer who is not online where no market is given, for a category without a page, and for
    more than 500 products.
    """
    market = market or _history(client, customer, "; give --market for a new customer").market
    if products is None:
        page = client.category_page(market, category or ALL_PRODUCTS, variant).list
        if not page.product_ids:
            raise UserError(
                f"no ranking of category {category!r} in market {market!r}, variant {variant!r}, is online; categories "
                f"are those of the live catalogue, and {ALL_PRODUCTS} is all products"
            )
        products = page.product_ids
    try:
        ranking = client.rank(customer, products, market, category, variant)
    except TooManyError as error:
        raise UserError(str(error)) from None
    places = ranking.places
    ranked = f"{len(places)} products" if category is None else f"category {_plain(category)}"
    console.print(
        f"Customer [bold]{_plain(customer)}[/], market {_plain(market)}, {ranked}, night {ranking.shown.night}"
    )
    scores = ["" if place.score is None else f"{place.score:.4f}" for place in places]
    columns = {"score": scores, "by": [place.source for place in places]}
    print_products(client, console, "In this customer's order", [place.product_id for place in places], columns)


def print_bag(
    client: Recommendations, products: Sequence[str], market: str, console: Console, variant: str = DEFAULT
) -> None:
    """Print A Little Something Extra for a bag; raises UserError for an empty bag."""
    if not any(products):
        raise UserError("the bag is empty; name at least one product")
    page = client.bag(products, market, variant, ADD_ONS)
    bag = ", ".join(_plain(product) for product in dict.fromkeys(products) if product)
    console.print(f"Bag [bold]{bag}[/], market {_plain(market)}, night {page.shown.night}")
    _print_list(client, console, "A Little Something Extra", page.list, market)


def print_products(
    client: Recommendations, console: Console, title: str, ids: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> None:
    """Print products in their order with names and prices; `columns` are further columns by their headings."""
    grid = Grid(title=title, title_justify="left", box=None, padding=(0, 1))
    for heading in ("", "product", "name", "brand", "price", *columns):
        grid.add_column(heading, justify="right" if heading in ("", "price", "score") else "left")
    for place, (product, detail) in enumerate(zip(ids, client.products(ids), strict=True)):
        price = "" if detail.price is None else f"{detail.price:.2f} {detail.currency}"
        cells = (product, detail.name or "(no longer sold)", detail.brand, price)
        grid.add_row(str(place + 1), *map(_plain, (*cells, *(column[place] for column in columns.values()))))
    console.print(grid)


def _history(client: Recommendations, customer: str, remedy: str = "") -> History:
    found = client.history(customer)
    if not found.known:
        raise UserError(f"customer {customer!r} is not online; a night knows customers with an event before it{remedy}")
    return found


def _print_list(client: Recommendations, console: Console, title: str, shown: ProductList, market: str) -> None:
    if not shown.product_ids:
        console.print(f"{title}: nothing for market {_plain(market)}: {shown.reason}")
        return
    if shown.origin == FRESH:
        title = f"{title}, made now of the visit"
    elif shown.origin != OWN:
        title = f"{title}: has no list of its own, a service shows the {shown.origin}"
    columns = {"why": shown.sources} if shown.sources else {"score": [f"{score:.4f}" for score in shown.scores]}
    print_products(client, console, title, shown.product_ids, columns)


def _print_looks(client: Recommendations, console: Console, page: OutfitPage) -> None:
    for number, look in enumerate(page.looks, 1):
        columns = {"role": look.roles, "why": look.sources}
        print_products(client, console, f"Complete the look, {number}", look.product_ids, columns)


def _plain(text: str | None) -> str:
    return escape(clean(text))
