"""How much a product is wanted in a market, and how much that counts beside a model's score.

Legend: M markets, P products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]
COUNTS, PSEUDO_COUNT = 0.1, 5.0
"""A model's score gains so many times the log of the weight plus so many; chosen on the week before the sample shop's
test week (`tests.benchmarks.touch_points`)."""


def smoothed(wanted: Weights, everywhere: Weights, markets: int) -> Weights:
    """[.., P], weighted events in a market `wanted` [.., P], with a prior from all M markets `everywhere` [P].

    The prior is worth as many events as the mean market has, spread as the whole shop's are: a large market follows its
    own customers, a small one the shop (the mean of a Dirichlet posterior).
    """
    return np.asarray(wanted + everywhere / max(markets, 1), dtype=np.float32)


@dataclass(frozen=True)
class Popularity:
    """How much products are wanted, over some days."""

    wanted: Weights
    """[M, P], weighted events."""
    everywhere: Weights
    """[P], the same over all markets."""

    def in_market(self, market: int) -> Weights:
        """[P], how much each is wanted in a market, as far as that is known."""
        return smoothed(self.wanted[market], self.everywhere, len(self.wanted))


def with_popularity(scores: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """A model's scores on a page of alternatives, with what the market's weights of the products add to them."""
    return np.asarray(scores + COUNTS * np.log(weights + PSEUDO_COUNT), dtype=np.float64)
