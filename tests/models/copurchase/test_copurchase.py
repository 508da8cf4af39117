"""Checks People Also Bought on shops whose right answer is known by construction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Rows
from models.copurchase.model import BasketCounts, CoPurchase, CoPurchaseConfig
from models.copurchase.pairs import Baskets
from models.search.search import exact_top_n
from tests.benchmarks.common.basket_metrics import FORMULAS, basket_baseline, basket_queries, baskets_at, judge_lists

DAY = 86_400
PLAIN = CoPurchaseConfig(half_life_days=None, size_power=0.0, rank=4, prior_strength=1.0, popularity_discount=0.0)
"""Counts and little else, so that chances can be worked out by hand."""


def fitted(
    offsets: Rows,
    products: Rows,
    n_products: int,
    config: CoPurchaseConfig = CoPurchaseConfig(),
    times: Rows | None = None,
    now: int | None = None,
) -> CoPurchase:
    """The model of baskets that come at once."""
    return CoPurchase.fit(BasketCounts.of([Baskets(offsets, products, times)], n_products, config, now))


def baskets(*products: list[int]) -> tuple[Rows, Rows]:
    """(offsets, products)."""
    return np.cumsum([0, *map(len, products)]), np.array([p for basket in products for p in basket])


def random_baskets(count: int = 300, n_products: int = 40, seed: int = 5) -> tuple[Rows, Rows]:
    """A long tail without structure."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 7, count)
    return np.concatenate(([0], np.cumsum(sizes))), (n_products * random.random(sizes.sum()) ** 2).astype(np.int64)


SHOP = [*[[0, 1]] * 8, *[[0, 2]] * 4, *[[3, 4]] * 6]


def test_companions_come_first_and_are_called_co_purchases() -> None:
    model = fitted(*baskets(*SHOP), 6, PLAIN)
    found = model.neighbours(np.arange(6), 3)
    assert found.products[0, :2].tolist() == [1, 2]
    assert found.products[3, 0] == 4 and found.products[4, 0] == 3
    assert found.seen[0].tolist() == [True, True, False]
    assert not found.seen[5].any()


def test_the_score_is_the_smoothed_chance() -> None:
    model = fitted(*baskets(*SHOP), 6, replace(PLAIN, prior_strength=1e-9))
    scores, seen = model.rescore(np.array([0, 1]), np.array([[1, 2], [0, 1]]))
    assert np.exp(scores[0]) == pytest.approx([8 / 12, 4 / 12])
    assert scores[1, 1] == -math.inf and not seen[1, 1]


def test_chances_of_all_products_sum_to_one() -> None:
    model = fitted(*random_baskets(), 40, replace(PLAIN, prior_strength=20.0))
    found = model.neighbours(np.arange(40), 39)
    assert np.exp(found.scores).sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_it_is_asymmetric() -> None:
    """The charger is what a phone's buyer needs; whoever buys the popular charger seldom buys that phone."""
    phone, charger, case = 0, 1, 2
    shop = [*[[phone, charger]] * 3, *[[charger, case]] * 12]
    model = fitted(*baskets(*shop), 3, PLAIN)
    there, back = model.rescore(np.array([phone, charger]), np.array([[charger], [phone]]))[0][:, 0]
    assert there > back + 1
    assert model.neighbours(np.array([charger]), 1).products.tolist() == [[case]]
    vectors = model.source_vectors() @ model.target_vectors().T
    assert not np.allclose(vectors, vectors.T)


@pytest.mark.parametrize("config", [PLAIN, CoPurchaseConfig(), CoPurchaseConfig(popularity_discount=0.7)])
def test_lists_hold_the_laws(config: CoPurchaseConfig) -> None:
    model = fitted(*random_baskets(), 40, config)
    allowed = np.random.default_rng(2).random(40) < 0.7
    for mask in (None, allowed):
        found = model.neighbours(np.arange(40), 40, mask, batch=7)
        for source, row in enumerate(found.products):
            shown = row[row >= 0]
            live = np.ones(40, dtype=bool) if mask is None else mask
            assert set(shown) == set(np.flatnonzero(live)) - {source}
            assert len(shown) == len(set(shown))
        places = found.products >= 0
        assert (np.diff(found.scores, axis=1)[places[:, 1:]] <= 0).all()
        again, seen = model.rescore(np.arange(40), found.products)
        assert again[places] == pytest.approx(found.scores[places], abs=1e-4)
        assert np.array_equal(seen, found.seen)


