"""Encodes rows as bytes (`feature_repo.online.layout`), column by column over Arrow arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.online import layout
from feature_repo.online.layout import Feature, View, uvarint

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
    return list(_rows(features, columns, code).to_pylist())


def encode_records(head: bytes, features: Sequence[Feature], columns: Sequence[pa.Array], code: Coder) -> list[bytes]:
    """The rows of parallel columns as records (`versions.Record.packed`) that begin with `versions.record_head`."""
    rows = _rows(features, columns, code)
    heads = pa.repeat(pa.scalar(head, pa.binary()), len(rows))
    return list(_joined(heads, _texts(rows)).to_pylist())


def _rows(features: Sequence[Feature], columns: Sequence[pa.Array], code: Coder) -> pa.Array:
    rows = len(columns[0])
    nulls = np.zeros((rows, (len(features) + 7) // 8), np.uint8)
    parts: list[pa.Array] = []
    counts = np.zeros(rows, np.int64)
    for place, (feature, column) in enumerate(zip(features, columns, strict=True)):
        if feature.type == layout.DOUBLE:
            column = pc.if_else(pc.is_nan(column), None, column)
        missing = np.asarray(column.is_null())
        nulls[:, place // 8] |= missing.astype(np.uint8) << place % 8
        if feature.type == layout.TEXT:
            parts.append(_texts(column))
        elif feature.type == layout.WORD:
            parts.append(_word(feature, column, code))
        elif feature.type == layout.DOUBLE:
            bodies = _cut(np.asarray(column.fill_null(0.0), "<f8"), np.arange(rows + 1))
            parts.append(pc.if_else(pa.array(missing), None, bodies))
        else:
            array = _Ragged.of(column, missing)
            if feature.type == layout.FLOATS:
                kinds, bodies = np.zeros(rows, np.int64), array.bodies(np.asarray(array.flat.fill_null(0.0), "<f4"))
            else:
                kinds, bodies = _words(feature, array, code) if feature.type == layout.WORDS else _seconds(array)
            parts += [_heads(kinds, array.counts, counts, missing), bodies]
            counts = np.where(missing, counts, array.counts)
    return _joined(_cut(nulls, np.arange(rows + 1)), *parts)


def encode_keys(prefix: bytes, view: View, columns: Sequence[pa.Array]) -> list[bytes]:
    """The stored key of each row (`layout.row_key`) from the columns of the view's own key."""
    *first, last = reversed(columns) if view.last_first else columns
    head = pa.repeat(pa.scalar(prefix + view.id.encode(), pa.binary()), len(last))
    return list(_joined(head, *map(_texts, first), last.cast(pa.binary())).to_pylist())


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

    def bodies(self, flat: Values, rows: Ints | None = None) -> pa.Array:
        """The elements of each row as bytes."""
        return _cut(*self.take(flat, np.arange(len(self.counts)) if rows is None else rows))

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


