"""Compares the exact kernel with numpy: ties, exclusions, wrong guesses, and scores independent of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Rows
from models.contract import FloatMatrix
from models.search.exact import QUERIES, SHARES, Excluded, best_products, pack
from models.search.search import build_index, exact_top_n, search

NOTHING = np.empty(0, dtype=np.int64)


def whole(random: np.random.Generator, count: int, dimensions: int, most: int) -> FloatMatrix:
    """Whole numbers: inner products are exact in float32, and the fewer there are the more often they tie."""
    return random.integers(-most, most + 1, (count, dimensions)).astype(np.float32)


def reference(
    queries: FloatMatrix, vectors: FloatMatrix, n: int, rows: Rows, excluded: Excluded | None = None
) -> list[list[tuple[int, float]]]:
    """(row, score) of each query's best, by falling score, then rising row; the -1 past the last are left out."""
    lists = []
    for i, scores in enumerate(queries.astype(np.float64) @ vectors.T.astype(np.float64)):
        bought = excluded[1][excluded[0][i] : excluded[0][i + 1]] if excluded else NOTHING
        left = np.setdiff1d(rows, bought)
        lists.append([(int(row), float(scores[row])) for row in left[np.argsort(-scores[left], kind="stable")[:n]]])
    return lists


def pairs(scores: FloatMatrix, rows: Rows) -> list[list[tuple[int, float]]]:
    """A search's answer as `reference` gives it; past the last there must be nothing but -1 and -inf."""
    assert ((rows >= 0) == np.isfinite(scores)).all()
    assert (np.diff((rows < 0).astype(int), axis=1) >= 0).all()
    return [[(int(r), float(s)) for r, s in zip(*row, strict=True) if r >= 0] for row in zip(rows, scores, strict=True)]


def exclusions(random: np.random.Generator, queries: int, products: int, most: int) -> tuple[Rows, Rows]:
    """Rows in no order and with repeats; some queries exclude nothing."""
    counts = random.integers(0, most + 1, queries)
    return np.concatenate(([0], np.cumsum(counts))), random.integers(0, max(1, products), counts.sum())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 3_000), st.integers(1, 9), st.integers(1, 60), st.integers(0, 30),
    st.sampled_from([1, 3, 50]), st.integers(1, 3), st.integers(1, 30),
)  # fmt: skip
def test_the_kernel_equals_numpy(
    seed: int, products: int, dimensions: int, n: int, queries: int, most: int, threads: int, batch: int
) -> None:
    random = np.random.default_rng(seed)
    vectors, asked = whole(random, products, dimensions, most), whole(random, queries, dimensions, most)
    rows = np.flatnonzero(random.random(products) < 0.7)
    excluded = exclusions(random, queries, products, 40)
    found = best_products(asked, pack(vectors, rows, threads), n, excluded, threads, batch)
    assert pairs(*found) == reference(asked, vectors, n, rows, excluded)


@pytest.mark.parametrize("share", SHARES)
def test_a_limit_that_was_guessed_too_high_costs_no_product(share: int) -> None:
    """The best products are the very first of the sample, so that what comes later never reaches the limit."""
    random = np.random.default_rng(share)
    vectors = random.random((4_000, 3), dtype=np.float32)
    all_rows = np.arange(len(vectors))
    visited = pack(vectors, all_rows).row_of
    vectors[visited[: len(vectors) // share // 2]] += 10
    asked = random.random((7, 3), dtype=np.float32)
    n = len(vectors) // share // 2 + 20
    _, rows = exact_top_n(asked, vectors, n)
    scores = asked.astype(np.float64) @ vectors.T.astype(np.float64)
    assert all(set(own) == set(np.argsort(-row)[:n]) for own, row in zip(rows, scores, strict=True))


@pytest.mark.parametrize("value", [0.0, 1.5, -2.0])
def test_where_everything_ties_the_first_rows_win(value: float) -> None:
    vectors = np.full((5_000, 2), value, dtype=np.float32)
    scores, rows = exact_top_n(np.ones((3, 2), dtype=np.float32), vectors, 100)
    assert rows.tolist() == [list(range(100))] * 3 and (scores == 2 * value).all()


def test_zeros_tie_whatever_their_sign() -> None:
    vectors = np.array([[-1e-30], [0.0], [1e-30], [-0.0], [-1.0]], dtype=np.float32)
    scores, rows = exact_top_n(np.array([[1e-30]], dtype=np.float32), vectors, 5)
    assert rows[0].tolist() == [0, 1, 2, 3, 4] and not np.signbit(scores[0, :4]).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 50))
