"""Reads rows of several views from the online store in one round trip, all of one publication."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from feature_repo.online.backend import Backend, StoreSettingsError, StoreUnableError
from feature_repo.online.decode import UnknownCodeError, decode, read_text
from feature_repo.online.layout import View, row_key
from feature_repo.online.versions import EPOCH, GONE, NO_PUBLICATION, STAMPED, Publication, Record, newest_of

SQLITE = "sqlite://"
WORDS_A_CHUNK = 1024
"""Words of a list in one value."""


@dataclass(frozen=True)
class OnlineRow:
    """One row of a view."""

    features: dict[str, Any]
    """Feature -> str, float, list of str, float32 array, list of Unix seconds, or None."""
    night: str
    """The live night, as ISO date."""
    published_at: datetime
    """UTC."""


@dataclass(frozen=True)
class Answer:
    """The rows of one request in the order asked, None where there is none."""

    live: Publication
    rows: list[OnlineRow | None]


class Reader:
    """Reads a store; threads may share one.

    It keeps the views and word lists, and reads them again when a row needs newer ones.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._live: tuple[bytes | None, Publication] = (None, NO_PUBLICATION)
        self._views: dict[str, View] = {}
        self._words: dict[str, list[str]] = {}

    @property
    def live(self) -> Publication:
        """The live publication; NO_PUBLICATION where nothing was published."""
        return self._parsed(self.backend.get([self.backend.prefix + b"!live"])[0])

    @property
    def views(self) -> dict[str, View]:
        """The views of the store by name; none where nothing was published."""
        if not self._views:
            self.refresh()
        return self._views

    def refresh(self) -> None:
        """Read the views, the new part of every word list and the live publication, from which the next read starts."""
        prefix = self.backend.prefix
        data, live = self.backend.get([prefix + b"!views", prefix + b"!live"])
        self._parsed(live)
        with _readable():
            views = [View.of(plain) for plain in json.loads(data)] if data else []
        names = {feature.words for view in views for layout in view.layouts for feature in layout if feature.words}
        self._words = {name: read_words(self.backend, name, self._words.get(name, [])) for name in sorted(names)}
        self._views = {view.name: view for view in views}

    def read(self, keys: Sequence[tuple[str, Sequence[str]]]) -> Answer:
        """The rows of (view, values of its key columns), all of the live publication.

        A view has no rows in a store without it, where nothing was ever published.
        """
        views = self.views
        if any(name not in views for name, _ in keys):
            self.refresh()
            views = self._views
        asked = [(views.get(name), tuple(parts)) for name, parts in keys]
        prefix = self.backend.prefix
        stored = [prefix + b"!live", *(row_key(prefix, view, parts) for view, parts in asked if view is not None)]
        live, found = self._found(stored)
        left, rows = iter(found), list[OnlineRow | None]()
        for view, parts in asked:
            record = next(left) if view else None
            if view is None or record is None or record.kind == GONE:
                rows.append(None)
            else:
                rows.append(self._row(view, parts, record, live))
        return Answer(live, rows)

    def _found(self, stored: Sequence[bytes]) -> tuple[Publication, list[Record | None]]:
        """The live publication, which is the value of the first key, and the record that it sees of each other key."""
        before = self._live[1].seq
        first, *chains = self.backend.get(stored, before)
        live = self._parsed(first)
        found = [newest_of(chain, live) if chain else None for chain in chains]
        if self.backend.beside and (live.seq != before or (None in found and _hidden(chains, found))):
            # Another publication is live, or the newest record of a key was abandoned.
            first, *chains = self.backend.get(stored)
            live = self._parsed(first)
            found = [newest_of(chain, live) if chain else None for chain in chains]
        return live, found

    def _row(self, view: View, parts: Sequence[str], record: Record, live: Publication) -> OnlineRow | None:
        """The row of a record; None where it is of another key than `parts`."""
        try:
            return self._decoded(view, parts, record, live)
        except (UnknownCodeError, KeyError, IndexError):
            # Written after this reader's last refresh, in a newer layout or with a new word.
            self.refresh()
            return self._decoded(self._views[view.name], parts, record, live)

    def _decoded(self, view: View, parts: Sequence[str], record: Record, live: Publication) -> OnlineRow | None:
        payload, night, published_at = record.payload, live.as_of, live.published_at
        if record.kind == STAMPED:
            published_at = EPOCH + timedelta(microseconds=int.from_bytes(payload[:8], "little", signed=True))
            night, at = read_text(payload, 8)
            payload = payload[at:]
        features = decode(view.layouts[record.layout], payload, self._words)
        for name, part in zip(view.key[view.own :], parts[view.own :], strict=True):
            if features.pop(name) != part:
                return None
        return OnlineRow(features, night, published_at)

    def _parsed(self, data: bytes | None) -> Publication:
        before, live = self._live
        if data != before:
            with _readable():
                live = Publication.of(data) if data else NO_PUBLICATION
            self._live = (data, live)
        return live


@contextmanager
def _readable() -> Iterator[None]:
    """Turns the errors of values that nobody of ours wrote into StoreUnableError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        fault = "it holds values that are not those of an online store; correct the address or the prefix"
        raise StoreUnableError(fault) from None


def _hidden(chains: Sequence[bytes | None], found: Sequence[Record | None]) -> bool:
    """Whether a key has records, none of which is seen."""
    return any(chain and record is None for chain, record in zip(chains, found, strict=True))


def word_key(prefix: bytes, name: str, chunk: int) -> bytes:
    """The stored key of a part of a word list."""
    return prefix + f"!words:{name}:{chunk}".encode()


def read_words(backend: Backend, name: str, known: Sequence[str] = ()) -> list[str]:
    """A word list; of the `known` words only the last part is read again, since lists only grow."""
    chunk = len(known) // WORDS_A_CHUNK
    words = list(known[: chunk * WORDS_A_CHUNK])
    while True:
        parts = backend.get([word_key(backend.prefix, name, chunk + i) for i in range(32)])
        for part in parts:
            if part is None:
                return words
            words += json.loads(part)
        chunk += len(parts)


def backend_at(address: str, prefix: str = "n", **options: Any) -> Backend:
    """The backend at `address`: sqlite:// and then the path of a file, or a connection to Redis.

    So sqlite:///srv/online.db is an absolute path, and sqlite://var/online.db one from the working folder.

    `options` are those of `redis_client` (timeout, connect_timeout, retries, cluster, and redis-py's own). Raises
    StoreSettingsError for an address that cannot be read.
    """
    if address.startswith(SQLITE):
        from feature_repo.online.sqlite_backend import SqliteBackend

        path = address.removeprefix(SQLITE)
        if not path or path.endswith("/"):
            raise StoreSettingsError(f"{address} names no file; give sqlite:// and then the path of the store's file")
        return SqliteBackend(Path(path), prefix.encode())
    from feature_repo.online.redis_backend import RedisBackend, redis_client

    return RedisBackend(redis_client(address, **options), prefix.encode())


def connect(address: str, prefix: str = "n", **options: Any) -> Reader:
    """A Reader of the store at `address`; see `backend_at`."""
    return Reader(backend_at(address, prefix, **options))
