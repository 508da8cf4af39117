"""Runs one suite over every kind of model, on data whose right answer is known by construction.

Checkerboard (implicit's test data): every customer moves on squares of one colour only, so whatever the history,
products of its colour must come first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from jobs.lake.storage import staged_folder
from models.contract import Compute, FloatMatrix, Recommender
from models.networks import artefacts
from models.networks.artefacts import KINDS, create, model_class
from models.networks.batching import next_basket, pad
from models.networks.recommender import TorchRecommender
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.support.strategies import histories

PRODUCTS, CUSTOMERS, EVENTS = 20, 240, 12
COMPUTE = Compute(device="cpu", seed=3)
VOCABULARY = Vocabulary([f"product {i:02}" for i in range(PRODUCTS)])
NETWORK = {"width": 16, "max_length": 8, "epochs": 12, "batch_events": 256, "learning_rate": 0.02, "dropout": 0.1}
CLOSED_FORM = {"rank": 16, "max_length": 8}
SMALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(KINDS, NETWORK),
    "closed_form": CLOSED_FORM,
    "transformer": {**NETWORK, "visits": CLOSED_FORM},
}
COLUMNS = {**dict.fromkeys(KINDS, 16 + 1), "transformer": 16 + 16 + 1}


def checkerboard() -> Sequences:
    """Customer c clicks products p with p % 2 == c % 2; events 3 and 4 of each history are one basket."""
    rng = np.random.default_rng(11)
    products = 2 * rng.integers(0, PRODUCTS // 2, (CUSTOMERS, EVENTS)) + np.arange(CUSTOMERS)[:, None] % 2
    times = np.tile(np.arange(EVENTS) * 60, (CUSTOMERS, 1))
    times[:, 4] = times[:, 3]
    offsets = np.arange(CUSTOMERS + 1, dtype=np.int64) * EVENTS
    kinds = rng.integers(0, 4, CUSTOMERS * EVENTS).astype(np.int8)
    return Sequences(offsets, products.ravel().astype(np.int32), kinds, times.ravel().astype(np.int64))


def build(kind: str, **changes: object) -> Recommender:
    return create(kind, VOCABULARY, COMPUTE, **{**SMALL[kind], **changes})


def build_network(kind: str, **changes: object) -> TorchRecommender:
    model = build(kind, **changes)
    assert isinstance(model, TorchRecommender)
    return model


def clicks(*products: int) -> list[tuple[int, int]]:
    return [(product, 60 * minute) for minute, product in enumerate(products)]


def scores(model: Recommender, data: Sequences) -> FloatMatrix:
    result: FloatMatrix = model.encode(data) @ model.product_vectors().T
    return result


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small matrices gain nothing from more, and on a busy machine the threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NETWORKS = [kind for kind in KINDS if kind != "closed_form"]


@pytest.fixture(scope="module", params=[*(f"{k}/{t}" for k in NETWORKS for t in ("cosine", "dot")), "closed_form"])
def model(request: pytest.FixtureRequest) -> Recommender:
    kind, _, scoring = request.param.partition("/")
    built = build(kind, **({"temperature": 0.1 if scoring == "cosine" else None} if scoring else {}))
    built.fit(checkerboard())
    return built


@pytest.fixture
def network(model: Recommender) -> TorchRecommender:
    if not isinstance(model, TorchRecommender):
        pytest.skip(f"{model.kind} is no network: it has no steps, no states and reads no event types")
    return model


def test_products_of_the_historys_colour_come_first(model: Recommender) -> None:
    data = histories(clicks(0), clicks(1), clicks(2, 6, 4), clicks(3, 3, 9, 7, 15))
    colour = np.argsort(-scores(model, data), axis=1)[:, : PRODUCTS // 2] % 2
    assert colour.tolist() == [[p] * (PRODUCTS // 2) for p in (0, 1, 0, 1)]


def test_training_reports_a_falling_finite_loss_and_its_progress(network: TorchRecommender) -> None:
    seen: list[tuple[str, int, int]] = []
    figures = build_network(network.kind, epochs=4, future_days=0.0).fit(
        checkerboard(), progress=lambda *step: seen.append(step)
    )
    assert len(figures.losses) == 4
    assert figures.losses[-1] < figures.losses[0]
    assert figures.pairs == CUSTOMERS * (EVENTS - 1)
    assert seen[-1] == ("batches", figures.steps, figures.steps)


def test_vectors_have_the_promised_shape(model: Recommender) -> None:
    vectors, products = model.encode(checkerboard()), model.product_vectors()
    columns = COLUMNS[model.kind]
    assert (vectors.shape, products.shape) == ((CUSTOMERS, columns), (PRODUCTS, columns))
    assert vectors.dtype == products.dtype == np.float32
    assert (vectors[:, -1] == 1).all()
    assert np.isfinite(vectors).all()
    assert np.isfinite(products).all()


def test_an_empty_history_is_zeros_and_a_one(model: Recommender) -> None:
    vectors = model.encode(histories([], clicks(3), []))
    assert vectors[[0, 2]].tolist() == [[0.0] * (COLUMNS[model.kind] - 1) + [1.0]] * 2
    assert np.abs(vectors[1, :-1]).sum() > 0
    assert model.encode(histories()).shape == (0, COLUMNS[model.kind])


def test_encoding_does_not_depend_on_the_rest_of_the_batch(model: Recommender) -> None:
    data = checkerboard().where(np.random.default_rng(5).random(CUSTOMERS * EVENTS) < 0.4)
    together = model.encode(data)
    alone = np.vstack([model.encode(data.take(np.array([row]))) for row in range(0, CUSTOMERS, 20)])
    assert together[::20].tobytes() == alone.tobytes()


def test_only_the_most_recent_events_count(model: Recommender) -> None:
    recent = [4, 8, 2, 6, 0, 10, 4, 12]
    np.testing.assert_array_equal(*model.encode(histories(clicks(*recent), clicks(5, 7, *recent))))


def test_later_events_change_no_earlier_state_by_a_bit(network: TorchRecommender) -> None:
    data = histories(clicks(1, 2, 3, 4, 5, 6), clicks(1, 2, 3, 11, 12, 13))
    with torch.inference_mode():
        states = network.module.states(pad(data, np.arange(2), torch.device("cpu")))
    torch.testing.assert_close(states[0, :3], states[1, :3], rtol=0, atol=0)
    assert not torch.equal(states[0, 3], states[1, 3])


def test_a_prefix_is_encoded_as_the_state_that_training_scores(network: TorchRecommender) -> None:
    history, device = clicks(1, 2, 3, 4, 5, 6), torch.device("cpu")
    data = histories(history)
    batch = pad(data, np.arange(1), device, next_basket(data))
    with torch.inference_mode():
        trained = network.module.states(batch).flatten(0, 1)[batch.positions]
    if network.settings.temperature is not None:
        trained = torch.nn.functional.normalize(trained, dim=-1)
    prefixes = histories(*[history[: length + 1] for length in range(len(trained))])
    np.testing.assert_allclose(network.encode(prefixes)[:, :16], trained.numpy(), atol=1e-5)


def test_event_types_matter(network: TorchRecommender) -> None:
    click = histories(clicks(2, 4), clicks(2, 4))
    bought = Sequences(click.offsets, click.products, np.array([0, 0, 3, 0], dtype=np.int8), click.times)
    left, right = network.encode(bought)
    assert not np.array_equal(left, right)


def test_the_same_seed_gives_the_same_bytes_and_leaves_torch_as_it_was(model: Recommender) -> None:
    before = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    runs, few = [], {} if model.kind == "closed_form" else {"epochs": 2}
    for seed in (3, 3, 4):
        other = create(model.kind, VOCABULARY, Compute("cpu", seed), **SMALL[model.kind] | few)
        other.fit(checkerboard())
        torch.rand(1)  # what others draw in between must not matter
        runs.append((other.product_vectors().tobytes(), other.encode(checkerboard()).tobytes()))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    torch.random.set_rng_state(before[0])
    build(model.kind, **few).fit(checkerboard())
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == torch.are_deterministic_algorithms_enabled()


def test_sampled_negatives_learn_the_same_answer(network: TorchRecommender) -> None:
    sampled = build_network(network.kind, temperature=network.settings.temperature, negatives=PRODUCTS - 8)
    sampled.fit(checkerboard())
    order = np.argsort(-scores(sampled, histories(clicks(0, 4), clicks(1, 5))), axis=1)
    assert (order[:, : PRODUCTS // 2] % 2).tolist() == [[0] * 10, [1] * 10]


def gap(model: Recommender) -> float:
    """How far the scores of a history's own colour are above those of the other."""
    found = scores(model, histories(clicks(0), clicks(1), clicks(2, 6)))
    own = np.arange(PRODUCTS) % 2 == np.array([[0], [1], [0]])
    return float(found[own].mean() - found[~own].mean())


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_were_chosen_give_the_same_model_again(kind: str) -> None:
    rounds = {} if kind == "closed_form" else {"round_steps": 1, "patience": 1, "most_steps": 40}
    model = build(kind, **rounds)
    choice = model.choose(checkerboard(), None, gap)
    assert choice.settings == model.config() == json.loads(json.dumps(choice.settings))
    assert gap(model) >= max(choice.figures) > 0
    again = create(kind, VOCABULARY, COMPUTE, **choice.settings)
    again.fit(checkerboard())
    assert again.product_vectors().tobytes() == model.product_vectors().tobytes()
    assert again.encode(checkerboard()).tobytes() == model.encode(checkerboard()).tobytes()


