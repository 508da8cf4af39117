"""Keeps the versions of a row side by side in one value and selects the one that a reader sees.

Every publication has a sequence number. A value is a chain of records, newest first; a record is its sequence number
(LEB128), tag, length (LEB128) and payload. The store has one small value, `Publication`: the number of the live
publication and the lower numbers that were abandoned. A reader takes the newest record that it names, so overwriting
that one value shows or takes back a whole night at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from feature_repo.online.layout import read_uvarint, uvarint

ROW, GONE, STAMPED = 0, 1, 2
"""Kinds of a record: a row of its night; a deleted row; a row behind a night and a time of its own."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(NamedTuple):
    """One version of a row."""

    seq: int
    kind: int
    layout: int
    payload: bytes

    def packed(self) -> bytes:
        """The record as a chain stores it."""
        return record_head(self.seq, self.kind, self.layout) + uvarint(len(self.payload)) + self.payload


def record_head(seq: int, kind: int, layout: int) -> bytes:
    """The bytes of a record before its payload's length."""
    return uvarint(seq) + bytes((kind | layout << 2,))


@dataclass(frozen=True)
class Publication:
    """A published night, and which versions its readers see: those up to `seq` except the abandoned ones."""

    seq: int
    abandoned: tuple[int, ...]
    as_of: str
    """The night, as ISO date."""
    published_at: datetime
    """UTC; the event timestamp of every row."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Facts of the load, as JSON: run, rows, table versions."""

    @cached_property
    def _abandoned(self) -> frozenset[int]:
        return frozenset(self.abandoned)

    def sees(self, seq: int) -> bool:
        """Whether a record of this number is part of it."""
        return seq <= self.seq and seq not in self._abandoned

    def next(self, seq: int, as_of: str, published_at: datetime) -> Publication:
        """The publication `seq` on top of this one: all numbers between them were abandoned."""
        return Publication(seq, (*self.abandoned, *range(self.seq + 1, seq)), as_of, published_at)

    def packed(self) -> bytes:
        """The publication as JSON."""
        micros = (self.published_at - EPOCH) // timedelta(microseconds=1)
        plain = {"seq": self.seq, "not": self.abandoned, "as_of": self.as_of, "at": micros, **self.extra}
        return json.dumps(plain).encode()

    @classmethod
    def of(cls, data: bytes) -> Publication:
        """A publication from JSON."""
        plain = json.loads(data)
        at = EPOCH + timedelta(microseconds=plain.pop("at"))
        return cls(plain.pop("seq"), tuple(plain.pop("not")), plain.pop("as_of"), at, plain)


NO_PUBLICATION = Publication(0, (), "", EPOCH)
"""The live publication of a store where nothing was ever published; it sees no version."""


def records(chain: bytes) -> Iterator[Record]:
    """The records of a chain, newest first."""
    at = 0
    while at < len(chain):
        seq, at = read_uvarint(chain, at)
        tag = chain[at]
        length, at = read_uvarint(chain, at + 1)
        yield Record(seq, tag & 3, tag >> 2, chain[at : at + length])
        at += length


def newest_of(chain: bytes, publication: Publication) -> Record | None:
    """The newest record of a chain that a publication sees, a deletion too.

    Every read of a row comes through here, so it does not build the records that it skips.
    """
    at = 0
    while at < len(chain):
        seq, at = read_uvarint(chain, at)
        tag = chain[at]
        length, at = read_uvarint(chain, at + 1)
        if publication.sees(seq):
            return Record(seq, tag & 3, tag >> 2, chain[at : at + length])
        at += length
    return None


def visible(chain: bytes | None, publication: Publication) -> Record | None:
    """The record that a reader sees; None where there is no row or it was deleted."""
    found = newest_of(chain, publication) if chain else None
    return None if found is None or found.kind == GONE else found


def written(chain: bytes | None, record: Record, kept: Sequence[Publication]) -> bytes:
    """The chain with `record`, which replaces one of its number, and the others that a publication of `kept` sees.

    Empty where only deletions would be left: the key can be removed.
    """
    others = [other for other in records(chain or b"") if other.seq != record.seq]
    needed = {next((other.seq for other in others if one.sees(other.seq)), None) for one in kept}
    left = sorted([record, *(other for other in others if other.seq in needed)], key=lambda one: -one.seq)
    return b"" if all(one.kind == GONE for one in left) else b"".join(one.packed() for one in left)


def merging(kept: Sequence[Publication]) -> Callable[[bytes | None, bytes], bytes]:
    """`written` for the packed records of a load, whose number no chain has and no publication of `kept` sees.

    Which old records stay depends only on the numbers in the chain, and few combinations of numbers occur.
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


def agreed(kept: Sequence[Publication]) -> tuple[int, frozenset[int]]:
    """(the number up to which all of `kept` see the same records, the numbers up to it that none of them sees).

    Of a key's records up to that number, each of `kept` sees the newest that was not abandoned.
    """
    abandoned = [frozenset(publication.abandoned) for publication in kept]
    some, every = frozenset().union(*abandoned), frozenset(abandoned[0]).intersection(*abandoned)
    upto = min([*(publication.seq for publication in kept), *(number - 1 for number in some - every)])
    return upto, frozenset(number for number in every if number <= upto)
