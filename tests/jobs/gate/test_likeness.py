"""Checks the figures that tell how alike a market's lists are, for shops of every size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jobs.gate.step import bestsellers, concentration

RNG = np.random.default_rng(8)
PLACES = 24


def shown(products: int, lists: int, weights: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.int64]:
    """How many of some lists of PLACES show each product; drawn by weight, evenly without."""
    chances = np.ones(products) if weights is None else weights
    found = np.zeros(products, np.int64)
    for _ in range(lists):
        found[RNG.choice(products, PLACES, replace=False, p=chances / chances.sum())] += 1
    return found


@pytest.mark.parametrize("products", [60, 360, 5_000, 50_000])
def test_an_even_spread_is_near_0_and_one_list_for_all_is_1_whatever_the_catalogue(products: int) -> None:
    even = concentration(shown(products, 2_000), products, PLACES)
    same = np.zeros(products, np.int64)
    same[:PLACES] = 2_000
    assert even is not None and even < 0.1
    assert concentration(same, products, PLACES) == pytest.approx(1)


def test_best_sellers_in_most_lists_of_a_small_shop_are_no_collapse() -> None:
    """Four of 360 products, 1 %, are in nearly every list; each list has 20 other places."""
    weights = np.ones(360)
    weights[:4] = 2_000
    found = shown(360, 360, weights)
    figure = concentration(found, 360, PLACES)
    assert bestsellers(found, 360, 360) > 0.95
    assert figure is not None and figure < 0.3


def test_in_a_large_shop_the_figure_is_the_share_of_the_top_one_percent() -> None:
    """As it was before small shops were thought of, within the one percent that they hold in any case."""
    weights = 1 / np.arange(1, 5_001)
    found = shown(5_000, 3_000, weights)
    figure = concentration(found, 5_000, PLACES)
    assert figure == pytest.approx((bestsellers(found, 5_000, 3_000) - 0.01) / 0.99)


@pytest.mark.parametrize(("products", "lists", "longest"), [(24, 24, 24), (30, 30, 0), (400, 0, 24), (400, 1, 24)])
def test_what_cannot_be_spread_has_no_figure(products: int, lists: int, longest: int) -> None:
    assert concentration(shown(products, lists), products, longest or products) is None


def test_few_lists_of_many_products_are_not_alike_for_being_few() -> None:
    found = shown(30_000, 20)
    figure = concentration(found, 30_000, PLACES)
    assert figure is not None and figure < 0.1
