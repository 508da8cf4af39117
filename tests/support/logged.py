"""Impressions of two variants of made-up lists, with the clicks that each product truly has."""

from __future__ import annotations

import numpy as np

from models.experiments.off_policy import Logged

CONTEXTS, PLACES, PRODUCTS, GROUPS = 60, 6, 80, 200
SEEN = 0.5 / np.arange(1, PLACES + 1) ** 0.7


def world(seed: int, views: int = 12_000) -> tuple[Logged, np.ndarray, np.ndarray, np.ndarray]:
    """(impressions of two variants, both variants' lists, clicks per impression of each product at the first place)."""
    random = np.random.default_rng(seed)
    liked = random.beta(2, 12, PRODUCTS)
    lists = np.stack([[random.choice(PRODUCTS, PLACES, replace=False) for _ in range(CONTEXTS)] for _ in range(2)])
    customer, context = random.integers(0, 3_000, views), random.integers(0, CONTEXTS, views)
    shown = lists[(customer % 3 == 0).astype(int), context]
    eager = np.random.default_rng(7).gamma(8, 1 / 8, 3_000)
    eager /= eager[customer].mean()
    clicked = random.random(shown.shape) < 2 * SEEN * liked[shown] * eager[customer][:, None]
    logged = Logged(
        np.repeat(context, PLACES),
        np.tile(np.arange(PLACES), views),
        shown.ravel(),
        clicked.ravel().astype(float),
        np.repeat(customer % GROUPS, PLACES),
    )
    return logged, lists[0], lists[1], liked


def truth(lists: np.ndarray, liked: np.ndarray, logged: Logged) -> float:
    """Clicks per impression that the lists have for the same contexts."""
    return float(np.mean(2 * SEEN[logged.place] * liked[lists[logged.context, logged.place]]))
