"""Checks the promises of our own transformer alone: cold products, attention, the closed form, and when it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.lake.storage import staged_folder
from models.catalogue import Catalogue
from models.contract import Compute, FloatMatrix, Recommender
from models.networks import artefacts
from models.networks.artefacts import create
from models.networks.batching import pad
from models.networks.closed_form import ClosedForm, ClosedFormConfig
from models.networks.transformer import VISITS_WEIGHTS, Transformer, TransformerModule
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


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads until the test's end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


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


# --- the closed form beside the network

VISITS = {"rank": 12, "trend": 0.3, "memory_days": 0.2}


@pytest.fixture(scope="module")
def beside() -> Transformer:
    built = build(epochs=2, visits_weight=0.7, visits=VISITS)
    built.fit(one_colour_each(), described(PRODUCTS))
    return built


def scored(model: Recommender, data: Sequences) -> FloatMatrix:
    return np.asarray(model.encode(data) @ model.product_vectors().T)


def test_scores_of_network_and_closed_form_add_up(beside: Transformer) -> None:
    data = one_colour_each(40)
    alone = build(epochs=2, visits_weight=0.0)
    alone.fit(one_colour_each(), described(PRODUCTS))
    closed = ClosedForm.create(beside.vocabulary, COMPUTE, **VISITS)
    closed.fit(one_colour_each())
    assert closed.product_vectors()[:, -1].any(), "its trend takes part"
    np.testing.assert_allclose(scored(beside, data), scored(alone, data) + 0.7 * scored(closed, data), atol=1e-5)
    assert beside.encode(data).shape == (40, 16 + 12 + 1) and beside.product_vectors().shape == (PRODUCTS, 16 + 12 + 1)
    assert (beside.encode(data)[:, -1] == 1).all()


def test_without_weight_there_is_no_closed_form(tmp_path: Path) -> None:
    alone = build(epochs=1, visits_weight=0.0)
    alone.fit(one_colour_each(60), described(PRODUCTS))
    assert alone.encode(histories(clicks(1))).shape == (1, 16 + 1)
    assert alone.product_vectors().shape == (PRODUCTS, 16 + 1)
    assert not [name for name in alone.tensors() if name.startswith("visits.")]
    artefacts.write(alone, tmp_path / "m", {}, staged_folder)
    assert artefacts.read(tmp_path / "m", COMPUTE)[0].product_vectors().tobytes() == alone.product_vectors().tobytes()


def test_fitting_again_without_weight_forgets_the_closed_form() -> None:
    model = build(epochs=1)
    model.fit(one_colour_each(60))
    model.settings = replace(model.settings, visits_weight=0.0)
    model.fit(one_colour_each(60))
    assert model.encode(histories(clicks(1))).shape == (1, 16 + 1)


def test_a_stored_model_has_both_and_comes_back_byte_equal(beside: Transformer, tmp_path: Path) -> None:
    artefacts.write(beside, tmp_path / "m", {}, staged_folder)
    again, _ = artefacts.read(tmp_path / "m", COMPUTE)
    assert isinstance(again, Transformer) and again.settings == beside.settings
    assert again.settings.visits == ClosedFormConfig(**VISITS)
    data = one_colour_each(40)
    assert again.encode(data).tobytes() == beside.encode(data).tobytes()
    assert again.product_vectors().tobytes() == beside.product_vectors().tobytes()
    larger, also = (model.extended(["new"], Catalogue(described(PRODUCTS + 1).features[PRODUCTS:]))
                    for model in (beside, again))  # fmt: skip
    assert larger.product_vectors().tobytes() == also.product_vectors().tobytes()


def test_a_model_from_before_there_was_a_closed_form_is_still_read(beside: Transformer) -> None:
    old = {name: value for name, value in beside.config().items() if not name.startswith("visits")}
    network = {name: value for name, value in beside.tensors().items() if not name.startswith("visits.")}
    again = Transformer.restore(beside.vocabulary, old, network, COMPUTE)
    np.testing.assert_array_equal(again.product_vectors()[:, :16], beside.product_vectors()[:, :16])
    assert again.encode(histories(clicks(1))).shape == (1, 16 + 1)


def test_a_new_product_has_no_visits_and_the_customers_keep_theirs(beside: Transformer) -> None:
    larger = beside.extended(["new"], Catalogue(described(PRODUCTS + 1).features[PRODUCTS:]))
    vectors = larger.product_vectors()
    assert vectors[:PRODUCTS].tobytes() == beside.product_vectors().tobytes()
    assert not vectors[PRODUCTS, 16:].any() and vectors[PRODUCTS, :16].any()
    with_new = larger.encode(histories([*clicks(1, 5), (PRODUCTS, 2 * 3600)]))
    assert with_new.shape == (1, 16 + 12 + 1)
    assert beside.product_vectors().shape[0] == PRODUCTS, "the model itself stays as it was"


def of_visits(model: Recommender) -> float:
    """The length of what a customer's vector owes to visits."""
    return float(np.linalg.norm(model.encode(histories(clicks(1, 5)))[:, 16:-1]))


