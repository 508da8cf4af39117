"""Holds lists of unequal length as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ragged:
    """n lists: list i holds the places `offsets[i]:offsets[i + 1]` of every other field, each an array [values]."""

    offsets: Rows
    """[n + 1], starts at 0, never falls."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Rows:
        """[n], values of each list."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Rows:
        """[values], the list that each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def where(self, keep: BoolMask) -> Self:
        """The same lists with only the values where `keep` [values] is true."""
        return self._with(offsets_of(keep)[self.offsets], keep)

    def take(self, rows: npt.NDArray[np.integer]) -> Self:
        """The lists at `rows`, in that order."""
        lengths = self.lengths[rows]
        return self._with(offsets_of(lengths), ranges(self.offsets[rows], lengths)[1])

    def _with(self, offsets: Rows, chosen: BoolMask | Rows) -> Self:
        return type(self)(offsets, *(getattr(self, field.name)[chosen] for field in fields(self)[1:]))


def offsets_of(lengths: npt.NDArray[np.integer | np.bool_]) -> Rows:
    """[n + 1], the places where n lists of these lengths begin, and the end of the last."""
    return np.concatenate(([0], np.cumsum(lengths)))


def ranges(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> tuple[Rows, Rows]:
    """(which range, position) of every position in the ranges `starts[i] : starts[i] + lengths[i]`."""
    owner = np.repeat(np.arange(len(starts)), lengths)
    first = np.asarray(starts, dtype=np.int64) - (np.cumsum(lengths) - lengths)
    return owner, np.arange(len(owner)) + np.repeat(first, lengths)
