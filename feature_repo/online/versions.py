"""Versions of a row side by side in one value, and which of them a reader sees.

Every publication has a sequence number. A value is a chain of records, newest first: sequence number (LEB128), tag,
length (LEB128), payload. What is live is one small value, `Live`: a number, and the numbers up to it that were
given up. A reader takes the newest record that it names, so moving `Live` shows or takes back a whole night at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from feature_repo.online.layout import read_uvarint, uvarint

ROW, GONE, STAMPED = 0, 1, 2
"""Kinds of a record: a row of its night; no row any more; a row with a night and a time of its own before it."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(NamedTuple):
    """One version of a row."""

    seq: int
    kind: int
    layout: int
    payload: bytes

    def packed(self) -> bytes:
        """As it stands in a chain."""
        return record_head(self.seq, self.kind, self.layout) + uvarint(len(self.payload)) + self.payload


def record_head(seq: int, kind: int, layout: int) -> bytes:
    """What a record begins with, before its payload's length."""
    return uvarint(seq) + bytes((kind | layout << 2,))


@dataclass(frozen=True)
class Live:
    """Which versions are seen: those up to `seq` but for the abandoned ones."""

    seq: int
    abandoned: tuple[int, ...]
    as_of: str
    """The night, as ISO date."""
    published_at: datetime
    """UTC; the event timestamp of every row."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What a publication says of itself besides: run, rows, where they were read."""

    @cached_property
    def _abandoned(self) -> frozenset[int]:
        return frozenset(self.abandoned)

    def sees(self, seq: int) -> bool:
        """Whether a record of this number is part of it."""
        return seq <= self.seq and seq not in self._abandoned

    def next(self, seq: int, as_of: str, published_at: datetime, extra: dict[str, Any] | None = None) -> Live:
        """What is live when `seq` is published on top of this: all numbers between them were given up."""
        given_up = (*self.abandoned, *range(self.seq + 1, seq))
        return Live(seq, given_up, as_of, published_at, extra or {})

    def packed(self) -> bytes:
        """As JSON."""
        micros = (self.published_at - EPOCH) // timedelta(microseconds=1)
        plain = {"seq": self.seq, "not": self.abandoned, "as_of": self.as_of, "at": micros, **self.extra}
        return json.dumps(plain).encode()

    @classmethod
    def of(cls, data: bytes) -> Live:
        """From JSON."""
        plain = json.loads(data)
        at = EPOCH + timedelta(microseconds=plain.pop("at"))
        return cls(plain.pop("seq"), tuple(plain.pop("not")), plain.pop("as_of"), at, plain)


NOTHING = Live(0, (), "", EPOCH)
"""What is live in a store where nothing was ever published: no version at all."""


def records(chain: bytes) -> Iterator[Record]:
    """The records of a chain, newest first."""
    at = 0
    while at < len(chain):
        seq, at = read_uvarint(chain, at)
        tag = chain[at]
        length, at = read_uvarint(chain, at + 1)
        yield Record(seq, tag & 3, tag >> 2, chain[at : at + length])
        at += length


def visible(chain: bytes | None, live: Live) -> Record | None:
    """The record that a reader sees; None where there is no row."""
    found = newest_of(chain, live) if chain else None
    return None if found is None or found.kind == GONE else found


def newest_of(chain: bytes, live: Live) -> Record | None:
    """`newest` of a chain, without a look at what stands behind it: every read of a row comes through here."""
    at = 0
    while at < len(chain):
        seq, at = read_uvarint(chain, at)
        tag = chain[at]
        length, at = read_uvarint(chain, at + 1)
        if live.sees(seq):
            return Record(seq, tag & 3, tag >> 2, chain[at : at + length])
        at += length
    return None


def newest(chain: Iterable[Record], live: Live) -> Record | None:
    """The newest record that `live` names, be it a row or its end."""
    return next((record for record in chain if live.sees(record.seq)), None)


def written(chain: bytes | None, record: Record, kept: Sequence[Live]) -> bytes:
    """The chain with `record` in it, and of the others those that a night of `kept` shows.

    Empty where nothing is left to say: the key can go.
    """
    if not chain:
        return b"" if record.kind == GONE else record.packed()
    whole = list(records(chain))
    if len(whole) == 1 and whole[0].seq < record.seq and any(night.sees(whole[0].seq) for night in kept):
        return record.packed() + chain  # as with most keys on most nights
    others = [other for other in whole if other.seq != record.seq]
    needed = {found.seq for night in kept if (found := newest(others, night)) is not None}
    left = sorted([record, *(other for other in others if other.seq in needed)], key=lambda one: -one.seq)
    if all(one.kind == GONE for one in left):
        return b""
    return b"".join(one.packed() for one in left)


def merging(kept: Sequence[Live]) -> Callable[[bytes | None, bytes], bytes]:
    """`written` for the packed rows of a load: the chain with a record in it that no night of `kept` sees yet.

    Which others stay depends on nothing but the numbers in the chain, and few combinations of them occur.
    """

    @cache
    def needed(numbers: tuple[int, ...]) -> list[bool]:
        seen = [next((one for one in numbers if night.sees(one)), None) for night in kept]
        return [number in seen for number in numbers]

    def merged(chain: bytes | None, record: bytes) -> bytes:
        if not chain:
            return record
        numbers, bounds, at = [], [0], 0
        while at < len(chain):
            number, at = read_uvarint(chain, at)
            length, at = read_uvarint(chain, at + 1)
            at += length
            numbers.append(number)
            bounds.append(at)
        stay = needed(tuple(numbers))
        if all(stay):
            return record + chain
        return record + b"".join(chain[a:b] for (a, b), one in zip(pairwise(bounds), stay, strict=True) if one)

    return merged


def agreed(kept: Sequence[Live]) -> tuple[int, frozenset[int]]:
    """(the number up to which all nights of `kept` see the same publications, those up to it that none of them sees).

    Of a key's records up to it, all of them see the newest that was not given up.
    """
    given_up = [frozenset(night.abandoned) for night in kept]
    some, every = frozenset().union(*given_up), frozenset(given_up[0]).intersection(*given_up)
    upto = min([*(night.seq for night in kept), *(number - 1 for number in some - every)])
    return upto, frozenset(number for number in every if number <= upto)
