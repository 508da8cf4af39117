"""What a service gets from Feast online, printed with product names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from feature_repo.client.bag import BagList, combine
from feature_repo.client.ranking import ALL_PRODUCTS, Ranked, TooManyError, Vector, distinct, in_order, inner_products
from jobs.errors import UserError
from jobs.policy.variants import DEFAULT
from jobs.publish.store import OnlineStore
from jobs.text import clean

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


# What the online store has for a bag: each product's add-ons, and what the rules of a bag ask of the products.


@dataclass(frozen=True)
class Extras:
    """The add-ons to a bag with one product, best first; the three are parallel."""

    product_ids: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    """Empty where a product has none."""


@dataclass(frozen=True)
class BagLists:
    """Everything that the add-ons to one bag are combined from."""

    products: tuple[str, ...]
    """The bag, each product once."""
    lists: tuple[Extras, ...]
    """One a product of the bag; empty for a product that has none online."""
    categories: tuple[str, ...]
    """Category of each product of the bag; empty where it has none or is not in the live catalogue."""
    prices: dict[str, float]
    """Price of each product of the bag or of a list that has one."""
    night: str
    """The night the lists are of; empty where there is none."""


def bag_lists(store: OnlineStore, products: Sequence[str], market: str, variant: str = DEFAULT) -> BagLists:
    """The lists of a bag's products with categories and prices; raises UserError for a bag without a product."""
    bag = list(dict.fromkeys(product for product in products if product))
    if not bag:
        raise UserError("the bag is empty; name at least one product")
    keys = {"product_id": bag, "market": [market] * len(bag), "variant": [variant] * len(bag)}
    found = store.columns("bag_page_v1", keys)
    columns = (found[name] for name in ("product_ids", "scores", "categories"))
    lists = tuple(
        Extras(tuple(ids or ()), tuple(scores or ()), tuple(name or "" for name in categories or ()))
        for ids, scores, categories in zip(*columns, strict=True)
    )
    named = list(dict.fromkeys([*bag, *(product for extras in lists for product in extras.product_ids)]))
    details = store.columns("product_details_v1", {"product_id": named})
    prices = {
        product: price for product, price in zip(named, details["price"], strict=True) if price is not None
    }  # fmt: skip
    categories = tuple(name or "" for name in details["category"][: len(bag)])
    return BagLists(tuple(bag), lists, categories, prices, next((night for night in found["night"] if night), ""))


# A list for everybody: a key that has none gets the market's order, and the answer says which it is.

OWN, MARKET, NOTHING = "own", "market", "nothing"
"""What an answer is: the key's own list; the market's order; neither is online."""


@dataclass(frozen=True)
class Listed:
    """One list, and whose it is."""

    product_ids: tuple[str, ...]
    """Best first."""
    scores: tuple[float, ...]
    """Parallel to them."""
    answer: str
    """OWN, MARKET or NOTHING."""
    night: str
    """The night that is live, as ISO date; empty where none is."""


def list_of(
    store: OnlineStore, view: str, key: Sequence[str], market: str, variant: str = DEFAULT, hide: Sequence[str] = ()
) -> Listed:
    """The list of a key of a view (its key columns' values in their order), else the market's order of all products.

    Both are read in one round trip, of one night. `hide` leaves products out of the market's order: the one whose
    page it is, those in the bag.
    """
    found = store.reader.read([(view, key), ("market_ranking", (market, ALL_PRODUCTS, variant))])
    own, everybody = (row.features if row else {} for row in found.rows)
    if own.get("product_ids"):
        return Listed(tuple(own["product_ids"]), _fallback_scores(own), OWN, found.live.as_of)
    left = [
        (product, score)
        for product, score in zip(everybody.get("product_ids") or (), _fallback_scores(everybody), strict=True)
        if product not in set(hide)
    ]
    products, scores = tuple(product for product, _ in left), tuple(score for _, score in left)
    return Listed(products, scores, MARKET if left else NOTHING, found.live.as_of)


def _fallback_scores(features: dict[str, Any]) -> tuple[float, ...]:
    scores = features.get("scores")
    return () if scores is None else tuple(scores.tolist())


# Ranking on demand: candidates of a category or search page in a customer's own order, from the online store alone.


def rank(
    store: OnlineStore, customer_id: str, market: str, variant: str, candidates: Sequence[str],
    category: str | None = None,
) -> list[Ranked]:  # fmt: skip
    """The candidates, best first; every distinct non-empty id of `candidates` once.

    A customer with a vector gets them by its inner product with theirs, on the page of a `category` with what the
    market's interest in them adds (`models.popularity`); candidates without a vector of the same model
    stand after those, and a customer whom the model does not know gets all of them so: by the market's order of
    `category` (where it is given), then by its order of all products, then as they were given. Equal scores stand as
    they were given. Services rank by the same functions (`feature_repo.client`), at less cost.

    Raises UserError for more than MOST candidates.
    """
    try:
        wanted = distinct(candidates)
    except TooManyError as error:
        raise UserError(str(error)) from None
    scores = _scores(store, customer_id, wanted) if wanted else {}
    return in_order(wanted, scores, category, lambda name: _market_ranking(store, market, name, variant))


def page_of(store: OnlineStore, market: str, category: str, variant: str = DEFAULT) -> list[str]:
    """The products of a category page in the market's order; raises UserError where there is no such page online."""
    found = _market_ranking(store, market, category, variant)
    if not found:
        raise UserError(
            f"no ranking of category {category!r} in market {market!r}, variant {variant!r}, is online; categories are "
            f"those of the live catalogue, and {ALL_PRODUCTS} is all products"
        )
    return list(found)


def _scores(store: OnlineStore, customer_id: str, products: list[str]) -> dict[str, float]:
    customer = store.read("customer_vector_v1", [{"customer_id": customer_id}])[0]
    if customer["vector"] is None:
        return {}
    found = store.columns("product_vector_v1", {"product_id": products})
    vectors: list[Vector | None] = [
        None if vector is None else (vector, made_by)
        for vector, made_by in zip(found["vector"], found["model_id"], strict=True)
    ]
    return inner_products((customer["vector"], customer["model_id"]), products, vectors)


def _market_ranking(store: OnlineStore, market: str, category: str, variant: str) -> dict[str, float]:
    """Product -> score in the market's order; empty where it is not online."""
    key = {"market": market, "category": category, "variant": variant}
    found = store.read("category_page_v1", [key])[0]
    return dict(zip(found["product_ids"] or [], found["scores"] or [], strict=True))