def test_the_vectors_order_all_unseen_pairs_as_the_score_does() -> None:
    model = fitted(*random_baskets(60), 40, CoPurchaseConfig())
    _, rows = exact_top_n(model.source_vectors(), model.target_vectors(), 40)
    scores, seen = model.rescore(np.arange(40), rows)
    for own_scores, own_seen in zip(scores, seen, strict=True):
        unseen = own_scores[~own_seen & np.isfinite(own_scores)]
        assert (np.diff(unseen) <= 1e-4).all()


def test_the_model_guesses_a_companion_that_was_never_seen() -> None:
    """Two groups of products; a pair within one group that no basket holds still beats every pair across."""
    random = np.random.default_rng(3)
    groups = [list(range(8)), list(range(8, 16))]
    shop = [random.choice(groups[k % 2], 3, replace=False).tolist() for k in range(400)]
    shop = [basket for basket in shop if not {0, 1} <= set(basket)]
    model = fitted(*baskets(*shop), 16, CoPurchaseConfig(rank=2, popularity_discount=0.0))
    scores, seen = model.rescore(np.array([0]), np.arange(16)[None])
    assert not seen[0, 1]
    assert scores[0, 1] > scores[0, 8:].max() + 1


def test_the_discount_keeps_best_sellers_out() -> None:
    """Product 9 is in most baskets; 0 and 1 go together."""
    shop = [*[[0, 1, 9]] * 3, *[[0, 9]] * 3, *[[2, 9], [3, 9], [4, 9], [5, 9]] * 20]
    first = [
        fitted(*baskets(*shop), 10, replace(PLAIN, popularity_discount=b)).neighbours(np.array([0]), 1)
        for b in (0.0, 0.7)
    ]
    assert [found.products[0, 0] for found in first] == [9, 1]


def test_recent_baskets_weigh_more_and_a_trend_lifts() -> None:
    shop, now = [[0, 1], [0, 2]], 1000 * DAY
    times = np.array([now - 400 * DAY, now - DAY])
    decayed = replace(PLAIN, half_life_days=30.0, trend=0.0)
    assert fitted(*baskets(*shop), 3, decayed, times, now).neighbours(np.array([0]), 1).products[0, 0] == 2
    lifted = replace(PLAIN, trend=1.0)
    assert fitted(*baskets(*shop), 3, lifted, times, now).neighbours(np.array([0]), 1).products[0, 0] == 2


def test_big_baskets_say_less_and_wholesale_nothing() -> None:
    shop = [[0, 1], [0, 2, 3, 4, 5]]
    model = fitted(*baskets(*shop), 6, replace(PLAIN, size_power=1.0, prior_strength=1e-9))
    assert np.exp(model.rescore(np.array([0]), np.array([[1, 2]]))[0]) == pytest.approx(np.array([[1 / 2, 1 / 8]]))
    model = fitted(*baskets(*shop), 6, replace(PLAIN, largest_basket=4))
    assert model.neighbours(np.array([0]), 5).seen.sum() == 1


