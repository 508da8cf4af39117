"""Popularity in a market: its own customers where there are many, the shop where there are few."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.client.ranking import with_popularity
from models.popularity import smoothed


def test_a_large_market_follows_its_own_customers_and_a_small_one_the_shop() -> None:
    wanted = np.array([[90.0, 10.0], [0.0, 1.0], [0.0, 0.0]], np.float32)
    everywhere = wanted.sum(axis=0)
    assert smoothed(wanted, everywhere, 3).tolist() == [
        pytest.approx([90 + 30, 10 + 11 / 3]), pytest.approx([30, 1 + 11 / 3]), pytest.approx([30, 11 / 3]),
    ]  # fmt: skip


def test_ten_times_the_events_are_worth_about_a_quarter_of_a_cosine() -> None:
    found = with_popularity(np.array([0.5, 0.5]), np.array([95.0, 995.0]))
    assert found[1] - found[0] == pytest.approx(0.1 * np.log(10))
