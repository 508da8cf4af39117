"""Checks a co-purchase model moved to other products: known pairs stay, new products have none."""

from __future__ import annotations

import numpy as np
import pytest

from models.copurchase.candidates import over_products
from models.copurchase.model import CoPurchase
from tests.models.copurchase.test_copurchase import fitted, random_baskets

PRODUCTS = 40


@pytest.fixture(scope="module")
def model() -> CoPurchase:
    return fitted(*random_baskets(), PRODUCTS)


def test_the_same_products_in_the_same_order_give_the_same_lists(model: CoPurchase) -> None:
    same = over_products(model, np.arange(PRODUCTS))
    ours, theirs = (each.neighbours(np.arange(PRODUCTS), 12) for each in (same, model))
    assert np.array_equal(ours.products, theirs.products) and np.array_equal(ours.seen, theirs.seen)
    assert np.array_equal(ours.scores, theirs.scores)


def test_products_that_stay_keep_their_scores_wherever_they_stand(model: CoPurchase) -> None:
    rows = np.array([-1, *np.random.default_rng(3).permutation(PRODUCTS)[:30], -1])
    other = over_products(model, rows)
    stay = np.flatnonzero(rows >= 0)
    ours, seen = other.rescore(stay, np.tile(stay, (30, 1)))
    theirs, seen_before = model.rescore(rows[stay], np.tile(rows[stay], (30, 1)))
    assert np.array_equal(seen, seen_before) and seen.any()
    # What a product was bought with and is gone no longer stands beside it: the evidence for the rest weighs more.
    assert np.corrcoef(ours[seen], theirs[seen_before])[0, 1] > 0.98


def test_a_new_product_is_one_without_baskets(model: CoPurchase) -> None:
    other = over_products(model, np.append(np.arange(PRODUCTS), -1))
    assert other.has_baskets().tolist() == [*model.has_baskets().tolist(), False]
    found = other.neighbours(np.array([0, PRODUCTS]), PRODUCTS)
    assert np.isfinite(found.scores).all() and not found.seen[1].any()
    assert found.products[0, -1] == PRODUCTS, "the least likely, as nobody ever bought it"
    before = model.neighbours(np.array([0]), PRODUCTS - 1)
    assert np.array_equal(found.products[0, :-1], before.products[0])
