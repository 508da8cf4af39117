"""Writing the online store: a night is loaded beside the one that is live, and shown or taken back by one value.

The law: a reader of publication n sees exactly the tables that n was loaded from. It holds because a load writes a
record for each key whose row differs from what its parent (what was live when it began) shows, and because a reader
of n takes the newest record among n's own and its ancestors'. Numbers are never used twice; those between a
publication and its parent were given up, and no reader of it sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from feature_repo.online.backend import Backend, Renew
from feature_repo.online.layout import Feature, View, row_key, uvarint
from feature_repo.online.reader import WORDS_A_CHUNK, Reader, read_words, word_key
from feature_repo.online.versions import GONE, ROW, Publication, Record, agreed, merging, record_head, visible, written

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BATCH = 2_000
"""Keys looked at in one round trip."""
FRESH = 5_000
"""Keys written in one where nothing has to be looked at."""


class Writer:
    """The store with the right to write; `writer(backend)` gives one."""

    def __init__(self, backend: Backend, renew: Renew, keep: int) -> None:
        self.backend, self.renew, self.keep = backend, renew, keep
        self.words = WordLists(backend)
        self.reader = Reader(backend)
        self._log: list[Publication] | None = None

    # --- what is there

    def _read(self, name: str) -> bytes | None:
        return self.backend.get([self._key(name)])[0]

    def _key(self, name: str) -> bytes:
        return self.backend.prefix + b"!" + name.encode()

    @property
    def live(self) -> Publication:
        """What is live."""
        return self.reader.live

    def nights(self) -> list[Publication]:
        """The publications whose versions are kept, oldest first."""
        if self._log is None:
            self._log = nights(self.backend)
        return self._log

    def filled(self, view: View) -> bool:
        """Whether the view has a row in some version; says so from now on."""
        found = set(json.loads(self._read("filled") or b"[]"))
        if view.name not in found:
            self.backend.put({self._key("filled"): json.dumps(sorted({*found, view.name})).encode()})
        return view.name in found

    def views(self, wanted: Mapping[str, tuple[tuple[str, ...], int, tuple[Feature, ...]]]) -> dict[str, View]:
        """Views by name, added or given a further layout where the store has them not so.

        `wanted` is name -> (key columns, how many of them make the stored key, features).
        """
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

    # --- a night

    def begin(self, as_of: str, identity: str, published_at: datetime) -> Load:
        """The load of a night: the one that was broken off if it was of the same content, else a new one."""
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
        """Record how far a load is."""
        self.renew()
        self.backend.put({self._key("load"): load.packed()})

    def write(
        self, load: Load, view: View, keys: Sequence[bytes], payloads: Sequence[bytes], fresh: bool,
        differing: bool = False,
    ) -> int:  # fmt: skip
        """Write the rows that differ from what is there; returns how many.

        `fresh`: the view has no key yet; `differing`: all of the rows are known to differ.
        """
        layout, done, size = len(view.layouts) - 1, 0, FRESH if fresh else BATCH
        head, merged = record_head(load.live.seq, ROW, layout), merging(self._kept(load))
        for start in range(0, len(keys), size):
            some = keys[start : start + size]
            rows, chains = dict(zip(some, payloads[start : start + size], strict=True)), None
            if not fresh and not differing:
                chains = dict(zip(some, self.backend.get(some), strict=True))
                rows = {key: row for key, row in rows.items() if not _shows(chains[key], load.live, layout, row)}
            items = {key: head + uvarint(len(row)) + row for key, row in rows.items()}
            if fresh:
                self.backend.put(items)
            elif items:
                self.backend.add(load.live.seq, items, merged, chains)
            done += len(items)
        return done

    def end(self, load: Load, keys: Iterable[bytes]) -> int:
        """Say of keys that they have no row any more; returns how many had one."""
        done, merged = 0, merging(self._kept(load))
        record = Record(load.live.seq, GONE, 0, b"").packed()
        for some in _batches(keys, BATCH):
            chains = dict(zip(some, self.backend.get(some), strict=True))
            items = {key: record for key, chain in chains.items() if visible(chain, load.live) is not None}
            if items:
                self.backend.add(load.live.seq, items, merged, chains)
            done += len(items)
        return done

    def _kept(self, load: Load) -> list[Publication]:
        return [*self.nights(), load.parent]

    def _put(self, changed: Mapping[bytes, bytes]) -> None:
        if kept := {key: chain for key, chain in changed.items() if chain}:
            self.backend.put(kept)
        if gone := [key for key, chain in changed.items() if not chain]:
            self.backend.drop(gone)

    def publish(self, load: Load, extra: dict[str, Any] | None = None) -> Publication:
        """Make a whole load live: services see all of it from one instant to the next."""
        live = replace(load.live, extra=extra or {})
        self._show(live)
        self._remember(live)
        self.backend.drop([self._key("load")])
        self.backend.fold(*agreed(self.nights()))
        return live

    def roll_back(self, seq: int, published_at: datetime) -> Publication:
        """Make a publication live again whose versions are kept; raises KeyError for another."""
        found = {night.seq: night for night in self.nights()}[seq]
        live = replace(found, published_at=published_at)
        self._show(live)
        self._remember(live)
        return live

    def _show(self, live: Publication) -> None:
        self.renew()
        self.backend.put({self._key("live"): live.packed()})

    def _remember(self, live: Publication) -> None:
        others = [night for night in self.nights() if night.seq != live.seq]
        newest_last = sorted([*others, live], key=lambda night: night.published_at)[-self.keep :]
        self._log = sorted(newest_last, key=lambda night: night.seq)
        self.backend.put({self._key("log"): json.dumps([night.packed().decode() for night in self._log]).encode()})

    # --- outside of nights

    def start(self, as_of: str, published_at: datetime) -> None:
        """Let an empty store have something live for Feast's own writes to go into."""
        if not self.live.seq:
            self.backend.put({self._key("seq"): b"1"})
            self._show(Publication(1, (), as_of, published_at))

    def amend(self, view: View, rows: Mapping[bytes, Record]) -> None:
        """Write rows into what is live now, as Feast's own writes do: at once, not as part of a night.

        A load that was broken off begins anew after it, and the next night looks at every row.
        """
        self.backend.drop([self._key("load")])
        self.filled(view)
        if not self.live.extra.get("amended"):
            live = replace(self.live, extra=self.live.extra | {"amended": True})
            self._show(live)
            self._remember(live)
        for some in _batches(rows, BATCH):
            chains = self.backend.get(some)
            self._put({key: written(chain, rows[key], self.nights()) for key, chain in zip(some, chains, strict=True)})

    def forget(self, first: str, column: str = "customer_id") -> int:
        """Remove every version of every row of a customer; returns the keys removed."""
        keys = [
            row_key(self.backend.prefix, view, (first,)) for view in self.reader.views.values()
            if view.key[0] == column and view.own == 1
        ]  # fmt: skip
        there = [key for key, chain in zip(keys, self.backend.get(keys), strict=True) if chain is not None]
        self.backend.drop(there)
        return len(there)

    def clear(self) -> int:
        """Remove everything; returns the keys removed."""
        done = 0
        for some in self.backend.scan(self.backend.prefix):
            keys = [key for key in some if key != self.backend.prefix + b"!lock"]
            self.backend.drop(keys)
            done += len(keys)
        return done