def test_events_of_one_basket_do_not_predict_each_other(network: TorchRecommender) -> None:
    one_basket_each = [[(product, 60), (product + 1, 60)] for product in range(PRODUCTS - 1)]
    with pytest.raises(ValueError, match="nothing to learn from"):
        build_network(network.kind).fit(histories(*one_basket_each))


def test_a_saved_model_comes_back_byte_equal(model: Recommender, tmp_path: Path) -> None:
    written = artefacts.write(
        model, tmp_path / "champion", {"as_of": "2026-11-01", "metrics": {"ndcg@10": 0.2}}, staged_folder
    )
    again, manifest = artefacts.read(tmp_path / "champion", COMPUTE)
    assert manifest == written
    assert (manifest.kind, manifest.metadata["as_of"]) == (model.kind, "2026-11-01")
    assert again.vocabulary == model.vocabulary
    assert again.product_vectors().tobytes() == model.product_vectors().tobytes()
    assert again.encode(checkerboard()).tobytes() == model.encode(checkerboard()).tobytes()


def test_a_saved_model_is_replaced_whole_and_nothing_is_left_beside_it(model: Recommender, tmp_path: Path) -> None:
    artefacts.write(model, tmp_path / "champion", {"run": 1}, staged_folder)
    first = (tmp_path / "champion" / artefacts.WEIGHTS).read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        artefacts.write(model, tmp_path / "champion", {"run": float("nan")}, staged_folder)
    assert artefacts.read_manifest(tmp_path / "champion").metadata == {"run": 1}
    artefacts.write(model, tmp_path / "champion", {"run": 2}, staged_folder)
    assert artefacts.read_manifest(tmp_path / "champion").metadata == {"run": 2}
    assert (tmp_path / "champion" / artefacts.WEIGHTS).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["champion"]


