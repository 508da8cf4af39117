"""Checks a real GPU: encoding and search within their tolerances of a CPU, and training as good."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.contract import Compute, Recommender
from models.evaluation.metrics import allowing, from_vectors, per_customer, rank_targets
from models.networks.artefacts import KINDS, create, model_class
from models.networks.device import BF16_TOLERANCE, to_device, to_host
from models.networks.recommender import TorchRecommender
from models.search import search
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.models.search.test_device_search import assert_within_tolerance
from tests.models.search.test_exact_search import exclusions
from tests.models.test_contract import PRODUCTS, SMALL, VOCABULARY, checkerboard

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here")
CPU, CARD = Compute("cpu", seed=3), Compute("cuda", seed=3)
NDCG_TOLERANCE = 0.01
"""Of lists from bfloat16 vectors against those of float32 from one model."""


def fitted(kind: str, compute: Compute) -> Recommender:
    model = create(kind, VOCABULARY, compute, **SMALL[kind])
    model.fit(checkerboard())
    return model


def ndcg(model: Recommender, data: Sequences) -> float:
    """NDCG@10 of the last product of each history after the others."""
    last = data.offsets[1:] - 1
    before = data.where(~np.isin(np.arange(len(data.products)), last))
    targets = Sequences(np.arange(len(last) + 1), data.products[last], data.events[last], data.times[last])
    scores = from_vectors(model.encode(before), model.product_vectors())
    ranking = rank_targets(scores, targets, allowing(np.ones(PRODUCTS, dtype=bool)))
    return float(per_customer(ranking, [10])["ndcg@10"].mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_encodes_as_a_cpu_within_the_tolerance(kind: str) -> None:
    plain = fitted(kind, CPU)
    other = model_class(kind).restore(VOCABULARY, plain.config(), plain.tensors(), CARD)
    data = checkerboard()
    gap = np.abs(other.encode(data) - plain.encode(data)).max(axis=0)
    scale = max(1.0, float(np.linalg.norm(plain.encode(data)[:, :-1], axis=1).max()))
    assert gap.max() < BF16_TOLERANCE * scale
    np.testing.assert_allclose(other.product_vectors(), plain.product_vectors(), atol=1e-5 * scale)
    assert ndcg(other, data) == pytest.approx(ndcg(plain, data), abs=NDCG_TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_learns_as_well_as_a_cpu(kind: str) -> None:
    on_card, data = fitted(kind, CARD), checkerboard()
    best = np.argsort(-(on_card.encode(data) @ on_card.product_vectors().T), axis=1)[:, : PRODUCTS // 2]
    assert (best % 2 == np.arange(len(data))[:, None] % 2).mean() > 0.95
    assert ndcg(on_card, data) == pytest.approx(ndcg(fitted(kind, CPU), data), abs=0.1)
    if isinstance(on_card, TorchRecommender):
        assert all(value.is_cuda for value in on_card.module.parameters())


def test_nothing_waits_for_a_card_before_an_epoch_ends() -> None:
    """torch raises where the host waits; the first to do so must be the end of the epoch, which reads the mean loss."""
    steps: list[tuple[int, int]] = []

    def step_done(_what: str, done: int, total: int) -> None:
        steps.append((done, total))
        torch.cuda.set_sync_debug_mode("error")  # not before the first: setting up may wait

    # So many products that torch need not join the rows of a sparse gradient, for which it would have to count them.
    many = Vocabulary([f"product {number:05}" for number in range(5_000)])
    model = create("transformer", many, CARD, **SMALL["transformer"] | {"epochs": 1, "negatives": 12})
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            model.fit(checkerboard(), progress=step_done)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) > 5 and steps[-1] == (len(steps), len(steps))


def test_copies_come_back_as_they_went() -> None:
    device = torch.device("cuda")
    arrays = [np.arange(1_000_000), np.arange(7) % 2 == 0, np.zeros(0, np.int64), np.eye(3, dtype=np.float32)]
    arrays[0].flags.writeable = False
    sent = to_device(device, *arrays)
    landings = [to_host(tensor + 0) for tensor in sent]
    for array, landing in zip(arrays, landings, strict=True):
        assert np.array_equal(landing(), array)


def test_a_card_finds_what_a_cpu_finds_within_the_tolerance() -> None:
    random = np.random.default_rng(8)
    vectors = random.standard_normal((20_000, 65)).astype(np.float32)
    vectors[500:600] = vectors[400:500]  # these tie
    queries = random.standard_normal((3_000, 65)).astype(np.float32)
    allowed = random.random(len(vectors)) < 0.7
    offsets, bought = exclusions(random, len(queries), len(vectors), 40)
    found, plain = (
        search.exact_top_n(queries, products, 48, allowed, (offsets, bought))
        for products in (search.placed(vectors, CARD), vectors)
    )
    assert_within_tolerance(found, plain, queries, vectors)


def test_recall_is_the_same_on_a_card() -> None:
    random = np.random.default_rng(1)
    vectors, queries = (random.standard_normal((count, 16)).astype(np.float32) for count in (2_000, 50))
    for factory in ("Flat", "IVF32,Flat"):
        index = search.build_index(vectors, factory)
        recalls = [search.recall_against_exact(index, vectors, queries, 10, compute) for compute in (CPU, CARD)]
        assert recalls[0] == recalls[1]
