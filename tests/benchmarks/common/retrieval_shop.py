"""Made-up vectors that resemble trained ones: clusters of products, a falling spectrum, popularity as last column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import BoolMask, Rows
from models.contract import FloatMatrix

BRANDS, AVAILABLE, BOUGHT = 900, 0.7, 12
CLUSTER_WEIGHT, DECAY, SCALE, BIAS = 1.0, 0.25, 8.0, 0.8
"""How tight clusters are, how the spectrum falls, what a cosine counts, and what popularity counts."""


@dataclass(frozen=True)
class RetrievalShop:
    """Products, who has them, and what is needed to draw customers."""

    vectors: FloatMatrix
    """[products, d + 1], the last column a bias."""
    available: BoolMask
    """[markets, products], 70 % of the products in each: some brands are not sold there, the rest is chance."""
    centres: FloatMatrix
    customers_each: int
    """Customers of every market."""

    def customers(self, market: int) -> FloatMatrix:
        """[customers, d + 1] of one market, the last column 1; the same at every call."""
        random = np.random.default_rng((2, market))
        return np.column_stack((_clustered(random, self.centres, self.customers_each), np.ones(self.customers_each))
                               ).astype(np.float32)  # fmt: skip

    def bought(self, market: int) -> tuple[Rows, Rows]:
        """(offsets, rows) of what the market's customers bought."""
        random = np.random.default_rng((3, market))
        counts = random.poisson(BOUGHT, self.customers_each)
        return np.concatenate(([0], np.cumsum(counts))), random.integers(0, len(self.vectors), counts.sum())

    def unit(self) -> FloatMatrix:
        """[products, d]: without bias, of length 1."""
        plain = self.vectors[:, :-1]
        return np.ascontiguousarray(plain / np.linalg.norm(plain, axis=1, keepdims=True))


def make_shop(products: int, markets: int, customers: int, dimensions: int) -> RetrievalShop:
    """A shop of that size; the same arguments make the same shop."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((max(8, products // 150), dimensions))
    bias = BIAS * random.standard_normal(products)
    vectors = np.column_stack((SCALE * _clustered(random, centres, products), bias)).astype(np.float32)
    brand = random.integers(0, BRANDS, products)
    available = np.empty((markets, products), dtype=bool)
    for market in range(markets):
        chance = random.random(products) - (random.random(BRANDS) < 0.1)[brand]
        available[market] = chance >= np.quantile(chance, 1 - AVAILABLE)
    return RetrievalShop(vectors, available, centres.astype(np.float32), max(1, customers // markets))


def _clustered(random: np.random.Generator, centres: FloatMatrix, count: int) -> FloatMatrix:
    dimensions = centres.shape[1]
    vectors = CLUSTER_WEIGHT * centres[random.integers(0, len(centres), count)]
    vectors = (vectors + random.standard_normal((count, dimensions))) * np.arange(1, dimensions + 1) ** -DECAY
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
