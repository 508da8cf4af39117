"""What the bytes of a row mean: views, their keys and their features in stored order.

A row is a bitmap of nulls (bit i of ceil(features / 8) bytes, little-endian, for feature i) and then each feature that
is not null:

- text: length, UTF-8
- word: code + 1 of a word list; or 0, length and UTF-8 of a word that is in no list
- double: 8 bytes
- floats, words, seconds: a head byte, the count unless the head says "as in the array before", the body

Numbers without a width are LEB128. All others are little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXT, WORD, DOUBLE, FLOATS, WORDS, SECONDS = "text", "word", "double", "floats", "words", "seconds"

SAME_COUNT = 0x80
"""Bit of an array's head: it has as many elements as the array before it in the row."""
CONSTANT, INLINE = 0, 15
"""Kinds of a word array: one code for all elements; or each element as length and UTF-8."""
WIDTHS = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 24, 7: 32}
"""Kinds of a word array whose codes are packed, low bits first: bits a code."""
RAW_SECONDS = 9
"""Kind of a time array: 8 bytes an element. Kinds 0 to 8 are the first time (8 bytes) and what each adds, so wide."""


@dataclass(frozen=True)
class Feature:
    """One feature: how it is stored, and for words which list they are in."""

    name: str
    type: str
    words: str = ""


@dataclass(frozen=True)
class View:
    """One view: its key columns, and the features of every layout it ever had."""

    name: str
    id: str
    """One letter, part of every key."""
    key: tuple[str, ...]
    own: int
    """How many of the key columns make the stored key; the others are the first features, checked on reading."""
    layouts: tuple[tuple[Feature, ...], ...]
    last_first: bool = False
    """Whether the stored key begins with the last key column: rows come market by market, and a tree of keys that
    grows at its end takes them several times as fast. Views from before are the other way round, and stay so."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features as they are written now."""
        return self.layouts[-1]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        layouts = [[[f.name, f.type, f.words] for f in layout] for layout in self.layouts]
        return {"name": self.name, "id": self.id, "key": list(self.key), "own": self.own, "layouts": layouts,
                "last_first": self.last_first}  # fmt: skip

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> View:
        """From JSON."""
        layouts = tuple(tuple(Feature(*feature) for feature in layout) for layout in plain["layouts"])
        return cls(plain["name"], plain["id"], tuple(plain["key"]), plain["own"], layouts,
                   plain.get("last_first", False))  # fmt: skip


def uvarint(number: int) -> bytes:
    """A whole number from 0 on as LEB128."""
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_uvarint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends)."""
    number = data[at]
    if number < 128:
        return number, at + 1
    number &= 127
    shift = 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at + 1
        shift += 7


def row_key(prefix: bytes, view: View, parts: tuple[str, ...]) -> bytes:
    """The stored key of a row: unequal parts give unequal keys, whatever they contain."""
    own = parts[: view.own]
    encoded = [part.encode() for part in (reversed(own) if view.last_first else own)]
    last = encoded.pop()
    return key_head(prefix, view, encoded) + last


def key_head(prefix: bytes, view: View, encoded: Sequence[bytes]) -> bytes:
    """What a stored key begins with: all but the part that comes last."""
    head = prefix + view.id.encode()
    for part in encoded:
        head += uvarint(len(part)) + part
    return head
