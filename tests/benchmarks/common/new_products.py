"""What a model has to beat on products that nobody has touched yet: nothing at all, and their category's popularity."""

from __future__ import annotations

import numpy as np

from models.contract import FloatMatrix
from models.evaluation.baselines import popularity_share
from models.sequences import Sequences
from tests.benchmarks.common.problem import IntArray, Problem

SEED = 17


def _size(problem: Problem) -> int:
    return problem.products + (0 if problem.new_products is None else len(problem.new_products))


class RandomScores:
    """Every product is as likely as any other."""

    def __init__(self, problem: Problem) -> None:
        self._size = _size(problem)
        self._rng = np.random.default_rng(SEED)

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products + new ones]."""
        return self._rng.random((len(sequences), self._size), dtype=np.float32)


class CategoryPopularity:
    """The customer's own categories first, in each the popular products.

    A new product is as popular as its category's mean.
    Equal scores are told apart at random, since ties would count against the target.
    """

    def __init__(self, problem: Problem, train: Sequences) -> None:
        size = _size(problem)
        found = problem.categories if problem.categories is not None else np.full(size, -1, dtype=np.int64)
        self._category: IntArray = found + 1  # 0 is none
        self._categories = int(self._category.max()) + 1
        share = np.zeros(size)
        share[: problem.products] = popularity_share(train.products, problem.products)
        known = np.arange(size) < problem.products
        sold = np.bincount(self._category, weights=share, minlength=self._categories)
        mean = sold / np.maximum(1, np.bincount(self._category[known], minlength=self._categories))
        share = np.where(known, share, mean[self._category])
        # Weights: a category read once in a long history must outweigh all popularity, and popularity all chance.
        self._popular = 1e-3 * share / max(share.max(), 1e-9) + 1e-6 * np.random.default_rng(SEED).random(size)

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products + new ones]."""
        owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
        cells = owner * self._categories + self._category[sequences.products]
        counts = np.bincount(cells, minlength=len(sequences) * self._categories)
        own = counts.reshape(len(sequences), -1) / np.maximum(1, sequences.lengths)[:, None]
        scores: FloatMatrix = (own[:, self._category] + self._popular).astype(np.float32)
        return scores
