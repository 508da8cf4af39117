"""Provides random streams that depend only on their purpose, never on earlier draws."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Stream(IntEnum):
    """One independent stream of random numbers per purpose."""

    CELLS = 1
    PRODUCTS = 2
    CUSTOMERS = 3
    STOCK = 4
    EVENTS = 5
    DIRT = 6
    INTERESTS = 7
    TREND = 8
    NAMES = 9
    BRANDS = 10
    TASTES = 11
    DRIFT = 12
    COMPANY = 13
    SHELF = 14
    STAPLES = 15
    SLOTS = 16
    SHOWN = 17
    SIZES = 18
    SIZE_STOCK = 19


def generator(seed: int, stream: Stream, part: int = 0) -> np.random.Generator:
    """A generator for one stream and one part of it: a day, a week's launches."""
    return np.random.default_rng([seed, int(stream), part])


def hashed(seed: int, stream: Stream, first: Ints, second: Ints | int) -> Floats:
    """Uniform numbers in [0, 1), a pure function of (seed, stream, first, second), element by element.

    So what a customer is interested in is the same on every day on which it is asked for, without being stored.
    The mixing function is splitmix64 (Steele, Lea and Flood, 2014).
    """
    base = np.uint64((seed * 1_000_003 + int(stream)) % 2**64)
    mixed = _mix(_mix(np.asarray(first).astype(np.uint64) + base) ^ np.asarray(second).astype(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def pick(weights: Floats, uniform: Floats) -> Ints:
    """Indexes drawn in proportion to `weights` (one-dimensional), one for each uniform number in [0, 1)."""
    cumulative = np.cumsum(weights)
    found = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.asarray(np.minimum(found, len(weights) - 1), dtype=np.int64)


def pareto(rng: np.random.Generator, count: int, exponent: float, cap: float) -> Floats:
    """Long-tailed positive numbers u^-exponent, u uniform, cut at `cap`: ranked, they fall like rank^-exponent."""
    return np.minimum(np.maximum(rng.random(count), 1e-12) ** -exponent, cap)
