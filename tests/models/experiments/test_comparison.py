"""Checks the statistics of experiments against statsmodels 0.15, SciPy 1.17, spotify-confidence and laws."""

from __future__ import annotations

import numpy as np
import pytest

from models.experiments.comparison import always_valid, before_weight, chi_squared_tail, split_p, uplift
from models.experiments.moments import Moments, moments_of

N = np.arange(40)
BASE = 1.0 + (7 * N) % 11
VALUE = np.minimum((5 * N) % 13 % 6, BASE)
BEFORE = (3.0 * N) % 17


def random_sides(seed: int, customers: int, effect: float) -> list[Moments]:
    """Two variants of clicks per impression; who clicked before the start clicks more after it."""
    random = np.random.default_rng(seed)
    liking = random.gamma(4, 1, customers)
    side, base = random.integers(0, 2, customers), random.poisson(20, customers) + 1.0
    clicks = random.binomial(base.astype(int), np.minimum(0.02 * liking * (1 + effect * side), 1))
    return moments_of(side, 2, clicks.astype(float), base, liking)


def test_a_ratio_has_the_variance_of_a_regression_with_customers_as_clusters() -> None:
    (found,) = moments_of(np.zeros(40, int), 1, VALUE, BASE, BEFORE)
    # OLS of each impression's click on a constant, cov_type="cluster" without correction, times n / (n - 1)
    assert found.ratio == pytest.approx(0.33884297520661166)
    assert found.variance == pytest.approx(0.002019981740999226)


def test_means_have_the_interval_of_a_z_test() -> None:
    control, variant = moments_of(N % 2, 2, VALUE, np.ones(40), BEFORE)
    half = 1.959963985 * (control.variance + variant.variance) ** 0.5
    assert variant.ratio - control.ratio - half == pytest.approx(-1.674928, abs=1e-6)  # spotify_confidence.ZTest


def test_chi_squared_tails_are_those_of_scipy() -> None:
    tails = [chi_squared_tail(x, k) for x, k in ((3.84, 1), (7.5, 2), (2.2, 3), (11.1, 4))]
    assert tails == pytest.approx([0.05004352124870519, 0.023517745856009114, 0.5319483712104882, 0.025462844944768654])
    assert split_p([5210, 4790], [0.5, 0.5]) == pytest.approx(2.6691498031812692e-05)
    assert split_p([300, 330, 370], [1, 1, 1]) == pytest.approx(0.02472352647033939)
    assert split_p([0, 0], [0.5, 0.5]) == 1.0


def test_behaviour_before_the_start_shortens_the_interval_by_its_correlation() -> None:
    control, variant = random_sides(1, 20_000, 0.0)
    plain, adjusted = uplift(variant, control, adjust=False), uplift(variant, control)
    assert plain is not None
    assert adjusted is not None
    rhos = [
        float(m.linear @ m.covariance[2]) / np.sqrt(m.variance * m.customers * m.covariance[2, 2])
        for m in (control, variant)
    ]
    short, long = (np.ptp(np.log1p([one.low, one.high])) for one in (adjusted, plain))
    assert short / long == pytest.approx(np.sqrt(1 - np.mean(rhos) ** 2), rel=0.02)
    assert before_weight(variant, control) > 0


def test_an_effect_is_found_and_the_always_valid_interval_is_the_longer_one() -> None:
    control, variant = random_sides(5, 40_000, 0.1)
    found = uplift(variant, control)
    assert found is not None
    assert found.decided
    assert found.always_low < found.low < 0.1 < found.high < found.always_high
    same = uplift(control, control)
    assert same is not None
    assert (same.value, same.decided) == (0.0, False)


def test_too_few_customers_have_no_interval() -> None:
    control, variant = random_sides(3, 20, 0.0)
    assert uplift(variant, control) is None


def test_an_always_valid_interval_is_the_one_of_robbins() -> None:
    # with as much information as the expected effect has, 1 / error^2 = 1 / expected^2
    assert always_valid(0.05, 0.05) == pytest.approx(0.05 * np.sqrt(2 * (2 * np.log(20) + np.log(2))))
    assert always_valid(0.001) < always_valid(0.01) < always_valid(0.1)
