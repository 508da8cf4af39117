"""Checks the search of a GPU, on a CPU in its place: the lists of the CPU's own search within the stated tolerance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Rows
from models.contract import Compute, FloatMatrix
from models.search import device, search
from models.search.device import DeviceProducts, best_on_device, score_tolerance
from models.search.exact import Excluded, best_products, pack
from tests.models.search.test_exact_search import exclusions, pairs, reference, whole

CPU = Compute("cpu")
Found = tuple[FloatMatrix, Rows]


def both(
    asked: FloatMatrix, vectors: FloatMatrix, rows: Rows, n: int, excluded: Excluded | None = None
) -> tuple[Found, Found]:
    """The answer of a device's search, and of the search on a CPU."""
    found = best_on_device(asked, DeviceProducts.of(vectors, CPU), rows, n, excluded)
    return found, best_products(asked, pack(vectors, rows), n, excluded)


def assert_within_tolerance(ours: Found, theirs: Found, asked: FloatMatrix, vectors: FloatMatrix) -> None:
    """Equally long lists of distinct products, each with its own score, place by place as good as the CPU's."""
    lengths = [np.linalg.norm(each.astype(np.float64), axis=1) for each in (asked, vectors)]
    longest = lengths[0][:, None] * lengths[1].max(initial=0)
    allowed = score_tolerance(vectors.shape[1]) * longest + vectors.shape[1] * 2.0**-125  # the last: underflow
    for scores, expected in ((ours[0], theirs[0]), (ours[0], own_scores(asked, vectors, ours[1]))):
        assert np.array_equal(np.isfinite(scores), np.isfinite(expected))
        with np.errstate(invalid="ignore"):
            assert not (np.abs(scores - expected) > allowed).any()
    assert all(len(set(row[row >= 0])) == np.count_nonzero(row >= 0) for row in ours[1])


def own_scores(asked: FloatMatrix, vectors: FloatMatrix, rows: Rows) -> FloatMatrix:
    """[q, n], the inner products of the rows that were found, -inf for -1."""
    scores = np.einsum("qd,qnd->qn", asked.astype(np.float64), vectors[rows].astype(np.float64))
    return np.where(rows >= 0, scores, -np.inf).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 40), st.sampled_from([1, 40]), st.integers(1, 2_000))
def test_scores_equal_numpys_where_sums_are_exact(seed: int, products: int, n: int, most: int, cells: int) -> None:
    """Also where many tie, and however few queries are searched at once."""
    random = np.random.default_rng(seed)
    vectors, asked = whole(random, products, 4, most), whole(random, 9, 4, most)
    rows = np.flatnonzero(random.random(products) < 0.7)
    excluded = exclusions(random, len(asked), products, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "MOST_CELLS", cells)
        scores, found = best_on_device(asked, DeviceProducts.of(vectors, CPU), rows, n, excluded)
    expected = reference(asked, vectors, n, rows, excluded)
    assert [[s for _, s in row] for row in pairs(scores, found)] == [[s for _, s in row] for row in expected]
    np.testing.assert_array_equal(scores, own_scores(asked, vectors, found))
    assert np.isin(found[found >= 0], rows).all()
    for query, row in enumerate(found):
        assert not np.isin(row, excluded[1][excluded[0][query] : excluded[0][query + 1]]).any()
        assert all(
            a < b
            for a, b, s, t in zip(row, row[1:], scores[query], scores[query][1:], strict=False)
            if s == t > -np.inf
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 60), st.sampled_from([1.0, 1e-25, 1e15]))
def test_it_is_within_the_tolerance_of_the_search_on_a_cpu(seed: int, dimensions: int, n: int, size: float) -> None:
    random = np.random.default_rng(seed)
    vectors = (size * random.standard_normal((900, dimensions))).astype(np.float32)
    asked = random.standard_normal((40, dimensions)).astype(np.float32)
    vectors[7] = vectors[500]
    rows = np.flatnonzero(random.random(900) < 0.8)
    assert_within_tolerance(*both(asked, vectors, rows, n, exclusions(random, 40, 900, 30)), asked, vectors)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    vectors, asked = (random.standard_normal((size, 9)).astype(np.float32) for size in (200, 30))
    sizes: list[int] = []
    plain = torch.topk

    def small_memory(scores: torch.Tensor, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(scores))
        if len(scores) > 10:
            raise torch.OutOfMemoryError
        return plain(scores, k, dim=dim)

    monkeypatch.setattr(torch, "topk", small_memory)
    excluded = exclusions(random, 30, 200, 9)
    found = best_on_device(asked, DeviceProducts.of(vectors, CPU), np.arange(200), 12, excluded)
    monkeypatch.undo()
    assert sizes == [30, 15, 8, 7, 8, 7]
    assert_within_tolerance(found, best_products(asked, pack(vectors, np.arange(200)), 12, excluded), asked, vectors)


def test_a_setting_decides_where_a_search_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert search.placed(vectors, CPU) is vectors
    monkeypatch.setattr(search, "DRIVER", "no such library")
    assert search.placed(vectors, Compute("auto")) is vectors
    monkeypatch.setattr(search, "DRIVER", "libc.so.6")  # a driver without a card
    assert search.placed(vectors, Compute("auto")) is vectors or torch.cuda.is_available()
    with pytest.raises(ValueError, match="device 'tpu' is not one of auto, cpu, cuda"):
        search.placed(vectors, Compute("tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no NVIDIA GPU here"):
            search.placed(vectors, Compute("cuda"))


def test_placed_products_are_searched_like_others() -> None:
    random = np.random.default_rng(9)
    vectors, asked = (random.standard_normal((size, 8)).astype(np.float32) for size in (400, 5))
    allowed = random.random(400) < 0.5
    found = search.exact_top_n(asked, DeviceProducts.of(vectors, CPU), 7, allowed)
    assert_within_tolerance(found, search.exact_top_n(asked, vectors, 7, allowed), asked, vectors)
    assert allowed[found[1]].all()
    with pytest.raises(ValueError, match="allowed rows reach from 1 to 400, products are 400"):
        search.exact_top_n(asked, DeviceProducts.of(vectors, CPU), 1, np.array([1, 400]))
    none = search.exact_top_n(asked, DeviceProducts.of(vectors, CPU), 2, np.empty(0, np.int64))
    assert (none[1] == -1).all() and (none[0] == -np.inf).all()


def test_shapes_that_do_not_fit_together_are_refused() -> None:
    products = DeviceProducts.of(np.ones((4, 3), dtype=np.float32), CPU)
    with pytest.raises(ValueError, match="queries of 2 dimensions cannot be scored by 3"):
        best_on_device(np.ones((2, 2), dtype=np.float32), products, np.arange(4), 1)
