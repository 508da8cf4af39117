"""Answers the requests of pages: `Recommendations(address).product_page(..)`, `.home(..)`, `.bag(..)`, `.rank(..)`.

An HTTP API for services in other languages stands on this class alone: it has the cache, the fallbacks and the promise
that an answer is of one night.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from feature_repo.client import views
from feature_repo.client.answers import (
    DEFAULT_VARIANT,
    EMPTY,
    OWN,
    BagPage,
    History,
    ListPage,
    Product,
    ProductList,
    ProductPage,
    Ranking,
)
from feature_repo.client.bag import BagList, combine
from feature_repo.client.nights import CachedReader
from feature_repo.client.ranking import ALL_PRODUCTS, distinct, in_order, inner_products
from feature_repo.client.views import Key
from feature_repo.online.backend import Backend

DEFAULT = "default"
"""The variant of a shop without experiments."""
ATTEMPTS = 4
"""Attempts at an answer of two round trips that a publication falls between."""
ATTRIBUTES = tuple(field.name for field in fields(Product))[2:]


class Recommendations:
    """A client of the online store; one per process, for all of its threads.

    An unknown customer, or a product without a list, gets the market's most popular products, and the answer says so.
    While the store is away, products and rankings come from this process's cache and customers get their market's
    order; only a client that has never reached the store raises StoreAwayError.
    """

    def __init__(
        self,
        address: str | Backend,
        *,
        prefix: str = "n",
        refresh_seconds: float = 1.0,
        cache_bytes: int = 256 << 20,
        connections: int = 16,
        timeout: float = 0.2,
        **options: Any,
    ) -> None:
        """A client of the store at `address`: redis://.., rediss://.., host:port,.., sqlite:///PATH or a Backend.

        It asks which night is live every `refresh_seconds` at most, so it sees a publication at most that much later.
        It keeps up to `cache_bytes` of products' rows (0: none), and two nights' worth for a while after a
        publication. It opens at most `connections`, and waits `timeout` seconds for one or for an answer; a request
        that fails is retried once. `options` are those of `feature_repo.online.redis_backend.redis_client`, such as
        `password`, `cluster` or `connect_timeout` (seconds, by default 0.2).
        """
        from feature_repo.online.reader import SQLITE, Reader, backend_at

        if isinstance(address, str):
            if not address.startswith(SQLITE):
                options = {"timeout": timeout, "connect_timeout": 0.2, "retries": 1} | options
            address = backend_at(address, prefix, **options)
        self.reader = Reader(address)
        self.nights = CachedReader(self.reader, refresh_seconds, cache_bytes, connections, timeout)

    def close(self) -> None:
        """Close connections."""
        self.reader.backend.close()

    # --- pages

    def product_page(self, product_id: str, market: str, variant: str = DEFAULT) -> ProductPage:
        """You Might Also Like and People Also Bought of a product."""
        keys: list[Key] = []
        for one in _variants(variant):
            key = (product_id, market, one)
            keys += [(views.ALTERNATIVES, key), (views.GOES_WITH, key), (views.HEAD, (market, one))]
        found = self.nights.look(keys)
        similar, bought, heads = (found.values[place::3] for place in range(3))
        return ProductPage(found.shown, _first(similar, heads, (product_id,)), _first(bought, heads, (product_id,)))

    def home(self, customer_id: str, market: str) -> ListPage:
        """A customer's own list in a market."""
        found = self.nights.look([(views.HOME, (customer_id, market)), (views.HEAD, (market, DEFAULT))])
        return ListPage(found.shown, _first(found.values[:1], found.values[1:]))

    def category_page(self, market: str, category: str = ALL_PRODUCTS, variant: str = DEFAULT) -> ListPage:
        """A market's order of a category, by default of all products; of all for an unknown category, too.

        A category called `*` has the page `\\*` (`feature_repo.client.ranking.page_of`).
        """
        variants = _variants(variant)
        keys: list[Key] = [(views.ORDER, (market, category, one)) for one in variants]
        found = self.nights.look([*keys, *((views.HEAD, (market, one)) for one in variants)])
        return ListPage(found.shown, _first(found.values[: len(variants)], found.values[len(variants) :]))

    def bag(self, product_ids: Sequence[str], market: str, variant: str = DEFAULT, places: int = 24) -> BagPage:
        """Add-ons to a bag, combined from the lists of its products (`feature_repo.client.bag`)."""
        bag = list(dict.fromkeys(product for product in product_ids if product))
        variants = _variants(variant)
        keys: list[Key] = [(views.EXTRAS, (product, market, one)) for one in variants for product in bag]
        keys += [(views.HEAD, (market, one)) for one in variants]
        for _ in range(ATTEMPTS):
            extras = self.nights.look(keys)
            lists = extras.values[: len(bag)]
            if not any(lists) and len(variants) > 1:
                lists = extras.values[len(bag) : 2 * len(bag)]
            names = list(dict.fromkeys([*bag, *(product for one in lists if one for product in one.product_ids)]))
            details = self.nights.look([(views.CATALOGUE, (name,)) for name in names])
            if details.live == extras.live:
                break
        else:
            lists = [None] * len(bag)  # prices of another night: better no add-ons
        best = _combined(bag, lists, dict(zip(names, details.values, strict=True)), places)
        shown = replace(
            extras.shown,
            cached=extras.shown.cached and details.shown.cached,
            away=extras.shown.away or details.shown.away,
        )
        return BagPage(shown, best or _first([], extras.values[-len(variants) :], bag))

    def rank(
        self,
        customer_id: str,
        product_ids: Sequence[str],
        market: str,
        category: str | None = None,
        variant: str = DEFAULT,
    ) -> Ranking:
        """Candidates in a customer's order; every distinct non-empty id once (`feature_repo.client.ranking`).

        Raises TooManyError for more than 500 candidates.
        """
        wanted = distinct(product_ids)
        keys: list[Key] = [(views.PRODUCT_VECTOR, (product,)) for product in wanted]
        keys += [(views.ORDER, (market, name, variant)) for name in (category or ALL_PRODUCTS, ALL_PRODUCTS)]
        found = self.nights.look([*keys, (views.CUSTOMER_VECTOR, (customer_id,))])
        *vectors, own, all_products, customer = found.values
        orders: dict[str | None, ProductList | None] = {category: own, ALL_PRODUCTS: all_products}

        def order(name: str) -> dict[str, float]:
            listed = orders[name] or EMPTY
            return dict(zip(listed.product_ids, listed.scores, strict=True))

        scores = inner_products(customer, wanted, vectors)
        return Ranking(found.shown, tuple(in_order(wanted, scores, category, order)))

    # --- facts

    def history(self, customer_id: str) -> History:
        """A customer's recent events."""
        found = self.nights.look([(views.HISTORY, (customer_id,))])
        row = found.values[0]
        if row is None:
            return History(found.shown, False)
        products, types, times = (tuple(row[name] or ()) for name in ("product_ids", "event_types", "event_timestamps"))
        return History(found.shown, True, products, types, times, row["market"] or "")

    def product(self, product_id: str) -> Product:
        """A product's name and attributes."""
        return self.products([product_id])[0]

    def products(self, product_ids: Sequence[str]) -> list[Product]:
        """Names and attributes of some products in the order given, all of one night."""
        found = self.nights.look([(views.CATALOGUE, (product,)) for product in product_ids])
        return [
            Product(found.shown, row is not None, **{n: row[n] for n in ATTRIBUTES if row and row[n] is not None})
            for row in found.values
        ]


