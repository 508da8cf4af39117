"""Decodes rows from bytes (`feature_repo.online.layout`)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.online.layout import (
    CONSTANT,
    DOUBLE,
    FLOATS,
    INLINE,
    RAW_SECONDS,
    SAME_COUNT,
    TEXT,
    WIDTHS,
    WORD,
    WORDS,
    Feature,
    read_uvarint,
)

_DOUBLE = struct.Struct("<d")
_SECONDS = struct.Struct("<q")


class UnknownCodeError(LookupError):
    """A code that the known word list does not have yet: the list has to be read again."""


def decode(features: Sequence[Feature], data: bytes, words: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Feature -> value: str, float, list[str], float32 array, list[int] of Unix seconds; None where it is null.

    Raises UnknownCodeError where `words` does not have a code yet.
    """
    at = (len(features) + 7) // 8
    nulls = int.from_bytes(data[:at], "little")
    count = 0
    row: dict[str, Any] = {}
    for place, feature in enumerate(features):
        if nulls >> place & 1:
            row[feature.name] = None
        elif feature.type == TEXT:
            row[feature.name], at = read_text(data, at)
        elif feature.type == WORD:
            row[feature.name], at = _word(data, at, words[feature.words])
        elif feature.type == DOUBLE:
            row[feature.name] = _DOUBLE.unpack_from(data, at)[0]
            at += 8
        else:
            head = data[at]
            at += 1
            if not head & SAME_COUNT:
                count, at = read_uvarint(data, at)
            if feature.type == FLOATS:
                row[feature.name] = np.frombuffer(data, "<f4", count, at)
                at += 4 * count
            elif feature.type == WORDS:
                row[feature.name], at = _words(data, at, head & 15, count, words[feature.words])
            else:
                row[feature.name], at = _seconds(data, at, head & 15, count)
    return row


def read_text(data: bytes, at: int) -> tuple[str, int]:
    """(text, the offset behind it)."""
    length, at = read_uvarint(data, at)
    return data[at : at + length].decode(), at + length


def _word(data: bytes, at: int, known: Sequence[str]) -> tuple[str, int]:
    code, at = read_uvarint(data, at)
    if not code:
        return read_text(data, at)
    try:
        return known[code - 1], at
    except IndexError:
        raise UnknownCodeError(code) from None


def _words(data: bytes, at: int, kind: int, count: int, known: Sequence[str]) -> tuple[list[str], int]:
    if not count:
        return [], at
    if kind == INLINE:
        texts = []
        for _ in range(count):
            text, at = read_text(data, at)
            texts.append(text)
        return texts, at
    try:
        if kind == CONSTANT:
            code, at = read_uvarint(data, at)
            return [known[code]] * count, at
        codes, at = _codes(data, at, WIDTHS[kind], count)
        return [known[code] for code in codes], at
    except IndexError:
        raise UnknownCodeError(f"a word of an array of {count}") from None


def _codes(data: bytes, at: int, width: int, count: int) -> tuple[list[int] | bytes, int]:
    end = at + (count * width + 7) // 8
    if width == 8:
        return data[at:end], end
    if width in (16, 32):
        return list(struct.unpack_from(f"<{count}{'H' if width == 16 else 'I'}", data, at)), end
    packed: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8, end - at, at)
    if width == 24:
        wide = np.zeros((count, 4), np.uint8)
        wide[:, :3] = packed.reshape(count, 3)
        return wide.view("<u4")[:, 0].tolist(), end
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return (packed[:, None] >> shifts & (1 << width) - 1).ravel()[:count].tolist(), end


def _seconds(data: bytes, at: int, kind: int, count: int) -> tuple[list[int], int]:
    if not count:
        return [], at
    if kind == RAW_SECONDS:
        return list(struct.unpack_from(f"<{count}q", data, at)), at + 8 * count
    first: int = _SECONDS.unpack_from(data, at)[0]
    at += 8
    if not kind:
        return [first] * count, at
    steps = np.zeros((count, 8), np.uint8)
    steps[1:, :kind] = np.frombuffer(data, np.uint8, (count - 1) * kind, at).reshape(count - 1, kind)
    times = first + np.cumsum(steps.view("<i8")[:, 0])
    return times.tolist(), at + (count - 1) * kind
