"""Rows of one publication at a time: from the process's cache, from the store, or from both when they are of one night.

The law: everything that one `look` gives is of one publication. What was read from the store in one round trip is of
one; what the cache adds is used only if the store names the cache's publication in that very round trip, and is read
again from the store otherwise.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from feature_repo.client.answers import ProductList, Shown
from feature_repo.client.views import CACHED, HEAD, Key, made_of, read_for
from feature_repo.online.versions import Publication

if TYPE_CHECKING:
    from feature_repo.online.reader import Answer, Reader

PAUSE_SECONDS = 0.25
"""How long the store is left alone after it did not answer: who asks meanwhile does not wait for a time-out."""
MOST_HEADS = 5_000
"""Markets' orders kept beside the cache, so that no flood of products pushes the fallbacks out."""


class StoreAwayError(ConnectionError):
    """The store does not answer, and this process has never reached it."""


class _AwayError(Exception):
    pass


class CachedPublication:
    """What this process knows of a publication."""

    def __init__(self, live: Publication, cache_bytes: int) -> None:
        self.live = live
        self.rows = Cache(cache_bytes)
        self.heads: dict[Key, Any] = {}
        self.checked = 0.0
        """When the store last said that it is live."""
        self.ticket = -1
        """Of the read that said so."""

    def get(self, keys: Sequence[Key]) -> list[Any]:
        """The values kept, MISSING for others."""
        heads = self.heads
        return [heads.get(key, value) for key, value in zip(keys, self.rows.get(keys), strict=True)]

    def put(self, keys: Sequence[Key], values: Sequence[Any]) -> None:
        """Keep the values that are for keeping."""
        pairs = list(zip(keys, values, strict=True))
        self.rows.put((key, value) for key, value in pairs if key[0] in CACHED)
        if len(self.heads) < MOST_HEADS:
            self.heads |= {key: value for key, value in pairs if key[0] == HEAD and value is not None}


@dataclass(frozen=True, slots=True)
class Lookup:
    """Values in the order asked, None where there is no row, and whence."""

    night: CachedPublication
    values: list[Any]
    shown: Shown


