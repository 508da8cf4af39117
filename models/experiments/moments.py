"""Sums customers up to the counts, means and covariances that intervals are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import Rows

FloatVector = npt.NDArray[np.float64]
FloatSquare = npt.NDArray[np.float64]
VALUE, BASE, BEFORE = 0, 1, 2
"""Places of a customer's figures in the means and covariances: value, base, and behaviour before the start."""


@dataclass(frozen=True)
class Moments:
    """The customers of one variant, who each have a value (clicks), a base (impressions) and behaviour before."""

    customers: int
    mean: FloatVector
    """[3] of VALUE, BASE and BEFORE."""
    covariance: FloatSquare
    """[3, 3] of the same."""
    active: int
    """Customers whose value is not 0."""

    @property
    def ratio(self) -> float:
        """All values over all bases; NaN where there is no base."""
        return float(self.mean[VALUE] / self.mean[BASE]) if self.mean[BASE] else float("nan")

    @property
    def linear(self) -> FloatVector:
        """[3] weights whose sum over a customer's figures is that customer's part of the ratio's error, times n.

        This is the delta method: the ratio of means r moves by (value - r base) / mean(base) of each customer.
        """
        weights: FloatVector = np.array([1.0, -self.ratio, 0.0]) / self.mean[BASE]
        return weights

    @property
    def variance(self) -> float:
        """Of the ratio, with customers as the unit: whatever hangs together within a customer is in it."""
        return float(self.linear @ self.covariance @ self.linear) / self.customers


def moments_of(groups: Rows, count: int, value: FloatVector, base: FloatVector, before: FloatVector) -> list[Moments]:
    """The moments of `count` groups of customers; `groups` [n] is each customer's group, the figures are [n]."""
    columns = (value, base, before)
    customers = np.bincount(groups, minlength=count)
    active = np.bincount(groups, weights=value != 0, minlength=count)
    most = np.maximum(customers, 1)
    means = np.stack([np.bincount(groups, weights=column, minlength=count) / most for column in columns], axis=1)
    centred = [column - means[groups, place] for place, column in enumerate(columns)]
    covariances = np.zeros((count, 3, 3))
    for one in range(3):
        for other in range(one, 3):
            sums = np.bincount(groups, weights=centred[one] * centred[other], minlength=count)
            covariances[:, one, other] = covariances[:, other, one] = sums / np.maximum(customers - 1, 1)
    return [Moments(int(customers[g]), means[g], covariances[g], int(active[g])) for g in range(count)]
