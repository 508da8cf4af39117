"""Compares People Also Bought through an index with the exact answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Rows
from models.copurchase.candidates import neighbours_through_index
from models.copurchase.model import CoPurchase, CoPurchaseConfig
from models.search.search import build_index, search
from tests.models.copurchase.test_copurchase import fitted

SMALL = CoPurchaseConfig(half_life_days=None, rank=4)


def shop(seed: int, products: int = 30, baskets: int = 150) -> CoPurchase:
    """A model of random baskets with a long tail; the last products were never bought."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, baskets)
    bought = ((products - 3) * random.random(sizes.sum()) ** 2).astype(np.int64)
    return fitted(np.concatenate(([0], np.cumsum(sizes))), bought, products, SMALL)


def found_by_a_flat_index(model: CoPurchase, depth: int) -> Rows:
    """[products, depth] through FAISS, each product among its own neighbours."""
    return search(build_index(model.target_vectors()), model.source_vectors(), depth)[1]


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_a_deep_flat_index_gives_the_exact_neighbours(seed: int, n: int) -> None:
    model = shop(seed)
    sources = np.arange(30)
    exact = model.neighbours(sources, n)
    through = neighbours_through_index(model, sources, found_by_a_flat_index(model, 30), n)
    assert np.allclose(through.scores, exact.scores, rtol=1e-5, atol=1e-6)
    # Products of equal scores up to rounding may change places; everything else must be the same.
    differ = through.products != exact.products
    gaps = np.abs(np.diff(exact.scores, axis=1, append=-np.inf)), np.abs(np.diff(exact.scores, axis=1, prepend=np.inf))
    assert (np.minimum(*gaps)[differ] < 1e-5).all()
    assert np.array_equal(through.seen[~differ], exact.seen[~differ])


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_pairs_that_were_bought_need_no_index_at_all(seed: int) -> None:
    model = shop(seed)
    sources, nothing = np.arange(30), np.full((30, 1), -1)
    through = neighbours_through_index(model, sources, nothing, 5)
    seen = model.best_seen(sources, 5)
    for row, own in zip(through.products, seen, strict=True):
        assert set(row[row >= 0]) == set(own[own >= 0])
    assert through.seen[through.products >= 0].all()


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_no_list_repeats_or_shows_the_product_itself(seed: int, depth: int) -> None:
    model = shop(seed)
    through = neighbours_through_index(model, np.arange(30), found_by_a_flat_index(model, depth), 8)
    for source, row in enumerate(through.products):
        shown = row[row >= 0].tolist()
        assert len(set(shown)) == len(shown) and source not in shown
    assert (np.isfinite(through.scores) == (through.products >= 0)).all()
    held = through.products[:, 1:] >= 0
    assert (np.diff(np.where(through.products >= 0, through.scores, 0), axis=1)[held] <= 0).all()


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_batches_do_not_change_the_answer(batch: int) -> None:
    model = shop(3)
    found = found_by_a_flat_index(model, 12)
    whole = neighbours_through_index(model, np.arange(30), found, 6)
    parts = neighbours_through_index(model, np.arange(30), found, 6, batch)
    assert np.array_equal(whole.products, parts.products)
    assert np.array_equal(whole.scores, parts.scores)
    assert np.array_equal(whole.seen, parts.seen)


def test_more_places_than_candidates_are_left_empty() -> None:
    model = shop(1)
    through = neighbours_through_index(model, np.arange(30), np.full((30, 1), -1), 60)
    assert through.products.shape == through.scores.shape == through.seen.shape == (30, 60)
    assert (through.products[:, -1] == -1).all() and (through.scores[:, -1] == -np.inf).all()
    assert not through.seen[through.products < 0].any()


def test_no_sources_give_no_lists() -> None:
    model = fitted(np.array([0, 2]), np.array([0, 1]), 3, replace(SMALL, rank=2))
    through = neighbours_through_index(model, np.empty(0, np.int64), np.empty((0, 4), np.int64), 5)
    assert through.products.shape == (0, 5)
