"""What each page shows: `Recommendations(address).product_page(..)`, `.home(..)`, `.bag(..)`, `.rank(..)` and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

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
from feature_repo.client.nights import CachedReader, Lookup
from feature_repo.client.ranking import ALL_PRODUCTS, distinct, in_order, inner_products
from feature_repo.client.views import (
    ALTERNATIVES,
    CATALOGUE,
    CUSTOMER_VECTOR,
    EXTRAS,
    GOES_WITH,
    HEAD,
    HISTORY,
    HOME,
    ORDER,
    PRODUCT_VECTOR,
    Key,
)
from feature_repo.online.backend import Backend

DEFAULT = "default"
"""The variant of a shop that tests nothing."""
ATTEMPTS = 4
"""Tries at an answer that takes two round trips and was cut in two by a publication."""
ATTRIBUTES = tuple(field.name for field in fields(Product))[2:]


class Recommendations:
    """A client of the online store; one a process, for all of its threads.

    Somebody unknown, or a product without a list, gets the market's most wanted products; the answer says so. While
    the store is away, products and rankings come from this process's cache and customers get their market's order;
    only a client that has never reached the store raises StoreAwayError.
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

        It asks which night is live every `refresh_seconds` at most, so a publication is seen at most that much later.
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
        """Let go of connections."""
        self.reader.backend.close()

    # --- pages

    def product_page(self, product_id: str, market: str, variant: str = DEFAULT) -> ProductPage:
        """You Might Also Like and People Also Bought beside a product."""
        keys: list[Key] = []
        for one in _variants(variant):
            parts = (product_id, market, one)
            keys += [(ALTERNATIVES, parts), (GOES_WITH, parts), (HEAD, (market, one))]
        looked = self.nights.look(keys)
        similar, bought, heads = (looked.values[place::3] for place in range(3))
        return ProductPage(
            looked.shown, _first(similar, heads, (product_id,)), _first(bought, heads, (product_id,))
        )  # fmt: skip

    def home(self, customer_id: str, market: str) -> ListPage:
        """A customer's own list in their market."""
        looked = self.nights.look([(HOME, (customer_id, market)), (HEAD, (market, DEFAULT))])
        return ListPage(looked.shown, _first(looked.values[:1], looked.values[1:]))

    def category_page(self, market: str, category: str = ALL_PRODUCTS, variant: str = DEFAULT) -> ListPage:
        """A market's order of a category; of all products by default, and for a category that is not there."""
        variants = _variants(variant)
        keys: list[Key] = [(ORDER, (market, category, one)) for one in variants]
        looked = self.nights.look([*keys, *((HEAD, (market, one)) for one in variants)])
        return ListPage(looked.shown, _first(looked.values[: len(variants)], looked.values[len(variants) :]))

    def bag(self, product_ids: Sequence[str], market: str, variant: str = DEFAULT, places: int = 24) -> BagPage:
        """Add-ons to a bag, combined from the lists of its products (`feature_repo.client.bag`)."""
        bag = list(dict.fromkeys(product for product in product_ids if product))
        variants = _variants(variant)
        keys: list[Key] = [(EXTRAS, (product, market, one)) for one in variants for product in bag]
        keys += [(HEAD, (market, one)) for one in variants]
        for _ in range(ATTEMPTS):
            looked = self.nights.look(keys)
            found = looked.values[: len(bag)]
            if not any(found) and len(variants) > 1:
                found = looked.values[len(bag) : 2 * len(bag)]
            listed = {product for extras in found if extras for product in extras.product_ids}
            names = list(dict.fromkeys([*bag, *listed]))
            details = self.nights.look([(CATALOGUE, (name,)) for name in names])
            if details.night.live == looked.night.live:
                break
        else:
            found = [None] * len(bag)  # prices of another night: rather no add-ons
        best = _combined(bag, found, dict(zip(names, details.values, strict=True)), places)
        return BagPage(_both(looked, details), best or _first([], looked.values[-len(variants) :], bag))

    def rank(
        self, customer_id: str, product_ids: Sequence[str], market: str, category: str | None = None,
        variant: str = DEFAULT,
    ) -> Ranking:  # fmt: skip
        """Candidates in a customer's order; every distinct non-empty id once (`feature_repo.client.ranking`).

        Raises TooManyError for more than 500 candidates.
        """
        wanted = distinct(product_ids)
        keys: list[Key] = [(PRODUCT_VECTOR, (product,)) for product in wanted]
        keys += [(ORDER, (market, name, variant)) for name in (category or ALL_PRODUCTS, ALL_PRODUCTS)]
        looked = self.nights.look([*keys, (CUSTOMER_VECTOR, (customer_id,))])
        *vectors, own, all_products, customer = looked.values
        orders = {category: own, ALL_PRODUCTS: all_products}

        def order(name: str) -> dict[str, float]:
            found: ProductList | None = orders[name]
            return {} if found is None else dict(zip(found.product_ids, found.scores, strict=True))

        scores = inner_products(customer, wanted, vectors)
        return Ranking(looked.shown, tuple(in_order(wanted, scores, category, order)))

    # --- facts

    def history(self, customer_id: str) -> History:
        """A customer's recent events."""
        looked = self.nights.look([(HISTORY, (customer_id,))])
        found = looked.values[0]
        if found is None:
            return History(looked.shown, False)
        products, types, seconds = (
            tuple(found[name] or ()) for name in ("product_ids", "event_types", "event_timestamps")
        )
        return History(looked.shown, True, products, types, seconds, found["market"] or "")

    def product(self, product_id: str) -> Product:
        """A product's name and attributes."""
        return self.products([product_id])[0]

    def products(self, product_ids: Sequence[str]) -> list[Product]:
        """Names and attributes of some products in the order given, all of one night."""
        looked = self.nights.look([(CATALOGUE, (product,)) for product in product_ids])
        return [
            Product(looked.shown, row is not None, **{n: row[n] for n in ATTRIBUTES if row and row[n] is not None})
            for row in looked.values
        ]


