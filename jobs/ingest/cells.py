"""Turns the values of raw files into text, and makes equal what only looks equal: blanks, letters, missing values."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

INVISIBLE_BLANKS = "\u00a0\u2007\u202f\u200b\u200c\u200d\u2060\ufeff"
"""No-break and zero-width blanks, which no eye and no trim() finds."""
BLANKS = INVISIBLE_BLANKS + " \t\r\n"
GUEST = "-1"
"""Missing in a column whose other values are text."""
LARGEST_WHOLE = float(1 << 53)
"""Below it every whole number is a double of its own."""


class CellCleaner:
    """Cleans the text columns of one file, batch by batch.

    `missing` are the values that stand for none; `found` says that the file's reader has made them null.
    """

    def __init__(self, missing: Sequence[str], counts: Counter[str], found: bool = False) -> None:
        self._missing, self._found = pa.array(["", *missing], pa.string()), found
        self._counts = counts
        self._of_text: dict[str, bool] = {}
        """Column -> whether its values beside GUEST are no numbers, as far as its first batch with GUEST tells."""

    def cleaned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with null for missing values, without invisible blanks at the ends, in Unicode's form NFC."""
        columns = [self._column(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
        return pa.RecordBatch.from_arrays(columns, batch.schema.names)

    def _column(self, name: str, values: pa.Array) -> pa.Array:
        changed = 0
        if not _is_ascii(values):
            composed = pc.utf8_normalize(pc.utf8_trim(values, INVISIBLE_BLANKS), "NFC")
            changed = pc.sum(pc.not_equal(composed, values)).as_py() or 0
            if changed:
                self._counts[name] += changed
                values = pc.if_else(pc.not_equal(composed, values), pc.utf8_trim(composed, BLANKS), values)
        if changed or not self._found:
            values = _without(values, pc.is_in(values, self._missing))
        guests = pc.equal(values, GUEST)
        if pc.any(guests).as_py() and self._of_text.setdefault(name, _is_text(values, guests)):
            values = _without(values, guests)
        return values


def _without(values: pa.Array, where: pa.BooleanArray) -> pa.Array:
    """The values, null where told."""
    return pc.if_else(where, pa.scalar(None, pa.string()), values) if pc.any(where).as_py() else values


def _is_ascii(values: pa.StringArray) -> bool:
    data = values.buffers()[2]
    return data is None or not len(data) or bool(np.frombuffer(data, np.uint8).max() < 128)


def _is_text(values: pa.Array, guests: pa.BooleanArray) -> bool:
    others = values.filter(pc.invert(guests)).drop_null()
    return len(others) > 0 and not pc.any(pc.match_substring_regex(others, r"^\s*[-+]?[0-9.]+\s*$")).as_py()


def text_of(value: object) -> str | None:
    """A JSON value as text: a whole number without decimals; an object or array as JSON."""
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < LARGEST_WHOLE else repr(value)
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=True, default=str)


def as_text(values: pa.Array) -> pa.StringArray:
    """Values of any Arrow type as text: instants in UTC, whole numbers without decimals, nested values as JSON."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return as_text(values.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return _instants(values)
    if pa.types.is_floating(kind):
        return _floats(values)
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(values.cast(pa.string()), r"\.0+$", "")
    if pa.types.is_date(kind):
        return values.cast(pa.date32()).cast(pa.string())
    if pa.types.is_nested(kind):
        return pa.array([text_of(value) for value in values.to_pylist()], pa.string())
    if pa.types.is_duration(kind):
        return values.cast(pa.int64()).cast(pa.string())
    if _is_binary(kind):
        return _decoded(values)
    texts = values.cast(pa.string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:  # a writer that put other bytes than UTF-8 into a column of text
        return _decoded(texts.cast(pa.binary()))
    return texts


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _decoded(values: pa.Array) -> pa.StringArray:
    plain: list[Any] = values.to_pylist()
    return pa.array([None if each is None else each.decode("utf-8", "replace") for each in plain], pa.string())


def _instants(values: pa.Array) -> pa.StringArray:
    """Without a zone as it stands there; with one in UTC, and a Z says so."""
    zone = values.type.tz
    micros = values.cast(pa.timestamp("us", "UTC" if zone else None), safe=False)
    return micros.cast(pa.string())


def _floats(values: pa.Array) -> pa.StringArray:
    """pandas makes whole numbers floats where a value is missing."""
    wide = values.cast(pa.float64())
    whole = pc.and_(pc.equal(wide, pc.round(wide)), pc.less(pc.abs(wide), LARGEST_WHOLE))
    texts = pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.string()), values.cast(pa.string()))
    counts = pc.if_else(whole, wide, pa.scalar(None, pa.float64())).cast(pa.int64(), safe=False)
    return pc.if_else(pc.fill_null(whole, fill_value=False), counts.cast(pa.string()), texts)
