"""Reads rows of one publication at a time, from this process's cache and from the store.

The law: all values of one `look` are of one publication. One round trip to the store is of one publication; cached
values are used only if the store names their publication in that very round trip, and are read again otherwise.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from feature_repo.client.answers import ProductList, Shown
from feature_repo.client.outfits import MarketLooks
from feature_repo.client.views import CACHED, HEAD, Key, made_of, read_for
from feature_repo.online.backend import StoreUnableError
from feature_repo.online.versions import Publication

if TYPE_CHECKING:  # it imports NumPy
    from feature_repo.online.reader import Answer, Reader

PAUSE_SECONDS = 0.25
"""Pause between requests to a store that does not answer, so that not every caller waits for a time-out."""
MOST_HEADS = 5_000
"""Markets' orders kept outside of the bounded cache, so that no flood of products evicts the fallbacks."""
ENTRY_BYTES = 320
"""Bytes of a key, without the characters of its ids, and of its place in the cache, measured."""
MISSING: Any = object()
"""Value of a key that is not cached; None says that the key has no row."""


class StoreAwayError(ConnectionError):
    """There is no store, or it does not answer or has no night, and this process has never reached one with a night."""


class _AwayError(Exception):
    pass


def size_of(value: Any) -> int:
    """Bytes of a value in this process; its words are shared with the reader's word lists."""
    if isinstance(value, ProductList):
        # A float is an object of 24 bytes and a pointer to it, a shared word only a pointer.
        return 250 + len(value.list_id) + len(value.product_ids) * (48 + 8 * bool(value.categories))
    if isinstance(value, MarketLooks):
        return 300 + 36 * len(value.shown_in) + sum(280 + 56 * len(look.product_ids) for look in value.looks)
    if isinstance(value, tuple) and hasattr(value[0], "nbytes"):
        return 240 + int(value[0].nbytes)
    return 0 if value is None else 700


class Cache:
    """A mapping for several threads; evicts the least recently used values beyond a bound of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """As estimated by `size_of`."""
        self._items: OrderedDict[Key, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, keys: Sequence[Key]) -> list[Any]:
        """The values, MISSING where there is none."""
        items, found = self._items, []
        with self._lock:
            for key in keys:
                value = items.get(key, MISSING)
                if value is not MISSING:
                    items.move_to_end(key)
                found.append(value)
        return found

    def put(self, pairs: Iterable[tuple[Key, Any]]) -> None:
        """Keep values; a key that is cached keeps its first one."""
        items = self._items
        with self._lock:
            for key, value in pairs:
                if key not in items:
                    items[key] = value
                    self.bytes += _entry_size(key, value)
            while self.bytes > self.most_bytes and items:
                self.bytes -= _entry_size(*items.popitem(last=False))


def _entry_size(key: Key, value: Any) -> int:
    return ENTRY_BYTES + sum(map(len, key[1])) + size_of(value)


class CachedPublication:
    """The rows of a publication that this process has cached."""

    def __init__(self, live: Publication, cache_bytes: int) -> None:
        self.live = live
        self.rows = Cache(cache_bytes)
        self.heads: dict[Key, Any] = {}
        self.checked = time.monotonic()
        """Time at which the store last said that it is live."""
        self.ticket = -1
        """Ticket of the read that said so."""

    def get(self, keys: Sequence[Key]) -> list[Any]:
        """The cached values, MISSING for others."""
        heads = self.heads
        return [heads.get(key, value) for key, value in zip(keys, self.rows.get(keys), strict=True)]

    def put(self, keys: Sequence[Key], values: Sequence[Any]) -> None:
        """Cache values of CACHED views and markets' orders."""
        pairs = list(zip(keys, values, strict=True))
        self.rows.put((key, value) for key, value in pairs if key[0] in CACHED)
        if len(self.heads) < MOST_HEADS:
            self.heads |= {key: value for key, value in pairs if key[0] == HEAD and value is not None}


@dataclass(frozen=True, slots=True)
class Lookup:
    """Values in the order asked, None where there is no row, and their publication."""

    live: Publication
    values: list[Any]
    shown: Shown


