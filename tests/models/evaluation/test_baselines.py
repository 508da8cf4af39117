"""Checks each baseline on histories whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.copurchase.pairs import count_together
from models.evaluation.baselines import ItemNeighbours, MarkovChain, NeighbourConfig, OwnRepeat, PopularityScorer
from models.evaluation.metrics import Scorer
from models.sequences import Sequences

DAY = 86_400


def sequences(*histories: list[tuple[int, int]]) -> Sequences:
    """Histories of (product, time)."""
    offsets = np.cumsum([0, *map(len, histories)])
    events = [event for history in histories for event in history]
    products = np.array([product for product, _ in events], dtype=np.int32)
    times = np.array([at for _, at in events], dtype=np.int64)
    return Sequences(offsets, products, np.zeros(len(events), dtype=np.int8), times)


def in_order(*products: int) -> list[tuple[int, int]]:
    """One product a day."""
    return [(product, day * DAY) for day, product in enumerate(products)]


def best(scorer: Scorer, *history: int) -> list[int]:
    """Products by falling score for one history."""
    return list(np.argsort(-scorer.scores(sequences(in_order(*history)))[0], kind="stable"))


def test_popularity_and_lately() -> None:
    train = sequences([(0, 0), (0, 1 * DAY), (0, 2 * DAY), (1, 9 * DAY)], [(2, 8 * DAY), (1, 9 * DAY)])
    assert best(PopularityScorer(train, 4))[0] == 0
    assert best(PopularityScorer(train, 4, until=10 * DAY, days=7)) == [1, 2, 0, 3]
    with pytest.raises(ValueError, match="give both"):
        PopularityScorer(train, 4, days=7)


def test_markov_chain_follows_the_last_product_only() -> None:
    train = sequences(in_order(0, 1), in_order(0, 1), in_order(2, 3), in_order(0, 4))
    chain = MarkovChain(train, 5)
    assert best(chain, 2, 0)[:2] == [1, 4]
    assert best(chain, 0, 2)[0] == 3
    chances = chain.scores(sequences(in_order(0)))[0]
    assert chances[[1, 4]] == pytest.approx([2 / 3, 1 / 3], abs=1e-3)


def test_products_of_one_basket_do_not_follow_each_other() -> None:
    train = sequences([(0, 0), (1, 0), (2, DAY), (3, DAY)])
    scores = MarkovChain(train, 4).scores(sequences([(0, 0)], [(0, 0), (1, 0)], [(2, 0)]))
    assert scores[0] == pytest.approx([0, 0, 0.5, 0.5], abs=1e-3)
    assert scores[1] == pytest.approx([0, 0, 0.5, 0.5], abs=1e-3)
    assert scores[2] == pytest.approx([0, 0, 0, 0], abs=1e-3)


def test_item_neighbours_find_companions_and_forget() -> None:
    train = sequences(*[in_order(0, 1)] * 3, *[in_order(2, 3)] * 3)
    neighbours = ItemNeighbours(train, 4, NeighbourConfig(recency=0.5))
    assert best(neighbours, 0)[0] == 1
    assert best(neighbours, 0, 2)[:2] == [3, 1]
    old, new = neighbours.scores(sequences(in_order(0, 2)))[0][[1, 3]]
    assert old / new == pytest.approx(0.5, abs=1e-3)


def test_own_products_come_first_latest_on_top() -> None:
    train = sequences(in_order(3, 3, 3, 2))
    repeat = OwnRepeat(PopularityScorer(train, 4), recency=0.5)
    assert best(repeat, 0, 1) == [1, 0, 3, 2]
    assert best(repeat, 0, 0, 0, 1)[0] == 1
    assert best(repeat)[0] == 3


@pytest.mark.parametrize("name", ["popularity", "lately", "markov", "neighbours", "repeat"])
def test_every_baseline_scores_all_products_finitely(name: str) -> None:
    train = sequences(in_order(0, 1, 2), in_order(1, 2), [])
    popularity = PopularityScorer(train, 5)
    scorers: dict[str, Scorer] = {
        "popularity": popularity,
        "lately": PopularityScorer(train, 5, until=3 * DAY, days=1),
        "markov": MarkovChain(train, 5),
        "neighbours": ItemNeighbours(train, 5),
        "repeat": OwnRepeat(popularity),
    }
    asked = sequences(in_order(0, 1), [], in_order(4))
    scores = scorers[name].scores(asked)
    assert scores.shape == (3, 5) and scores.dtype == np.float32 and np.isfinite(scores).all()
    one_by_one = [scorers[name].scores(asked.take(np.array([row])))[0] for row in range(3)]
    assert scores == pytest.approx(np.stack(one_by_one))


def test_pairs_are_counted_once_a_group_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    sizes = random.integers(0, 7, 60)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    products = random.integers(0, 12, sizes.sum())
    weights = random.random(60)
    expected = np.zeros((12, 12))
    for start, end, weight in zip(offsets[:-1], offsets[1:], weights, strict=True):
        group = sorted(set(products[start:end].tolist()))
        for i in group:
            for j in group:
                expected[i, j] += weight * (i != j)
    for at_once in (8_000_000, 5):
        monkeypatch.setattr("models.copurchase.pairs.PAIRS_AT_ONCE", at_once)
        counts = count_together(offsets, products, weights, 12)
        dense = np.zeros((12, 12))
        dense[counts.owners, counts.columns] = counts.values
        assert dense == pytest.approx(expected)
    with pytest.raises(ValueError, match="expected 0 to 4"):
        count_together(offsets, products, weights, 5)


def test_a_config_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="recency = 0 must be greater than 0"):
        NeighbourConfig(recency=0)
