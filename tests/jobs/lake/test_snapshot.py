"""Dictionary-encoded rows of a night equal its plain rows; their digests find exactly the rows that differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.lake.changes import unchanged
from jobs.lake.digests import TextDigests, digests
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema, decoded
from jobs.publish.load import LiveRows
from jobs.tables.shop import YOU_MIGHT_ALSO_LIKE
from models.arrays import Digests
from models.digests import DigestSet, TextRows, of_texts
from tests.conftest import run_of

NIGHT, NEXT, AFTER = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
SERVED = ["product_ids", "scores", "sources"]
KEYS = [(product, market) for product in ("P1", "P2", "P3") for market in ("GB", "FR")]
lists = st.lists(
    st.tuples(st.sampled_from("ABC"), st.sampled_from((0.0, 0.5, -1.0)), st.sampled_from("xy")), max_size=3
)
nights = st.dictionaries(st.sampled_from(KEYS), lists, min_size=1)
Night = dict[tuple[str, str], list[tuple[str, float, str]]]


def stage(
    lake: Lake, as_of: date, night: Night, since: date | None = None, ended: Sequence[tuple[str, str]] = ()
) -> None:
    rows: list[dict[str, Any]] = [
        {"product_id": product, "market": market, "variant": "default", "product_ids": [p for p, _, _ in row],
         "scores": [s for _, s, _ in row], "sources": [w for _, _, w in row], "rules": [""] * len(row)}
        for (product, market), row in night.items()
    ]  # fmt: skip
    rows += [{"product_id": product, "market": market, "variant": "default", "gone": True} for product, market in ended]
    own = [field for field in arrow_schema(YOU_MIGHT_ALSO_LIKE) if field.name not in ("as_of", "run_id", "since")]
    lake.replace(YOU_MIGHT_ALSO_LIKE, pa.Table.from_pylist(rows, schema=pa.schema(own)), run_of(as_of), since=since)


def rows_of(lake: Lake, as_of: date, rows: int = 2) -> pa.Table:
    names = YOU_MIGHT_ALSO_LIKE.names
    read = lake.snapshot(YOU_MIGHT_ALSO_LIKE).encoded(names, as_of, rows)
    found = [decoded(batch, YOU_MIGHT_ALSO_LIKE) for batch in read]
    return pa.Table.from_batches(found).sort_by([("product_id", "ascending"), ("market", "ascending")])


def test_encoded_rows_are_the_nights_rows_and_no_other_nights(sail_lake: Lake) -> None:
    night: Night = {("P1", "GB"): [("A", 0.5, "x"), ("B", 0.0, "y")], ("P1", "FR"): [], ("P2", "GB"): [("A", 1.0, "x")]}
    stage(sail_lake, NIGHT, night)
    stage(sail_lake, NEXT, {("P9", "GB"): [("C", 0.5, "x")]})
    assert rows_of(sail_lake, NIGHT).to_pylist() == sail_lake.arrow(YOU_MIGHT_ALSO_LIKE, as_of=NIGHT).to_pylist()
    encoded = next(iter(sail_lake.snapshot(YOU_MIGHT_ALSO_LIKE).encoded(["product_ids"], NIGHT, 10)))
    assert pa.types.is_dictionary(encoded["product_ids"].type.value_type), "ids are spelled out"


def stage_changes(lake: Lake, as_of: date, before: Night, now: Night) -> None:
    """The rows of `now` that `before` has not so, and the ends of those that are there no more; never none at all."""
    rows = {key: row for key, row in now.items() if before.get(key) != row}
    ended = sorted(before.keys() - now.keys())
    stage(lake, as_of, rows or (dict([next(iter(now.items()))] if not ended else [])), since=NIGHT, ended=ended)


@settings(max_examples=15, deadline=None)  # each writes three nights
@given(nights, nights, nights)
def test_a_night_of_changes_reads_as_if_it_were_complete(
    tmp_path_factory: pytest.TempPathFactory, first: Night, second: Night, third: Night
) -> None:
    lake, table = Lake(tmp_path_factory.mktemp("lake")), YOU_MIGHT_ALSO_LIKE
    stage(lake, NIGHT, first)
    stage_changes(lake, NEXT, first, second)
    stage_changes(lake, AFTER, second, third)
    told = {NIGHT: first, NEXT: second, AFTER: third}
    for as_of, night in told.items():
        expected = {key: [p for p, _, _ in row] for key, row in night.items()}
        assert shown(rows_of(lake, as_of)) == expected
        assert shown(lake.arrow(table, as_of=as_of)) == expected
        assert lake.count(table, as_of) == len(night)
    names = [*table.key, "product_ids"]
    both: dict[int, list[pa.RecordBatch]] = {0: [], 1: []}
    for batch, masks in lake.snapshot(table).encoded_nights(names, [AFTER, NEXT], 2):
        for number, mask in enumerate(masks):
            both[number].append(decoded(batch.filter(pa.array(mask)), table))
    assert [shown(pa.Table.from_batches(found)) for found in both.values()] == [
        {key: [p for p, _, _ in row] for key, row in told[as_of].items()} for as_of in (AFTER, NEXT)
    ]
    state = {key: [p for p, _, _ in row] for key, row in first.items()}
    for batch, gone in lake.snapshot(table).changes(names, NIGHT, AFTER, 2):
        plain = decoded(batch, table)
        state |= shown(pa.Table.from_batches([plain.filter(pa.array(~gone))]))
        for key in shown(pa.Table.from_batches([plain.filter(pa.array(gone))])):
            state.pop(key, None)
    assert state == {key: [p for p, _, _ in row] for key, row in third.items()}


def shown(rows: pa.Table) -> dict[tuple[str, str], list[str]]:
    found = {(row["product_id"], row["market"]): row["product_ids"] for row in rows.to_pylist()}
    assert len(found) == len(rows), "a key stands there twice"
    return found


@settings(max_examples=20, deadline=None)  # each writes two nights
@given(then=nights, now=nights)
def test_what_differs_and_what_is_gone_is_told_exactly(
    then: Night, now: Night, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    stage(lake, NIGHT, then)
    stage(lake, NEXT, now)
    live = LiveRows(lake, YOU_MIGHT_ALSO_LIKE, SERVED, 3, NIGHT)
    columns = [*YOU_MIGHT_ALSO_LIKE.key, *SERVED]
    batches = lake.snapshot(YOU_MIGHT_ALSO_LIKE).encoded(columns, NEXT, 2)
    differing = [row for batch in batches for row in live.differing(batch).select(["product_id", "market"]).to_pylist()]
    gone = [row for batch in live.deleted() for row in batch.select(["product_id", "market"]).to_pylist()]
    assert {tuple(row.values()) for row in differing} == {key for key in now if then.get(key) != now[key]}
    assert {tuple(row.values()) for row in gone} == then.keys() - now.keys()


def test_digests_are_of_values_not_of_how_they_are_coded() -> None:
    texts = pa.array(["a", None, "b", "a"])
    ids = pa.array([["a", "b"], [], None, ["b"]])
    scores = pa.array([[1.0], [None], [], [2.0]], pa.list_(pa.float32()))
    plain = pa.RecordBatch.from_arrays([texts, ids, scores], ["t", "i", "s"])
    offsets, values = ids.offsets, ids.values.dictionary_encode()
    encoded_ids = pa.ListArray.from_arrays(pa.array(offsets.to_pylist(), pa.int32()), values)
    encoded = pa.RecordBatch.from_arrays([texts.dictionary_encode(), encoded_ids, scores], ["t", "i", "s"])
    of_plain, of_encoded = (digests(batch, ["t", "i", "s"], TextDigests()).tolist() for batch in (plain, encoded))
    assert of_plain == of_encoded and len(set(of_plain)) == 4
    assert digests(plain, ["t"], TextDigests())[0] == digests(plain, ["t"], TextDigests())[3]
    with pytest.raises(TypeError, match="no digest"):
        digests(pa.RecordBatch.from_arrays([pa.array([1])], ["n"]), ["n"], TextDigests())


@settings(deadline=None)  # the first of them compiles
@given(st.lists(st.lists(st.integers(0, 2_999), max_size=400), max_size=6))
def test_a_set_of_digests_has_what_was_put_in(parts: list[list[int]]) -> None:
    def digests_of(numbers: Iterable[int]) -> Digests:
        """First halves meet often, and may be 0."""
        return np.array([(n % 50, n) for n in numbers], np.uint64).reshape(-1, 2)

    some = DigestSet()
    for part in parts:
        some.add(digests_of(part))
    known = {number for part in parts for number in part}
    assert some.has(digests_of(range(3_000))).tolist() == [number in known for number in range(3_000)]


@settings(deadline=None)
@given(st.sets(st.text(max_size=3)), st.lists(st.none() | st.text(max_size=3)))
def test_texts_are_found_as_arrow_does(known: set[str], asked: list[str | None]) -> None:
    texts, wanted = pa.array(sorted(known), pa.string()), pa.array(asked, pa.string())
    at = pc.fill_null(pc.index_in(wanted, value_set=texts), -1).to_pylist()
    assert TextRows(texts).of(wanted).tolist() == TextRows(texts).of(wanted.dictionary_encode()).tolist() == at


def test_digests_of_texts_are_murmur3s() -> None:
    texts = pa.array(["", "hello", None, "The quick brown fox jumps over the lazy dog", "é" * 8])
    found = [f"{first:016x}{second:016x}" for first, second in of_texts(texts.slice(1)).tolist()]
    assert found[0] == "cbd8a7b341bd9b025b1e906a48ae1d19"
    assert found[2] == "e34bbc7bbc071b6c7a433ca9c49a9347"
    assert len(set(found)) == 4 and of_texts(texts)[0].tolist() == [0, 0]


def test_encoded_rows_replace_their_night_alone_and_the_history_says_which(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    stage(lake, NIGHT, {("P1", "GB"): [("A", 0.5, "x")]})
    before = lake.version(YOU_MIGHT_ALSO_LIKE)
    ids = pa.array(["P7", "P8", "P9"])
    for first in (0, 1):  # the second time in place of the first
        shown = pa.DictionaryArray.from_arrays(pa.array([first, 2], pa.int32()), ids)
        batch = pa.RecordBatch.from_pydict({
            "product_id": pa.DictionaryArray.from_arrays(pa.array([first], pa.int32()), ids),
            "market": pa.array(["GB"]),
            "product_ids": pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), shown),
            "scores": pa.array([[0.5, 0.25]], pa.list_(pa.float32())),
            "sources": pa.array([["x", "y"]]),
            "rules": pa.array([["", ""]]),
            "variant": pa.array(["default"]),
            "short_reason": pa.nulls(1, pa.string()),
            "model_id": pa.array(["m"]), "gone": pa.nulls(1, pa.bool_()),
        })  # fmt: skip
        assert lake.replace_encoded(YOU_MIGHT_ALSO_LIKE, [batch], run_of(NEXT)) == 1
    rows = lake.arrow(YOU_MIGHT_ALSO_LIKE, as_of=NEXT).to_pylist()
    assert [(row["product_id"], row["product_ids"], row["run_id"]) for row in rows] == [
        ("P8", ["P8", "P9"], run_of(NEXT).run_id)
    ]
    assert [row["product_id"] for row in lake.arrow(YOU_MIGHT_ALSO_LIKE, as_of=NIGHT).to_pylist()] == ["P1"]
    assert unchanged(lake, YOU_MIGHT_ALSO_LIKE, before, NIGHT)
    assert not unchanged(lake, YOU_MIGHT_ALSO_LIKE, before, NEXT)
