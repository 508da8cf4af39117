"""A product in a customer's hands: one more event, the alternatives, and their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.popularity import in_context, same_category, with_event
from models.sequences import EVENT_TYPES, Sequences
from tests.support.model_shop import CATEGORIES, COUNT, EACH, MEETING, STYLES, Arithmetic, histories, walk

HISTORY = Sequences(np.array([0, 2]), np.array([4, 7], np.int32), np.array([0, 3], np.int8), np.array([10, 20]))
NOBODY = Sequences(np.array([0, 0]), np.array([], np.int32), np.array([], np.int8), np.array([], np.int64))


def test_one_more_event_stands_last() -> None:
    found = with_event(HISTORY, 9, "bag", 20)
    assert found.offsets.tolist() == [0, 3]
    assert found.products.tolist() == [4, 7, 9]
    assert [EVENT_TYPES[event] for event in found.events] == ["click", "purchase", "bag"]
    assert found.times.tolist() == [10, 20, 20]
    assert (found.products.dtype, found.events.dtype) == (HISTORY.products.dtype, HISTORY.events.dtype)
    assert HISTORY.products.tolist() == [4, 7], "the history itself stays as it was"


def test_a_customer_without_history_has_the_click_alone() -> None:
    assert with_event(NOBODY, 3, "click", 5).products.tolist() == [3]


def test_one_more_event_needs_one_history_and_time_that_goes_on() -> None:
    with pytest.raises(ValueError, match="the event at 19 lies before the history's last one at 20"):
        with_event(HISTORY, 9, "click", 19)
    with pytest.raises(ValueError, match="one more event needs one history, not 2"):
        with_event(HISTORY.take(np.array([0, 0])), 9, "click", 30)


def test_the_category_is_without_the_product_and_nothing_where_there_is_none() -> None:
    category = np.array([0, 1, 0, -1, 0, -1])
    assert np.flatnonzero(same_category(category, 2)).tolist() == [0, 4]
    assert np.flatnonzero(same_category(category, 1)).tolist() == []
    assert np.flatnonzero(same_category(category, 3)).tolist() == [], "no category is not a category"


def test_candidates_fall_by_inner_product_with_the_bias() -> None:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [1, 1, -3], [0, 0, 0.5]], np.float32)
    state = np.array([2, 1, 1], np.float32)  # scores 2, 1, 0, .5
    assert in_context(state, vectors, np.array([3, 2, 1, 0])).tolist() == [0, 1, 3, 2]
    assert in_context(state, vectors, np.array([2, 0])).tolist() == [0, 2]
    assert in_context(state, vectors, np.array([], np.int64)).tolist() == []


@given(st.permutations(range(30)), st.integers(0, 2**32 - 1))
def test_equal_scores_stay_in_the_order_of_the_candidates(order: list[int], seed: int) -> None:
    drawn = np.random.default_rng(seed)
    kinds = drawn.normal(size=(3, 9)).astype(np.float32)
    vectors = kinds[np.arange(30) % 3]
    found = in_context(drawn.normal(size=9).astype(np.float32), vectors, np.array(order)).tolist()
    assert sorted(found) == list(range(30))
    for kind in range(3):
        assert [p for p in found if p % 3 == kind] == [p for p in order if p % 3 == kind]


def test_one_product_is_something_else_to_a_hiker_and_to_street_people() -> None:
    model = Arithmetic()
    both = histories(walk("hiking", range(12)), walk("street", range(12)))
    category = np.arange(COUNT) // EACH % len(CATEGORIES)
    others = np.flatnonzero(same_category(category, MEETING))
    for row, style in enumerate(("hiking", "street")):
        state = model.encode(with_event(both.take(np.array([row])), MEETING, "click", 13 * 86_400))[0]
        best = in_context(state, model.product_vectors(), others)[: EACH - 1]
        assert {STYLES[product // (EACH * len(CATEGORIES))] for product in best} == {style}
