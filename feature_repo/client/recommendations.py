"""Answers the requests of pages: `Recommendations(address).product_page(..)`, `.home(..)`, `.bag(..)`, `.rank(..)`.

An HTTP API for services in other languages stands on this class alone: it has the cache, the fallbacks and the promise
that an answer is of one night.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from feature_repo.client import views
from feature_repo.client.answers import (
    DEFAULT_VARIANT,
    EMPTY,
    EMPTY_BAG,
    MARKET_ORDER,
    NO_ADD_ON,
    OWN,
    STORE_AWAY,
    BagPage,
    History,
    ListPage,
    Page,
    Product,
    ProductList,
    ProductPage,
    Ranking,
    Shown,
)
from feature_repo.client.arguments import Recent, check, check_count, checked_events, distinct, visitor_id
from feature_repo.client.bag import BagList, combine
from feature_repo.client.list_ids import list_id
from feature_repo.client.nights import CachedReader, Lookup
from feature_repo.client.outfits import OutfitPage, outfit_page
from feature_repo.client.page import DEFAULT, asked_of, first_of, variants_of, without_repeats
from feature_repo.client.ranking import ALL_PRODUCTS, in_order, inner_products
from feature_repo.client.sessions import Sessions, in_context
from feature_repo.client.views import HEAD_PLACES, Key
from feature_repo.online.backend import Backend

ATTEMPTS = 4
"""Attempts at an answer of two round trips that a publication falls between."""
Look = Callable[[Sequence[Key]], Lookup]
Made = TypeVar("Made")
ATTRIBUTES = tuple(field.name for field in fields(Product))[2:]


class Recommendations:
    """A client of the online store; one per process, for all of its threads.

    An unknown customer or product gets the market's most popular products, and the answer says so; an empty list says
    why it is empty. While the store is away, products and rankings come from this process's cache and customers get
    their market's order; only a client that has never reached a store with a night raises StoreAwayError. What is no
    text, or longer than any id, raises ArgumentError, which names the argument.
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
        """A client of the store at `address`: redis://.., rediss://.., host:port,.., or sqlite:// and then a path.

        A Backend will do as well. A store of a file is opened read-only and never created. Raises StoreSettingsError
        for an address that cannot be read; the first question raises StoreAwayError where there is no store.

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
        self.sessions = Sessions(self.nights)

    def close(self) -> None:
        """Close connections."""
        self.reader.backend.close()

    # --- pages

    def product_page(self, product_id: str, market: str, variant: str = DEFAULT, recent: Recent = ()) -> ProductPage:
        """You Might Also Like and People Also Bought of a product.

        A product that the night does not know, such as one launched since, gets the market's order: the first places
        in the one carousel, the next ones in the other. A known product without a list in the market gets none, since
        only the night knows what the rules of the carousel allow there. With `recent`, what the visitor has done since
        the night, the alternatives among it come last.
        """
        check(product_id=product_id, market=market, variant=variant)
        variants = variants_of(variant)
        lists_of = (views.ALTERNATIVES, views.GOES_WITH)
        events = checked_events("recent", recent)
        own: list[Key] = [(view, (product_id, market, one)) for view in lists_of for one in variants]

        def both(look: Look) -> tuple[ProductList | None, ProductList | None]:
            found = look(own)
            lists, at = found.values, found.live.published_at
            similar, bought = first_of(lists[: len(variants)], variant), first_of(lists[len(variants) :], variant)
            if similar is None and bought is None:
                details = look([(views.CATALOGUE, (product_id,))])
                if details.values == [None] and not details.shown.away:
                    order = first_of(
                        look([(views.ORDER, (market, ALL_PRODUCTS, one)) for one in variants]).values, variant
                    )
                    names = [list_id(at, views.CODES[view], market, variant, product_id) for view in lists_of]
                    return _two_of(order, product_id, names)
            if events and similar is not None and similar.product_ids:
                similar = in_context(similar, events)
            return similar, bought

        shown, lists = self._answer(both)
        similar, bought = lists or (None, None)
        return ProductPage(shown, similar or _nothing(shown), bought or _nothing(shown))

    def outfits(self, product_id: str, market: str, variant: str = DEFAULT) -> OutfitPage:
        """Looks of products of other roles that go together and with a product, all of them sold in the market; none
        for a product that it does not sell.
        """
        check(product_id=product_id, market=market, variant=variant)
        variants = variants_of(variant)
        found = self.nights.look([(views.OUTFITS, (product_id, one)) for one in variants])
        place = next((place for place, one in enumerate(found.values) if one is not None), 0)
        name = list_id(found.live.published_at, "look", market, variant, product_id)
        return outfit_page(found.shown, found.values[place], market, DEFAULT_VARIANT if place else OWN, name)

    def home(self, customer_id: str | None, market: str, recent: Recent = ()) -> ListPage:
        """A customer's own list in a market; the market's order for one who has none there.

        With `recent`, what the visitor has done since the night, the list is made now: the products nearest to the
        history and these events, in the night's network, without what they bought. A visitor without an id, None, is
        known by these events alone.
        """
        events = checked_events("recent", recent)
        customer = visitor_id(customer_id, events)
        check(market=market)
        keys: list[Key] = [(views.HOME, (customer, market)), (views.HEAD, (market, DEFAULT))]
        if not events:
            found = self.nights.look(keys)
            return ListPage(found.shown, found.values[0] or found.values[1] or _nothing(found.shown))
        found = self.nights.look([*keys, (views.HISTORY, (customer,)), (views.ASSORTMENTS, (market,))])
        own, order, history, assortment = found.values
        visitor = self.sessions.visitor(found, customer, history, events)
        fresh = visitor and visitor.list_in(found, market, assortment)
        return ListPage(found.shown, fresh or own or order or _nothing(found.shown))

    def category_page(self, market: str, category: str = ALL_PRODUCTS, variant: str = DEFAULT) -> ListPage:
        """A market's order of a category, by default of all products.

        A category called `*` has the page `\\*` (`feature_repo.client.ranking.page_of`).
        """
        check(market=market, category=category, variant=variant)
        found = self.nights.look([(views.ORDER, (market, category, one)) for one in variants_of(variant)])
        return ListPage(found.shown, first_of(found.values, variant) or _nothing(found.shown))

    def bag(self, product_ids: Sequence[str], market: str, variant: str = DEFAULT, places: int = 24) -> BagPage:
        """Add-ons to a bag, combined from the lists of its products (`feature_repo.client.bag`); at most 500 products.

        A bag that nothing small goes with gets none.
        """
        check(market=market, variant=variant)
        check_count("places", places)
        bag, variants = distinct("product_ids", product_ids), variants_of(variant)
        keys: list[Key] = [(views.EXTRAS, (product, market, one)) for one in variants for product in bag]

        def add_ons(look: Look) -> ProductList | None:
            looked = look(keys)
            extras = looked.values
            lists = extras[: len(bag)]
            if not any(lists) and len(variants) > 1:
                lists = extras[len(bag) :]
            if not any(lists):
                return None if bag else replace(EMPTY, reason=EMPTY_BAG)
            names = list(dict.fromkeys([*bag, *(product for one in lists if one for product in one.product_ids)]))
            details = look([(views.CATALOGUE, (name,)) for name in names])
            if details.shown.away and None in details.values:
                return None  # without prices and categories the rule cannot be kept
            name = list_id(looked.live.published_at, "bag", market, variant, bag[0] if len(bag) == 1 else "")
            return replace(_combined(bag, lists, dict(zip(names, details.values, strict=True)), places), list_id=name)

        shown, found = self._answer(add_ons)
        return BagPage(shown, found or _nothing(shown))

    def page(self, market: str, lists: Sequence[tuple[str, str]], variant: str = DEFAULT, places: int = 12) -> Page:
        """Several lists of one night, (touch point, owner) each, without a product twice (`feature_repo.client.page`).

        A product is in the first of the lists that has it; the others have their next places instead, so each has up
        to `places`.
        """
        asked = asked_of(market, lists, variant)
        check_count("places", places)
        keys = list(dict.fromkeys(key for one in asked for key in one.keys))

        def made(look: Look) -> list[ProductList | None]:
            found = look(keys)
            values = dict(zip(keys, found.values, strict=True))
            vectors: list[Key] = [(views.PRODUCT_VECTOR, (p,)) for one in asked for p in one.candidates(values)]
            if vectors:
                values |= dict(zip(vectors, look(vectors).values, strict=True))
            return [one.made(values, found.shown.away) for one in asked]

        shown, found = self._answer(made)
        whole = [one or _nothing(shown) for one in found or [None] * len(asked)]
        return Page(shown, tuple(without_repeats(asked, whole, places)))

    def rank(
        self,
        customer_id: str | None,
        product_ids: Sequence[str],
        market: str,
        category: str | None = None,
        variant: str = DEFAULT,
        recent: Recent = (),
    ) -> Ranking:
        """Candidates in a customer's order; every distinct non-empty id once (`feature_repo.client.ranking`).

        `recent` and a visitor without an id are those of `home`. Raises TooManyError for more than 500 candidates.
        """
        events = checked_events("recent", recent)
        who = visitor_id(customer_id, events)
        check(market=market, category=category or ALL_PRODUCTS, variant=variant)
        wanted = distinct("product_ids", product_ids)
        keys: list[Key] = [(views.PRODUCT_VECTOR, (product,)) for product in wanted]
        keys += [(views.ORDER, (market, name, variant)) for name in (category or ALL_PRODUCTS, ALL_PRODUCTS)]
        keys += [(view, (who,)) for view in (views.CUSTOMER_VECTOR, views.HISTORY)[: 1 + bool(events)]]
        found = self.nights.look(keys)
        vectors, (own, all_products, customer, *history) = found.values[: len(wanted)], found.values[len(wanted) :]
        if events and (visitor := self.sessions.visitor(found, who, history[0], events)):
            customer = visitor.scored
        orders: dict[str | None, ProductList | None] = {category: own, ALL_PRODUCTS: all_products}

        def order(name: str) -> dict[str, float]:
            listed = orders[name] or EMPTY
            return dict(zip(listed.product_ids, listed.scores, strict=True))

        scores = inner_products(customer, wanted, vectors)
        name = list_id(found.live.published_at, "rank", market, variant, category or ALL_PRODUCTS)
        return Ranking(found.shown, tuple(in_order(wanted, scores, category, order)), name)

    # --- facts

    def history(self, customer_id: str) -> History:
        """A customer's recent events."""
        check(customer_id=customer_id)
        found = self.nights.look([(views.HISTORY, (customer_id,))])
        row = found.values[0]
        if row is None:
            return History(found.shown, False)
        products, types, times = (tuple(row[name] or ()) for name in ("product_ids", "event_types", "event_timestamps"))
        return History(found.shown, True, products, types, times, row["market"] or "")

    def product(self, product_id: str) -> Product:
        """A product's name and attributes."""
        check(product_id=product_id)
        return self.products([product_id])[0]

    def products(self, product_ids: Sequence[str]) -> list[Product]:
        """Names and attributes of some products in the order given, all of one night; at most 500 different ones."""
        distinct("product_ids", product_ids)
        found = self.nights.look([(views.CATALOGUE, (product,)) for product in product_ids])
        return [
            Product(found.shown, row is not None, **{n: row[n] for n in ATTRIBUTES if row and row[n] is not None})
            for row in found.values
        ]

    # --- how answers are made

    def _answer(self, made: Callable[[Look], Made]) -> tuple[Shown, Made | None]:
        """What `made` makes of several look-ups, all of one publication; None where publications came too fast."""
        for _ in range(ATTEMPTS):
            looked: list[Lookup] = []

            def look(keys: Sequence[Key], looked: list[Lookup] = looked) -> Lookup:
                looked.append(self.nights.look(keys))
                return looked[-1]

            answer = made(look)
            shown = replace(
                looked[0].shown,
                cached=all(one.shown.cached for one in looked),
                away=any(one.shown.away for one in looked),
            )
            if all(one.live == looked[0].live for one in looked):
                return shown, answer
        return shown, None


