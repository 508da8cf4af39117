"""Computes which brands, categories, colours and prices each customer turns to more than others do.

Legend: n histories, M markets, V values of an attribute, P products.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.arrays import Rows
from models.sequences import SECONDS_PER_DAY, Sequences

Numbers = npt.NDArray[np.float64]
EXACT = 1024
"""Weights are multiples of 1 / EXACT, so that their sums are exact, in whatever order customers are read."""


def event_weights(histories: Sequences, of_type: Numbers, half_life_days: float) -> Numbers:
    """[events], the weight of each event's type, halved every `half_life_days` back from its history's last event.

    Counted from the last event and not from the night, a history's weights stay the same until it has another event.
    """
    ends = histories.offsets[1:][histories.lengths > 0] - 1
    age = np.repeat(histories.times[ends], histories.lengths[histories.lengths > 0]) - histories.times
    weight = of_type[histories.events] * 0.5 ** (age / (half_life_days * SECONDS_PER_DAY))
    return np.asarray(np.rint(weight * EXACT) / EXACT)


def usual_shares(sums: Numbers) -> Numbers:
    """[M + 1, V], the share of each value in a market's weights `sums` [M, V]; the last row is the whole shop's.

    A market's are smoothed by the whole shop's as popularity is (`models.popularity.smoothed`).
    """
    everywhere = sums.sum(axis=0)
    whole = np.vstack([sums + everywhere / max(len(sums), 1), everywhere])
    return np.asarray(whole / np.maximum(whole.sum(axis=1, keepdims=True), 1 / EXACT))


def best_values(
    histories: Sequences,
    values: npt.NDArray[np.int32],
    weights: Numbers,
    usual: tuple[Numbers, npt.NDArray[np.int32]],
    prior: float,
    places: int,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """(values [n, places], their lifts) of each history, the highest lift first, then the lowest value; -1 and 0 where
    fewer lie above 1.

    `values` [events] is -1 for none; `usual` are (shares [.., V], the row of each history [n]). The lift is the
    posterior mean of a Poisson rate over its expectation, under a gamma prior of mean 1 with the weight `prior` (in
    weighted events): (sum + prior) / (total * share + prior). So a single click on a rare brand proves little
    (DuMouchel 1999, "Bayesian data mining in large frequency tables").
    """
    from models.affinity_kernels import best_lifts

    best = np.full((len(histories), places), -1, dtype=np.int32)
    lifts = np.zeros((len(histories), places), dtype=np.float32)
    best_lifts(histories.offsets, values, weights, *usual, float(prior), best, lifts)
    return best, lifts


def price_levels(category: Rows, price: Numbers, among: tuple[Rows, Numbers]) -> Numbers:
    """[P], the share of the products `among` (category, price) of a product's own category that cost less, equal ones
    counted half; NaN where category (-1), price (NaN) or such products are missing.
    """
    levels = np.full(len(category), np.nan)
    priced = np.isfinite(among[1])
    for code in np.unique(category[category >= 0]):
        own = np.flatnonzero((category == code) & np.isfinite(price))
        others = np.sort(among[1][priced & (among[0] == code)])
        if len(others):
            below, within = (np.searchsorted(others, price[own], side=side) for side in ("left", "right"))
            levels[own] = (below + within) / (2 * len(others))
    return levels


def mean_levels(histories: Sequences, levels: Numbers, weights: Numbers, prior: float) -> Numbers:
    """[n], weighted mean of the `levels` [events] of each history, drawn to .5 by the weight `prior`; NaN for none."""
    known, owners = np.isfinite(levels), histories.owners
    total = np.bincount(owners[known], weights=weights[known], minlength=len(histories))
    mean = np.bincount(owners[known], weights=(weights * levels)[known], minlength=len(histories))
    return np.where(total > 0, (mean + prior / 2) / (total + prior), np.nan)
