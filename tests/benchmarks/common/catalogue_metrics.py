"""Measures how lists use the catalogue: how much of it they show, and which share goes to some products."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask


def coverage(lists: npt.NDArray[np.integer], n: int, candidates: BoolMask) -> float:
    """coverage@n: the share of the candidates that are in the first n of at least one list [m, >= n]."""
    shown = np.unique(lists[:, :n])
    return float((shown >= 0).sum() / candidates.sum())


def share_of_slots(lists: npt.NDArray[np.integer], n: int, products: BoolMask) -> float:
    """The share of the filled slots in the first n that goes to `products` [products], such as the new ones."""
    shown = lists[:, :n][lists[:, :n] >= 0]
    return float(products[shown].mean()) if len(shown) else 0.0


def most_popular(counts: npt.NDArray[np.number], share: float = 0.01) -> BoolMask:
    """[products], true for the `share` with the highest `counts` (at least one product; ties by index)."""
    mask = np.zeros(len(counts), dtype=bool)
    mask[np.argsort(-counts, kind="stable")[: max(1, round(share * len(counts)))]] = True
    return mask
