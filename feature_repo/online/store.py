"""Writes the online store: loads a night beside the live one, then shows or takes it back by one value.

The law: a reader of publication n sees exactly the tables that n was loaded from. A load writes a record for each key
whose row differs from what its parent shows (the publication that was live when the load began), and a reader of n
takes the newest record among those of n and its ancestors. Numbers are never used twice; those between a publication
and its parent were abandoned, and no reader of it sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

from feature_repo.online.backend import Backend, Renew
from feature_repo.online.layout import Feature, View, row_key
from feature_repo.online.reader import WORDS_A_CHUNK, Reader, read_words, word_key
from feature_repo.online.versions import GONE, ROW, Publication, Record, agreed, merging, record_head, visible, written

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BATCH = 2_000
"""Keys read and written in one round trip."""
FRESH = 5_000
"""Keys written in one round trip where none has to be read."""
MOST_WORDS = 4_000_000
"""Words of a list; rows spell out later ones."""
StoredView = tuple[tuple[str, ...], int, tuple[Feature, ...]]
"""(key columns, how many of them make the stored key, features)"""


@dataclass
class Load:
    """A night on its way into the store, which records it so that a later process can continue."""

    live: Publication
    """The publication that the load will become."""
    parent: Publication
    identity: str
    """Fingerprint of the loaded tables: an attempt with other content is another load."""
    done: dict[str, int] = field(default_factory=dict)
    """View -> batches written; -1 where it is complete."""
    written: dict[str, int] = field(default_factory=dict)
    """View -> records written."""

    def packed(self) -> bytes:
        """The load as JSON."""
        packed = {"live": self.live.packed().decode(), "parent": self.parent.packed().decode()}
        return json.dumps(vars(self) | packed).encode()

    @classmethod
    def of(cls, data: bytes) -> Load:
        """A load from JSON."""
        plain = json.loads(data)
        live, parent = (Publication.of(plain.pop(name).encode()) for name in ("live", "parent"))
        return cls(live, parent, **plain)


class WordLists:
    """The word lists of a store: a word's code is its place in the list, for ever.

    New words are stored before any row that refers to them.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._codes: dict[str, dict[str, int]] = {}
        self._last: dict[str, tuple[list[str], list[int]]] = {}

    def code(self, name: str, words: list[str]) -> list[int]:
        """The code of each word in the list `name`, -1 where the list has no room for it."""
        if name in self._last and self._last[name][0] == words:  # batch after batch has the same dictionary
            return self._last[name][1]
        if name not in self._codes:
            self._codes[name] = {word: code for code, word in enumerate(read_words(self.backend, name))}
        codes = self._codes[name]
        new = list(dict.fromkeys(word for word in words if word not in codes))[: max(MOST_WORDS - len(codes), 0)]
        if new:
            start = len(codes) // WORDS_A_CHUNK * WORDS_A_CHUNK
            codes.update(zip(new, range(len(codes), len(codes) + len(new)), strict=True))
            changed = list(codes)[start:]
            chunks = {
                word_key(self.backend.prefix, name, (start + at) // WORDS_A_CHUNK): changed[at : at + WORDS_A_CHUNK]
                for at in range(0, len(changed), WORDS_A_CHUNK)
            }
            self.backend.put({key: json.dumps(chunk).encode() for key, chunk in chunks.items()})
        self._last[name] = words, [codes.get(word, -1) for word in words]
        return self._last[name][1]


class Writer:
    """The store in the hands of the only writer; `writer(backend)` gives one."""

    def __init__(self, backend: Backend, renew: Renew, keep: int) -> None:
        self.backend, self.renew, self.keep = backend, renew, keep
        self.words = WordLists(backend)
        self.reader = Reader(backend)
        self._log: list[Publication] | None = None

    def _read(self, name: str) -> bytes | None:
        return self.backend.get([self._key(name)])[0]

    def _key(self, name: str) -> bytes:
        return self.backend.prefix + b"!" + name.encode()

    @property
    def live(self) -> Publication:
        """The live publication."""
        return self.reader.live

    def nights(self) -> list[Publication]:
        """The publications whose versions are kept, oldest first."""
        if self._log is None:
            self._log = nights(self.backend)
        return self._log

    def filled(self, view: View) -> bool:
        """Whether any version of the view has a row; the store counts it as filled from now on."""
        found = set(json.loads(self._read("filled") or b"[]"))
        if view.name not in found:
            self.backend.put({self._key("filled"): json.dumps(sorted({*found, view.name})).encode()})
        return view.name in found

    def views(self, wanted: Mapping[str, StoredView]) -> dict[str, View]:
        """Views by name; adds a view, or a layout of one, that the store does not have."""
        self.reader.refresh()
        views = dict(self.reader.views)
        for name, (key, own, features) in wanted.items():
            stored = tuple(Feature(column, "word", column) for column in key[own:]) + features
            old = views.get(name)
            if old is None or (old.key, old.own) != (key, own):
                letter = next(one for one in LETTERS if one not in {view.id for view in views.values()})
                views[name] = View(name, letter, key, own, (stored,), last_first=True)
            elif old.features != stored:
                views[name] = replace(old, layouts=(*old.layouts, stored))
        if views != self.reader.views:
            self.backend.put({self._key("views"): json.dumps([view.plain() for view in views.values()]).encode()})
            self.reader.refresh()
        return {name: views[name] for name in wanted}

    # --- loading a night

    def begin(self, as_of: str, identity: str, published_at: datetime) -> Load:
        """The load of a night: the interrupted one where its content is the same, else a new one."""
        live, found = self.live, self._read("load")
        before = Load.of(found) if found else None
        if before is not None and (before.identity, before.parent.seq) == (identity, live.seq):
            before.live = replace(before.live, published_at=published_at)
            return before
        seq = int(self._read("seq") or 0) + 1
        self.backend.put({self._key("seq"): str(seq).encode()})
        load = Load(live.next(seq, as_of, published_at), live, identity)
        self.save(load)
        return load

    def save(self, load: Load) -> None:
        """Record the progress of a load."""
        self.renew()
        self.backend.put({self._key("load"): load.packed()})

    def record_head(self, load: Load, view: View) -> bytes:
        """The beginning of every record that the load writes to the view."""
        return record_head(load.live.seq, ROW, len(view.layouts) - 1)

    def write(
        self, load: Load, keys: Sequence[bytes], records: Sequence[bytes], fresh: bool, differing: bool = False
    ) -> int:
        """Write the records of those rows that differ from those of the load's parent; returns how many.

        `fresh`: the view has no key yet; `differing`: all of the rows are known to differ.
        """
        done, size, merged = 0, FRESH if fresh else BATCH, merging([*self.nights(), load.parent])
        for start in range(0, len(keys), size):
            some, chains = keys[start : start + size], None
            items = dict(zip(some, records[start : start + size], strict=True))
            if not fresh and not differing:
                chains = dict(zip(some, self.backend.get(some), strict=True))
                items = {key: record for key, record in items.items() if not _shows(chains[key], load.live, record)}
            if fresh:
                self.backend.put(items)
            elif items:
                self.backend.add(load.live.seq, items, merged, chains)
            done += len(items)
        return done

    def delete(self, load: Load, keys: Iterable[bytes], there: bool = False) -> int:
        """Write that some keys have no row in the load; returns how many had one. `there`: all have one."""
        done, merged = 0, merging([*self.nights(), load.parent])
        record = Record(load.live.seq, GONE, 0, b"").packed()
        for some in _batches(keys):
            chains = None if there else dict(zip(some, self.backend.get(some), strict=True))
            items = {key: record for key in some if chains is None or visible(chains[key], load.live) is not None}
            if items:
                self.backend.add(load.live.seq, items, merged, chains)
            done += len(items)
        return done

    def publish(self, load: Load, extra: dict[str, Any] | None = None) -> Publication:
        """Make a complete load live: services see all of it from one instant to the next."""
        live = replace(load.live, extra=extra or {})
        self._show(live)
        self.backend.drop([self._key("load")])
        self.backend.fold(*agreed(self.nights()))
        return live

    def roll_back(self, seq: int, published_at: datetime) -> Publication:
        """Make a kept publication live again; raises KeyError for a number that is not kept."""
        live = replace({night.seq: night for night in self.nights()}[seq], published_at=published_at)
        self._show(live)
        return live

    def _show(self, live: Publication) -> None:
        """Make a publication live and keep it in the log, from which the one published first drops out."""
        kept = [night for night in self.nights() if night.seq != live.seq]
        self.renew()
        self.backend.put({self._key("live"): live.packed()})
        newest = sorted([*kept, live], key=lambda night: night.published_at)[-self.keep :]
        self._log = sorted(newest, key=lambda night: night.seq)
        self.backend.put({self._key("log"): json.dumps([night.packed().decode() for night in self._log]).encode()})

    # --- outside of loads

    def amend(self, view: View, rows: Mapping[bytes, Record]) -> None:
        """Write rows into the live publication at once, as Feast's own writes do.

        An interrupted load has to begin again after it, and the next night compares every row.
        """
        self.backend.drop([self._key("load")])
        self.filled(view)
        if not self.live.extra.get("amended"):
            self._show(replace(self.live, extra=self.live.extra | {"amended": True}))
        for some in _batches(rows):
            chains = zip(some, self.backend.get(some), strict=True)
            changed = {key: written(chain, rows[key], self.nights()) for key, chain in chains}
            self.backend.put({key: chain for key, chain in changed.items() if chain})
            self.backend.drop([key for key, chain in changed.items() if not chain])

    def start(self, as_of: str, published_at: datetime) -> None:
        """Give an empty store a live publication for `amend`."""
        if not self.live.seq:
            self.backend.put({self._key("seq"): b"1"})
            self._show(Publication(1, (), as_of, published_at))

    def forget(self, first: str, column: str = "customer_id") -> int:
        """Remove every version of every row of a customer; returns the number of keys removed."""
        views = [view for view in self.reader.views.values() if view.key[0] == column and view.own == 1]
        keys = [row_key(self.backend.prefix, view, (first,)) for view in views]
        there = [key for key, chain in zip(keys, self.backend.get(keys), strict=True) if chain is not None]
        self.backend.drop(there)
        return len(there)

    def clear(self) -> int:
        """Remove everything; returns the number of keys removed."""
        done = 0
        for some in self.backend.scan(self.backend.prefix):
            keys = [key for key in some if key != self.backend.prefix + b"!lock"]
            self.backend.drop(keys)
            done += len(keys)
        return done


@contextmanager
def writer(backend: Backend, keep: int = 7) -> Iterator[Writer]:
    """Lock the store and write to it; raises StoreBusyError while another process writes.

    `keep` is the number of publications whose versions stay, for `roll_back`.
    """
    with backend.writing() as renew:
        yield Writer(backend, renew, keep)


def nights(backend: Backend) -> list[Publication]:
    """The publications whose versions are kept, oldest first; the live one is among them."""
    live, log = backend.get([backend.prefix + b"!live", backend.prefix + b"!log"])
    found = {night.seq: night for night in (Publication.of(text.encode()) for text in json.loads(log or b"[]"))}
    if live:  # a process killed right after showing a night has not logged it
        shown = Publication.of(live)
        found[shown.seq] = shown
    return [found[seq] for seq in sorted(found)]


def _shows(chain: bytes | None, live: Publication, record: bytes) -> bool:
    """Whether a reader of `live` finds the row of this record of `live` in a chain."""
    old = visible(chain, live)
    return old is not None and old._replace(seq=live.seq).packed() == record


def _batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    left = iter(keys)
    while some := list(islice(left, BATCH)):
        yield some
