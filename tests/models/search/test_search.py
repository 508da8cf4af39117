"""Compares search with brute force, in every law that a list has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import BoolMask, Rows, top_n_of_scores
from models.contract import FloatMatrix
from models.search.search import build_index, exact_top_n, load, recall_against_exact, save, search


def whole_vectors(random: np.random.Generator, count: int, dimensions: int = 3) -> FloatMatrix:
    """Small whole numbers: inner products are exact in float32, and ties are many."""
    return random.integers(-2, 3, (count, dimensions)).astype(np.float32)


def brute_force(query: FloatMatrix, vectors: FloatMatrix, n: int, allowed: npt.NDArray[np.bool_]) -> list[int]:
    """Rows by falling score, then rising row, padded with -1."""
    scores = vectors @ query
    rows = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-scores[row], row))[:n]
    return rows + [-1] * (n - len(rows))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 12), st.sampled_from(["all", "mask", "rows"]))
def test_exact_search_equals_brute_force(seed: int, products: int, n: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    vectors, queries = whole_vectors(random, products), whole_vectors(random, 5)
    mask = random.random(products) < 0.6 if kind != "all" else np.ones(products, dtype=bool)
    allowed: BoolMask | Rows | None = {"all": None, "mask": mask, "rows": np.flatnonzero(mask)}[kind]
    scores, rows = exact_top_n(queries, vectors, n, allowed, batch=2)
    assert rows.tolist() == [brute_force(query, vectors, n, mask) for query in queries]
    found = rows >= 0
    assert np.array_equal(scores[found], (queries @ vectors.T)[np.nonzero(found)[0], rows[found]])
    assert (scores[~found] == -np.inf).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 15))
def test_the_top_of_scores_equals_a_stable_sort(seed: int, products: int, n: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (6, products)).astype(np.float32)
    scores[random.random(scores.shape) < 0.3] = -np.inf
    best, columns = top_n_of_scores(scores, n)
    for row, best_row, column_row in zip(scores, best, columns, strict=True):
        expected = [c for c in np.argsort(-row, kind="stable") if np.isfinite(row[c])][:n]
        assert column_row.tolist() == expected + [-1] * (n - len(expected))
        assert best_row[: len(expected)].tolist() == row[expected].tolist()


def test_an_index_survives_saving_and_notices_damage(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    vectors, queries = random.random((50, 8), dtype=np.float32), random.random((4, 8), dtype=np.float32)
    path = tmp_path / "products.faiss"
    digest = save(build_index(vectors), path)
    assert len(digest) == 64 and sorted(file.name for file in tmp_path.iterdir()) == [path.name, path.name + ".json"]
    scores, rows = search(load(path), queries, 5)
    exact_scores, exact_rows = exact_top_n(queries, vectors, 5)
    assert rows.tolist() == exact_rows.tolist()
    assert scores == pytest.approx(exact_scores)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="rebuild the index"):
        load(path)


def test_equal_indexes_are_byte_equal(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).random((40, 4), dtype=np.float32)
    assert save(build_index(vectors), tmp_path / "a") == save(build_index(vectors), tmp_path / "b")


def test_a_search_past_the_end_is_padded() -> None:
    scores, rows = search(build_index(np.eye(2, dtype=np.float32)), np.array([[1, 0.5]], dtype=np.float32), 4)
    assert rows.tolist() == [[0, 1, -1, -1]]
    assert scores.tolist() == [[1.0, 0.5, -np.inf, -np.inf]]


def test_recall_is_one_for_exact_and_measured_for_approximate() -> None:
    random = np.random.default_rng(1)
    vectors, queries = (random.standard_normal((count, 16)).astype(np.float32) for count in (2_000, 50))
    assert recall_against_exact(build_index(vectors), vectors, queries, 10) == 1.0
    coarse = build_index(vectors, "IVF32,Flat")
    coarse.nprobe = 1
    poor = recall_against_exact(coarse, vectors, queries, 10)
    coarse.nprobe = 32
    assert poor < 0.9 < recall_against_exact(coarse, vectors, queries, 10) == 1.0


def test_bad_vectors_and_factories_are_refused() -> None:
    good = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="NaN or infinity"):
        build_index(good * np.nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        exact_top_n(good * np.inf, good, 1)
    with pytest.raises(ValueError, match="no FAISS factory"):
        build_index(good, "NoSuchIndex")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 8), st.integers(1, 3))
def test_lists_without_what_a_customer_bought(seed: int, products: int, n: int, batch: int) -> None:
    random = np.random.default_rng(seed)
    vectors, queries = whole_vectors(random, products), whole_vectors(random, 5)
    allowed = random.random(products) < 0.7
    bought = [random.integers(0, products, random.integers(0, 6)) for _ in queries]
    offsets = np.cumsum([0, *map(len, bought)])
    _, rows = exact_top_n(queries, vectors, n, allowed, (offsets, np.concatenate(bought)), batch)
    for query, own, row in zip(queries, bought, rows, strict=True):
        left = allowed.copy()
        left[own] = False
        assert row.tolist() == brute_force(query, vectors, n, left)


def test_a_market_without_products_has_empty_lists() -> None:
    nothing = np.zeros(5, dtype=bool)
    offsets = np.zeros(3, dtype=np.int64)
    _, rows = exact_top_n(np.ones((2, 1), np.float32), np.ones((5, 1), np.float32), 3, nothing, (offsets, offsets[:0]))
    assert (rows == -1).all()
