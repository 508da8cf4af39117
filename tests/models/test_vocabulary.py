"""Checks laws of the mapping between ids and dense indexes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.vocabulary import UNKNOWN, Vocabulary

ids = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True)


@given(ids)
def test_decode_undoes_encode(names: list[str]) -> None:
    vocabulary = Vocabulary(names)
    indexes = vocabulary.encode(names)
    assert indexes.dtype == np.int32
    assert indexes.tolist() == list(range(len(names)))
    assert vocabulary.decode(indexes).to_pylist() == names


@given(ids, st.randoms())
def test_build_depends_on_the_ids_and_not_on_their_order_or_number(names: list[str], random) -> None:
    again = names + names[:3]
    random.shuffle(again)
    built, other = Vocabulary.build(pa.array(names, pa.string())), Vocabulary.build(pa.array(again, pa.string()))
    assert built == other
    assert built.digest == other.digest


@given(ids, ids)
def test_equal_digests_mean_equal_ids_in_equal_order(left: list[str], right: list[str]) -> None:
    assert (Vocabulary(left).digest == Vocabulary(right).digest) == (left == right)


def test_unknown_ids_are_the_callers_decision() -> None:
    vocabulary = Vocabulary(["dress", "shirt"])
    assert vocabulary.encode(["shirt", "hat"], missing="negative").tolist() == [1, UNKNOWN]
    with pytest.raises(ValueError, match="1 ids are not among the 2 known ones, the first is 'hat'"):
        vocabulary.encode(["shirt", "hat"])


def test_repeated_and_null_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="'dress' is there twice"):
        Vocabulary(["dress", "shirt", "dress"])
    with pytest.raises(ValueError, match="null id"):
        Vocabulary(pa.array(["dress", None]))


@given(st.lists(st.one_of(st.none(), st.sampled_from(["dress", "shirt", "hat"]))))
def test_codes_are_encode_in_two_steps(texts: list[str | None]) -> None:
    vocabulary, column = Vocabulary(["dress", "shirt"]), pa.array(texts, pa.string())
    for given_column in (column, column.dictionary_encode()):
        codes, indexes = vocabulary.codes(given_column)
        assert indexes[codes].tolist() == vocabulary.encode(column, missing="negative").tolist()
