"""Holds event histories of many customers as flat arrays, the input of every model, and splits them by time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.ragged import BoolMask, Ragged

EVENT_TYPES = ("click", "save", "bag", "purchase")
"""The four interactions; the position is the code used in `Sequences.events`."""
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Sequences(Ragged):
    """n histories, oldest event first; `offsets[i]:offsets[i + 1]` are the events of history i."""

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

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """The product indexes of each history."""
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.products[start:end]

    def basket_offsets(self, pause: int = 0) -> npt.NDArray[np.int64]:
        """[baskets + 1] over all events. A basket is a run of one history's events, each at most `pause` seconds after
        the one before it; without a pause, the events of one time.
        """
        opens = np.zeros(len(self.times) + 1, dtype=bool)
        opens[self.offsets] = True
        opens[1:-1] |= np.diff(self.times) > pause
        return np.flatnonzero(opens)

    def check_products(self, count: int) -> None:
        """Raises ValueError where a product is not one of a vocabulary of `count`."""
        unknown = (self.products < 0) | (self.products >= count)
        if unknown.any():
            raise ValueError(
                f"{unknown.sum()} events are of products outside the vocabulary of {count}, the first is "
                f"{self.products[unknown][0]}; drop them before (Sequences.where)"
            )

    def last(self, length: int) -> Sequences:
        """The same histories cut to their `length` most recent events."""
        from_end = np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.products))
        return self.where(from_end <= length)


@dataclass(frozen=True)
class Split:
    """Histories before one time and targets after it, of the same n customers, and counts of what was left out."""

    train: Sequences
    """[n], events strictly before the split time; empty for a cold customer."""
    targets: Sequences
    """[n], events from the split time on whose product is known from before it; may be empty."""
    known_customers: npt.NDArray[np.int64]
    """Rows that have both a history and a target: metrics are computed for these."""
    cold_customers: int
    """Customers with an event after the split time and none before it."""
    cold_products: int
    """Distinct products of the target side without an event before the split time (-1 counts as one)."""
    cold_events: int
    """Target events lost because their product is cold."""
    target_events: int
    """Target events before that loss."""


def time_split(
    sequences: Sequences,
    split_time: int,
    horizon_days: float,
    targets: Literal["first_basket", "all"] = "first_basket",
    baskets: npt.NDArray[np.integer] | None = None,
) -> Split:
    """Split at `split_time` (seconds since 1970 UTC); events from `split_time + horizon_days` on are unused.

    `first_basket` keeps the events of each customer's first basket at or after the split: those with the basket id of
    the first such event in `baskets` [events], or, without ids, with its time. Products may be -1 for an id that the
    training vocabulary does not know. Raises ValueError where a side would be empty.
    """
    end = split_time + int(horizon_days * SECONDS_PER_DAY)
    before = sequences.times < split_time
    within = (sequences.times >= split_time) & (sequences.times < end)
    if not before.any() or not within.any():
        raise ValueError(
            f"split time {split_time} leaves {before.sum()} events before and {within.sum()} within {horizon_days} "
            "days after; choose one inside the data"
        )
    train = sequences.where(before)
    if targets == "first_basket":
        within &= _first_group(sequences, within, sequences.times if baskets is None else baskets)
    known = np.zeros(int(sequences.products.max(initial=0)) + 1, dtype=bool)
    known[train.products[train.products >= 0]] = True
    warm = (sequences.products >= 0) & known[sequences.products]
    cold = within & ~warm
    wanted = sequences.where(within)
    kept = sequences.where(within & warm)
    return Split(
        train=train.where(train.products >= 0),
        targets=kept,
        known_customers=np.flatnonzero((train.lengths > 0) & (kept.lengths > 0)),
        cold_customers=int(((train.lengths == 0) & (wanted.lengths > 0)).sum()),
        cold_products=len(np.unique(sequences.products[cold])),
        cold_events=int(cold.sum()),
        target_events=int(within.sum()),
    )


def _first_group(sequences: Sequences, within: BoolMask, group: npt.NDArray[np.integer]) -> BoolMask:
    """[events], true where the event's group is that of its customer's first event in `within`."""
    owner = sequences.owners
    inside = np.flatnonzero(within)
    customers, first = np.unique(owner[inside], return_index=True)
    wanted = np.zeros(len(sequences), dtype=group.dtype)
    wanted[customers] = group[inside[first]]
    return np.asarray(within & (group == wanted[owner]))
