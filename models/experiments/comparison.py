"""Compares a variant with the control: uplift with a fixed and an always-valid interval, and the split of customers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from models.experiments.moments import BEFORE, Moments

ERROR = 0.05
"""Share of experiments without an effect whose interval may leave out 0: intervals are of 95 %."""
NORMAL = NormalDist().inv_cdf(1 - ERROR / 2)
"""Standard errors that half of such an interval is long."""
FEWEST = 30
"""Customers with the event that each side needs: with fewer, an estimate is not normally distributed yet."""
EXPECTED = 0.05
"""Uplift that the always-valid interval is shortest for. Any other gives valid intervals too, only longer ones; it must
be chosen before the start."""


@dataclass(frozen=True)
class Uplift:
    """How far a variant is above the control, as a fraction: 0.02 is 2 %."""

    value: float
    low: float
    high: float
    """`low` and `high` hold the true uplift in 95 % of experiments, for who looks once, at a day chosen before."""
    always_low: float
    always_high: float
    """These hold it on all days at once in at least 95 %, so looking every morning is allowed."""

    @property
    def decided(self) -> bool:
        """Whether the always-valid interval leaves out 0: the variant is ahead or behind."""
        return self.always_low > 0 or self.always_high < 0


def uplift(variant: Moments, control: Moments, expected: float = EXPECTED, adjust: bool = True) -> Uplift | None:
    """The uplift of the variant's ratio over the control's, customers being the unit; None for too little data.

    With `adjust`, what customers did before the start is taken off (`before_weight`), which shortens intervals and
    biases nothing, as the start cannot change what was before it. Intervals are computed for the logarithm of the ratio
    of both, which keeps them above -100 %.
    """
    if min(variant.active, control.active) < FEWEST:
        return None
    weight = before_weight(variant, control) if adjust else 0.0
    both = variant.customers + control.customers
    mean = (variant.mean[BEFORE] * variant.customers + control.mean[BEFORE] * control.customers) / both
    ratios, relative = [], 0.0
    for side in (variant, control):
        ratio = side.ratio - weight * float(side.mean[BEFORE] - mean)
        if not ratio > 0:
            return None
        linear = side.linear
        linear[BEFORE] = -weight
        relative += float(linear @ side.covariance @ linear) / side.customers / ratio**2
        ratios.append(ratio)
    middle, error = math.log(ratios[0] / ratios[1]), math.sqrt(relative)
    if not error > 0:
        return None
    fixed, always = NORMAL * error, always_valid(error, expected)
    ends = (middle, middle - fixed, middle + fixed, middle - always, middle + always)
    return Uplift(*(math.expm1(end) for end in ends))


def always_valid(error: float, expected: float = EXPECTED, alpha: float = ERROR) -> float:
    """Half the length of an interval that holds the truth at all times at once, for a standard error of `error`.

    The mixture boundary of Robbins (1970), as in always-valid inference (Johari, Pekelis, Walsh 2017) and in asymptotic
    confidence sequences (Waudby-Smith et al. 2024): where information grows as 1 / error^2, a normal mixture of effects
    with standard deviation `expected` is a martingale, which exceeds 1 / alpha with a probability of at most alpha
    (Ville).
    """
    known = (expected / error) ** 2
    return error * math.sqrt((1 + 1 / known) * (2 * math.log(1 / alpha) + math.log1p(known)))


def before_weight(variant: Moments, control: Moments) -> float:
    """The weight of behaviour before the start that shortens the interval most (CUPED, Deng et al. 2013); 0 where it
    does not vary. The variance becomes 1 - rho^2 of what it was, rho being the correlation of both.
    """
    shared = sum(float(side.linear @ side.covariance[BEFORE]) / side.customers for side in (variant, control))
    spread = sum(float(side.covariance[BEFORE, BEFORE]) / side.customers for side in (variant, control))
    return shared / spread if spread > 0 else 0.0


def split_p(customers: Sequence[int], shares: Sequence[float]) -> float:
    """How likely customers split at least so unevenly by chance: Pearson's chi-squared test against the shares.

    Below 0.001 something else than chance decides who sees what, and no uplift can be trusted. 1 without customers.
    """
    total, whole = sum(customers), math.fsum(shares)
    if not total or len(customers) < 2:
        return 1.0
    meant = [total * share / whole for share in shares]
    distance = math.fsum((found - want) ** 2 / want for found, want in zip(customers, meant, strict=True))
    return chi_squared_tail(distance, len(customers) - 1)


def chi_squared_tail(value: float, degrees: int) -> float:
    """P(X >= value) of a chi-squared X with whole degrees of freedom, at least 1 (Abramowitz and Stegun 26.4.4, .5)."""
    half = value / 2
    tail, start = (math.erfc(math.sqrt(half)), 1) if degrees % 2 else (math.exp(-half), 2)
    for k in range(start, degrees, 2):
        tail += half ** (k / 2) * math.exp(-half) / math.gamma(k / 2 + 1)
    return min(tail, 1.0)