def test_a_score_depends_on_its_two_vectors_alone(seed: int, dimensions: int, n: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((700, dimensions)).astype(np.float32)
    asked = random.standard_normal((40, dimensions)).astype(np.float32)
    whole_scores, whole_rows = exact_top_n(asked, vectors, len(vectors))
    dense = np.empty_like(whole_scores)
    np.put_along_axis(dense, whole_rows, whole_scores, axis=1)
    allowed = random.random(len(vectors)) < 0.5
    scores, rows = exact_top_n(asked[7:], vectors, n, allowed, batch=3)
    assert np.array_equal(scores, np.take_along_axis(dense[7:], rows, axis=1))
    masked = np.where(allowed, dense[7:], -np.inf)
    assert np.array_equal(rows, np.argsort(-masked, axis=1, kind="stable")[:, :n])
    assert dense == pytest.approx(asked @ vectors.T, abs=1e-4)


def test_many_queries_of_trained_size_are_found_in_order() -> None:
    random = np.random.default_rng(5)
    vectors = random.standard_normal((6_000, 65)).astype(np.float32)
    asked = random.standard_normal((2 * QUERIES + 5, 65)).astype(np.float32)
    scores, rows = exact_top_n(asked, vectors, 100)
    exact = asked.astype(np.float64) @ vectors.T.astype(np.float64)
    assert scores == pytest.approx(-np.sort(-exact, axis=1)[:, :100], abs=1e-4)
    assert scores == pytest.approx(np.take_along_axis(exact, rows, axis=1), abs=1e-4)
    assert np.array_equal(scores, exact_top_n(asked, vectors, 100)[0])


def test_a_flat_index_is_searched_exactly_with_ties_by_row() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 50, axis=0)
    scores, rows = search(build_index(vectors), np.array([[1, 2, 3]], dtype=np.float32), 70)
    assert rows[0].tolist() == [*range(100, 150), *range(50, 70)] and scores[0, [0, -1]].tolist() == [3, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    good = np.ones((40, 5), dtype=np.float32)
    spoilt = good.copy()
    spoilt[33, 2] = bad
    for queries, vectors, what in ((spoilt, good, "queries"), (good, spoilt, "product vectors")):
        with pytest.raises(ValueError, match=f"{what} hold NaN or infinity"):
            exact_top_n(queries, vectors, 3)


def test_large_numbers_are_no_infinity() -> None:
    vectors = np.array([[1e30], [2e30]], dtype=np.float32)
    assert exact_top_n(np.ones((1, 1), dtype=np.float32), vectors, 2)[1].tolist() == [[1, 0]]


def test_what_does_not_fit_together_is_refused() -> None:
    vectors, asked = np.ones((4, 3), dtype=np.float32), np.ones((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="queries of 2 dimensions"):
        exact_top_n(asked[:, :2], vectors, 1)
    with pytest.raises(ValueError, match="no dimension to search in"):
        exact_top_n(asked[:, :0], vectors[:, :0], 1)
    with pytest.raises(ValueError, match="allowed rows reach from 1 to 4, products are 4"):
        exact_top_n(asked, vectors, 1, np.array([1, 4]))
    with pytest.raises(ValueError, match="2 queries but exclusions for 1"):
        exact_top_n(asked, vectors, 1, None, (np.array([0, 0]), NOTHING))
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        exact_top_n(asked, vectors, 1, None, (np.array([0, 2, 1]), np.array([0])))
