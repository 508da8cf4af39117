"""Checks features of products: stable, bounded, and independent of other products."""

from __future__ import annotations

import numpy as np
import pytest

from models.catalogue import BUCKETS, MOST_WORDS, Catalogue


def shop() -> Catalogue:
    brands, colours = ["Acme", "acme", None], ["red", "blue", ""]
    return Catalogue.of({"brand": brands, "colour": colours}, ["Red Shirt", "shirt  RED", None], [10.0, 10.4, None])


def test_equal_attributes_are_equal_features_in_any_letter_case() -> None:
    rows = [set(row) - {0} for row in shop().features.tolist()]
    assert len(rows[0]) == len(rows[1]) == 5  # brand, colour, two words, price
    assert len(rows[0] & rows[1]) == 4  # all but the colour
    assert rows[2] == set()


def test_features_are_the_same_in_every_process() -> None:
    # A hash that changed between processes would give a product launched today a random vector.
    assert Catalogue.of({"brand": ["Acme"]}, [None], [None]).features.tolist() == [[6655]]


def test_buckets_stay_in_range_and_long_names_end() -> None:
    words = " ".join(f"w{number}" for number in range(100))
    features = Catalogue.of({}, [words, "a"], [None, None]).features
    assert features.shape == (2, MOST_WORDS)
    assert features.min() >= 0
    assert features.max() < BUCKETS


def test_products_follow_each_other_whatever_their_number_of_features() -> None:
    one, two = Catalogue(np.array([[5, 6, 7]], np.int32)), Catalogue(np.array([[8]], np.int32))
    assert one.followed_by(two).features.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert two.followed_by(one).features.tolist() == [[8, 0, 0], [5, 6, 7]]
    assert Catalogue.empty(2).followed_by(two).features.tolist() == [[0], [0], [8]]


def test_columns_of_different_products_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same products"):
        Catalogue.of({"brand": ["a", "b"]}, ["x"], [1.0])
