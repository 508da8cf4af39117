"""Scores products by simple rules that every model has to beat: popularity, Markov chain, item-kNN, own repeat.

All break ties by popularity, since equal scores count against the target and a baseline has to be as good as it can be.
Each takes training histories [events before the split] only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, PositiveInt

from models.contract import FloatMatrix
from models.copurchase.pairs import PairCounts, count_following, count_together
from models.sequences import SECONDS_PER_DAY, Sequences
from models.settings import Settings

TIE_BREAK = 1e-4
"""Weight of the popularity share beside the scores: less than any difference between scores."""


class PopularityScorer:
    """The same order for everyone: events per product, of the last `days` before `until` if given."""

    def __init__(self, train: Sequences, n_products: int, until: int | None = None, days: float | None = None) -> None:
        """`until` is in seconds since 1970 UTC. Raises ValueError when only one of the two is given."""
        if (until is None) != (days is None):
            raise ValueError(f"popularity until {until} over {days} days: give both, or none for all events")
        self.share = popularity_share(train.products, n_products)
        if until is not None and days is not None:
            recent = (train.times >= until - days * SECONDS_PER_DAY) & (train.times < until)
            self.share = popularity_share(train.products[recent], n_products) + TIE_BREAK * self.share

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]."""
        return np.tile(self.share.astype(np.float32), (len(sequences), 1))


class MarkovChain:
    """Last-item Markov chain: P(next | last product), averaged over the last basket if it holds several.

    Every product of a basket follows every product of the basket before it; a basket is the events
    of one time in one history.
    """

    def __init__(self, train: Sequences, n_products: int) -> None:
        self._share = popularity_share(train.products, n_products)
        owner, baskets = train.owners, train.basket_offsets()
        group, starts, lengths = _groups(train), baskets[:-1], np.diff(baskets)
        followed = np.append(owner[starts[1:]] == owner[starts[:-1]], False)
        targets = np.where(followed, np.append(lengths[1:], 0), 0)
        # A basket of 30 products predicts the next basket no better than a basket of 1.
        counts = count_following(
            train.products, 1.0 / lengths[group], baskets[1:][group], targets[group], train.products, n_products
        )
        totals = counts.row_sums()
        self._chances = replace(counts, values=counts.values / totals[counts.owners])

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]."""
        group = _groups(sequences)
        ends = np.repeat(sequences.offsets[1:] - 1, sequences.lengths)
        last = (group == group[ends]).astype(np.float64)
        return _weighted_rows(sequences, last, self._chances, normalise=True) + _tie_break(self._share)


@dataclass(frozen=True)
class NeighbourConfig(Settings):
    """How item-kNN looks back."""

    recency: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Weight of a basket relative to the one after it, above 0 and at most 1."""
    history: Annotated[int, Field(ge=2)] = 100
    """Events of a history that neighbours are counted from, the latest ones."""
    neighbours: PositiveInt = 500
    """Similar products kept per product."""
    damping: NonNegativeFloat = 20.0
    """Added to the product of two counts below the root, so that pairs seen once do not lead."""


class ItemNeighbours:
    """Item-kNN: cosine of the customers (or sessions) two products share, summed over the history with recency.

    The session-kNN family's item variant (Sarwar et al. 2001; recency as in Ludewig and Jannach 2018).
    """

    def __init__(self, train: Sequences, n_products: int, config: NeighbourConfig = NeighbourConfig()) -> None:
        self._config = config
        self._share = popularity_share(train.products, n_products)
        latest = train.last(config.history)
        counts = count_together(latest.offsets, latest.products, np.ones(len(latest)), n_products)
        customers = np.unique(latest.owners * n_products + latest.products) % n_products
        holders = np.bincount(customers, minlength=n_products).astype(np.float64)
        norm = np.sqrt(holders[counts.owners] * holders[counts.columns] + config.damping)
        self._similar = replace(counts, values=counts.values / norm).strongest(config.neighbours)

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]."""
        weights = _recency(sequences, self._config.recency)
        return _weighted_rows(sequences, weights, self._similar, normalise=False) + _tie_break(self._share)


class OwnRepeat:
    """The customer's own products, most frequent and latest first, then the recently popular ones."""

    def __init__(self, popularity: PopularityScorer, recency: float = 0.8) -> None:
        self._popularity = popularity
        self._recency = recency

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]; own products score above all others."""
        scores = self._popularity.scores(sequences)
        scores /= max(float(scores.max()), TIE_BREAK)
        width = scores.shape[1]
        keys, inverse = np.unique(sequences.owners * width + sequences.products, return_inverse=True)
        own = np.bincount(inverse, weights=_recency(sequences, self._recency), minlength=len(keys))
        rows, products = keys // width, keys % width
        scores[rows, products] = 2.0 + own + TIE_BREAK * scores[rows, products]
        return scores


class CategoryPopularity:
    """The popularity of a product's category with this customer, then with everyone: the baseline for products without
    events. Products of one category come in an arbitrary fixed order.
    """

    def __init__(self, train: Sequences, categories: npt.NDArray[np.integer]) -> None:
        """`categories` [products], a dense code each."""
        self._categories = categories
        self._share = popularity_share(categories[train.products], int(categories.max(initial=0)) + 1)

    def scores(self, sequences: Sequences) -> FloatMatrix:
        """[n, products]."""
        keys = sequences.owners * len(self._share) + self._categories[sequences.products]
        own = np.bincount(keys, minlength=len(sequences) * len(self._share)).reshape(len(sequences), -1)
        share = own / np.maximum(1, sequences.lengths)[:, None] + TIE_BREAK * self._share
        order = np.random.default_rng(0).random(len(self._categories)) * 1e-6
        return (share[:, self._categories] + order).astype(np.float32)


def popularity_share(products: npt.NDArray[np.integer], n_products: int) -> npt.NDArray[np.float64]:
    """[n_products], each product's share of the events; all 0 when there are none."""
    counts = np.bincount(products, minlength=n_products)
    return counts / max(1, len(products))


def _tie_break(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (TIE_BREAK * share).astype(np.float32)


def _groups(sequences: Sequences) -> npt.NDArray[np.int64]:
    """[events], number of the event's basket."""
    baskets = sequences.basket_offsets()
    return np.repeat(np.arange(len(baskets) - 1), np.diff(baskets))


def _recency(sequences: Sequences, decay: float) -> npt.NDArray[np.float64]:
    """[events], decay ** (baskets between the event's and the last of its history)."""
    group = _groups(sequences)
    ends = np.repeat(sequences.offsets[1:] - 1, sequences.lengths)
    return np.asarray(decay ** (group[ends] - group))


def _weighted_rows(
    sequences: Sequences, weights: npt.NDArray[np.float64], matrix: PairCounts, normalise: bool
) -> FloatMatrix:
    """[n, products], the sum over each history's events of weight times the product's row of `matrix`."""
    owner = sequences.owners
    if normalise:
        weights = weights / np.bincount(owner, weights=weights, minlength=len(sequences))[owner]
    used = np.flatnonzero(weights > 1e-6)
    cells, cell = np.unique(owner[used] * len(matrix) + sequences.products[used], return_inverse=True)
    weights = np.bincount(cell, weights=weights[used]).astype(np.float64)
    at, pair = matrix.pairs_of(cells % len(matrix))
    keys = (cells // len(matrix))[at] * len(matrix) + matrix.columns[pair]
    size = len(sequences) * len(matrix)
    summed = np.bincount(keys, weights=weights[at] * matrix.values[pair], minlength=size)
    return summed.reshape(len(sequences), len(matrix)).astype(np.float32)