def test_the_same_baskets_give_the_same_bytes_and_survive_storage() -> None:
    first, second = (fitted(*random_baskets(), 40) for _ in range(2))
    for name, tensor in first.tensors().items():
        assert tensor.tobytes() == second.tensors()[name].tobytes(), name
    back = CoPurchase.restore(first.config(), first.tensors())
    assert back.neighbours(np.arange(40), 5).scores.tobytes() == first.neighbours(np.arange(40), 5).scores.tobytes()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_baskets_in_any_order_and_any_batches_give_the_same_bytes(data: st.DataObject) -> None:
    """Weights are such that their sums are exact; pairs are merged as soon as some wait."""
    contents = data.draw(st.lists(st.lists(st.integers(0, 7), max_size=5), max_size=30))
    ages = data.draw(st.lists(st.integers(1, 2_000 * DAY), min_size=len(contents), max_size=len(contents)))
    order = data.draw(st.permutations(range(len(contents))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(contents)), max_size=4)))
    config, now = CoPurchaseConfig(half_life_days=30.0, largest_basket=4), 3_000 * DAY

    def batch(which: Sequence[int]) -> Baskets:
        offsets, products = baskets(*[contents[k] for k in which])
        return Baskets(offsets, products.astype(np.int64), np.array([now - ages[k] for k in which], np.int64))

    whole = BasketCounts.of([batch(range(len(contents)))], 8, config, now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.copurchase.pairs.PAIRS_AT_ONCE", 3)
        parts = [batch(order[start:stop]) for start, stop in pairwise([0, *cuts, len(contents)])]
        batches = BasketCounts.of(parts, 8, config, now)
    assert whole.baskets == batches.baskets == len(contents)
    for one, other in zip(vars(whole.pairs).values(), vars(batches.pairs).values(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert whole.trend.tobytes() == batches.trend.tobytes()
    expected = np.zeros((8, 8))
    for basket, age in zip(contents, ages, strict=True):
        size = len(set(basket))
        for i, j in permutations(sorted(set(basket)), 2):
            expected[i, j] += (0.5 ** (age / DAY / 30.0) * (size - 1) ** -0.25) * (size <= 4)
    found = np.zeros((8, 8))
    found[whole.pairs.owners, whole.pairs.columns] = whole.pairs.values
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_no_baskets_still_give_full_lists() -> None:
    found = fitted(np.array([0]), np.array([], dtype=np.int64), 4).neighbours(np.arange(4), 3)
    assert (found.products >= 0).all() and not found.seen.any()


def test_no_sources_give_no_lists() -> None:
    assert fitted(*random_baskets(), 40).neighbours(np.array([], dtype=np.int64), 3).products.shape == (0, 3)


def test_baskets_of_the_future_and_bad_configs_are_refused() -> None:
    offsets, products = baskets([0, 1])
    with pytest.raises(ValueError, match="before now"):
        fitted(offsets, products, 2, times=np.array([10]), now=10)
    with pytest.raises(ValueError, match="go together"):
        fitted(offsets, products, 2, times=np.array([10]))
    with pytest.raises(ValueError, match="expected 0 to 0"):
        fitted(offsets, products, 1)
    with pytest.raises(ValueError, match="popularity_discount = 2 must be less than or equal to 1"):
        CoPurchaseConfig(popularity_discount=2)


def test_baselines_by_hand() -> None:
    shop = baskets([0, 1], [0, 1], [0, 2], [0, 3], [2, 3], [0])
    expected = {"cosine": [1, 2, 3], "lift": [1, 2, 3], "conditional": [1, 2, 3], "popularity": [1, 2, 3]}
    for formula in FORMULAS:
        lists = basket_baseline(*shop, 5, formula, 3)
        assert lists[0].tolist() == expected[formula], formula
        if formula != "popularity":
            assert lists[4].tolist() == [-1, -1, -1]
    assert basket_baseline(*shop, 5, "lift", 1)[2, 0] == 3
    assert basket_baseline(*shop, 5, "conditional", 1)[3, 0] == 0


def test_a_later_basket_judges_by_hand() -> None:
    queries = basket_queries(*baskets([0, 1, 2, 1], [3, -1], [4, -1, 0]), 12)
    assert queries.sources.tolist() == [0, 1, 2, 0, 4]
    assert (queries.cold_lines, queries.single_baskets) == (2, 1)
    lists = np.full((12, 10), -1)
    lists[0, :3] = [5, 2, 1]
    lists[4, :1] = [0]
    metrics = judge_lists(lists, queries, ks=(1, 3))
    assert metrics["hit_rate@1"].tolist() == [0, 0, 0, 0, 1]
    assert metrics["recall@3"].tolist() == [1, 0, 0, 0, 1]
    gain = (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3))
    assert metrics["ndcg@10"] == pytest.approx([gain, 0, 0, 0, 1])
    lists[7, 0] = 7
    with pytest.raises(ValueError, match="own source"):
        judge_lists(lists, queries, ks=(1,))
    with pytest.raises(ValueError, match="longer"):
        judge_lists(lists, queries, ks=(24,))


def test_chosen_baskets_keep_their_products() -> None:
    offsets, products = baskets_at(*baskets([0, 1], [2], [3, 4]), np.array([True, False, True]))
    assert [products[start:end].tolist() for start, end in pairwise(offsets)] == [[0, 1], [3, 4]]
