"""Checks metrics against figures computed by hand, a naive second implementation, and laws."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.bootstrap import mean_interval, paired_difference, paired_uplift
from models.evaluation.metrics import (
    TargetRanks,
    allowing,
    from_vectors,
    per_customer,
    rank_targets,
)
from models.sequences import Sequences
from tests.benchmarks.common.catalogue_metrics import coverage, most_popular, share_of_slots


def sequences(*histories: list[int]) -> Sequences:
    """Histories of the given products, one event a second."""
    offsets = np.cumsum([0, *map(len, histories)])
    total = int(offsets[-1])
    products = np.array([p for history in histories for p in history], dtype=np.int32)
    return Sequences(offsets, products, np.zeros(total, dtype=np.int8), np.arange(total))


def rank(
    scores: list[list[float]],
    targets: list[list[int]],
    excluded: list[list[int]] | None = None,
    candidates: list[int] | None = None,
    batch: int = 512,
) -> TargetRanks:
    """Ranking from a plain table of scores."""
    matrix = np.array(scores, dtype=np.float32)
    live = np.ones(matrix.shape[1], dtype=bool)
    if candidates is not None:
        live = np.isin(np.arange(matrix.shape[1]), candidates)
    allowed = allowing(live, None if excluded is None else sequences(*excluded))
    return rank_targets(lambda rows: matrix[rows], sequences(*targets), allowed, list_length=3, batch=batch)


def test_one_target_by_hand() -> None:
    ranking = rank([[0.1, 0.9, 0.5, 0.3]], [[2]])
    metrics = per_customer(ranking, [1, 2, 3])
    assert ranking.ranks.tolist() == [2]
    assert metrics["hit_rate@1"].tolist() == [0.0]
    assert metrics["hit_rate@2"].tolist() == metrics["recall@2"].tolist() == [1.0]
    assert metrics["mrr@3"].tolist() == [0.5]
    assert metrics["ndcg@2"][0] == pytest.approx(1 / math.log2(3))
    assert ranking.lists.tolist() == [[1, 2, 3]]


def test_several_targets_by_hand() -> None:
    ranking = rank([[0.9, 0.8, 0.7, 0.6, 0.5]], [[4, 0, 2, 2]])
    metrics = per_customer(ranking, [1, 3])
    assert ranking.ranks.tolist() == [1, 3, 5]
    assert metrics["hit_rate@1"].tolist() == [1.0]
    assert metrics["recall@3"][0] == pytest.approx(2 / 3)
    assert metrics["mrr@3"].tolist() == [1.0]
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert metrics["ndcg@3"][0] == pytest.approx((1 + 1 / 2) / ideal)


def test_a_constant_scorer_ranks_every_target_last() -> None:
    ranking = rank([[0.5] * 5, [0.5] * 5], [[0], [4]])
    assert ranking.ranks.tolist() == [5, 5]


def test_a_tie_counts_against_the_target_but_tied_targets_share_places() -> None:
    assert rank([[0.9, 0.9, 0.1]], [[0]]).ranks.tolist() == [2]
    assert rank([[0.9, 0.9, 0.1]], [[0, 1]]).ranks.tolist() == [1, 2]
    assert rank([[0.9, 0.9, 0.9]], [[0, 1]]).ranks.tolist() == [2, 3]


def test_an_excluded_product_is_neither_rival_nor_target() -> None:
    scores = [[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]]
    assert rank(scores, [[1], [0]]).ranks.tolist() == [2, 1]
    without = rank(scores, [[1], [0]], excluded=[[0], [0]])
    assert without.customers.tolist() == [0] and without.ranks.tolist() == [1]
    assert (without.unreachable, without.without_target) == (1, 1)
    assert without.lists.tolist() == [[1, 2, -1]]


def test_only_candidates_compete_and_lost_targets_are_counted() -> None:
    ranking = rank([[0.9, 0.8, 0.7]], [[0, 2]], candidates=[1, 2])
    assert ranking.ranks.tolist() == [2]
    assert (ranking.unreachable, ranking.without_target) == (1, 0)


def test_each_market_shows_what_it_sells_without_a_customers_own() -> None:
    live = np.array([[True, True, False, True], [False, True, True, True]])
    allowed = allowing(live, sequences([0], [], [3, 3]), np.array([0, 1, 0]))
    assert allowed(np.array([0, 1, 2])).astype(int).tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [1, 1, 0, 0]]
    assert allowed(np.array([2, 0])).astype(int).tolist() == [[1, 1, 0, 0], [0, 1, 0, 1]]
    assert allowing(live[0])(np.array([5, 7])).astype(int).tolist() == [[1, 1, 0, 1]] * 2
    assert live.sum() == 6, "what is given stays as it is"


def test_markets_and_exclusions_reach_the_ranks_whatever_the_batch() -> None:
    scores = np.tile(np.array([4.0, 3.0, 2.0, 1.0], np.float32), (3, 1))
    allowed = allowing(
        np.array([[True, True, False, True], [False, True, True, True]]), sequences([0], [], []), np.array([0, 1, 0])
    )
    for batch in (1, 2, 3):
        found = rank_targets(lambda rows: scores[rows], sequences([3, 0], [3], [2]), allowed, batch=batch)
        assert found.customers.tolist() == [0, 1] and found.ranks.tolist() == [2, 3]
        assert (found.unreachable, found.without_target) == (2, 1)


def test_a_customer_without_targets_is_left_out() -> None:
    assert rank([[0.9, 0.8], [0.9, 0.8]], [[], [1]]).customers.tolist() == [1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        rank([[0.1, bad, 0.3]], [[0]])


def test_scores_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="one column per product"):
        rank_targets(
            lambda rows: np.zeros((len(rows), 3), dtype=np.float32), sequences([1]), allowing(np.ones(4, dtype=bool))
        )


def test_vectors_rank_by_inner_product() -> None:
    customers = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    products = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]], dtype=np.float32)
    everything = allowing(np.ones(3, dtype=bool))
    ranking = rank_targets(from_vectors(customers, products), sequences([1], [2]), everything)
    assert ranking.ranks.tolist() == [2, 1]
    with pytest.raises(ValueError, match="no dot product"):
        from_vectors(customers, products[:, :1])


def naive(scores: list[float], targets: list[int], seen: list[int], exclude: bool, k: int) -> dict[str, float] | None:
    """A second implementation: build the list with targets placed last among equals, and walk it."""
    hidden = set(seen) if exclude else set()
    wanted = set(targets) - hidden
    if not wanted:
        return None
    order = sorted((p for p in range(len(scores)) if p not in hidden), key=lambda p: (-scores[p], p in wanted))
    gains = [1 / math.log2(place + 2) if product in wanted else 0.0 for place, product in enumerate(order[:k])]
    found = [place for place, product in enumerate(order[:k]) if product in wanted]
    return {
        "hit_rate": float(bool(found)),
        "recall": len(found) / len(wanted),
        "ndcg": sum(gains) / sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted)))),
        "mrr": 1 / (found[0] + 1) if found else 0.0,
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[float]], list[list[int]], list[list[int]]]:
    """Scores with many ties, targets and histories of a few customers."""
    products = draw(st.integers(2, 8))
    customers = draw(st.integers(1, 5))
    score = st.integers(-2, 2).map(float)
    one = st.integers(0, products - 1)
    scores = [draw(st.lists(score, min_size=products, max_size=products)) for _ in range(customers)]
    targets = [draw(st.lists(one, min_size=1, max_size=products)) for _ in range(customers)]
    histories = [draw(st.lists(one, max_size=3)) for _ in range(customers)]
    return scores, targets, histories


@settings(max_examples=80, deadline=None)
@given(cases(), st.booleans(), st.integers(1, 4))
def test_it_agrees_with_a_second_implementation(
    case: tuple[list[list[float]], list[list[int]], list[list[int]]], exclude: bool, batch: int
) -> None:
    scores, targets, histories = case
    ranking = rank(scores, targets, histories if exclude else None, batch=batch)
    for k in (1, 3, 10):
        expected = [naive(*row, exclude, k) for row in zip(scores, targets, histories, strict=True)]
        metrics = per_customer(ranking, [k])
        assert ranking.customers.tolist() == [i for i, row in enumerate(expected) if row is not None]
        for name in ("hit_rate", "recall", "ndcg", "mrr"):
            assert metrics[f"{name}@{k}"] == pytest.approx([row[name] for row in expected if row is not None])


@settings(max_examples=40, deadline=None)
@given(cases())
def test_more_places_never_lose_a_target(case: tuple[list[list[float]], list[list[int]], list[list[int]]]) -> None:
    scores, targets, _ = case
    metrics = per_customer(rank(scores, targets), range(1, 9))
    for k in range(1, 8):
        for name in ("hit_rate", "recall", "mrr"):
            assert (metrics[f"{name}@{k}"] <= metrics[f"{name}@{k + 1}"]).all()
        assert ((metrics[f"ndcg@{k}"] >= 0) & (metrics[f"ndcg@{k}"] <= 1)).all()


def test_coverage_and_shares_by_hand() -> None:
    lists = np.array([[0, 1, 2], [0, 3, -1]])
    live = np.array([True, True, True, True, False])
    assert coverage(lists, 2, live) == 3 / 4
    assert share_of_slots(lists, 3, np.array([True, False, False, False, False])) == 2 / 5
    assert most_popular(np.array([1, 9, 9, 3, 0]), share=0.2).tolist() == [False, True, False, False, False]


def test_the_interval_holds_the_mean_and_repeats_with_its_seed() -> None:
    values: npt.NDArray[np.float64] = np.random.default_rng(1).random(400)
    interval = mean_interval(values)
    assert interval.low < values.mean() < interval.high
    # The normal theory's half width is 1.96 * 0.289 / sqrt(400).
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.289 / 20, rel=0.15)
    assert mean_interval(values) == interval != mean_interval(values, seed=18)


def test_pairing_and_grouping_matter() -> None:
    theirs = np.random.default_rng(1).random(300)
    better = paired_difference(theirs + 0.01, theirs)
    assert better.low == pytest.approx(0.01) and better.high == pytest.approx(0.01)
    assert paired_uplift(theirs * 1.2, theirs).low == pytest.approx(0.2)
    repeated = np.repeat(theirs[:30], 10)
    grouped = mean_interval(repeated, np.repeat(np.arange(30), 10))
    single = mean_interval(repeated)
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def test_no_interval_from_nothing_or_nan() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(np.array([]))
    with pytest.raises(ValueError, match="NaN"):
        mean_interval(np.array([0.0, math.nan]))
    with pytest.raises(ValueError, match="mean of 0"):
        paired_uplift(np.ones(3), np.zeros(3))
