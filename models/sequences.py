"""Event histories of many customers as flat arrays: the input of every model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EVENT_TYPES = ("click", "save", "bag", "purchase")
"""The four interactions; the position is the code used in `Sequences.events`."""


@dataclass(frozen=True)
class Sequences:
    """n histories, oldest event first. `offsets[i]:offsets[i+1]` are the events of history i."""

    offsets: npt.NDArray[np.int64]
    """[n + 1], starts at 0, never falls."""
    products: npt.NDArray[np.int32]
    """[events], dense index into the model's vocabulary."""
    events: npt.NDArray[np.int8]
    """[events], position in EVENT_TYPES."""
    times: npt.NDArray[np.int64]
    """[events], seconds since 1970 UTC, never falling within one history."""

    def __post_init__(self) -> None:
        total = len(self.products)
        if self.offsets[0] != 0 or self.offsets[-1] != total or (np.diff(self.offsets) < 0).any():
            raise ValueError(f"offsets must rise from 0 to the {total} events")
        if len(self.events) != total or len(self.times) != total:
            raise ValueError(f"{total} products, {len(self.events)} event types and {len(self.times)} times differ")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[n], events in each history."""
        return np.diff(self.offsets)

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """The product indexes of each history."""
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.products[start:end]

    def where(self, keep: npt.NDArray[np.bool_]) -> Sequences:
        """The same histories with only the events where `keep` ([events]) is true."""
        kept_before = np.concatenate(([0], np.cumsum(keep)))
        return Sequences(kept_before[self.offsets], self.products[keep], self.events[keep], self.times[keep])

    def take(self, rows: npt.NDArray[np.integer]) -> Sequences:
        """The histories at `rows`, in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        events = np.repeat(self.offsets[rows], lengths) + inside
        return Sequences(offsets, self.products[events], self.events[events], self.times[events])

    def last(self, length: int) -> Sequences:
        """The same histories cut to their `length` most recent events."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.products))
        return self.where(from_end <= length)
