"""Encodes rows as bytes (`feature_repo.online.layout`), column by column over Arrow arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.online import layout
from feature_repo.online.layout import Feature, uvarint

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.generic]
Coder = Callable[[str, list[str]], list[int]]
"""(word list, words) -> their codes, -1 for a word that the list has no room for."""
UNTIMED = np.iinfo(np.int64).min
"""Feast's value for a null among times."""


def encode(features: Sequence[Feature], columns: Sequence[pa.Array], code: Coder) -> list[bytes]:
    """The rows of parallel columns as bytes.

    As in Feast, NaN is null, a null inside an array is "" or 0.0, and times are whole seconds.
    """
    rows = len(columns[0])
    nulls = np.zeros(rows, object if len(features) > 62 else np.int64)
    parts: list[list[bytes]] = []
    counts = np.zeros(rows, np.int64)
    for place, (feature, column) in enumerate(zip(features, columns, strict=True)):
        if feature.type == layout.DOUBLE:
            column = pc.if_else(pc.is_nan(column), None, column)
        missing = np.asarray(column.is_null())
        nulls |= missing.astype(nulls.dtype) << place
        if feature.type == layout.TEXT:
            parts.append([b"" if v is None else uvarint(len(v)) + v for v in column.cast(pa.binary()).to_pylist()])
        elif feature.type == layout.WORD:
            parts.append(_word(feature, column, code))
        elif feature.type == layout.DOUBLE:
            packed = np.asarray(column.fill_null(0.0), "<f8").tobytes()
            parts.append(_cut(packed, np.arange(rows + 1) * 8, missing))
        else:
            array = _Ragged.of(column, missing)
            if feature.type == layout.FLOATS:
                kinds, bodies = np.zeros(rows, np.int64), array.bodies(np.asarray(array.flat.fill_null(0.0), "<f4"))
            else:
                kinds, bodies = _words(feature, array, code) if feature.type == layout.WORDS else _seconds(array)
            parts += [_heads(kinds, array.counts, counts, missing), bodies]
            counts = np.where(missing, counts, array.counts)
    width = (len(features) + 7) // 8
    bitmaps = {n: int(n).to_bytes(width, "little") for n in set(nulls.tolist())}
    return list(map(b"".join, zip((bitmaps[n] for n in nulls.tolist()), *parts, strict=True)))


@dataclass(frozen=True)
class _Ragged:
    """A list array as flat values with the start and count of each row; a null row is an empty one."""

    flat: pa.Array
    starts: Ints
    counts: Ints

    @classmethod
    def of(cls, column: pa.Array, missing: npt.NDArray[np.bool_]) -> _Ragged:
        """The rows of a column, which may be a slice of a longer one."""
        offsets = np.asarray(column.offsets, np.int64)
        flat = column.values.slice(offsets[0], offsets[-1] - offsets[0])
        return cls(flat, offsets[:-1] - offsets[0], np.where(missing, 0, np.diff(offsets)))

    def take(self, flat: Values, rows: Ints) -> tuple[Values, Ints]:
        """(the elements of the rows, joined; the offset of each row and of the end)."""
        counts = self.counts[rows]
        ends = _offsets(counts)
        if len(rows) == len(self.counts) and ends[-1] == len(flat):
            return flat, ends
        within = np.arange(ends[-1]) - np.repeat(ends[:-1], counts)
        return flat[np.repeat(self.starts[rows], counts) + within], ends

    def bodies(self, flat: Values, rows: Ints | None = None) -> list[bytes]:
        """The elements of each row as bytes."""
        taken, ends = self.take(flat, np.arange(len(self.counts)) if rows is None else rows)
        return _cut(taken.tobytes(), ends * taken.itemsize)

    def extremes(self, flat: Ints) -> tuple[Ints, Ints]:
        """Least and greatest element of each row; 0 and 0 of an empty one."""
        least, most = np.zeros(len(self.counts), np.int64), np.zeros(len(self.counts), np.int64)
        filled = np.flatnonzero(self.counts)
        if len(filled):
            taken, ends = self.take(flat, filled)
            least[filled] = np.minimum.reduceat(taken, ends[:-1])
            most[filled] = np.maximum.reduceat(taken, ends[:-1])
        return least, most


def _offsets(sizes: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(sizes)))


def _cut(data: bytes, ends: Ints, missing: npt.NDArray[np.bool_] | None = None) -> list[bytes]:
    bounds = ends.tolist()
    if missing is None:
        return [data[a:b] for a, b in pairwise(bounds)]
    return [b"" if none else data[a:b] for (a, b), none in zip(pairwise(bounds), missing.tolist(), strict=True)]


def _by_kind(kinds: Ints, of_kind: Callable[[int, Ints], list[bytes]]) -> list[bytes]:
    """The body of each row, from a function that encodes the rows of one kind."""
    bodies = [b""] * len(kinds)
    for kind in np.unique(kinds).tolist():
        rows = np.flatnonzero(kinds == kind)
        for row, body in zip(rows.tolist(), of_kind(kind, rows), strict=True):
            bodies[row] = body
    return bodies


