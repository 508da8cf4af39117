"""Checks the closed form against a dense decomposition, and its memory and trend against figures made by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from models.catalogue import Catalogue
from models.contract import Compute, FloatMatrix, Recommender
from models.networks import closed_form
from models.networks.closed_form import ClosedForm, ClosedFormConfig
from models.sequences import SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary
from tests.support.strategies import histories

COMPUTE = Compute("cpu", 3)
MINUTE, DAY = 60, SECONDS_PER_DAY


def build(products: int, **settings: Any) -> ClosedForm:
    return ClosedForm.create(Vocabulary([f"p{p:02}" for p in range(products)]), COMPUTE, **settings)


def fitted(sequences: Sequences, products: int, **settings: Any) -> ClosedForm:
    model = build(products, **settings)
    model.fit(sequences)
    return model


def visits(*products: list[int]) -> Sequences:
    """One customer, a visit a day."""
    return histories(
        [(p, day * DAY + MINUTE * place) for day, seen in enumerate(products) for place, p in enumerate(seen)]
    )


def some_shop(products: int = 40, customers: int = 150) -> Sequences:
    """Visits of products that stand near each other, some bought again, over twenty days."""
    rng, rows = np.random.default_rng(7), []
    for _ in range(customers):
        row = []
        for day in np.sort(rng.integers(0, 20, 3)):
            middle = rng.integers(0, products)
            near = (middle + rng.integers(0, 4, 5)) % products
            row += [(int(p), int(day) * DAY + place * MINUTE) for place, p in enumerate(near)]
        rows.append(sorted(row, key=lambda event: event[1]))
    return histories(*rows)


def dense(together: FloatMatrix, exponent: float, rank: int) -> FloatMatrix:
    """E of the visits [visits, products] by the whole eigen-decomposition of D^-a G D^-a, with mean length 1."""
    alone = np.maximum(together.sum(axis=0), 1) ** -exponent
    values, directions = np.linalg.eigh(alone[:, None] * (together.T @ together) * alone)
    best = np.argsort(-values)[:rank]
    vectors = directions[:, best] * np.sqrt(np.maximum(values[best], 0))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1).mean())


def visited(sequences: Sequences, products: int, pause: int = 30 * MINUTE) -> FloatMatrix:
    """[visits, products], whether a visit has a product, event by event."""
    rows: list[set[int]] = []
    for customer in range(len(sequences)):
        last = None
        own = sequences.take(np.array([customer]))
        for product, time in zip(own.products.tolist(), own.times.tolist(), strict=True):
            if last is None or time - last > pause:
                rows.append(set())
            rows[-1].add(product)
            last = time
    return np.array([[float(p in row) for p in range(products)] for row in rows])


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("rank", [4, 12, 40])
def test_scores_are_those_of_a_dense_decomposition(exponent: float, rank: int) -> None:
    shop = some_shop()
    model = fitted(shop, 40, rank=rank, exponent=exponent)
    vectors = dense(visited(shop, 40), exponent, rank)
    expected = np.zeros((len(shop), vectors.shape[1]))
    for row in range(len(shop)):
        own = shop.take(np.array([row]))
        age = (own.times[-1] - own.times) / DAY
        expected[row] = (np.exp(-age / 14)[:, None] * vectors[own.products]).sum(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    scores = model.encode(shop) @ model.product_vectors().T
    np.testing.assert_allclose(scores, expected @ vectors.T, atol=1e-3 if rank < 40 else 1e-5)


def test_the_decomposition_of_four_products_by_hand() -> None:
    """Products 0 and 1 are always seen together, 2 always alone, 3 never: two directions, all of length 1."""
    model = fitted(visits([0, 1], [0, 1], [2]), 4, rank=3, exponent=0.5)
    vectors = model.product_vectors()
    assert vectors.shape == (4, 3 + 1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [4 / 3, 4 / 3, 4 / 3, 0], rtol=1e-6)  # 1 on average
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert vectors[0] @ vectors[2] == pytest.approx(0, abs=1e-6)


def test_a_visit_ends_at_a_pause_and_counts_a_product_once() -> None:
    close = histories([(0, 0), (1, 30 * MINUTE), (0, 31 * MINUTE)])
    apart = histories([(0, 0), (1, 30 * MINUTE + 1)])
    assert [build(2).fit(data).pairs for data in (close, apart)] == [1, 2]
    assert [build(2, pause_minutes=0).fit(data).pairs for data in (close, apart)] == [3, 2]
    together, alone = (fitted(data, 2, exponent=0.0).product_vectors()[:, :-1] for data in (close, apart))
    assert together[0] @ together[1] == pytest.approx(1) and alone[0] @ alone[1] == pytest.approx(0, abs=1e-6)


def test_memory_weighs_events_by_their_age() -> None:
    shop = visits([0], [1], [2])  # three directions at right angles
    model = fitted(shop, 3, memory_days=10.0)
    own = model.product_vectors()[:, :-1]
    found = model.encode(histories([(0, 0), (1, 10 * DAY), (2, 10 * DAY)], [(0, 0), (1, 5 * DAY)]))[:, :-1] @ own.T
    first, second = np.array([np.exp(-1), 1, 1]), np.array([np.exp(-0.5), 1, 0])
    np.testing.assert_allclose(found, [w / np.linalg.norm(w) for w in (first, second)], atol=1e-6)
    later = model.encode(histories([(0, 90 * DAY), (1, 95 * DAY)]))[:, :-1] @ own.T
    np.testing.assert_array_equal(later[0], found[1])


def test_the_trend_counts_the_newest_events_of_everybody() -> None:
    rows = [[(0, 0), (1, 6 * DAY), (2, 16 * DAY), (2, 20 * DAY)], [(1, 6 * DAY + 1), (1, 7 * DAY), (1, 8 * DAY)]]
    model = fitted(histories(*rows), 4, trend=0.5, trend_days=14)
    logs = np.log1p([0, 3, 2, 0])  # what is 14 days old to the second counts no more
    wanted = 0.5 * (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(model.product_vectors()[:, -1], wanted, rtol=1e-6)
    assert not fitted(histories(*rows), 4).product_vectors()[:, -1].any()
    everybody = fitted(visits([0, 1], [1, 0]), 2, trend=1.0).product_vectors()[:, -1]
    assert everybody.tolist() == [0, 0], "equal counts have no trend"


def test_a_product_without_visits_has_no_direction() -> None:
    model = fitted(visits([0, 1], [1]), 3)
    assert not model.product_vectors()[2].any()
    assert model.encode(histories([(2, 5)])).tolist() == [[0] * model.vectors.shape[1] + [1]]
    np.testing.assert_array_equal(*model.encode(histories([(0, 1), (2, 1)], [(0, 1)])))


def test_fewer_visits_than_directions_are_enough() -> None:
    model = fitted(visits([0, 1], [2]), 5, rank=4)
    assert model.product_vectors().shape == (5, 2 + 1)
    assert np.isfinite(model.product_vectors()).all()


def test_vectors_are_equal_to_the_last_bit_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = some_shop()
    model = fitted(shop, 40)
    whole, seen = model.encode(shop).tobytes(), list[tuple[str, int, int]]()
    monkeypatch.setattr(closed_form, "BATCH", 7)
    assert model.encode(shop, progress=lambda *step: seen.append(step)).tobytes() == whole
    assert seen[-1] == ("histories", 150, 150) and len(seen) == 22
    backwards = model.encode(shop.take(np.arange(150)[::-1]))[::-1]
    assert backwards.tobytes() == whole


def test_what_it_learned_is_stored_and_nothing_else_fits() -> None:
    model = fitted(some_shop(), 40, trend=0.1, rank=16)
    again = ClosedForm.restore(model.vocabulary, model.config(), model.tensors(), COMPUTE)
    assert again.settings == model.settings and again.config() == asdict(model.settings)
    assert again.product_vectors().tobytes() == model.product_vectors().tobytes()
    assert again.encode(some_shop()).tobytes() == model.encode(some_shop()).tobytes()
    with pytest.raises(ValueError, match=r"vectors \(40, 16\) and trend \(3,\) are not those of 40 products"):
        ClosedForm.restore(model.vocabulary, model.config(), {**model.tensors(), "bias": np.zeros(3)}, COMPUTE)


def test_it_reads_no_catalogue_and_grows_by_products_that_nobody_visited() -> None:
    model = fitted(some_shop(), 40, trend=0.1)
    assert model.extended(["new"], Catalogue.empty(1)) is model
    larger = model.grown(Vocabulary([*model.vocabulary.ids.to_pylist(), "new", "newer"]))
    assert larger.product_vectors()[:40].tobytes() == model.product_vectors().tobytes()
    assert larger.product_vectors().shape[0] == 42 and not larger.product_vectors()[40:].any()
    assert larger.encode(some_shop()).tobytes() == model.encode(some_shop()).tobytes()
    assert len(model.vocabulary) == 40 and len(model.product_vectors()) == 40, "the model itself stays as it was"


PLANTED = ClosedFormConfig(exponent=0.5, memory_days=45.0, rank=32, trend=0.06)


def distance(model: Recommender) -> float:
    """How far a model's settings are from the planted ones; the higher the better."""
    assert isinstance(model, ClosedForm)
    found = model.settings
    gaps = (
        found.exponent - PLANTED.exponent,
        np.log(found.memory_days / PLANTED.memory_days),
        np.log(found.rank / PLANTED.rank),
        found.trend - PLANTED.trend,
    )
    return -float(np.abs(gaps).sum())


