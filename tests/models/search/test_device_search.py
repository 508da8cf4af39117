"""The search that a card does, with a CPU in its place: to the bit what the search on a CPU finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Rows
from models.contract import Compute, FloatMatrix
from models.search import device, search
from models.search.device import DeviceProducts, best_on_device
from models.search.exact import Excluded, best_products, pack
from tests.models.search.test_exact_search import exclusions, pairs, reference, whole

CPU = Compute("cpu")


def both(
    asked: FloatMatrix, vectors: FloatMatrix, rows: Rows, n: int, excluded: Excluded | None = None, **sizes: int
) -> tuple[tuple[FloatMatrix, Rows], tuple[FloatMatrix, Rows]]:
    """What the search of a device finds, and the search on a CPU."""
    found = best_on_device(asked, DeviceProducts.of(vectors, CPU), rows, n, excluded, **sizes)
    return found, best_products(asked, pack(vectors, rows), n, excluded)


def searched_again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each search left to the CPU."""
    counts: list[int] = []

    def count(queries: FloatMatrix, *rest: object) -> tuple[FloatMatrix, Rows]:
        counts.append(len(queries))
        return best_products(queries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(device, "best_products", count)
    return counts


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 300), st.integers(1, 40), st.sampled_from([1, 40]), st.integers(1, 2_000),
    st.integers(1, 300), st.integers(1, 2),
)  # fmt: skip
def test_it_equals_numpy_where_many_tie(
    seed: int, products: int, n: int, most: int, cells: int, chunk: int, threads: int
) -> None:
    random = np.random.default_rng(seed)
    vectors, asked = whole(random, products, 4, most), whole(random, 9, 4, most)
    rows = np.flatnonzero(random.random(products) < 0.7)
    excluded = exclusions(random, len(asked), products, 20)
    found = best_on_device(asked, DeviceProducts.of(vectors, CPU), rows, n, excluded, threads, cells, chunk)
    assert pairs(*found) == reference(asked, vectors, n, rows, excluded)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 60), st.sampled_from([1.0, 1e-25, 1e15]))
def test_it_has_the_bits_of_the_search_on_a_cpu(seed: int, dimensions: int, n: int, size: float) -> None:
    random = np.random.default_rng(seed)
    vectors = (size * random.standard_normal((900, dimensions))).astype(np.float32)
    asked = random.standard_normal((40, dimensions)).astype(np.float32)
    vectors[7] = vectors[500]
    rows = np.flatnonzero(random.random(900) < 0.8)
    ours, theirs = both(asked, vectors, rows, n, exclusions(random, 40, 900, 30), chunk=250)
    assert ours[0].tobytes() == theirs[0].tobytes() and ours[1].tolist() == theirs[1].tolist()


def test_a_device_that_sums_otherwise_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores off by what rounding may do, as of another order of summing: near ties change places there, not here."""
    random, again = np.random.default_rng(3), searched_again(monkeypatch)
    vectors = random.standard_normal((4_000, 33)).astype(np.float32)
    vectors[1::2] = vectors[::2] + 1e-7 * random.standard_normal((2_000, 33)).astype(np.float32)
    asked = random.standard_normal((300, 33)).astype(np.float32)
    plain = torch.topk

    def shaken(scores: torch.Tensor, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        off = 33 * 2.0**-24 * torch.rand(scores.shape, generator=torch.Generator().manual_seed(k))
        return plain(scores + off * scores.abs().amax(1, keepdim=True), k, dim=dim)

    monkeypatch.setattr(torch, "topk", shaken)
    ours, theirs = both(asked, vectors, np.arange(4_000), 48)
    assert ours[0].tobytes() == theirs[0].tobytes() and ours[1].tolist() == theirs[1].tolist()
    assert sum(again) < 30  # nearly all are settled by their candidates


def test_only_queries_in_doubt_are_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    again = searched_again(monkeypatch)
    random = np.random.default_rng(5)
    vectors = random.standard_normal((500, 6)).astype(np.float32)
    vectors[:100] = [3, 0, 0, 0, 0, 0]  # a hundred equal ones: no ten of them can be told from the others
    asked = np.vstack([np.eye(6)[0], -np.eye(6)[0]]).astype(np.float32)
    ours, theirs = both(asked, vectors, np.arange(500), 10)
    assert ours[1].tolist() == theirs[1].tolist() and ours[1][0].tolist() == list(range(10))
    assert again == [1]


def test_products_that_do_not_fit_are_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def count(device: torch.device, *arrays: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> object:
        sent.extend(len(array) for array in arrays if array.ndim == 2)
        return tuple(torch.from_numpy(array) for array in arrays)

    monkeypatch.setattr(device, "to_device", count)
    monkeypatch.setattr(device, "free_memory", lambda _device: 6_000)
    random = np.random.default_rng(7)
    vectors, asked = (random.standard_normal((size, 8)).astype(np.float32) for size in (400, 5))
    products = DeviceProducts.of(vectors, CPU)
    assert products.resident is None and not sent
    found = best_on_device(asked, products, np.arange(400), 6, chunk=150)
    assert found[1].tolist() == best_products(asked, pack(vectors, np.arange(400)), 6)[1].tolist()
    assert sent == [2, 150, 150, 100, 2, 150, 150, 100, 1, 150, 150, 100]  # two queries' scores fit at once


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


def test_what_was_placed_is_searched_like_what_was_not() -> None:
    random = np.random.default_rng(9)
    vectors, asked = (random.standard_normal((size, 8)).astype(np.float32) for size in (400, 5))
    allowed = random.random(400) < 0.5
    found = search.exact_top_n(asked, DeviceProducts.of(vectors, CPU), 7, allowed)
    scores, rows = search.exact_top_n(asked, vectors, 7, allowed)
    assert found[0].tobytes() == scores.tobytes() and found[1].tolist() == rows.tolist()
    with pytest.raises(ValueError, match="allowed rows reach from 1 to 400, products are 400"):
        search.exact_top_n(asked, DeviceProducts.of(vectors, CPU), 1, np.array([1, 400]))


def test_what_does_not_fit_together_is_refused() -> None:
    products = DeviceProducts.of(np.ones((4, 3), dtype=np.float32), CPU)
    with pytest.raises(ValueError, match="queries of 2 dimensions cannot be scored by 3"):
        best_on_device(np.ones((2, 2), dtype=np.float32), products, np.arange(4), 1)
