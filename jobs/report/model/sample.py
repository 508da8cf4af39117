"""Holds a model with all products it knows and some customers: what its examples are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt

from jobs.report.examples import ShownProduct, Touch
from models.arrays import BoolMask
from models.contract import FloatMatrix, Recommender
from models.sequences import EVENT_TYPES, Sequences

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ModelSample:
    """The model, all products it knows, and some customers."""

    model: Recommender
    customers: tuple[str, ...]
    """[n] ids, or the pseudonyms that a page shows."""
    sequences: Sequences
    """The n customers' histories over the model's vocabulary."""
    products: tuple[ShownProduct, ...]
    """[V], row i is product i of the vocabulary."""
    on_sale: BoolMask
    """[V], whether the product is in the night's catalogue; the others are never recommended."""

    @cached_property
    def vectors(self) -> FloatMatrix:
        """[V, d + 1], the products' vectors."""
        return self.model.product_vectors()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """[V], empty where the catalogue names none."""
        return tuple(product.category for product in self.products)

    def history(self, row: int, end: int) -> npt.NDArray[np.int32]:
        """The products of a customer's first `end` events."""
        start, stop = int(self.sequences.offsets[row]), int(self.sequences.offsets[row + 1])
        return self.sequences.products[start : min(start + end, stop)]

    def touches(self, row: int, start: int, end: int) -> tuple[Touch, ...]:
        """The events from `start` up to before `end` of a customer, oldest first."""
        first = int(self.sequences.offsets[row])
        return tuple(
            Touch(
                self.products[self.sequences.products[at]],
                EVENT_TYPES[self.sequences.events[at]],
                datetime.fromtimestamp(int(self.sequences.times[at]), UTC),
            )
            for at in range(first + start, first + end)
        )

    def states(self, rows: Ints, ends: Ints) -> FloatMatrix:
        """[k, d + 1], what the model makes of the first `ends[i]` events of customer `rows[i]`."""
        return self.model.encode(prefixes(self.sequences, rows, ends))


def prefixes(sequences: Sequences, rows: Ints, ends: Ints) -> Sequences:
    """[k] histories: the first `ends[i]` events of history `rows[i]`."""
    taken = sequences.take(rows)
    place = np.arange(len(taken.products)) - np.repeat(taken.offsets[:-1], taken.lengths)
    return taken.where(place < np.repeat(ends, taken.lengths))


def unit(vectors: FloatMatrix) -> FloatMatrix:
    """[.., d] of length 1 without the bias column of [.., d + 1]; zeros stay zeros."""
    bare = vectors[..., :-1]
    lengths = np.linalg.norm(bare, axis=-1, keepdims=True)
    found: FloatMatrix = np.divide(bare, lengths, out=np.zeros_like(bare), where=lengths > 0)
    return found