def test_the_planted_settings_are_chosen_and_the_model_is_fitted_to_them() -> None:
    shop, model, seen = some_shop(), build(40), list[tuple[str, int, int]]()
    choice = model.choose(shop, None, distance, lambda *step: seen.append(step))
    assert choice.settings == asdict(PLANTED) == model.config()
    assert max(choice.figures) == choice.figures[-1] == 0 and choice.losses == ()
    assert seen[-1] == ("settings tried", len(seen), len(seen)) and len(seen) == len(choice.figures)
    again = build(40, **choice.settings)
    again.fit(shop)
    scores = [each.encode(shop) @ each.product_vectors().T for each in (model, again)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_settings_that_do_not_matter_stay_at_the_first() -> None:
    model = build(40)
    choice = model.choose(some_shop(), None, lambda _: 0.5)
    first = replace(ClosedFormConfig(), exponent=closed_form.EXPONENTS[0], memory_days=closed_form.MEMORIES[0])
    assert choice.settings == asdict(replace(first, rank=max(closed_form.RANKS), trend=0.0))


def test_mistakes_are_named() -> None:
    for settings, words in (
        ({"rank": 0}, "rank = 0 must be greater than 0"),
        ({"exponent": 1.5}, "exponent = 1.5 must be less than or equal to 1"),
        ({"memory_days": 0.0}, "memory_days = 0.0 must be greater than 0"),
        ({"trend": -0.1}, "trend = -0.1 must be greater than or equal to 0"),
        ({"pause_minutes": -1}, "pause_minutes = -1 must be greater than or equal to 0"),
    ):
        with pytest.raises(ValueError, match=words):
            build(3, **settings)
    with pytest.raises(ValueError, match="outside the vocabulary of 3, the first is 5"):
        build(3).choose(visits([0], [5]), None, lambda _: 0.0)
    for nothing in (histories(), histories([], [])):
        with pytest.raises(ValueError, match=f"{len(nothing)} histories hold no event: nothing to learn from"):
            build(3, trend=0.1).fit(nothing)