def _cut(data: Values, ends: Ints) -> pa.Array:
    """The bytes of `data[ends[i]:ends[i + 1]]` for each i; `data` has one row for each number that `ends` counts."""
    flat = np.ascontiguousarray(data)
    bounds = (ends * (flat.nbytes // max(len(flat), 1))).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(flat)])


def _joined(*parts: pa.Array) -> pa.Array:
    """Row by row the bytes of all parts; a null has none."""
    return pc.binary_join_element_wise(*parts, b"", null_handling="replace", null_replacement=b"")


def _each(numbers: npt.NDArray[Any], as_bytes: Callable[[int], bytes]) -> pa.Array:
    """A function of each number; it is called once for equal ones."""
    coded = pa.array(numbers).dictionary_encode()
    return pa.array(map(as_bytes, coded.dictionary.to_pylist()), pa.binary()).take(coded.indices)


def _by_kind(kinds: Ints, of_kind: Callable[[int, Ints], pa.Array]) -> pa.Array:
    """The body of each row, from a function that encodes the rows of one kind."""
    rows = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    bodies = [of_kind(int(kinds[some[0]]), some) for some in rows]
    if len(bodies) == 1:
        return bodies[0]
    place = np.empty(len(kinds), np.int64)
    place[np.concatenate([*rows, np.empty(0, np.int64)])] = np.arange(len(kinds))
    return pa.concat_arrays([*bodies, pa.array([], pa.binary())]).take(pa.array(place))


def _heads(kinds: Ints, mine: Ints, before: Ints, missing: npt.NDArray[np.bool_]) -> pa.Array:
    marks = np.where(missing, -1, np.where(mine == before, layout.SAME_COUNT | kinds, kinds + (mine << 8)))

    def head(mark: int) -> bytes:
        if mark < 0:
            return b""
        return bytes((mark & 255,)) + (b"" if mark & layout.SAME_COUNT else uvarint(mark >> 8))

    return _each(marks, head)


def _texts(column: pa.Array) -> pa.Array:
    """Each text, or bytes, with its length before it; null for a null."""
    values = column.cast(pa.binary())
    return pc.binary_join_element_wise(_each(np.asarray(pc.binary_length(values).fill_null(0)), uvarint), values, b"")


def _word(feature: Feature, column: pa.Array, code: Coder) -> pa.Array:
    coded = column.dictionary_encode()
    segments = _coded(coded.dictionary, code(feature.words, coded.dictionary.to_pylist()))
    return segments.take(coded.indices)


def _coded(words: pa.Array, codes: Sequence[int]) -> pa.Array:
    """Each word by its code, or spelled out where it has none."""
    spelled = zip(_texts(words).to_pylist(), codes, strict=True)
    return pa.array([uvarint(code + 1) if code >= 0 else b"\0" + text for text, code in spelled], pa.binary())


def _words(feature: Feature, array: _Ragged, code: Coder) -> tuple[Ints, pa.Array]:
    """(kind, body) of each row of words."""
    coded = (array.flat.fill_null("") if array.flat.null_count else array.flat).dictionary_encode()
    words, indices = coded.dictionary, np.asarray(coded.indices)
    numbers = np.asarray(code(feature.words, words.to_pylist()), np.int64)
    flat = numbers[indices] if len(words) else np.zeros(0, np.int64)
    least, most = array.extremes(flat)
    kinds = np.searchsorted([1 << bits for bits in layout.WIDTHS.values()], most, "right") + 1
    kinds[least == most] = layout.CONSTANT
    kinds[least < 0] = layout.INLINE

    def of_kind(kind: int, rows: Ints) -> pa.Array:
        if kind == layout.CONSTANT:
            return _each(np.where(array.counts[rows] > 0, most[rows], -1), lambda n: uvarint(n) if n >= 0 else b"")
        if kind != layout.INLINE:
            return _packed(array, flat, rows, layout.WIDTHS[kind])
        taken, ends = array.take(indices, rows)
        return _merged(_texts(words).take(pa.array(taken)), ends)

    return kinds, _by_kind(kinds, of_kind)


def _packed(array: _Ragged, flat: Ints, rows: Ints, bits: int) -> pa.Array:
    if bits in (8, 16, 32):
        return array.bodies(flat.astype(f"<u{bits // 8}"), rows)
    taken, ends = array.take(flat, rows)
    if bits == 24:
        return _cut(taken.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3], ends)
    # Every row begins at a whole byte.
    each, counts = 8 // bits, np.diff(ends)
    sizes = _offsets((counts + each - 1) // each)
    padded = np.zeros(sizes[-1] * each, np.uint8)
    padded[np.arange(ends[-1]) + np.repeat(sizes[:-1] * each - ends[:-1], counts)] = taken
    shifted = padded.reshape(-1, each) << np.arange(0, 8, bits, dtype=np.uint8)
    return _cut(np.bitwise_or.reduce(shifted, axis=1).astype(np.uint8), sizes)


def _merged(values: pa.Array, ends: Ints) -> pa.Array:
    """The bytes of `values[ends[i]:ends[i + 1]]`, joined, for each i."""
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, np.int32)[values.offset :][ends]
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, pa.py_buffer(starts), data])


def _seconds(array: _Ragged) -> tuple[Ints, pa.Array]:
    """(kind, body) of each row of times: the first one and steps as wide as the longest; raw where a step is back."""
    times, ends = array.take(np.asarray(_whole_seconds(array.flat), np.int64), np.arange(len(array.counts)))
    rows = _Ragged(array.flat, ends[:-1], array.counts)
    steps = np.diff(times, prepend=times[:1])
    steps[ends[:-1][array.counts > 0]] = 0
    least, most = rows.extremes(steps)
    kinds = np.searchsorted([1 << 8 * size for size in range(8)], most, "right").astype(np.int64)
    # A step that overflows has the wrong sign or size: times that far apart are stored raw.
    kinds[(least < 0) | (most < 0) | (most > 1 << 40)] = layout.RAW_SECONDS

    def of_kind(kind: int, chosen: Ints) -> pa.Array:
        if kind == layout.RAW_SECONDS:
            return rows.bodies(times.astype("<i8"), chosen)
        taken, stops = rows.take(times, chosen)
        filled = stops[:-1] < stops[1:]
        starts = stops[:-1][filled]
        first = _cut(taken[starts].astype("<i8"), _offsets(filled.astype(np.int64)))
        moved, _ = rows.take(steps, chosen)
        later = np.delete(moved, starts).astype("<u8").view(np.uint8).reshape(-1, 8)[:, :kind]
        return _joined(first, _cut(later, _offsets(np.diff(stops) - filled)))

    return kinds, _by_kind(kinds, of_kind)


def _whole_seconds(times: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(times.type):
        per = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[times.type.unit]
        times = pc.divide(times.cast(pa.int64()), per)
    return times.fill_null(UNTIMED)
