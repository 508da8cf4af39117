"""Checks the promises of our own transformer alone: cold products, attention, and a cheap last position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.lake.storage import staged_folder
from models.catalogue import Catalogue
from models.contract import Compute
from models.networks import artefacts
from models.networks.artefacts import create
from models.networks.batching import pad
from models.networks.transformer import Transformer, TransformerModule
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.support.strategies import histories

COMPUTE = Compute("cpu", 3)
COLOURS, PER_COLOUR = 4, 6
PRODUCTS = COLOURS * PER_COLOUR


def described(products: int) -> Catalogue:
    """Product p has the colour p % COLOURS and a name of its own."""
    colours = [f"colour {p % COLOURS}" for p in range(products)]
    return Catalogue.of({"colour": colours}, [f"article{p}" for p in range(products)], [None] * products)


def one_colour_each(customers: int = 300) -> Sequences:
    """Customer c stays within colour c % COLOURS."""
    rng = np.random.default_rng(2)
    products = COLOURS * rng.integers(0, PER_COLOUR, (customers, 6)) + np.arange(customers)[:, None] % COLOURS
    offsets = np.arange(customers + 1, dtype=np.int64) * 6
    times = np.tile(np.arange(6) * 3600, customers)
    return Sequences(offsets, products.ravel().astype(np.int32), np.zeros(len(times), np.int8), times)


def build(**changes: object) -> Transformer:
    settings = {"width": 16, "max_length": 8, "epochs": 12, "batch_events": 256, "table_learning_rate": 0.05,
                "id_dropout": 0.3}  # fmt: skip
    model = create("transformer", Vocabulary([f"p{p}" for p in range(PRODUCTS)]), COMPUTE, **{**settings, **changes})
    assert isinstance(model, Transformer)
    return model


@pytest.fixture(scope="module")
def model() -> Transformer:
    built = build()
    built.fit(one_colour_each(), described(PRODUCTS))
    return built


def clicks(*products: int) -> list[tuple[int, int]]:
    return [(product, 3600 * hour) for hour, product in enumerate(products)]


def test_a_product_launched_today_stands_with_its_likes(model: Transformer) -> None:
    new = COLOURS  # one more product of each colour, never in training
    larger = model.extended([f"new {p}" for p in range(new)], Catalogue(described(PRODUCTS + new).features[PRODUCTS:]))
    customers = larger.encode(histories(*[clicks(c, c + COLOURS, c + 2 * COLOURS) for c in range(COLOURS)]))
    scores = customers @ larger.product_vectors()[PRODUCTS:].T
    assert scores.argmax(axis=1).tolist() == list(range(COLOURS))


def test_a_history_of_new_products_alone_is_understood(model: Transformer) -> None:
    larger = model.extended(["new"], Catalogue(described(PRODUCTS + 2).features[PRODUCTS + 1 :]))  # colour 1
    scores = larger.encode(histories(clicks(PRODUCTS))) @ larger.product_vectors()[:PRODUCTS].T
    assert set(np.argsort(-scores[0])[:PER_COLOUR] % COLOURS) == {1}


def test_what_was_known_does_not_change_when_products_are_added(model: Transformer) -> None:
    larger = model.extended(["new"], Catalogue(described(PRODUCTS + 1).features[PRODUCTS:]))
    assert larger.vocabulary.ids.to_pylist() == [*model.vocabulary.ids.to_pylist(), "new"]
    assert larger.product_vectors()[:PRODUCTS].tobytes() == model.product_vectors().tobytes()
    data = histories(clicks(1, 5, 9))
    assert larger.encode(data).tobytes() == model.encode(data).tobytes()
    assert model.extended([], Catalogue.empty(0)) is model


def test_features_are_stored_with_the_model(model: Transformer, tmp_path: Path) -> None:
    artefacts.write(model, tmp_path / "m", {}, staged_folder)
    again, _ = artefacts.read(tmp_path / "m", COMPUTE)
    assert again.product_vectors().tobytes() == model.product_vectors().tobytes()


def test_a_catalogue_of_other_products_is_refused() -> None:
    with pytest.raises(ValueError, match="does not describe a vocabulary of 24"):
        build().fit(one_colour_each(), described(3))


def test_the_last_position_alone_is_the_last_of_all(model: Transformer) -> None:
    batch = pad(histories(clicks(1, 2, 3, 4), clicks(7), clicks(5, 6)), np.arange(3), torch.device("cpu"))
    assert isinstance(model.module, TransformerModule)
    with torch.inference_mode():
        every, last = model.module.states(batch), model.module.last_states(batch)
    torch.testing.assert_close(last, torch.stack([every[0, 3], every[1, 0], every[2, 1]]), rtol=1e-5, atol=1e-6)


def test_attention_sums_to_1_over_the_past_and_reads_no_future(model: Transformer) -> None:
    found = list(model.attention(histories(clicks(1, 2, 3), [], clicks(*range(12)))))
    assert [maps.shape for maps in found] == [(3, 2, 3, 3), (3, 2, 0, 0), (3, 2, 8, 8)]
    for maps in found:
        np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
        assert not maps[..., *np.triu_indices(maps.shape[-1], 1)].any()


def test_the_attention_that_is_shown_is_the_one_that_is_used(model: Transformer) -> None:
    """The readout's share of an event is what moving that event's product vector moves the answer by."""
    batch = pad(histories(clicks(1, 6, 11)), np.arange(1), torch.device("cpu"))
    module = model.module
    assert isinstance(module, TransformerModule)
    with torch.inference_mode():
        products, before, ages = module.inputs(batch)
        for block in module.blocks[:-1]:
            before = block(before, ages)
        states = module.blocks[-1](before, ages)
        moved = module.answer(states, before, products + torch.eye(3)[None, 1][..., None], ages)
        shift = (moved - module.answer(states, before, products, ages))[0, 2, 0]
    readout = next(model.attention(histories(clicks(1, 6, 11))))[-1]
    assert float(shift) == pytest.approx(float(readout[0, 2, 1]), abs=1e-5)


def test_targets_of_weight_0_teach_nothing() -> None:
    data = one_colour_each()
    kinds = np.tile(np.array([0, 3], np.int8), len(data.products) // 2)
    mixed = Sequences(data.offsets, data.products, kinds, data.times)
    with_both, clicks_only = build(epochs=2), build(epochs=2, target_weights=(1.0, 0.0, 0.0, 0.0))
    losses = [model.fit(mixed, described(PRODUCTS)).losses for model in (with_both, clicks_only)]
    assert losses[0] != losses[1]
    with pytest.raises(ValueError, match="one for each of click, save, bag, purchase"):
        build(target_weights=(1.0,))


def test_recency_reads_less_of_what_is_old() -> None:
    data = one_colour_each()
    times = data.times + np.repeat(np.arange(len(data)), 6) * 86_400
    aged = Sequences(data.offsets, data.products, data.events, times)
    steps = [build(epochs=4, recency=recency).fit(aged, described(PRODUCTS)).steps for recency in (0.0, 3.0)]
    assert steps[1] < steps[0] / 2
