"""Computes intervals of means over customers or baskets by the paired percentile bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatVector = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
Groups = npt.NDArray[np.integer]

DRAWS, SEED = 1000, 17


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def mean_interval(values: Floats, groups: Groups | None = None, seed: int = SEED) -> Interval:
    """Mean of `values` [m] with its interval. With `groups` [m] whole groups are drawn, for values that are not
    independent, such as the queries of one basket. Raises ValueError when m is 0.
    """
    return mean_intervals([values], groups, seed)[0]


def mean_intervals(columns: Sequence[Floats], groups: Groups | None = None, seed: int = SEED) -> list[Interval]:
    """`mean_interval` of several figures of the same m, which share their draws."""
    drawn = _resampled_means(columns, groups, seed)
    return [_interval(float(np.mean(values)), means) for values, means in zip(columns, drawn, strict=True)]


def paired_difference(ours: Floats, theirs: Floats, groups: Groups | None = None) -> Interval:
    """mean(ours) - mean(theirs) on the same m customers; every draw takes the same customers of both."""
    our, their = _resampled_means([ours, theirs], groups, SEED)
    return _interval(float(np.mean(ours) - np.mean(theirs)), our - their)


def paired_uplift(ours: Floats, theirs: Floats, groups: Groups | None = None) -> Interval:
    """mean(ours) / mean(theirs) - 1, so 0.2 is an uplift of 20 %; claim its `low`.

    Raises ValueError when `theirs` is 0 in the mean of the data or of a draw: no ratio exists then.
    """
    our, their = _resampled_means([ours, theirs], groups, SEED)
    if not np.mean(theirs) or not their.all():
        raise ValueError("an uplift over a mean of 0 does not exist; report paired_difference instead")
    return _interval(float(np.mean(ours) / np.mean(theirs)) - 1.0, our / their - 1.0)


def _interval(value: float, drawn: FloatVector) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _resampled_means(columns: Sequence[Floats], groups: Groups | None, seed: int) -> FloatVector:
    """[columns, DRAWS], the mean of each draw, which takes as many groups as there are, with replacement."""
    size = len(columns[0])
    if size == 0 or any(len(column) != size for column in columns):
        raise ValueError(f"columns of {[len(column) for column in columns]} values: give equally many, at least one")
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("a NaN or infinite value has no bootstrap; drop those customers and say how many")
    member = np.arange(size) if groups is None else np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(member)
    sums = np.stack([counts, *(np.bincount(member, weights=column) for column in columns)])
    random = np.random.default_rng(seed)
    means = np.empty((DRAWS, len(columns)))
    for mean in means:
        times = np.bincount(random.integers(0, len(counts), len(counts)), minlength=len(counts))
        drawn, *totals = sums @ times.astype(np.float64)
        mean[:] = totals / drawn
    return means.T