@contextmanager
def writer(backend: Backend, keep: int = 7) -> Iterator[Writer]:
    """The store with the right to write; raises StoreBusyError while somebody else has it.

    `keep` is how many publications can be taken back to by moving what is live.
    """
    with backend.writing() as renew:
        yield Writer(backend, renew, keep)


def nights(backend: Backend) -> list[Publication]:
    """The publications whose versions are kept, oldest first; what is live is one of them."""
    live, log = backend.get([backend.prefix + b"!live", backend.prefix + b"!log"])
    found = {night.seq: night for night in (Publication.of(text.encode()) for text in json.loads(log or b"[]"))}
    if live:  # a process that ended right after showing a night has not noted it
        shown = Publication.of(live)
        found[shown.seq] = shown
    return [found[seq] for seq in sorted(found)]


def _shows(chain: bytes | None, live: Publication, layout: int, row: bytes) -> bool:
    """Whether what is seen of a chain is this row."""
    old = visible(chain, live)
    return old is not None and (old.kind, old.layout, old.payload) == (ROW, layout, row)


def _batches(keys: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    some: list[bytes] = []
    for key in keys:
        some.append(key)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


# A night on its way into the online store: what it is, and how far it has come.


@dataclass
class Load:
    """A night on its way into the store; recorded there, so that a later process can go on with it."""

    live: Publication
    """What will be live: its number, night and time."""
    parent: Publication
    identity: str
    """What is loaded, by content: an attempt at something else is another load."""
    done: dict[str, int] = field(default_factory=dict)
    """View -> batches written; -1 where it is complete."""
    written: dict[str, int] = field(default_factory=dict)
    """View -> records written."""

    def packed(self) -> bytes:
        """As JSON."""
        plain = {"live": self.live.packed().decode(), "parent": self.parent.packed().decode(),
                 "identity": self.identity, "done": self.done, "written": self.written}  # fmt: skip
        return json.dumps(plain).encode()

    @classmethod
    def of(cls, data: bytes) -> Load:
        """From JSON."""
        plain = json.loads(data)
        live, parent = (Publication.of(plain.pop(name).encode()) for name in ("live", "parent"))
        return cls(live, parent, **plain)


# Word lists as the writer keeps them: a word's code is its place in the list, and stays it for ever.

MOST_WORDS = 4_000_000
"""Words of a list; later ones are stored where they stand."""


class WordLists:
    """The lists of a store. New words are stored before any row that names them."""

    def __init__(self, backend: Backend, most: int = MOST_WORDS) -> None:
        self.backend, self.most = backend, most
        self._codes: dict[str, dict[str, int]] = {}

    def code(self, name: str, words: list[str]) -> list[int]:
        """The code of each word in the list `name`, -1 for one that found no place in it any more."""
        if name not in self._codes:
            self._codes[name] = {word: code for code, word in enumerate(read_words(self.backend, name))}
        codes = self._codes[name]
        new = list(dict.fromkeys(word for word in words if word not in codes))[: max(self.most - len(codes), 0)]
        if new:
            first = len(codes) // WORDS_A_CHUNK
            codes.update(zip(new, range(len(codes), len(codes) + len(new)), strict=True))
            self._store(name, list(codes)[first * WORDS_A_CHUNK :], first)
        return [codes.get(word, -1) for word in words]

    def _store(self, name: str, words: list[str], chunk: int) -> None:
        parts = range(0, len(words), WORDS_A_CHUNK)
        prefix = self.backend.prefix
        self.backend.put({
            word_key(prefix, name, chunk + i): json.dumps(words[start : start + WORDS_A_CHUNK]).encode()
            for i, start in enumerate(parts)
        })  # fmt: skip