def _heads(kinds: Ints, mine: Ints, before: Ints, missing: npt.NDArray[np.bool_]) -> list[bytes]:
    marks = np.where(missing, -1, np.where(mine == before, layout.SAME_COUNT | kinds, kinds + (mine << 8)))
    heads = {-1: b""}
    for mark in np.unique(marks[marks >= 0]).tolist():
        heads[mark] = bytes((mark & 255,)) + (b"" if mark & layout.SAME_COUNT else uvarint(mark >> 8))
    return [heads[mark] for mark in marks.tolist()]


def _text(word: str) -> bytes:
    data = word.encode()
    return uvarint(len(data)) + data


def _word(feature: Feature, column: pa.Array, code: Coder) -> list[bytes]:
    coded = column.dictionary_encode()
    words = coded.dictionary.to_pylist()
    numbers = zip(words, code(feature.words, words), strict=True)
    segments = [uvarint(number + 1) if number >= 0 else b"\0" + _text(word) for word, number in numbers]
    segments.append(b"")
    return [segments[-1 if index is None else index] for index in coded.indices.to_pylist()]


def _words(feature: Feature, array: _Ragged, code: Coder) -> tuple[Ints, list[bytes]]:
    """(kind, body) of each row of words."""
    coded = (array.flat.fill_null("") if array.flat.null_count else array.flat).dictionary_encode()
    words, indices = coded.dictionary.to_pylist(), np.asarray(coded.indices)
    numbers = np.asarray(code(feature.words, words), np.int64)
    flat = numbers[indices] if words else np.zeros(0, np.int64)
    least, most = array.extremes(flat)
    kinds = np.searchsorted([1 << bits for bits in layout.WIDTHS.values()], most, "right") + 1
    kinds[least == most] = layout.CONSTANT
    kinds[least < 0] = layout.INLINE

    def of_kind(kind: int, rows: Ints) -> list[bytes]:
        if kind == layout.CONSTANT:
            return [uvarint(n) if c else b"" for n, c in zip(most[rows].tolist(), array.counts[rows], strict=True)]
        if kind != layout.INLINE:
            return _packed(array, flat, rows, layout.WIDTHS[kind])
        spans = zip(array.starts[rows].tolist(), array.counts[rows].tolist(), strict=True)
        return [b"".join(_text(words[index]) for index in indices[a : a + n].tolist()) for a, n in spans]

    return kinds, _by_kind(kinds, of_kind)


def _packed(array: _Ragged, flat: Ints, rows: Ints, bits: int) -> list[bytes]:
    if bits in (8, 16, 32):
        return array.bodies(flat.astype(f"<u{bits // 8}"), rows)
    taken, ends = array.take(flat, rows)
    if bits == 24:
        return _cut(taken.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), ends * 3)
    # Every row begins at a whole byte.
    each, counts = 8 // bits, np.diff(ends)
    sizes = _offsets((counts + each - 1) // each)
    padded = np.zeros(sizes[-1] * each, np.uint8)
    padded[np.arange(ends[-1]) + np.repeat(sizes[:-1] * each - ends[:-1], counts)] = taken
    shifted = padded.reshape(-1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return _cut(np.bitwise_or.reduce(shifted, axis=1).astype(np.uint8).tobytes(), sizes)


def _seconds(array: _Ragged) -> tuple[Ints, list[bytes]]:
    """(kind, body) of each row of times: the first one and steps as wide as the longest; raw where a step is back."""
    times, ends = array.take(np.asarray(_whole_seconds(array.flat), np.int64), np.arange(len(array.counts)))
    rows = _Ragged(array.flat, ends[:-1], array.counts)
    steps = np.diff(times, prepend=times[:1])
    steps[ends[:-1][array.counts > 0]] = 0
    least, most = rows.extremes(steps)
    kinds = np.searchsorted([1 << 8 * size for size in range(8)], most, "right").astype(np.int64)
    # A step that overflows has the wrong sign or size: times that far apart are stored raw.
    kinds[(least < 0) | (most < 0) | (most > 1 << 40)] = layout.RAW_SECONDS

    def of_kind(kind: int, chosen: Ints) -> list[bytes]:
        if kind == layout.RAW_SECONDS:
            return rows.bodies(times.astype("<i8"), chosen)
        taken, stops = rows.take(times, chosen)
        filled = stops[:-1] < stops[1:]
        starts = stops[:-1][filled]
        first = _cut(taken[starts].astype("<i8").tobytes(), _offsets(filled * 8))
        moved, _ = rows.take(steps, chosen)
        later = np.delete(moved, starts).astype("<u8").view(np.uint8).reshape(-1, 8)[:, :kind].tobytes()
        return [a + b for a, b in zip(first, _cut(later, _offsets((np.diff(stops) - filled) * kind)), strict=True)]

    return kinds, _by_kind(kinds, of_kind)


def _whole_seconds(times: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(times.type):
        per = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[times.type.unit]
        times = pc.divide(times.cast(pa.int64()), per)
    return times.fill_null(UNTIMED)
