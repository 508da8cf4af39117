"""Lists that nobody has seen are estimated near what they truly have, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.experiments.off_policy import OffPolicy, off_policy
from tests.support.logged import CONTEXTS, PLACES, truth, world


def test_a_mixture_of_what_was_shown_is_estimated_by_both() -> None:
    errors, held = [], []
    for seed in range(15):
        logged, one, other, liked = world(seed, 8_000)
        mixed = np.where(np.arange(PLACES) % 2, one, other)
        found = off_policy(logged, mixed)
        assert found and found.support == 1
        true = truth(mixed, liked, logged)
        errors.append([found.robust.value - true, found.weighted.value - true])
        held.append([true > part.low and true < part.high for part in (found.robust, found.weighted)])
    assert abs(np.mean(errors, axis=0)).max() < 0.006
    assert np.mean(held, axis=0).min() > 0.8


def test_what_was_shown_is_worth_what_it_had() -> None:
    logged, one, *_ = world(1)
    own = logged.where(np.flatnonzero(one[logged.context, logged.place] == logged.product))
    found = off_policy(own, one)
    assert found and (found.support, found.shown) == (1.0, pytest.approx(own.clicked.mean()))
    assert found.robust.value == pytest.approx(found.shown)
    assert found.weighted.value == pytest.approx(found.shown)
    assert found.gained.value == pytest.approx(0) and found.gained.low == pytest.approx(0)


def test_better_lists_are_found_better_also_by_a_model_alone() -> None:
    logged, _, _, liked = world(2, 40_000)
    best = np.tile(np.argsort(-liked)[:PLACES], (CONTEXTS, 1))
    found = off_policy(logged, best)
    assert found and found.support < 0.3
    assert found.gained.low > 0 and found.robust.value == pytest.approx(truth(best, liked, logged), rel=0.2)


def test_places_without_a_list_do_not_count() -> None:
    logged, one, *_ = world(3, 500)
    some = one.copy()
    some[10:] = -1
    found = off_policy(logged, some)
    assert isinstance(found, OffPolicy) and found.impressions == (logged.context < 10).sum()
    assert off_policy(logged, np.full_like(one, -1)) is None
