"""Filling lists from ranked alternatives: laws that hold whatever the lists and the rankings are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.fallback import fill, rank_by_group

MODEL, FILLED = 0, 4


class Lists:
    """Random lists of a model with empty places at their end, rankings to fill them from, and what is forbidden."""

    def __init__(self, seed: int, products: int, n: int, depth: int) -> None:
        random = np.random.default_rng(seed)
        queries, groups = int(random.integers(1, 8)), 3
        self.rows = np.full((queries, n), -1, dtype=np.int64)
        for row in self.rows:
            held = int(random.integers(0, min(n, products) + 1))
            row[:held] = random.permutation(products)[:held]
        self.scores = np.where(self.rows >= 0, random.random(self.rows.shape), -np.inf).astype(np.float32)
        self.labels = np.where(self.rows >= 0, MODEL, -1).astype(np.int8)
        self.group = random.integers(-1, groups, queries)
        self.ranked = np.full((groups, depth), -1, dtype=np.int64)
        for row in self.ranked:
            offered = int(random.integers(0, min(depth, products) + 1))
            row[:offered] = random.permutation(products)[:offered]
        self.ranked_scores = np.where(self.ranked >= 0, -np.arange(depth), -np.inf).astype(np.float32)
        self.forbidden = random.integers(-1, products, (queries, int(random.integers(1, 4))))

    def filled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, scores, labels) after `fill`, which works in place."""
        rows, scores, labels = self.rows.copy(), self.scores.copy(), self.labels.copy()
        fill(rows, scores, labels, self.group, self.ranked, self.ranked_scores, FILLED, self.forbidden)
        return rows, scores, labels


lists = st.builds(Lists, st.integers(0, 100_000), st.integers(1, 12), st.integers(1, 8), st.integers(1, 12))


@given(lists)
def test_a_list_never_repeats(given_lists: Lists) -> None:
    for row in given_lists.filled()[0]:
        shown = row[row >= 0].tolist()
        assert len(set(shown)) == len(shown)


@given(lists)
def test_filled_places_never_show_what_is_forbidden(given_lists: Lists) -> None:
    rows, _, labels = given_lists.filled()
    for row, why, forbidden in zip(rows, labels, given_lists.forbidden, strict=True):
        assert not set(row[why == FILLED]) & set(forbidden[forbidden >= 0])


@given(lists)
def test_earlier_places_are_kept(given_lists: Lists) -> None:
    rows, scores, labels = given_lists.filled()
    held = given_lists.rows >= 0
    assert np.array_equal(rows[held], given_lists.rows[held])
    assert np.array_equal(scores[held], given_lists.scores[held])
    assert (labels[held] == MODEL).all()


@given(lists)
def test_places_are_filled_in_the_rankings_order(given_lists: Lists) -> None:
    rows, scores, _ = given_lists.filled()
    for query, before in enumerate(given_lists.rows):
        group = given_lists.group[query]
        taken = {*before.tolist(), *given_lists.forbidden[query].tolist()}
        offered = [] if group < 0 else [(p, i) for i, p in enumerate(given_lists.ranked[group]) if p not in taken]
        held = int((before >= 0).sum())
        wanted = [(p, i) for p, i in offered if p >= 0][: len(before) - held]
        new = rows[query, held:]
        assert new.tolist() == [p for p, _ in wanted] + [-1] * (len(new) - len(wanted))
        expected = given_lists.ranked_scores[group, [i for _, i in wanted]] if wanted else np.empty(0)
        assert np.array_equal(scores[query, held : held + len(wanted)], expected)


@given(lists)
def test_empty_places_have_no_score_and_no_source(given_lists: Lists) -> None:
    rows, scores, labels = given_lists.filled()
    assert ((rows < 0) == (labels < 0)).all()
    assert (scores[rows < 0] == -np.inf).all()
    assert set(np.unique(labels)) <= {-1, MODEL, FILLED}


@given(lists)
def test_filling_again_changes_nothing(given_lists: Lists) -> None:
    rows, scores, labels = given_lists.filled()
    again = rows.copy(), scores.copy(), labels.copy()
    fill(*again, given_lists.group, given_lists.ranked, given_lists.ranked_scores, FILLED, given_lists.forbidden)
    assert np.array_equal(again[0], rows) and np.array_equal(again[2], labels)


def test_more_lists_than_one_batch_are_all_filled() -> None:
    count = 5_000
    rows, scores = np.full((count, 2), -1, dtype=np.int64), np.full((count, 2), -np.inf, dtype=np.float32)
    labels = np.full((count, 2), -1, dtype=np.int8)
    ranked = np.array([[7, 8, 9]])
    own = np.full((count, 1), -1)
    own[::2] = 7
    fill(rows, scores, labels, np.zeros(count, np.int64), ranked, np.array([[3, 2, 1]], np.float32), FILLED, own)
    assert (rows[::2] == [8, 9]).all() and (rows[1::2] == [7, 8]).all()
    assert (scores[::2] == [2, 1]).all() and (labels == FILLED).all()


@given(st.integers(0, 100_000), st.integers(1, 20), st.integers(1, 6))
def test_a_ranking_holds_the_heaviest_allowed_products_of_each_group(seed: int, products: int, k: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.integers(0, 4, products).astype(np.float32)
    allowed, group = random.random(products) < 0.7, random.integers(-1, 3, products)
    rows, scores = rank_by_group(weights, allowed, group, 3, k)
    for number in range(3):
        members = [p for p in range(products) if allowed[p] and group[p] == number]
        best = sorted(members, key=lambda p: (-weights[p], p))[:k]
        assert rows[number].tolist() == best + [-1] * (k - len(best))
        assert scores[number].tolist() == [*weights[best], *[-np.inf] * (k - len(best))]
