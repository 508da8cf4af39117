"""Cuts histories at successive midnights: what was known before each, and what customers turned to on the day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import BoolMask, Rows
from models.ragged import offsets_of
from models.sequences import SECONDS_PER_DAY, Sequences


@dataclass(frozen=True)
class CustomerDays:
    """n pairs of a customer and a day, with the events before that day's midnight and those on the day."""

    first: int
    """Midnight that the first day begins with, seconds since 1970 UTC."""
    customers: Rows
    """[n], rows of the histories that were cut."""
    days: Rows
    """[n], number of the day, 0 for the first, never falling."""
    histories: Sequences
    """[n], events before the day; never empty."""
    targets: Sequences
    """[n], events of the day; never empty."""

    def __len__(self) -> int:
        return len(self.customers)

    @property
    def midnights(self) -> Rows:
        """[n], when each pair's day begins, seconds since 1970 UTC."""
        return np.asarray(self.first + self.days * SECONDS_PER_DAY)

    def take(self, rows: Rows) -> CustomerDays:
        """The pairs at `rows`, in that order."""
        return CustomerDays(
            self.first, self.customers[rows], self.days[rows], self.histories.take(rows), self.targets.take(rows)
        )


def customer_days(sequences: Sequences, first: int, days: int, known: BoolMask, wanted: BoolMask) -> CustomerDays:
    """Cut `sequences` at `days` midnights from `first` (seconds since 1970 UTC) on.

    Histories keep the `known` products, targets the `wanted` ones, [products] each; product -1 is neither. Pairs with
    nothing left on a side are left out.
    """
    parts = [_day(sequences, first + day * SECONDS_PER_DAY, known, wanted) for day in range(days)]
    if not parts:
        raise ValueError(f"{days} days from {first} on hold nothing to predict; give at least one")
    return CustomerDays(
        first,
        np.concatenate([rows for rows, _, _ in parts]),
        np.repeat(np.arange(days), [len(rows) for rows, _, _ in parts]),
        _joined([histories for _, histories, _ in parts]),
        _joined([targets for _, _, targets in parts]),
    )


def _day(sequences: Sequences, midnight: int, known: BoolMask, wanted: BoolMask) -> tuple[Rows, Sequences, Sequences]:
    before = sequences.times < midnight
    on_day = ~before & (sequences.times < midnight + SECONDS_PER_DAY)
    there = sequences.products >= 0
    histories = sequences.where(before & there & known[sequences.products])
    targets = sequences.where(on_day & there & wanted[sequences.products])
    rows = np.flatnonzero((histories.lengths > 0) & (targets.lengths > 0))
    return rows, histories.take(rows), targets.take(rows)


def _joined(parts: list[Sequences]) -> Sequences:
    return Sequences(
        offsets_of(np.concatenate([part.lengths for part in parts])),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("products", "events", "times")),
    )
