"""NearestProducts that go on from an earlier night are those of a search over all products."""

from __future__ import annotations

import numpy as np
import pytest

from models.search.nearest import NearestProducts, nearest_products, renewed


def assert_equal(found: NearestProducts, expected: NearestProducts) -> None:
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.view(np.uint32).tolist() == expected.scores.view(np.uint32).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_a_night_with_new_changed_and_removed_products(seed: int) -> None:
    random = np.random.default_rng(seed)
    before = np.round(random.normal(size=(int(random.integers(5, 150)), 8)), int(random.integers(0, 3)))  # with ties
    before = before.astype(np.float32)
    n = int(random.integers(1, 9))
    kept = np.flatnonzero(random.random(len(before)) < random.choice([0.7, 0.97, 1.0]))
    if seed % 4 == 3:  # another order of rows
        kept = random.permutation(kept)
    row_before = np.insert(kept, np.sort(random.integers(0, len(kept) + 1, int(random.integers(0, 4)))), -1)
    vectors = np.where(row_before[:, None] >= 0, before[row_before], random.normal(size=(len(row_before), 8)))
    vectors = vectors.astype(np.float32)
    changed = random.random(len(vectors)) < random.choice([0.0, 0.05])
    vectors[changed] += 1
    if len(vectors) < n or len(before) < n:
        pytest.skip("fewer products than neighbours")
    assert_equal(renewed(vectors, n, before, nearest_products(before, n), row_before), nearest_products(vectors, n))


def test_another_number_of_neighbours_is_searched() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    assert_equal(
        renewed(vectors, 5, vectors, nearest_products(vectors, 3), np.arange(20)), nearest_products(vectors, 5)
    )