class CachedReader:
    """Rows through a cache; threads share one."""

    def __init__(
        self, reader: Reader, refresh_seconds: float, cache_bytes: int, connections: int, timeout: float
    ) -> None:
        self.reader, self.refresh_seconds, self.cache_bytes = reader, refresh_seconds, cache_bytes
        self.timeout = timeout
        self._slots = threading.BoundedSemaphore(connections)
        self._turning = threading.Lock()
        self._checking = threading.Lock()
        self._tickets = count()
        self._now: CachedPublication | None = None
        self._before: CachedPublication | None = None
        self._paused_until = 0.0
        self._away = False

    def look(self, keys: Sequence[Key]) -> Lookup:
        """The values of some keys, all of one publication.

        Raises StoreAwayError where the store does not answer and never did.
        """
        night = self._now
        values = night.get(keys) if night is not None else [MISSING] * len(keys)
        left = [place for place, value in enumerate(values) if value is MISSING]
        if not left and night is not None:
            if time.monotonic() - night.checked < self.refresh_seconds or not self._checking.acquire(blocking=False):
                return self._looked(night, values, True, self._away)
            try:
                return self._read(night, keys, values, left)
            finally:
                self._checking.release()
        return self._read(night, keys, values, left)

    def _read(self, night: CachedPublication | None, keys: Sequence[Key], values: list[Any], left: list[int]) -> Lookup:
        try:
            answer, ticket = self._ask([keys[place] for place in left])
            if night is not None and answer.live != night.live and len(left) < len(keys):
                # What the cache has is of another night: all of it at once from the store.
                left = list(range(len(keys)))
                answer, ticket = self._ask(keys)
        except _AwayError as error:
            return self._without_store(keys, error)
        night = self._turned(answer.live, ticket)
        found = [made_of(keys[place], row) for place, row in zip(left, answer.rows, strict=True)]
        night.put([keys[place] for place in left], found)
        for place, value in zip(left, found, strict=True):
            values[place] = value
        return self._looked(night, values, not left, False)

    def _ask(self, keys: Sequence[Key]) -> tuple[Answer, int]:
        """One round trip; its ticket tells which of two answers was asked for later."""
        if time.monotonic() < self._paused_until:
            raise _AwayError("it did not answer a moment ago")
        if not self._slots.acquire(timeout=self.timeout):
            raise _AwayError("all connections are in use")
        try:
            ticket = next(self._tickets)
            answer = self.reader.read([read_for(key) for key in keys])
        except self.reader.backend.away as error:
            self._paused_until, self._away = time.monotonic() + PAUSE_SECONDS, True
            raise _AwayError(type(error).__name__) from error
        finally:
            self._slots.release()
        if not answer.live.seq and self._now is not None and self._now.live.seq:
            # A store that came back empty has not published nothing, it has lost what was published.
            self._paused_until, self._away = time.monotonic() + PAUSE_SECONDS, True
            raise _AwayError("it has lost what was published")
        self._away = False
        return answer, ticket

    def _turned(self, live: Publication, ticket: int) -> CachedPublication:
        """The night that `live` names; it becomes this process's, unless a later read has said otherwise."""
        with self._turning:
            night, now = self._now, time.monotonic()
            if night is not None and ticket < night.ticket:
                return night if night.live == live else self._aside(live, now)
            if night is None or night.live != live:
                night = CachedPublication(live, self.cache_bytes)
                self._before, self._now = self._now, night
            turned, night.ticket, night.checked = night.ticket < 0, ticket, now
        if turned and self._before is not None:
            self._carry(self._before, night)
        return night

    def _aside(self, live: Publication, now: float) -> CachedPublication:
        night = CachedPublication(live, 0)
        night.checked = now
        return night

    def _carry(self, before: CachedPublication, night: CachedPublication) -> None:
        """Read the fallbacks of the markets that were asked for, so that they are there should the store go away."""
        keys = list(before.heads)
        try:
            answer, _ = self._ask(keys)
        except _AwayError:
            return
        if answer.live == night.live:
            night.put(keys, [made_of(key, row) for key, row in zip(keys, answer.rows, strict=True)])

    def _without_store(self, keys: Sequence[Key], error: _AwayError) -> Lookup:
        nights = [night for night in (self._now, self._before) if night is not None]
        if not nights:
            raise StoreAwayError(f"the online store was never reached: {error}") from error.__cause__
        found = [night.get(keys) for night in nights]
        best = min(range(len(nights)), key=lambda n: found[n].count(MISSING))  # the newer one of equals
        values = [None if value is MISSING else value for value in found[best]]
        return self._looked(nights[best], values, True, True)

    def _looked(self, night: CachedPublication, values: list[Any], cached: bool, away: bool) -> Lookup:
        live, age = night.live, time.monotonic() - night.checked
        return Lookup(night, values, Shown(live.as_of, live.seq, live.published_at, cached, away, age))


# What a process keeps of one publication: least recently used goes first, within a bound of bytes.

MISSING: Any = object()
"""Nothing is known of a key; None says that the key has no row."""
ENTRY_BYTES = 330
"""Of a key and its place, measured."""


def size_of(value: Any) -> int:
    """Bytes that a value takes in this process; its words are shared with the reader's lists."""
    if isinstance(value, ProductList):
        # A float is an object of 24 bytes and a pointer to it, a shared word a pointer alone.
        return 200 + len(value.product_ids) * (48 + 8 * bool(value.categories))
    if isinstance(value, tuple) and hasattr(value[0], "nbytes"):
        return 240 + int(value[0].nbytes)
    return 0 if value is None else 700


class Cache:
    """A mapping that several threads use."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """As estimated by `size_of`."""
        self._items: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, keys: Sequence[Hashable]) -> list[Any]:
        """The values, MISSING where there is none."""
        items, found = self._items, []
        with self._lock:
            for key in keys:
                value = items.get(key, MISSING)
                if value is not MISSING:
                    items.move_to_end(key)
                found.append(value)
        return found

    def put(self, pairs: Iterable[tuple[Hashable, Any]]) -> None:
        """Keep values; of a key that is there already the first one stays."""
        items = self._items
        with self._lock:
            for key, value in pairs:
                if key not in items:
                    items[key] = value
                    self.bytes += ENTRY_BYTES + size_of(value)
            while self.bytes > self.most_bytes and items:
                _, value = items.popitem(last=False)
                self.bytes -= ENTRY_BYTES + size_of(value)