def _variants(variant: str) -> tuple[str, ...]:
    return (variant,) if variant == DEFAULT else (variant, DEFAULT)


def _first(
    own: Sequence[ProductList | None], heads: Sequence[ProductList | None], without: Sequence[str] = ()
) -> ProductList:
    """The first list there is: of the variant asked for, of the default variant, the market's order, an empty one."""
    for place, found in enumerate(own):
        if found is not None:
            return replace(found, origin=DEFAULT_VARIANT) if place else found
    head = next((found for found in heads if found is not None), EMPTY)
    kept = [place for place, product in enumerate(head.product_ids) if product not in without]
    if len(kept) == len(head.product_ids):
        return head

    def left(column: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(column[place] for place in kept)

    return replace(head, product_ids=left(head.product_ids), scores=left(head.scores), sources=left(head.sources))


def _combined(
    bag: Sequence[str],
    found: Sequence[ProductList | None],
    details: Mapping[str, Mapping[str, Any] | None],
    places: int,
) -> ProductList | None:
    """The add-ons combined from the lists `found` of a bag's products; None where there are none."""
    prices = {name: row["price"] for name, row in details.items() if row is not None and row["price"] is not None}
    lists = [
        BagList(product, one.product_ids, one.scores, one.categories, [prices.get(p) for p in one.product_ids])
        for product, one in zip(bag, (one or EMPTY for one in found), strict=True)
    ]
    known = [prices[product] for product in bag if product in prices]
    categories = [(details.get(product) or {}).get("category") for product in bag]
    best = combine(lists, categories, places, sum(known) if known else None)
    if not best:
        return None
    products, scores = zip(*best, strict=True)
    return ProductList(products, scores, (), OWN)
