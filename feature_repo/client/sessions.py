"""Reads what a visitor does now with the night's network, which is loaded when it is first asked for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_repo.client import views
from feature_repo.client.answers import FRESH, ProductList
from feature_repo.client.list_ids import list_id
from feature_repo.client.nights import CachedReader, Lookup
from feature_repo.client.ranking import MODEL, Vector
from feature_repo.online.versions import Publication

if TYPE_CHECKING:  # it imports NumPy
    from feature_repo.client.network import Floats, Network

Event = tuple[str, str, int]
"""(product, type, Unix seconds)"""
PAUSE_SECONDS = 5.0
"""Pause after a network could not be loaded: it is much to read, and a slow store should not be asked at once."""
PURCHASE, POLICY = "purchase", "policy"
NOW = 0.65
"""Share of the present alone in the vector of a customer with a history, beside history and present together: within a
visit people look for one thing (`tests.benchmarks.fresh`)."""


@dataclass(frozen=True)
class Visitor:
    """Somebody's vector, from the night's history and what they did since."""

    network: Network
    vector: Floats
    bought: frozenset[str]
    """Products that they ever bought."""

    @property
    def scored(self) -> Vector:
        """The vector beside its model, as tables have it."""
        return self.vector, self.network.model_id

    def list_in(self, found: Lookup, market: str, assortment: views.Assortment | None) -> ProductList | None:
        """Recommended for you, made now; None where the market has nothing to show."""
        if assortment is None:
            return None
        allowed = assortment[0][: len(self.network.product_ids)]
        products, scores = self.network.best(self.vector, allowed, self.bought, *assortment[1:])
        if not products:
            return None
        name = list_id(found.live.published_at, "home", market, "")
        return ProductList(tuple(products), tuple(scores), (MODEL,) * len(products), FRESH, list_id=name)


def in_context(own: ProductList, recent: Sequence[Event]) -> ProductList:
    """The list of a page with what the visit has had at its end; where the policy alone put a product, it stays."""
    seen = {product for product, _, _ in recent}
    order = list(range(len(own.product_ids)))
    free = [place for place in order if own.sources[place] != POLICY]
    ranked = sorted(free, key=lambda place: own.product_ids[place] in seen)
    for place, chosen in zip(free, ranked, strict=True):
        order[place] = chosen
    return ProductList(
        tuple(own.product_ids[place] for place in order),
        tuple(own.scores[place] for place in order),
        tuple(own.sources[place] for place in order),
        FRESH,
        list_id=own.list_id,
    )


class Sessions:
    """Encodes visitors with the network of the live publication; for several threads."""

    def __init__(self, nights: CachedReader) -> None:
        self._nights = nights
        self._held: tuple[Publication, Network | None] | None = None
        self._loading = threading.Lock()
        self._paused_until = 0.0

    def visitor(self, found: Lookup, customer_id: str, history: Any, recent: Sequence[Event]) -> Visitor | None:
        """The visitor with a row of `views.HISTORY`, None where there is none, and events since; no customer: ''.

        None where the answer has to be the night's: a network that cannot be had now, a store that is away and does not
        say what a customer bought, and events of which the network knows no product.
        """
        if found.shown.away and customer_id:
            return None
        network = self._network(found.live)
        if network is None:
            return None
        before: list[Event] = []
        if history is not None:
            names = ("product_ids", "event_types", "event_timestamps")
            before = list(zip(*(history[name] or () for name in names), strict=False))  # Feast may have written it
        known = set(before)  # a service may send what the night has read already
        events = [*before, *(event for event in recent if event not in known)]
        vector = network.encode(network.events(recent))
        if vector is None:
            return None
        if before:
            whole = network.encode(network.events(events))
            assert whole is not None, "it has the recent events"
            vector = NOW * vector + (1 - NOW) * whole
        bought = {product for product, kind, _ in events if kind == PURCHASE}
        return Visitor(network, vector, frozenset(bought.union((history or {}).get("bought") or ())))

    def _network(self, live: Publication) -> Network | None:
        """The network of a publication. The first is loaded by whoever asks first, any other beside; meanwhile None."""
        held = self._held
        due = (held is None or held[0] != live) and time.monotonic() >= self._paused_until
        if due and self._loading.acquire(blocking=False):
            if held is None:
                self._load_once()
            else:
                threading.Thread(target=self._load_once, daemon=True).start()
        held = self._held
        return held[1] if held is not None and held[0] == live else None

    def _load_once(self) -> None:
        try:
            self._load()
        finally:
            self._loading.release()

    def _load(self) -> None:
        """Hold the network of the live publication; nothing changes where the store is away or publishes meanwhile."""
        from feature_repo.client.network import NETWORK, network_of, part_name

        self._paused_until = time.monotonic() + PAUSE_SECONDS
        about = self._nights.look([(views.NETWORKS, (NETWORK,))])
        rows, network = about.values, None
        if about.shown.away:
            return
        if rows[0] is not None:  # older nights have none
            for place in range(json.loads(rows[0]["settings"])["parts"]):
                found = self._nights.look([(views.NETWORKS, (part_name(place),))])
                if found.live != about.live or found.shown.away or None in found.values:
                    return
                rows = [*rows, *found.values]
            network = network_of(rows)
        self._held, self._paused_until = (about.live, network), 0.0