def test_a_useless_closed_form_is_left_out(tmp_path: Path) -> None:
    model = build(round_steps=1, most_steps=20, patience=1)
    choice = model.choose(one_colour_each(60), described(PRODUCTS), lambda m: -of_visits(m))
    assert choice.settings["visits_weight"] == 0 and choice.settings == model.config()
    assert model.encode(histories(clicks(1))).shape == (1, 16 + 1) and model.product_vectors().shape == (24, 16 + 1)
    assert not [name for name in model.tensors() if name.startswith("visits.")]
    artefacts.write(model, tmp_path / "m", {}, staged_folder)
    assert artefacts.read(tmp_path / "m", COMPUTE)[0].product_vectors().tobytes() == model.product_vectors().tobytes()


def test_a_useful_closed_form_gets_the_weight_that_is_best() -> None:
    model = build(round_steps=1, most_steps=20, patience=1, visits=VISITS)
    choice = model.choose(one_colour_each(60), described(PRODUCTS), lambda m: -abs(of_visits(m) - 0.4))
    assert choice.settings["visits_weight"] == 0.4 and choice.settings["visits"]["rank"] == 12
    again = build(**choice.settings)
    again.fit(one_colour_each(60), described(PRODUCTS))
    assert asdict(again.settings) == asdict(model.settings)
    data = one_colour_each(40)
    np.testing.assert_allclose(scored(again, data), scored(model, data), atol=1e-5)


# --- training that held-out days stop


def planned(*figures: float) -> Callable[[Recommender], float]:
    left = iter(figures)
    return lambda _: next(left)


@pytest.mark.parametrize("rounds", [1, 2])
def test_training_stops_where_held_out_days_say_and_that_many_passes_give_the_same_again(rounds: int) -> None:
    data, catalogue = one_colour_each(), described(PRODUCTS)
    steps = build(epochs=1).fit(data, catalogue).steps
    settings = {"round_steps": (rounds - 1) * steps + 1, "most_steps": 100 * steps, "patience": 2}
    model = build(**settings)
    found = model.fit(data, catalogue, validate=planned(0.1, 0.4, 0.3, 0.2, 9.9))
    assert found.figures == (0.1, 0.4, 0.3, 0.2)
    assert (found.epochs, len(found.losses)) == (2 * rounds, 4 * rounds)
    again = build(**{**settings, "epochs": found.epochs})
    plain = again.fit(data, catalogue)
    assert plain.losses == found.losses[: 2 * rounds] and (plain.epochs, plain.figures) == (2 * rounds, ())
    assert again.product_vectors().tobytes() == model.product_vectors().tobytes()
    assert again.encode(data).tobytes() == model.encode(data).tobytes()


def test_training_ends_after_its_most_steps_however_good_it_becomes() -> None:
    data = one_colour_each(60)
    steps = build(epochs=1).fit(data).steps
    model = build(epochs=1, round_steps=1, most_steps=5 * steps)
    seen: list[tuple[str, int, int]] = []
    found = model.fit(data, validate=planned(*range(99)), progress=lambda *step: seen.append(step))
    assert (found.epochs, found.figures) == (5, (0, 1, 2, 3, 4))
    assert seen[-1] == ("batches", 5 * steps, 5 * steps) and found.steps == 5 * steps
    few = build(epochs=3, round_steps=1, most_steps=1).fit(data, validate=planned(*range(99)))
    assert few.epochs == 3, "as many passes as without held-out days, at least"


def test_a_pass_of_many_windows_reads_some() -> None:
    data = one_colour_each()
    whole, some = build(epochs=2).fit(data).steps, build(epochs=2, epoch_steps=2).fit(data).steps
    assert some == 4 < whole


def test_the_best_of_the_trials_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transformer, "trials", ({"layers": 1}, {"layers": 2}, {"layers": 3}))
    model = build(round_steps=1, patience=1, most_steps=500)
    figures = [0.1, 0.0, 0.2, 0.3, 0.1, 0.2, 0.1, *[0.0] * len(VISITS_WEIGHTS)]
    choice = model.choose(one_colour_each(60), None, planned(*figures))
    assert (choice.settings["layers"], choice.settings["epochs"]) == (2, 2)
    assert choice.figures == (0.2, 0.3, 0.1) and len(choice.losses) == 3
    assert isinstance(model.module, TransformerModule) and len(model.module.blocks) == 2


def test_a_vector_is_the_same_in_any_company_and_any_number_of_threads(threads: Callable[[int], None]) -> None:
    """Of the width and with the lengths that kernels treat differently from place to place."""
    rng = np.random.default_rng(6)
    offsets = np.concatenate(([0], np.cumsum(rng.integers(1, 20, 900))))
    products = rng.integers(0, PRODUCTS, offsets[-1]).astype(np.int32)
    data = Sequences(offsets, products, (products % 4).astype(np.int8), np.arange(len(products)) * 900)
    model = build(width=64, max_length=20, epochs=1, visits_weight=0.0)
    model.fit(one_colour_each())
    threads(1)
    whole, some = model.encode(data), np.flatnonzero(rng.random(900) < 0.4)
    for count in (1, 2, 3):
        threads(count)
        assert model.encode(data).tobytes() == whole.tobytes()
        assert model.encode(data.take(some)).tobytes() == whole[some].tobytes()
        assert torch.get_num_threads() == count
