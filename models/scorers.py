"""What the evaluation ranks by: anything that scores every product for some of the customers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.contract import FloatMatrix, Recommender
from models.sequences import Sequences

RowScores = Callable[[npt.NDArray[np.int64]], FloatMatrix]
"""From positions of q customers to their scores [q, products], higher is closer."""


class Scorer(Protocol):
    """Scores of the whole catalogue from histories, higher is closer."""

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products] of n histories, float32, finite."""
        ...


class RecommenderScorer:
    """A Recommender seen as a Scorer: customer vectors times product vectors."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._products = recommender.product_vectors()

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, len(vocabulary)]."""
        return self._recommender.encode(sequences) @ self._products.T


class TranslatedScorer:
    """A Recommender over other products than its own; what it does not know comes last."""

    def __init__(self, recommender: Recommender, own: npt.NDArray[np.integer]) -> None:
        """`own` [products] is each product's index in the recommender's vocabulary, -1 where it is not there."""
        self._recommender = recommender
        self._own = own
        self._products = recommender.product_vectors()[own]

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]."""
        mapped = replace(sequences, products=self._own[sequences.products].astype(np.int32))
        scores: FloatMatrix = self._recommender.encode(mapped.where(mapped.products >= 0)) @ self._products.T
        scores[:, self._own < 0] = scores.min(initial=0) - 1
        return scores


def from_scorer(scorer: Scorer, histories: Sequences) -> RowScores:
    """The customers' scores computed from their histories [n], a batch at a time."""
    return lambda rows: scorer.scores(histories.take(rows))


def from_vectors(customers: FloatMatrix, products: FloatMatrix) -> RowScores:
    """The scores that exported vectors give: customers [n, d], products [p, d].

    Raises ValueError when their dimensions differ.
    """
    if customers.shape[1] != products.shape[1]:
        raise ValueError(
            f"customer vectors of {customers.shape[1]} and product vectors of {products.shape[1]} dimensions "
            "have no dot product; take both from one model"
        )
    return lambda rows: customers[rows] @ products.T
