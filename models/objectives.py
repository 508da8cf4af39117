"""Which later events each event has to predict, and how much each of them counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.pairs import ranges
from models.sequences import Sequences
from models.splits import SECONDS_PER_DAY

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """What the events of some histories must predict: event e, the events `targets[offsets[e]:offsets[e+1]]`."""

    offsets: IntArray
    """[events + 1], starts at 0, never falls."""
    targets: IntArray
    """[pairs], position of the event that is predicted."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def counts(self) -> IntArray:
        """[events], how many events each event predicts."""
        return np.diff(self.offsets)


def next_basket(sequences: Sequences) -> Targets:
    """The last event of a basket predicts every event of that history's next basket; all others predict nothing.

    Events of one history at the same time are one basket, so no event is predicted from its own basket, and every
    event outside a first basket is a target exactly once. Where all times differ this is plain next-product
    prediction.
    """
    ends, following, sizes = _baskets(sequences)
    counts = np.zeros(len(sequences.products), dtype=np.int64)
    counts[ends] = sizes
    return Targets(_offsets(counts), ranges(following, sizes)[1])


def future_window(sequences: Sequences, days: float, rng: np.random.Generator) -> Targets:
    """The last event of a basket predicts one event drawn from those of later baskets at most `days` later.

    What a customer will do over a window, and not just next: for vectors that are a day old when they are used
    (Pancha et al. 2022, "PinnerFormer", its dense all-action loss). A basket with nothing in its window predicts
    nothing; every call draws anew.
    """
    ends, following, _ = _baskets(sequences)
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    span = int(np.ptp(sequences.times)) + 2 if len(owner) else 1
    since = sequences.times - (sequences.times.min() if len(owner) else 0)
    until = np.minimum(since[ends] + int(days * SECONDS_PER_DAY), span - 1)
    stop = np.searchsorted(owner * span + since, owner[ends] * span + until, side="right")
    inside = stop > following
    ends, following, stop = ends[inside], following[inside], stop[inside]
    counts = np.zeros(len(owner), dtype=np.int64)
    counts[ends] = 1
    return Targets(_offsets(counts), following + (rng.random(len(ends)) * (stop - following)).astype(np.int64))


def _baskets(sequences: Sequences) -> tuple[IntArray, IntArray, IntArray]:
    """Of each basket that another one of its history follows: its last event, the next one's first event and size."""
    total = len(sequences.products)
    opens_history = np.zeros(total + 1, dtype=bool)
    opens_history[sequences.offsets] = True
    opens_basket = opens_history.copy()
    opens_basket[1:-1] |= sequences.times[1:] != sequences.times[:-1]
    starts = np.flatnonzero(opens_basket)  # the end of the data closes the last basket
    following = starts[1:-1][~opens_history[starts[1:-1]]]
    sizes = np.diff(starts)[np.searchsorted(starts, following)]
    return following - 1, following, sizes


def _offsets(counts: IntArray) -> IntArray:
    return np.concatenate(([0], np.cumsum(counts)))
