"""Checks the figures of a comparison: slices, new products, and models of another night's vocabulary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.train.evaluate import FEWEST, HEADLINE, Figure, evaluation_rows, measure, new_products, sliced
from models.catalogue import Catalogue
from models.contract import Compute, FloatMatrix, Recommender
from models.evaluation.baselines import CategoryPopularity, PopularityScorer
from models.evaluation.metrics import RecommenderScorer, from_scorer
from models.networks.artefacts import create
from models.sequences import Sequences, Split, time_split
from models.vocabulary import Vocabulary

CUSTOMERS, PRODUCTS = 120, 12
T = 1_000_000


def shop() -> Sequences:
    """Customer c clicks on (c mod 4) + 1 products before T, and after it buys (even c) or clicks (odd c) product c mod
    12, in the order of time."""
    rows, offsets = [], [0]
    for c in range(CUSTOMERS):
        before = [((c + k) % PRODUCTS, 0, T - 100 + k) for k in range(c % 4 + 1)]
        rows += [*before, (c % PRODUCTS, 3 if c % 2 == 0 else 0, T + 5)]
        offsets.append(len(rows))
    products, events, times = (np.array(column) for column in zip(*rows, strict=True))
    return Sequences(np.array(offsets), products.astype(np.int32), events.astype(np.int8), times.astype(np.int64))


class Knows:
    """Scores the customer's first product highest if its number is even, lowest if not."""

    def scores(self, sequences: Sequences) -> FloatMatrix:
        first = sequences.products[sequences.offsets[:-1]]
        scores = np.tile(np.linspace(0.1, 0, PRODUCTS, dtype=np.float32), (len(sequences), 1))
        scores[np.arange(len(first)), first] = np.where(first % 2 == 0, 1, -1)
        return scores


@pytest.fixture
def split() -> Split:
    return time_split(shop(), T, 7)


def test_a_slice_is_the_mean_over_its_customers(split: Split) -> None:
    everyone, row_scores = np.ones(PRODUCTS, dtype=bool), from_scorer(Knows(), split.train)
    whole = measure("knows", row_scores, split, everyone)
    markets = ["GB" if c % 3 else "FR" for c in range(CUSTOMERS)]
    targets = split.targets
    by_event = {"click": targets.where(targets.events == 0), "purchase": targets.where(targets.events == 3)}
    found = {f.slice: f for f in sliced(whole, row_scores, split, everyone, markets, by_event)}
    assert found["target purchase"].value == 1.0  # bought by even customers, whose product is even
    assert found["target click"].value == 0.0  # the last of 12
    assert found["history 1-4"].value == pytest.approx(0.5)
    assert "history 20+" not in found  # nobody is there
    assert (found["market FR"].customers, found["market GB"].customers) == (40, 80)
    assert {f.metric for f in found.values()} == {HEADLINE}


def test_a_slice_of_few_customers_gets_no_row(split: Split) -> None:
    whole = measure("knows", from_scorer(Knows(), split.train), split, np.ones(PRODUCTS, dtype=bool))
    few = np.arange(CUSTOMERS) < FEWEST - 1
    assert list(whole.within("few", few)) == []
    assert [f.customers for f in whole.within("enough", np.arange(CUSTOMERS) < FEWEST)] == [FEWEST]


def test_evaluated_customers_keep_their_targets(split: Split) -> None:
    part = evaluation_rows(split, 30, seed=1)
    assert len(part.train) == len(part.targets) == 30
    for row, customer in enumerate(part.known_customers):
        assert part.targets.take(np.array([row])).products.tolist() == [customer % PRODUCTS]


def coloured(products: int) -> Catalogue:
    names = [f"article{p}" for p in range(products)]  # a word of its own each: without one, new products would tie
    return Catalogue.of({"colour": [str(p % 2) for p in range(products)]}, names, [None] * products)


def of_one_colour() -> Sequences:
    """Customer c clicks four products of parity c % 2 out of 12."""
    rng = np.random.default_rng(1)
    products = 2 * rng.integers(0, 6, (CUSTOMERS, 4)) + np.arange(CUSTOMERS)[:, None] % 2
    offsets = np.arange(CUSTOMERS + 1, dtype=np.int64) * 4
    times = np.tile(T - 100 + np.arange(4), CUSTOMERS)
    return Sequences(offsets, products.ravel().astype(np.int32), np.zeros(len(times), np.int8), times)


def trained(kind: str) -> Recommender:
    model = create(kind, Vocabulary([f"p{p:02}" for p in range(PRODUCTS)]), Compute("cpu", 2), width=16, epochs=15,
                   table_learning_rate=0.05, max_length=8, batch_events=128)  # fmt: skip
    model.fit(of_one_colour(), coloured(PRODUCTS))
    return model


def test_new_products_are_ranked_by_what_the_catalogue_says(split: Split) -> None:
    model = trained("transformer")
    histories, new = of_one_colour(), 12
    products = PRODUCTS + 2 * np.random.default_rng(6).integers(0, new // 2, CUSTOMERS) + np.arange(CUSTOMERS) % 2
    times = np.full(CUSTOMERS, T + 5)
    wanted = Sequences(np.arange(CUSTOMERS + 1), products.astype(np.int32), np.zeros(CUSTOMERS, np.int8), times)
    evaluation = replace(split, train=histories, targets=wanted, known_customers=np.arange(CUSTOMERS))
    larger = model.extended([f"n{p}" for p in range(new)], Catalogue(coloured(PRODUCTS + new).features[PRODUCTS:]))
    categories = [str(p % 2) for p in range(PRODUCTS + new)]
    found: dict[str, Figure] = {
        f.model: f for f in new_products({"transformer": larger}, evaluation, wanted, categories, PRODUCTS)
    }
    assert found["random order"].value == pytest.approx(sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / 12)
    # Either knows the colour and nothing else: the target is somewhere in the first six of twelve.
    within_colour = sum(1 / np.log2(rank + 1) for rank in range(1, 7)) / 6
    assert found["category popularity"].value == pytest.approx(within_colour, abs=0.06)
    assert found["transformer"].value == pytest.approx(within_colour, abs=0.06)


def test_a_model_of_another_vocabulary_ranks_by_its_own_vectors() -> None:
    model = trained("amf")
    histories = of_one_colour()
    ids = ["unknown", *reversed(model.vocabulary.ids.to_pylist())]
    own = model.vocabulary.encode(ids, missing="negative")
    theirs = RecommenderScorer(model).scores(histories)
    reversed_products = replace(histories, products=(PRODUCTS - histories.products).astype(np.int32))
    ours = RecommenderScorer(model, own).scores(reversed_products)
    np.testing.assert_array_equal(ours[:, 1:], theirs[:, ::-1])
    assert (ours[:, 0] < ours[:, 1:].min(axis=1)).all()


def test_category_popularity_prefers_the_customers_own() -> None:
    histories = Sequences(
        np.array([0, 3, 4]), np.array([0, 0, 1, 2], np.int32), np.zeros(4, np.int8), np.arange(4).astype(np.int64)
    )
    scores = CategoryPopularity(histories, np.array([0, 1, 1, 1])).scores(histories)
    assert (scores[0, 0] > scores[0, 1]) and (scores[1, 1] > scores[1, 0])
    assert scores[0, 1] == pytest.approx(scores[0, 3], abs=2e-6)
    assert PopularityScorer(histories, 4).scores(histories)[0, 3] == 0
