"""Reading the online store: rows of several views in one round trip, all of one night."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from feature_repo.online.backend import Backend
from feature_repo.online.decode import UnknownCodeError, decode, read_text
from feature_repo.online.layout import View, row_key
from feature_repo.online.versions import EPOCH, GONE, NOTHING, STAMPED, Live, Record, newest_of

WORDS_A_CHUNK = 1024
"""Words of a list that lie in one value."""


@dataclass(frozen=True)
class Row:
    """One row as it is online."""

    features: dict[str, Any]
    """Feature -> str, float, list of str, float32 array, list of Unix seconds, or None."""
    night: str
    """as_of of the night that is live, as ISO date."""
    published_at: datetime
    """UTC."""


@dataclass(frozen=True)
class Answer:
    """What one request got: the rows in the order asked, None where there is none."""

    live: Live
    rows: list[Row | None]


class Reader:
    """Reads a store. Views and word lists are read once and again when a row needs newer ones.

    Threads may share one.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._live: tuple[bytes | None, Live] = (None, NOTHING)
        self._views: dict[str, View] = {}
        self._words: dict[str, list[str]] = {}

    @property
    def live(self) -> Live:
        """What is live now; NOTHING where nothing was published."""
        return self._parsed(self.backend.get([self.backend.prefix + b"!live"])[0])

    @property
    def views(self) -> dict[str, View]:
        """The views of the store by name; none where nothing was published."""
        if not self._views:
            self.refresh()
        return self._views

    def refresh(self) -> None:
        """Read views and the new part of every word list; what is live as well, which the first read goes by."""
        prefix = self.backend.prefix
        data, live = self.backend.get([prefix + b"!views", prefix + b"!live"])
        self._parsed(live)
        views = [View.of(plain) for plain in json.loads(data)] if data else []
        names = {feature.words for view in views for layout in view.layouts for feature in layout if feature.words}
        words = {name: read_words(self.backend, name, self._words.get(name, [])) for name in sorted(names)}
        self._words = words
        self._views = {view.name: view for view in views}

    def read(self, keys: Sequence[tuple[str, Sequence[str]]]) -> Answer:
        """The rows of (view, key columns' values in the view's order), all of the one night that is live.

        A view that the store does not have, because nothing was ever published, has no rows.
        """
        views = self.views
        if any(name not in views for name, _ in keys):
            self.refresh()
            views = self._views
        asked = [(views.get(name), tuple(parts)) for name, parts in keys]
        prefix = self.backend.prefix
        stored = [prefix + b"!live", *(row_key(prefix, view, parts) for view, parts in asked if view is not None)]
        live, found = self._found(stored)
        left = iter(found)
        rows = [
            None
            if view is None or (record := next(left)) is None or record.kind == GONE
            else self.row(view, parts, record, live)
            for view, parts in asked
        ]
        return Answer(live, rows)

    def _found(self, stored: Sequence[bytes]) -> tuple[Live, list[Record | None]]:
        """What is live, and the record that it names of each key after the first, which is where it is read."""
        before = self._live[1].seq
        first, *chains = self.backend.get(stored, before)
        live = self._parsed(first)
        found = [newest_of(chain, live) if chain else None for chain in chains]
        if self.backend.beside and (live.seq != before or (None in found and _hidden(chains, found))):
            # The night has changed, or the newest record of a key was given up.
            first, *chains = self.backend.get(stored)
            live = self._parsed(first)
            found = [newest_of(chain, live) if chain else None for chain in chains]
        return live, found

    def row(self, view: View, parts: Sequence[str], record: Record, live: Live) -> Row | None:
        """The row of a record; None where it is of another key than `parts`."""
        try:
            return self._row(view, parts, record, live)
        except (UnknownCodeError, KeyError, IndexError):
            # Written after this reader last looked: by a newer layout, or with a word that is new.
            self.refresh()
            return self._row(self._views[view.name], parts, record, live)

    def _row(self, view: View, parts: Sequence[str], record: Record, live: Live) -> Row | None:
        payload, night, published_at = record.payload, live.as_of, live.published_at
        if record.kind == STAMPED:
            micros = int.from_bytes(payload[:8], "little", signed=True)
            night, at = read_text(payload, 8)
            published_at, payload = time_of(micros), payload[at:]
        features = decode(view.layouts[record.layout], payload, self._words)
        for name, part in zip(view.key[view.own :], parts[view.own :], strict=True):
            if features.pop(name) != part:
                return None
        return Row(features, night, published_at)

    def _parsed(self, data: bytes | None) -> Live:
        before, live = self._live
        if data != before:
            live = Live.of(data) if data else NOTHING
            self._live = (data, live)
        return live


def _hidden(chains: Sequence[bytes | None], found: Sequence[Record | None]) -> bool:
    """Whether a key has records, none of which is seen."""
    return any(chain and record is None for chain, record in zip(chains, found, strict=True))


def time_of(micros: int) -> datetime:
    """A time from microseconds since 1970, UTC."""
    return EPOCH + timedelta(microseconds=micros)


def word_key(prefix: bytes, name: str, chunk: int) -> bytes:
    """Where a part of a word list lies."""
    return prefix + f"!words:{name}:{chunk}".encode()


def read_words(backend: Backend, name: str, known: Sequence[str] = ()) -> list[str]:
    """A word list as it is now; of what is `known` only the last part is read again. Lists only grow."""
    chunk = len(known) // WORDS_A_CHUNK
    words = list(known[: chunk * WORDS_A_CHUNK])
    while True:
        parts = backend.get([word_key(backend.prefix, name, chunk + i) for i in range(32)])
        for part in parts:
            if part is None:
                return words
            words += json.loads(part)
        chunk += len(parts)


# A reader of the online store from one line of text: `connect("redis://127.0.0.1:6379/0").read([..])`.

SQLITE = "sqlite://"


def backend_at(address: str, prefix: str = "n", **options: Any) -> Backend:
    """The place at `address`: sqlite:///ABSOLUTE/PATH, or a connection to Redis.

    `options` are those of `redis_client` (timeout, connect_timeout, retries, cluster, and redis-py's own). Raises
    StoreSettingsError for an address that cannot be read.
    """
    if address.startswith(SQLITE):
        from feature_repo.online.sqlite_backend import SqliteBackend

        return SqliteBackend(Path(address.removeprefix(SQLITE)), prefix.encode())
    from feature_repo.online.redis_backend import RedisBackend, redis_client

    return RedisBackend(redis_client(address, **options), prefix.encode())


def connect(address: str, prefix: str = "n", **options: Any) -> Reader:
    """A Reader of the store at `address`; see `backend_at`."""
    return Reader(backend_at(address, prefix, **options))