def _two_of(order: ProductList | None, without: str, names: Sequence[str]) -> tuple[ProductList, ProductList]:
    """The first HEAD_PLACES of a market's order and the next ones, without one product, by these names."""
    order = order or EMPTY
    places = [place for place, product in enumerate(order.product_ids) if product != without]

    def some(chosen: Sequence[int], name: str) -> ProductList:
        if not chosen:
            return EMPTY
        return ProductList(
            tuple(order.product_ids[place] for place in chosen),
            tuple(order.scores[place] for place in chosen),
            tuple(order.sources[place] for place in chosen),
            MARKET_ORDER,
            list_id=name,
        )

    return some(places[:HEAD_PLACES], names[0]), some(places[HEAD_PLACES : 2 * HEAD_PLACES], names[1])


def _nothing(shown: Shown) -> ProductList:
    return replace(EMPTY, reason=STORE_AWAY) if shown.away else EMPTY


def _combined(
    bag: Sequence[str],
    found: Sequence[ProductList | None],
    details: Mapping[str, Mapping[str, Any] | None],
    places: int,
) -> ProductList:
    """The add-ons combined from the lists `found` of a bag's products."""
    prices = {name: row["price"] for name, row in details.items() if row is not None and row["price"] is not None}
    lists = [
        BagList(product, one.product_ids, one.scores, one.categories, [prices.get(p) for p in one.product_ids])
        for product, one in zip(bag, (one or EMPTY for one in found), strict=True)
    ]
    known = [prices[product] for product in bag if product in prices]
    categories = [(details.get(product) or {}).get("category") for product in bag]
    best = combine(lists, categories, places, sum(known) if known else None)
    products, scores = tuple(product for product, _ in best), tuple(score for _, score in best)
    return ProductList(products, scores, (), OWN, (), "" if products else NO_ADD_ON)