@pytest.mark.parametrize("name", [artefacts.WEIGHTS, artefacts.VOCABULARY, artefacts.MANIFEST])
def test_a_tampered_artefact_is_refused_by_name(model: Recommender, tmp_path: Path, name: str) -> None:
    artefacts.write(model, tmp_path / "champion", {"as_of": "2026-11-01"}, staged_folder)
    path = tmp_path / "champion" / name
    if name == artefacts.WEIGHTS:
        save_file({key: value + 1 for key, value in load_file(path).items()}, path)
    else:
        path.write_text(path.read_text().replace("product 03", "product 99").replace("2026-11-01", "2026-11-02"))
    with pytest.raises(artefacts.ArtefactError, match=f"{name} was changed after it was written"):
        artefacts.read(tmp_path / "champion", COMPUTE)


def test_a_missing_artefact_says_what_is_there(model: Recommender, tmp_path: Path) -> None:
    with pytest.raises(artefacts.ArtefactError, match=r"holds no manifest.json \(there: no such directory\)"):
        artefacts.read(tmp_path / "nothing", COMPUTE)
    artefacts.write(model, tmp_path / "champion", {}, staged_folder)
    (tmp_path / "champion" / artefacts.WEIGHTS).unlink()
    with pytest.raises(artefacts.ArtefactError, match=r"weights\.safetensors is missing"):
        artefacts.read(tmp_path / "champion", COMPUTE)


