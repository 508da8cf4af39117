"""Rows as bytes and back: whatever Arrow holds, in the types that services get."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.online.decode import UnknownCodeError, decode
from feature_repo.online.encode import UNTIMED, encode
from feature_repo.online.layout import DOUBLE, FLOATS, SECONDS, TEXT, WORD, WORDS, Feature, View, row_key

FEATURES = (
    Feature("name", TEXT), Feature("brand", WORD, "words"), Feature("price", DOUBLE),
    Feature("product_ids", WORDS, "products"), Feature("scores", FLOATS), Feature("event_types", WORDS, "words"),
    Feature("event_timestamps", SECONDS), Feature("sources", WORDS, "few"), Feature("market", WORD, "few"),
)  # fmt: skip
TYPES = {TEXT: pa.string(), WORD: pa.string(), DOUBLE: pa.float64(), WORDS: pa.list_(pa.string()),
         FLOATS: pa.list_(pa.float32()), SECONDS: pa.list_(pa.timestamp("us", tz="UTC"))}  # fmt: skip


class Lists:
    """Word lists that grow as words come; `few` takes three and no more."""

    def __init__(self) -> None:
        self.lists: dict[str, list[str]] = {"words": [], "products": [f"old-{n}" for n in range(300)], "few": []}

    def code(self, name: str, words: list[str]) -> list[int]:
        known = self.lists[name]
        for word in words:
            if word not in known and not (name == "few" and len(known) == 3):
                known.append(word)
        return [known.index(word) if word in known else -1 for word in words]


# Text without lone surrogates, which are no UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["click", "model", "old-299"])
times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))
VALUES = {
    TEXT: texts, WORD: texts, DOUBLE: st.floats(allow_nan=False), WORDS: st.lists(texts, max_size=9),
    FLOATS: st.lists(st.floats(width=32, allow_nan=False), max_size=9),
    SECONDS: st.lists(times, max_size=9) | st.lists(times, max_size=9).map(sorted),
}  # fmt: skip
rows_of = st.lists(st.tuples(*(st.none() | VALUES[f.type] for f in FEATURES)), min_size=1, max_size=12)


def columns(rows: list[tuple[Any, ...]]) -> list[pa.Array]:
    return [pa.array(values, TYPES[f.type]) for f, values in zip(FEATURES, zip(*rows, strict=True), strict=True)]


def stored(value: Any, kind: str) -> Any:
    """What a reader must get for a value."""
    if value is None or kind != SECONDS:
        return value
    since = (at - datetime(1970, 1, 1, tzinfo=UTC) for at in value)
    return [span // timedelta(seconds=1) if span >= timedelta() else -(-span // timedelta(seconds=1)) for span in since]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


@settings(max_examples=150, deadline=None)
@given(rows_of)
def test_rows_come_back_as_they_were(rows: list[tuple[Any, ...]]) -> None:
    lists = Lists()
    packed = encode(FEATURES, columns(rows), lists.code)
    for row, data in zip(rows, packed, strict=True):
        expected = {f.name: stored(value, f.type) for f, value in zip(FEATURES, row, strict=True)}
        assert plain(decode(FEATURES, data, lists.lists)) == expected


@settings(max_examples=30, deadline=None)
@given(rows_of, st.data())
def test_a_slice_is_packed_as_its_rows_alone(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    lists = Lists()
    start = data.draw(st.integers(0, len(rows) - 1))
    whole = encode(FEATURES, columns(rows), lists.code)
    assert encode(FEATURES, [c.slice(start, 3) for c in columns(rows)], lists.code) == whole[start : start + 3]


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5, 16, 17, 256, 257, 70_000])
def test_codes_of_every_width(words: int) -> None:
    feature = (Feature("ids", WORDS, "w"),)
    known = [str(n) for n in range(words)]
    lists = [known[:1], known[-1:] * 3, [known[0], known[-1], known[words // 2]], known[-9:], []]
    packed = encode(feature, [pa.array(lists, TYPES[WORDS])], lambda _, asked: [int(word) for word in asked])
    assert [decode(feature, data, {"w": known})["ids"] for data in packed] == lists
    assert len(packed[1]) <= 6, "one product thrice takes one code"


def test_nulls_inside_arrays_are_what_feast_makes_of_them() -> None:
    feature = (Feature("ids", WORDS, "w"), Feature("scores", FLOATS), Feature("times", SECONDS), Feature("x", DOUBLE))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    given = [pa.array([["a", None]]), pa.array([[None, 2.5]], TYPES[FLOATS]), pa.array([[at, None]], TYPES[SECONDS]),
             pa.array([float("nan")])]  # fmt: skip
    lists: dict[str, list[str]] = {"w": []}

    def code(_: str, asked: list[str]) -> list[int]:
        lists["w"] = asked
        return list(range(len(asked)))

    row = plain(decode(feature, encode(feature, given, code)[0], lists))
    assert row == {"ids": ["a", ""], "scores": [0.0, 2.5], "times": [int(at.timestamp()), UNTIMED], "x": None}


def test_float32_bits_survive() -> None:
    feature = (Feature("vector", FLOATS),)
    bits = np.array([1, 0x7F800000, 0xFF800000, 0x00800000, 0x3F8CCCCD, 0x7FC00001], np.uint32)
    column = pa.ListArray.from_arrays(pa.array([0, 6], pa.int32()), pa.array(bits.view(np.float32)))
    row = decode(feature, encode(feature, [column], lambda *_: [])[0], {})
    assert row["vector"].view(np.uint32).tolist() == bits.tolist()


def test_a_code_that_the_reader_does_not_know_yet_is_said() -> None:
    for feature, value in ((Feature("a", WORD, "w"), "new"), (Feature("a", WORDS, "w"), ["new", "old"])):
        data = encode((feature,), [pa.array([value])], lambda _, asked: list(range(len(asked))))[0]
        with pytest.raises(UnknownCodeError):
            decode((feature,), data, {"w": []})


def test_arrays_of_one_length_share_its_count() -> None:
    features = (Feature("ids", WORDS, "w"), Feature("scores", FLOATS))
    ids, scores = pa.array([["a"] * 24]), pa.array([[1.0] * 24], TYPES[FLOATS])
    data = encode(features, [ids, scores], lambda _, asked: [0] * len(asked))[0]
    assert len(data) == 1 + (2 + 1) + (1 + 96)


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=2, unique=True))
def test_unequal_keys_are_unequal_bytes(keys: list[tuple[str, str]]) -> None:
    view = View("v", "A", ("product_id", "market"), 2, ((),))
    one, other = (row_key(b"n", view, key) for key in keys)
    assert one != other
