"""Checks without a GPU for the mistakes that only a GPU shows: other devices, number formats, and waiting for it.

Networks run on torch's device `meta`, which has shapes but no numbers: it refuses what asks for a number (a card would
be waited for) and what mixes devices. bfloat16 runs on the CPU, by the same autocast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.catalogue import Catalogue
from models.networks import batching, losses, optimiser, recommender, training
from models.networks.batching import next_basket
from models.networks.device import BF16_TOLERANCE, full_float32, run_batches
from models.networks.losses import Sampler
from models.networks.optimiser import TableAdamW, summed_by_row
from models.networks.recommender import GPU_ENCODE_EVENTS, TorchRecommender
from models.sequences import Sequences
from tests.models.test_contract import NETWORKS, PRODUCTS, build_network, checkerboard

META = torch.device("meta")
CATALOGUE = Catalogue(np.random.default_rng(0).integers(0, 50, (PRODUCTS, 5)).astype(np.int32))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class OneDevice(TorchDispatchMode):
    """Fails where an operation reads tensors of two devices; a number without dimensions may come from the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor) and leaf.ndim]
        # Copying from one to the other is what such an operation is for.
        if not str(func).startswith(("aten._to_copy", "aten.copy_")):
            assert len({tensor.device.type for tensor in tensors}) < 2, func
        return func(*args, **(kwargs or {}))


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches go to the device `meta`, and AdamW, whose fused step is not for it, does its plain one."""

    def send(device: torch.device, *arrays: Any) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array).to(device) for array in arrays)

    for module in (batching, losses, training, recommender):
        monkeypatch.setattr(module, "to_device", send)
    plain = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: plain(groups, lr=lr, foreach=True))


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("negatives", [12, 512])
@pytest.mark.parametrize("temperature", [None, 0.1])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_training_step_stays_on_its_device_and_waits_for_nothing(
    kind: str, temperature: float | None, negatives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_network(kind, temperature=temperature, negatives=negatives)
    data, cut = checkerboard(), batching.windows(checkerboard(), model.settings.max_length)
    module = model.build(CATALOGUE).to(META)
    weights = torch.tensor(model.settings.target_weights, device=META)
    # A sparse gradient on `meta` has no rows that could be counted; here it has seven.
    monkeypatch.setattr(
        optimiser,
        "touched",
        lambda g: summed_by_row(
            torch.empty(7, dtype=torch.long, device=META), torch.empty(7, *g.shape[1:], device=META)
        ),
    )
    sampler = Sampler(np.ones(PRODUCTS, np.int64), model.settings, META)
    adam = TableAdamW(module, 0.1, 0.1, 0.1, 1.0)
    module.train()
    with OneDevice():
        batch = batching.pad(cut, np.arange(6), META, next_basket(data))
        loss = training._loss(module, batch, sampler, weights, model.settings, np.random.default_rng(0))
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step(1.0)
    assert loss.dtype == torch.float32


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("kind", NETWORKS)
def test_encoding_stays_on_its_device_and_waits_for_nothing(kind: str) -> None:
    model = build_network(kind)
    module = model.build(CATALOGUE).to(META).eval()
    cut = batching.windows(checkerboard(), model.settings.max_length)
    with OneDevice(), torch.inference_mode():
        states = module.last_states(batching.pad(cut, np.arange(6), META))
        vectors = module.vectors(torch.arange(PRODUCTS, device=META))
    assert (states.shape, vectors.shape) == ((6, 16), (PRODUCTS, 16))


def test_rows_are_summed_without_counting_them() -> None:
    random = np.random.default_rng(4)
    rows, values = torch.from_numpy(random.integers(0, 9, 40)), torch.from_numpy(random.standard_normal((40, 3)))
    found, sums = summed_by_row(rows, values)
    wanted = torch.sparse_coo_tensor(rows[None], values, (9, 3), check_invariants=True).coalesce()
    count = len(wanted.values())
    assert found[:count].tolist() == wanted.indices()[0].tolist()
    torch.testing.assert_close(sums[:count], wanted.values())
    assert set(found[count:].tolist()) == {int(found[count - 1])}  # the last one, again and again
    assert (sums[count:] == sums[count - 1]).all()


def test_an_update_of_uncounted_rows_is_that_of_counted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    for uncounted in (False, True):
        if uncounted:
            monkeypatch.setattr(optimiser, "touched", lambda g: summed_by_row(g._indices()[0], g._values()))
        model = build_network("transformer", epochs=2)
        model.fit(checkerboard())
        trained.append(model.product_vectors())
    np.testing.assert_allclose(*trained, atol=1e-4)


# --- large batches


@pytest.fixture(scope="module")
def model() -> TorchRecommender:
    """A transformer that has learned the checkerboard."""
    found = build_network("transformer")
    found.fit(checkerboard(), CATALOGUE)
    return found


def many() -> Sequences:
    """Histories of all lengths from 1 on."""
    data = checkerboard()
    return data.where(np.random.default_rng(5).random(len(data.products)) < 0.5)


@pytest.fixture
def large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batches of a GPU, on the CPU."""
    monkeypatch.setattr(
        recommender, "fixed_buckets", lambda lengths, *_rest: batching.buckets(lengths, GPU_ENCODE_EVENTS)
    )
    monkeypatch.setattr(recommender, "run_in_threads", run_batches)


def test_large_batches_give_the_same_vectors(model: TorchRecommender, request: pytest.FixtureRequest) -> None:
    plain = model.encode(many())
    request.getfixturevalue("large_batches")
    np.testing.assert_allclose(model.encode(many()), plain, atol=1e-5)


@pytest.mark.usefixtures("large_batches")
def test_memory_that_does_not_hold_a_batch_halves_it(model: TorchRecommender, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, sizes, told = model.encode(many()), [], []
    states = model.module.last_states

    def short_of_memory(batch: batching.Batch) -> torch.Tensor:
        if batch.mask.numel() > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(batch.mask.numel())
        return states(batch)

    monkeypatch.setattr(model.module, "last_states", short_of_memory)
    found = model.encode(many(), lambda *step: told.append(step))
    np.testing.assert_allclose(found, plain, atol=1e-5)
    assert len(sizes) > 5 and told[-1][1] == np.count_nonzero(many().lengths)


# --- number formats


def test_scores_are_full_float32_whatever_the_process_has_set() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The autocast of a card, on the CPU."""
    for module in (training, recommender):
        monkeypatch.setattr(module, "mixed_precision", lambda _device: torch.autocast("cpu", dtype=torch.bfloat16))


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("temperature", [None, 0.1])
@pytest.mark.parametrize("kind", NETWORKS)
def test_bfloat16_learns_the_same_answer(kind: str, temperature: float | None) -> None:
    model = build_network(kind, temperature=temperature)
    fitted = model.fit(checkerboard(), CATALOGUE)
    assert np.isfinite(fitted.losses).all() and fitted.losses[-1] < fitted.losses[0]
    data = checkerboard()
    vectors, products = model.encode(data), model.product_vectors()
    assert vectors.dtype == products.dtype == np.float32
    best = np.argsort(-(vectors @ products.T), axis=1)[:, : PRODUCTS // 2]
    assert (best % 2 == np.arange(len(data))[:, None] % 2).mean() > 0.95


def test_vectors_of_bfloat16_are_within_the_tolerance(model: TorchRecommender, request: pytest.FixtureRequest) -> None:
    plain = model.encode(many())
    request.getfixturevalue("bfloat16")
    found = model.encode(many())
    assert 0 < np.abs(found - plain).max() < BF16_TOLERANCE
