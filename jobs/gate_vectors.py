"""Vectors of a night, measured in one pass: whether they are numbers at all, and whether they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.tables import Table
from models.contract import FloatMatrix

BATCH = 65_536
DIGITS = 6
"""Of figures that are sums of floats: rows come in no promised order, and equal nights have equal figures."""


@dataclass
class Vectors:
    """The figures of a table of vectors; the last number of each, bias or constant, is left out of them."""

    rows: int = 0
    width: int = 0
    """Numbers of a vector, 0 where there is none."""
    broken: int = 0
    """Rows that hold NaN or infinity, or not as many numbers as the others."""
    empty: int = 0
    """Rows of zeros: a customer of whom the model has read nothing."""
    norms: float = 0.0
    """Sum of the lengths of the others."""
    longest: float = 0.0
    moment: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """[width - 1, width - 1], sum of u u^T over the vectors u of length 1."""
    models: set[str] = field(default_factory=set)

    @property
    def told(self) -> int:
        """Vectors that say something."""
        return self.rows - self.broken - self.empty

    @property
    def spread(self) -> float:
        """Directions that the vectors spread over: the exponential of the entropy of the spectrum of their second
        moment (effective rank, Roy and Vetterli 2007). 1 where all point one way; NaN where there is none.
        """
        if not self.told:
            return float("nan")
        shares = np.linalg.eigvalsh(self.moment / self.told)
        shares = shares[shares > 1e-12]
        return round(float(np.exp(-(shares * np.log(shares)).sum())), DIGITS)

    @property
    def longest_over_mean(self) -> float:
        """Length of the longest vector as a multiple of the mean one's; NaN where there is none."""
        return round(self.longest / (self.norms / self.told), DIGITS) if self.told else float("nan")


def read_vectors(lake: Lake, table: Table, as_of: date, width: int = 0) -> Vectors:
    """The figures of a night's vectors; with `width` others than of so many numbers are broken."""
    found = Vectors(width=width)
    for batch in lake.batches(table, ("vector", "model_id"), as_of, BATCH):
        if not batch.num_rows:
            continue
        found.models |= set(pc.unique(batch["model_id"]).to_pylist())
        lengths = np.asarray(pc.fill_null(pc.list_value_length(batch["vector"]), 0))
        found.width = found.width or int(lengths[0])
        alike = lengths == found.width
        found.rows += batch.num_rows
        found.broken += int((~alike).sum())
        for part in _parts(batch["vector"].filter(pa.array(alike)), found.width):
            _add(found, part)
    return found


def _parts(vectors: pa.Array, width: int) -> Iterator[FloatMatrix]:
    if width > 1 and len(vectors):
        yield np.asarray(pc.list_flatten(vectors), dtype=np.float32).reshape(-1, width)[:, :-1]


def _add(found: Vectors, vectors: FloatMatrix) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    norms = np.linalg.norm(vectors[finite].astype(np.float64), axis=1)
    told = norms > 0
    found.broken += int((~finite).sum())
    found.empty += int((~told).sum())
    found.norms += float(norms.sum())
    found.longest = max(found.longest, float(norms.max(initial=0)))
    unit = vectors[finite][told] / norms[told, None]
    moment = unit.T @ unit
    found.moment = moment if not found.moment.size else found.moment + moment