def test_the_librarys_own_head_scores_as_our_vectors_do(network: TorchRecommender) -> None:
    if network.kind != "transformers4rec" or network.settings.temperature is not None:
        pytest.skip("only Transformers4Rec with a plain dot product has such a head")
    data = histories(clicks(3, 9, 7), clicks(2))
    batch = pad(data, np.arange(2), torch.device("cpu"))
    with torch.inference_mode():
        head: Any = network.module.head
        hidden = head.body(network.module.inputs(batch), training=False, testing=False)
        theirs = head(hidden, training=False, testing=False)["next-item"]
    np.testing.assert_allclose(scores(network, data), theirs.numpy()[:, 1:], atol=1e-5)  # theirs has id 0, padding


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_are_named(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{kind} has no setting depth; it has .*, max_length, "):
        build(kind, depth=3)
    with pytest.raises(ValueError, match="max_length = 0 must be greater than 0"):
        build(kind, max_length=0)
    with pytest.raises(ValueError, match="learned nothing yet"):
        build(kind).product_vectors()
    with pytest.raises(ValueError, match="learned nothing yet"):
        build(kind).encode(histories(clicks(1)))
    for stranger in (77, -1):
        with pytest.raises(ValueError, match=f"outside the vocabulary of 20, the first is {stranger}"):
            build(kind).fit(histories(clicks(1, stranger)))
    with pytest.raises(ValueError, match="device 'tpu' is not one of auto, cpu, cuda"):
        create(kind, VOCABULARY, Compute("tpu"))
    with pytest.raises(ValueError, match="the vocabulary is empty"):
        create(kind, Vocabulary([]), COMPUTE)


def test_products_that_a_model_does_not_know_are_refused(model: Recommender) -> None:
    for stranger in (PRODUCTS, -1):
        with pytest.raises(ValueError, match=f"outside the vocabulary of 20, the first is {stranger}"):
            model.encode(histories(clicks(1, stranger)))


@pytest.mark.parametrize("kind", NETWORKS)
def test_mistakes_of_training_are_named(kind: str) -> None:
    with pytest.raises(ValueError, match="epochs = 0 must be greater than 0"):
        build(kind, epochs=0)
    with pytest.raises(ValueError, match=r"temperature = -1.0 must be greater than 0"):
        build(kind, temperature=-1.0)
    for setting in ("most_steps", "round_steps", "patience"):
        with pytest.raises(ValueError, match=f"{setting} = 0 must be greater than 0"):
            build(kind, **{setting: 0})


def test_tensors_of_another_shape_are_refused(model: Recommender) -> None:
    with pytest.raises(ValueError, match="these tensors are not this .* model's|are not those of 2 products"):
        model_class(model.kind).restore(Vocabulary(["only", "two"]), model.config(), model.tensors(), COMPUTE)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="there is no model kind 'magic'; there are amf, closed_form, popularity, transformer, "
    ):
        create("magic", VOCABULARY, COMPUTE)