def _variants(variant: str) -> tuple[str, ...]:
    return (variant,) if variant == DEFAULT else (variant, DEFAULT)


def _first(
    own: Sequence[ProductList | None], heads: Sequence[ProductList | None], without: Sequence[str] = ()
) -> ProductList:
    """The first list there is: of the variant asked for, of the default variant, the market's, none."""
    for place, found in enumerate(own):
        if found is not None:
            return replace(found, origin=DEFAULT_VARIANT) if place else found
    for found in heads:
        if found is not None:
            return _left_out(found, without)
    return EMPTY


def _left_out(found: ProductList, without: Sequence[str]) -> ProductList:
    kept = [place for place, product in enumerate(found.product_ids) if product not in without]
    if len(kept) == len(found.product_ids):
        return found
    columns: list[tuple[Any, ...]] = [found.product_ids, found.scores, found.sources]
    products, scores, sources = (tuple(column[place] for place in kept) for column in columns)
    return replace(found, product_ids=products, scores=scores, sources=sources)


def _combined(
    bag: Sequence[str], found: Sequence[ProductList | None], details: dict[str, dict[str, Any] | None], places: int
) -> ProductList | None:
    from feature_repo.client.bag import BagList, combine

    prices = {name: row["price"] for name, row in details.items() if row is not None and row["price"] is not None}
    lists = [
        BagList(product, extras.product_ids, extras.scores, extras.categories,
                [prices.get(shown) for shown in extras.product_ids])
        for product, extras in zip(bag, (one or EMPTY for one in found), strict=True)
    ]  # fmt: skip
    known = [prices[product] for product in bag if product in prices]
    categories = [(details.get(product) or {}).get("category") for product in bag]
    best = combine(lists, categories, places, sum(known) if known else None)
    if not best:
        return None
    products, scores = zip(*best, strict=True)
    return ProductList(products, scores, (), OWN)


def _both(one: Lookup, other: Lookup) -> Any:
    """What is to be said of an answer made of two looks."""
    return replace(
        one.shown, cached=one.shown.cached and other.shown.cached, away=one.shown.away or other.shown.away
    )  # fmt: skip
