"""Rows to bytes (`feature_repo.online.layout`), column by column over Arrow arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
    uvarint,
)

Ints = npt.NDArray[np.int64]
Coder = Callable[[str, list[str]], list[int]]
"""(word list, words) -> their codes, -1 for a word that the list does not take."""
UNTIMED = np.iinfo(np.int64).min
"""What Feast stores for a null among times."""


def encode(features: Sequence[Feature], columns: Sequence[pa.Array], code: Coder) -> list[bytes]:
    """The rows of parallel columns as bytes.

    As Feast does it: NaN is null, a null inside an array is "" or 0.0, times are whole seconds.
    """
    rows = len(columns[0])
    nulls = np.zeros(rows, object if len(features) > 62 else np.int64)
    parts: list[list[bytes]] = []
    counts = np.zeros(rows, np.int64)
    for place, (feature, column) in enumerate(zip(features, columns, strict=True)):
        if feature.type == DOUBLE:
            column = pc.if_else(pc.is_nan(column), None, column)
        missing = np.asarray(column.is_null())
        nulls |= missing.astype(nulls.dtype) << place
        if feature.type == TEXT:
            parts.append([b"" if v is None else uvarint(len(v)) + v for v in column.cast(pa.binary()).to_pylist()])
        elif feature.type == WORD:
            parts.append(_word(feature, column, code))
        elif feature.type == DOUBLE:
            packed = np.asarray(column.fill_null(0.0), "<f8").tobytes()
            parts.append([b"" if m else packed[8 * i : 8 * i + 8] for i, m in enumerate(missing.tolist())])
        else:
            array = _Ragged(column, missing)
            kinds, bodies = _array(feature, array, code)
            parts += [_heads(kinds, array.counts, counts, missing), bodies]
            counts = np.where(missing, counts, array.counts)
    width = (len(features) + 7) // 8
    bitmaps = {n: int(n).to_bytes(width, "little") for n in set(nulls.tolist())}
    return list(map(b"".join, zip((bitmaps[n] for n in nulls.tolist()), *parts, strict=True)))


class _Ragged:
    """A list array as flat values with the start and count of each row; a null row is an empty one."""

    def __init__(self, column: pa.Array, missing: npt.NDArray[np.bool_]) -> None:
        offsets = np.asarray(column.offsets, np.int64)
        self.starts = offsets[:-1]
        self.counts = np.where(missing, 0, np.diff(offsets))
        self.flat = column.values
        # Rows may be a slice: what lies before and after it is not ours to look at.
        if len(offsets):
            self.flat, self.starts = self.flat.slice(offsets[0], offsets[-1] - offsets[0]), self.starts - offsets[0]

    def take(self, flat: npt.NDArray[np.generic], rows: Ints) -> tuple[npt.NDArray[np.generic], Ints]:
        """(the rows' elements one after the other, where each row's begin and the last one's end)."""
        counts = self.counts[rows]
        ends = np.concatenate(([0], np.cumsum(counts)))
        if len(rows) == len(self.counts) and ends[-1] == len(flat):
            return flat, ends
        within = np.arange(ends[-1]) - np.repeat(ends[:-1], counts)
        return flat[np.repeat(self.starts[rows], counts) + within], ends


def _heads(kinds: Ints, mine: Ints, before: Ints, missing: npt.NDArray[np.bool_]) -> list[bytes]:
    same = mine == before
    marks = np.where(missing, -1, np.where(same, SAME_COUNT | kinds, kinds + (mine << 8)))
    heads = {-1: b""}
    for mark in np.unique(marks[marks >= 0]).tolist():
        heads[mark] = bytes((mark & 255,)) + (b"" if mark & SAME_COUNT else uvarint(mark >> 8))
    return [heads[mark] for mark in marks.tolist()]


def _word(feature: Feature, column: pa.Array, code: Coder) -> list[bytes]:
    coded = column.dictionary_encode()
    words = coded.dictionary.to_pylist()
    segments = [
        uvarint(number + 1) if number >= 0 else b"\0" + uvarint(len(word.encode())) + word.encode()
        for word, number in zip(words, code(feature.words, words), strict=True)
    ]
    segments.append(b"")
    return [segments[-1 if index is None else index] for index in coded.indices.to_pylist()]


def _array(feature: Feature, array: _Ragged, code: Coder) -> tuple[Ints, list[bytes]]:
    """(kind, body) of each row of an array."""
    if feature.type == FLOATS:
        flat = np.asarray(array.flat.fill_null(0.0), "<f4")
        kinds = np.zeros(len(array.counts), np.int64)
        bodies = _bodies(array, flat, np.arange(len(kinds)), 4)
        return kinds, bodies
    return _words(feature, array, code) if feature.type == WORDS else _seconds(array)


def _bodies(array: _Ragged, flat: npt.NDArray[np.generic], rows: Ints, size: int) -> list[bytes]:
    taken, ends = array.take(flat, rows)
    return _cut(taken.tobytes(), ends * size)


def _cut(data: bytes, ends: Ints) -> list[bytes]:
    bounds = ends.tolist()
    return [data[a:b] for a, b in pairwise(bounds)]


def _words(feature: Feature, array: _Ragged, code: Coder) -> tuple[Ints, list[bytes]]:
    coded = (array.flat.fill_null("") if array.flat.null_count else array.flat).dictionary_encode()
    words = coded.dictionary.to_pylist()
    numbers = np.asarray(code(feature.words, words), np.int64)
    flat = numbers[np.asarray(coded.indices)] if words else np.zeros(0, np.int64)
    least, most = _extremes(array, flat)
    kinds = np.searchsorted([1 << bits for bits in WIDTHS.values()], most, "right") + 1
    kinds[least == most] = CONSTANT
    kinds[least < 0] = INLINE
    bodies: list[bytes] = [b""] * len(kinds)
    for kind in np.unique(kinds).tolist():
        rows = np.flatnonzero(kinds == kind)
        if kind == INLINE:
            found = [_inline(words, np.asarray(coded.indices), array, row) for row in rows.tolist()]
        elif kind == CONSTANT:
            found = [uvarint(n) if c else b"" for n, c in zip(most[rows].tolist(), array.counts[rows], strict=True)]
        else:
            found = _packed(array, flat, rows, WIDTHS[kind])
        for row, body in zip(rows.tolist(), found, strict=True):
            bodies[row] = body
    return kinds, bodies


def _inline(words: list[str], indices: npt.NDArray[np.generic], array: _Ragged, row: int) -> bytes:
    start = array.starts[row]
    texts = (words[index].encode() for index in indices[start : start + array.counts[row]].tolist())
    return b"".join(uvarint(len(text)) + text for text in texts)


def _extremes(array: _Ragged, flat: Ints) -> tuple[Ints, Ints]:
    """Least and greatest element of each row; 0 and 0 of an empty one."""
    least, most = np.zeros(len(array.counts), np.int64), np.zeros(len(array.counts), np.int64)
    some = np.flatnonzero(array.counts)
    if len(some):
        taken, ends = array.take(flat, some)
        least[some] = np.minimum.reduceat(taken, ends[:-1])
        most[some] = np.maximum.reduceat(taken, ends[:-1])
    return least, most


def _packed(array: _Ragged, flat: Ints, rows: Ints, bits: int) -> list[bytes]:
    if bits in (8, 16, 32):
        return _bodies(array, flat.astype(f"<u{bits // 8}"), rows, bits // 8)
    taken, ends = array.take(flat, rows)
    if bits == 24:
        return _cut(taken.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), ends * 3)
    # Every row begins at a whole byte.
    each, counts = 8 // bits, np.diff(ends)
    sizes = np.concatenate(([0], np.cumsum((counts + each - 1) // each)))
    padded = np.zeros(sizes[-1] * each, np.uint8)
    padded[np.arange(ends[-1]) + np.repeat(sizes[:-1] * each - ends[:-1], counts)] = taken
    shifted = padded.reshape(-1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return _cut(np.bitwise_or.reduce(shifted, axis=1).astype(np.uint8).tobytes(), sizes)


def _seconds(array: _Ragged) -> tuple[Ints, list[bytes]]:
    """Times as the first one and steps of as many bytes as the row's longest takes; as they are where one falls."""
    flat = np.asarray(_whole_seconds(array.flat), np.int64)
    rows = np.arange(len(array.counts))
    taken, ends = array.take(flat, rows)
    steps = np.diff(taken, prepend=taken[:1])
    some = np.flatnonzero(array.counts)
    steps[ends[:-1][some]] = 0
    ragged = _Flat(array.counts)
    least, most = _extremes(ragged, steps)
    kinds = (np.searchsorted([1 << 8 * size for size in range(8)], most, "right")).astype(np.int64)
    kinds[(least < 0) | (most < 0)] = RAW_SECONDS
    # A step that overflows has the wrong sign or size; times that far apart are kept as they are.
    kinds[(most > 1 << 40)] = RAW_SECONDS
    bodies: list[bytes] = [b""] * len(kinds)
    for kind in np.unique(kinds).tolist():
        chosen = np.flatnonzero(kinds == kind)
        times, stops = ragged.take(taken, chosen)
        if kind == RAW_SECONDS:
            found = _cut(times.astype("<i8").tobytes(), stops * 8)
        else:
            first = [b"" if a == b else data for a, b, data in zip(stops[:-1], stops[1:], _firsts(times, stops),
                                                                    strict=True)]  # fmt: skip
            moved, _ = ragged.take(steps, chosen)
            after = np.ones(len(moved), bool)
            after[stops[:-1][stops[:-1] < stops[1:]]] = False
            rest = moved[after].astype("<u8").view(np.uint8).reshape(-1, 8)[:, :kind].tobytes()
            lengths = np.maximum(np.diff(stops) - 1, 0) * kind
            tails = _cut(rest, np.concatenate(([0], np.cumsum(lengths))))
            found = [a + b for a, b in zip(first, tails, strict=True)]
        for row, body in zip(chosen.tolist(), found, strict=True):
            bodies[row] = body
    return kinds, bodies


class _Flat(_Ragged):
    """Rows that lie one after the other."""

    def __init__(self, counts: Ints) -> None:
        self.counts = counts
        self.starts = np.cumsum(counts) - counts


def _firsts(times: npt.NDArray[np.generic], stops: Ints) -> list[bytes]:
    safe = np.minimum(stops[:-1], max(len(times) - 1, 0))
    packed = (times[safe] if len(times) else np.zeros(len(safe), np.int64)).astype("<i8").tobytes()
    return _cut(packed, np.arange(len(safe) + 1) * 8)


def _whole_seconds(times: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(times.type):
        per = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[times.type.unit]
        times = pc.divide(times.cast(pa.int64()), per)
    return times.fill_null(UNTIMED)
