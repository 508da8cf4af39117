"""Defines the bytes of a row: views, their keys and their features in stored order.

A row is a bitmap of nulls (bit i of ceil(features / 8) bytes, little-endian, for feature i) and then each feature that
is not null:

- text: length, UTF-8
- word: its code + 1 in a word list; or 0, length and UTF-8 of a word that is in no list
- double: 8 bytes
- floats, words, seconds: a head byte, the count unless the head has SAME_COUNT, the body

Numbers without a given width are LEB128. All others are little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT, WORD, DOUBLE, FLOATS, WORDS, SECONDS = "text", "word", "double", "floats", "words", "seconds"

SAME_COUNT = 0x80
"""Bit of an array's head: it has as many elements as the array before it in the row, and no count."""
CONSTANT, INLINE = 0, 15
"""Kinds of a word array: one code for all elements; each element as length and UTF-8."""
WIDTHS = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 24, 7: 32}
"""Kind of a word array whose codes are packed, low bits first -> bits per code."""
RAW_SECONDS = 9
"""Kind of a time array: 8 bytes per element. Kinds 0 to 8 are the first time (8 bytes) and steps of that many bytes."""


@dataclass(frozen=True)
class Feature:
    """One feature: its name, how it is stored, and the word list of its words."""

    name: str
    type: str
    words: str = ""


@dataclass(frozen=True)
class View:
    """One view: its key columns, and the features of every layout that it ever had."""

    name: str
    id: str
    """One letter of every stored key."""
    key: tuple[str, ...]
    own: int
    """Number of key columns in the stored key; the others are the first features, checked on reading."""
    layouts: tuple[tuple[Feature, ...], ...]
    last_first: bool = False
    """Whether the stored key begins with the last key column: rows come market by market, and a B-tree that grows at
    its end is several times as fast. Older stores have views of the other order."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features of the newest layout, in which rows are written."""
        return self.layouts[-1]

    def plain(self) -> dict[str, Any]:
        """The view as JSON has it."""
        layouts = [[[f.name, f.type, f.words] for f in layout] for layout in self.layouts]
        return vars(self) | {"layouts": layouts}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> View:
        """A view from JSON."""
        layouts = tuple(tuple(Feature(*feature) for feature in layout) for layout in plain["layouts"])
        return cls(**{**plain, "key": tuple(plain["key"]), "layouts": layouts})


def uvarint(number: int) -> bytes:
    """A whole number, 0 or more, as LEB128."""
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_uvarint(data: bytes, at: int) -> tuple[int, int]:
    """(number, the offset behind it)."""
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
    """The stored key of a row; distinct parts give distinct keys, whatever they contain."""
    own = parts[: view.own]
    encoded = [part.encode() for part in (reversed(own) if view.last_first else own)]
    last = encoded.pop()
    return prefix + view.id.encode() + b"".join(uvarint(len(part)) + part for part in encoded) + last
