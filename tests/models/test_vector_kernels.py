"""The compiled pass over vectors against numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from models.ragged import offsets_of
from models.vector_kernels import add_vectors


def test_vectors_are_measured_as_numpy_does() -> None:
    random = np.random.default_rng(3)
    lengths = np.where(random.random(200) < 0.1, random.integers(0, 7, 200), 9)
    offsets, counted = offsets_of(lengths), random.random(200) < 0.8
    values = random.normal(size=offsets[-1]).astype(np.float32)
    values[random.integers(0, len(values), 20)] = np.nan
    for empty in (5, 50, 150):
        values[offsets[empty] : offsets[empty + 1]] = 0
    rows = [values[a:b] for a, b in pairwise(offsets)]
    chosen = [row[:-1].astype(np.float64) for row, one in zip(rows, counted, strict=True) if one and len(row) == 9]
    finite = np.array([row for row in chosen if np.isfinite(row).all()])
    sizes = np.linalg.norm(finite, axis=1)
    unit = finite[sizes > 0] / sizes[sizes > 0, None]
    moment = np.zeros((8, 8))
    broken, empty, norms, longest = add_vectors(offsets, values, counted, 9, moment)
    assert (broken, empty) == (counted.sum() - len(finite), (sizes == 0).sum())
    np.testing.assert_allclose([norms, longest], [sizes.sum(), sizes.max()])
    np.testing.assert_allclose(moment, np.tril(unit.T @ unit), atol=1e-12)
