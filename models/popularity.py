"""Computes the popularity of products in a market, and orders alternatives for one customer's history.

Legend: M markets, P products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Rows
from models.contract import FloatMatrix
from models.sequences import EVENT_TYPES, Sequences

Weights = npt.NDArray[np.float32]


def smoothed(wanted: Weights, everywhere: Weights, markets: int) -> Weights:
    """[.., P], weighted events in a market `wanted` [.., P], with a prior from all M markets `everywhere` [P].

    The prior has the weight of the mean market's events, distributed as in the whole shop: a large market follows its
    own customers, a small one the shop (the mean of a Dirichlet posterior).
    """
    return np.asarray(wanted + everywhere / max(markets, 1), dtype=np.float32)


@dataclass(frozen=True)
class ProductPopularity:
    """Popularity of products over some days."""

    wanted: Weights
    """[M, P], weighted events."""
    everywhere: Weights
    """[P], the same over all markets."""

    def in_market(self, market: int) -> Weights:
        """[P], popularity in one market, smoothed by the whole shop's."""
        return smoothed(self.wanted[market], self.everywhere, len(self.wanted))


# Alternatives to a product in the order of one customer's history; d + 1 is the width of a vector with its bias.


def with_event(history: Sequences, product: int, event_type: str, time: int) -> Sequences:
    """One history with one more event at its end; `time` in seconds since 1970 UTC.

    Raises ValueError for several histories, and for a time before the last event.
    """
    if len(history) != 1:
        raise ValueError(f"one more event needs one history, not {len(history)}")
    if len(history.times) and time < history.times[-1]:
        raise ValueError(f"the event at {time} lies before the history's last one at {history.times[-1]}")
    return Sequences(
        np.array([0, len(history.products) + 1], dtype=np.int64),
        np.append(history.products, product).astype(np.int32),
        np.append(history.events, EVENT_TYPES.index(event_type)).astype(np.int8),
        np.append(history.times, time).astype(np.int64),
    )


def same_category(category: Rows, product: int) -> BoolMask:
    """[P], the other products of the product's category; none where it has no category (-1)."""
    found: BoolMask = (category == category[product]) & (category >= 0)
    found[product] = False
    return found


def in_context(state: npt.NDArray[np.float32], vectors: FloatMatrix, candidates: Rows) -> Rows:
    """The rows `candidates` of `vectors` [P, d + 1] by falling inner product with `state` [d + 1].

    Equal scores stay in the order of `candidates`.
    """
    # Row by row and not as a matrix product: equal vectors then have equal scores, wherever they stand.
    scores = (vectors[candidates] * state).sum(axis=1)
    return np.asarray(candidates[np.argsort(-scores, kind="stable")], dtype=np.int64)