class CachedReader:
    """Reads rows through a cache; threads share one."""

    def __init__(
        self, reader: Reader, refresh_seconds: float, cache_bytes: int, connections: int, timeout: float
    ) -> None:
        self.reader, self.refresh_seconds, self.cache_bytes = reader, refresh_seconds, cache_bytes
        self.timeout = timeout
        self._away_errors: tuple[type[Exception], ...] = (*reader.backend.away, StoreUnableError)
        self._slots = threading.BoundedSemaphore(connections)
        self._turning = threading.Lock()
        self._checking = threading.Lock()
        self._tickets = count()
        self._now: CachedPublication | None = None
        self._before: CachedPublication | None = None
        self._paused_until = 0.0
        self._away = False

    def at_hand(self) -> Lookup | None:
        """What `look` would answer now without any request to the store, as a Lookup of no keys; None where it asks.

        For callers that keep answers made of `look`'s values: what was made of the same `live` may be shown again.
        """
        night = self._now
        if night is None:
            return None
        due = time.monotonic() - night.checked >= self.refresh_seconds
        return None if due and not self._checking.locked() else self._found(night, [], True, self._away)

    def look(self, keys: Sequence[Key]) -> Lookup:
        """The values of some keys, all of one publication.

        Raises StoreAwayError where the store does not answer and never did.
        """
        night = self._now
        values = night.get(keys) if night is not None else [MISSING] * len(keys)
        left = [place for place, value in enumerate(values) if value is MISSING]
        if left or night is None:
            return self._read(night, keys, values, left)
        if time.monotonic() - night.checked < self.refresh_seconds or not self._checking.acquire(blocking=False):
            return self._found(night, values, True, self._away)
        try:
            return self._read(night, keys, values, left)
        finally:
            self._checking.release()

    def _read(self, night: CachedPublication | None, keys: Sequence[Key], values: list[Any], left: list[int]) -> Lookup:
        """The cached `values` with those at the places `left` read from the store."""
        try:
            answer, ticket = self._ask([keys[place] for place in left])
            if night is not None and answer.live != night.live and len(left) < len(keys):
                # The cached values are of another publication: read all of them.
                left = list(range(len(keys)))
                answer, ticket = self._ask(keys)
        except _AwayError as error:
            return self._without_store(keys, error)
        night = self._turned(answer.live, ticket)
        at = answer.live.published_at
        found = [made_of(keys[place], row, at) for place, row in zip(left, answer.rows, strict=True)]
        night.put([keys[place] for place in left], found)
        for place, value in zip(left, found, strict=True):
            values[place] = value
        return self._found(night, values, not left, False)

    def _ask(self, keys: Sequence[Key]) -> tuple[Answer, int]:
        """One round trip and its ticket: of two answers the one with the higher ticket was requested later."""
        if time.monotonic() < self._paused_until:
            raise _AwayError("it did not answer a moment ago")
        if not self._slots.acquire(timeout=self.timeout):
            raise _AwayError("all connections are in use")
        try:
            ticket = next(self._tickets)
            answer = self.reader.read([read_for(key) for key in keys])
        except self._away_errors as error:
            raise self._paused(f"{type(error).__name__}: {error}") from error
        finally:
            self._slots.release()
        if not answer.live.seq:
            lost = "it has lost the published nights" if self._now else "no night was ever published there"
            raise self._paused(f"{lost}; publish one, or correct the address or the prefix")
        self._away = False
        return answer, ticket

    def _paused(self, reason: str) -> _AwayError:
        self._paused_until, self._away = time.monotonic() + PAUSE_SECONDS, True
        return _AwayError(reason)

    def _turned(self, live: Publication, ticket: int) -> CachedPublication:
        """The cache of the publication `live`, which becomes the current one unless a later read said otherwise."""
        with self._turning:
            night = self._now
            if night is not None and ticket < night.ticket:
                return night if night.live == live else CachedPublication(live, 0)
            if night is None or night.live != live:
                night = CachedPublication(live, self.cache_bytes)
                self._before, self._now = self._now, night
            turned, night.ticket, night.checked = night.ticket < 0, ticket, time.monotonic()
        if turned and self._before is not None:
            self._carry_heads(self._before, night)
        return night

    def _carry_heads(self, before: CachedPublication, night: CachedPublication) -> None:
        """Read the orders of the markets asked for so far: the fallbacks should the store go away."""
        keys = list(before.heads)
        try:
            answer, _ = self._ask(keys)
        except _AwayError:
            return
        if answer.live == night.live:
            at = answer.live.published_at
            night.put(keys, [made_of(key, row, at) for key, row in zip(keys, answer.rows, strict=True)])

    def _without_store(self, keys: Sequence[Key], error: _AwayError) -> Lookup:
        nights = [night for night in (self._now, self._before) if night is not None]
        if not nights:
            raise StoreAwayError(f"no night of the online store was ever reached: {error}") from error.__cause__
        found = [night.get(keys) for night in nights]
        best = min(range(len(nights)), key=lambda n: found[n].count(MISSING))  # the newer one of equals
        values = [None if value is MISSING else value for value in found[best]]
        return self._found(nights[best], values, True, True)

    def _found(self, night: CachedPublication, values: list[Any], cached: bool, away: bool) -> Lookup:
        live, age = night.live, time.monotonic() - night.checked
        return Lookup(live, values, Shown(live.as_of, live.seq, live.published_at, cached, away, age))
