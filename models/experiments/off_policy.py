"""Estimates how lists would have done that nobody has seen, from impressions of other lists at the same places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import Rows
from models.evaluation.bootstrap import Interval
from models.experiments.comparison import NORMAL
from models.experiments.moments import FloatVector, moments_of

CLIP = 20.0
"""Greatest weight of an impression: lists that were shown to fewer than one in 20 count for less than they are due."""
PRIOR = 20.0
"""Clicks of an average product that a product's own are shrunk by: one that was shown little is taken for average."""


@dataclass(frozen=True)
class Logged:
    """Impressions of lists whose variants were assigned to customers by chance; n impressions, x contexts."""

    context: Rows
    """[n] the page that a list was for: a product and market, or a customer."""
    place: Rows
    """[n] place in the list, 0 being the first."""
    product: Rows
    """[n] the product shown."""
    clicked: FloatVector
    """[n] 1 for a click."""
    group: Rows
    """[n] group of customers, from 0; a customer is in one of them."""

    def where(self, mask: Rows) -> Logged:
        """Some of the impressions."""
        return Logged(*(getattr(self, name)[mask] for name in Logged.__annotations__))


@dataclass(frozen=True)
class OffPolicy:
    """Clicks per impression of lists, estimated."""

    impressions: int
    """Impressions of contexts and places that the lists have."""
    shown: float
    """Clicks per impression of what was shown."""
    support: float
    """Share of the places whose product was shown there by some variant."""
    weighted: Interval
    """By inverse propensity, clipped and normalised: of the supported places alone."""
    robust: Interval
    """Doubly robust: a model of clicks by place and product everywhere, corrected by what the weights find."""
    gained: Interval
    """`robust` less `shown`, on the same impressions."""


def off_policy(logged: Logged, lists: Rows) -> OffPolicy | None:
    """What `lists` [x, places], products or -1, would have had; None where they have no place that was shown.

    Inverse propensity scores with the item-position click model (Li et al. 2018), self-normalised (Swaminathan and
    Joachims 2015), and the doubly robust estimate (Dudik et al. 2011). The propensity of a product at a place is the
    share of the context's impressions of the place that show it. Assumed: customers see variants by chance; a click
    depends on the place and its product, not on the other products of the list. Of a product that was not shown at its
    place, the model alone is known, and no interval tells how wrong that is: look at `support`.
    """
    inside = logged.place < lists.shape[1]
    logged = logged.where(np.flatnonzero(inside & (lists[logged.context, np.where(inside, logged.place, 0)] >= 0)))
    if not len(logged.context):
        return None
    wanted = lists[logged.context, logged.place]
    count = int(max(logged.product.max(), lists.max())) + 1
    cell = logged.context * lists.shape[1] + logged.place
    _, of_cell, shown_cell = np.unique(cell, return_inverse=True, return_counts=True)
    pairs, of_pair, shown_pair = np.unique(of_cell * count + logged.product, return_inverse=True, return_counts=True)
    propensity = shown_pair[of_pair] / shown_cell[of_cell]
    asked = of_cell * count + wanted
    supported = pairs[np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)] == asked
    weight = np.where(wanted == logged.product, np.minimum(1 / propensity, CLIP), 0.0)
    shown_model, asked_model = _model(logged, wanted, lists.shape[1], count)
    robust = asked_model + weight * (logged.clicked - shown_model)
    ones = np.ones(len(cell))
    return OffPolicy(
        len(cell),
        float(logged.clicked.mean()),
        float(supported.mean()),
        _interval(logged.group, weight * logged.clicked, weight),
        _interval(logged.group, robust, ones),
        _interval(logged.group, robust - logged.clicked, ones),
    )


def _model(logged: Logged, wanted: Rows, places: int, products: int) -> tuple[FloatVector, FloatVector]:
    """[n] expected clicks of the product shown and of the one that is wanted in its place.

    The rate of the place times a factor of the product, each half of the customers by the other half.
    """
    shown, asked = np.zeros(len(wanted)), np.zeros(len(wanted))
    for half in (0, 1):
        own, other = (np.flatnonzero(logged.group % 2 == side) for side in (half, 1 - half))
        seen = np.bincount(logged.place[other], minlength=places)
        rate = np.bincount(logged.place[other], weights=logged.clicked[other], minlength=places) / np.maximum(seen, 1)
        clicks = np.bincount(logged.product[other], weights=logged.clicked[other], minlength=products)
        due = np.bincount(logged.product[other], weights=rate[logged.place[other]], minlength=products)
        factor = (clicks + PRIOR) / (due + PRIOR)
        shown[own] = rate[logged.place[own]] * factor[logged.product[own]]
        asked[own] = rate[logged.place[own]] * factor[wanted[own]]
    return shown, asked


def _interval(group: Rows, value: FloatVector, base: FloatVector) -> Interval:
    """The ratio of both sums with its 95 % interval, groups of customers being the unit."""
    groups = int(group.max()) + 1
    sums = [np.bincount(group, weights=column, minlength=groups).astype(np.float64) for column in (value, base)]
    (found,) = moments_of(np.zeros(groups, np.int64), 1, sums[0], sums[1], np.zeros(groups))
    half = NORMAL * found.variance**0.5 if found.mean[1] else float("nan")
    return Interval(found.ratio, found.ratio - half, found.ratio + half)
