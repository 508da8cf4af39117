"""Turns histories into padded torch batches, and decides which later events each event has to predict.

Legend: B histories in a batch, L padded length, P pairs. Batches are left-aligned (a history's oldest event is
column 0, padding is on the right): a causal model then never reads padding before a real event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.networks.device import to_device
from models.ragged import Ragged, offsets_of, ranges
from models.sequences import SECONDS_PER_DAY, Sequences

IntArray = npt.NDArray[np.int64]
LEAST_ROWS = 8
"""Fewest histories in a batch where the result must not depend on the batch's other histories."""


@dataclass(frozen=True)
class Targets(Ragged):
    """The events that each event of some histories must predict: event e, `targets[offsets[e]:offsets[e + 1]]`."""

    targets: IntArray
    """[pairs], position of the event that is predicted."""


def next_basket(sequences: Sequences) -> Targets:
    """The last event of a basket predicts every event of that history's next basket; all others predict nothing.

    Events of one history at the same time are one basket, so no event is predicted from its own basket, and every
    event outside a first basket is a target exactly once. Where all times differ this is plain next-product
    prediction.
    """
    ends, following, sizes = _baskets(sequences)
    counts = np.zeros(len(sequences.products), dtype=np.int64)
    counts[ends] = sizes
    return Targets(offsets_of(counts), ranges(following, sizes)[1])


def future_window(sequences: Sequences, days: float, rng: np.random.Generator) -> Targets:
    """The last event of a basket predicts one event drawn from the later ones of its day (UTC) and of the next `days`
    days that have events of its history.

    It trains vectors that are used on the days after the history ends: they have to predict a window and not just the
    next event (Pancha et al. 2022, "PinnerFormer", its dense all-action loss). Days without events do not count: one
    shop's customers come back tomorrow, another's in a month. Every call draws anew.
    """
    ends, following, _ = _baskets(sequences)
    opens = np.diff(sequences.times // SECONDS_PER_DAY, prepend=-1) != 0
    opens[sequences.offsets[:-1][sequences.lengths > 0]] = True
    day = np.cumsum(opens)
    last = np.repeat(sequences.offsets[1:], sequences.lengths)
    stop = np.minimum(np.searchsorted(day, day[ends] + days, side="right"), last[ends])
    inside = stop > following
    ends, following, stop = ends[inside], following[inside], stop[inside]
    counts = np.zeros(len(day), dtype=np.int64)
    counts[ends] = 1
    return Targets(offsets_of(counts), following + (rng.random(len(ends)) * (stop - following)).astype(np.int64))


def _baskets(sequences: Sequences) -> tuple[IntArray, IntArray, IntArray]:
    """(last event, first event of the next basket, size of the next basket) of each basket but a history's last."""
    starts = sequences.basket_offsets()
    following = np.setdiff1d(starts, sequences.offsets)
    sizes = np.diff(starts)[np.searchsorted(starts, following)]
    return following - 1, following, sizes


@dataclass(frozen=True)
class Batch:
    """B histories, padded to the longest; padding holds 0 everywhere and is False in `mask`."""

    rows: IntArray
    """[B], which histories of the input these are."""
    products: torch.Tensor
    """[B, L] int64, dense product index."""
    events: torch.Tensor
    """[B, L] int64, position in EVENT_TYPES."""
    times: torch.Tensor
    """[B, L] int64, seconds since 1970 UTC."""
    mask: torch.Tensor
    """[B, L] bool, True at real events."""
    positions: torch.Tensor
    """[P] int64 into the flattened [B * L]: the position that predicts."""
    targets: IntArray
    """[P], the product that it must predict; on the CPU because negatives are drawn there."""
    target_events: IntArray
    """[P], position of the target's event type in EVENT_TYPES."""


def windows(sequences: Sequences, length: int) -> Sequences:
    """The same events, with histories of over `length` events cut into pieces, the newest piece full.

    Events keep their places in the flat arrays, so that the `Targets` of the uncut histories still point at the
    right events, also across a cut. Empty histories vanish.
    """
    pieces = -(-sequences.lengths // length)
    first = np.cumsum(pieces) - pieces
    back = np.repeat(pieces, pieces) - (np.arange(pieces.sum()) - np.repeat(first, pieces))
    starts = np.maximum(
        np.repeat(sequences.offsets[1:], pieces) - back * length, np.repeat(sequences.offsets[:-1], pieces)
    )
    offsets = np.append(starts, len(sequences.products)).astype(np.int64)
    return Sequences(offsets, sequences.products, sequences.events, sequences.times)


def predicting(sequences: Sequences, wanted: Targets) -> IntArray:
    """[n], length of each history up to its last event that predicts anything: later events are targets only."""
    places = np.arange(1, len(wanted.offsets))
    reach = np.maximum.accumulate(np.where(wanted.lengths > 0, places, 0), dtype=np.int64)
    ends = sequences.offsets[1:] - 1
    return np.asarray(np.maximum(reach[ends] - sequences.offsets[:-1], 0))


def buckets(lengths: IntArray, batch_events: int, rng: np.random.Generator | None = None) -> list[IntArray]:
    """Rows of non-empty histories, grouped by like length so that a batch pads to about `batch_events` cells.

    Longest first, without `rng`; with it rows of equal length mix and the batches come in random order.
    """
    tie = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = np.lexsort((tie, -lengths))
    order = order[: np.count_nonzero(lengths)]
    found, start = [], 0
    while start < len(order):
        rows = order[start : start + max(1, batch_events // int(lengths[order[start]]))]
        found.append(rows)
        start += len(rows)
    return found if rng is None else [found[i] for i in rng.permutation(len(found))]


def fixed_columns(lengths: IntArray, longest: int) -> IntArray:
    """[n], the length to pad each history to, at most `longest`: even ones to 16, then eight steps an octave."""
    step = np.left_shift(1, np.maximum(1, np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64) - 4))
    return np.minimum(-(-lengths // step) * step, longest)


def fixed_buckets(lengths: IntArray, batch_events: int, longest: int) -> Iterator[IntArray]:
    """The rows of non-empty histories, those of equal `fixed_columns` together.

    Kernels add numbers in an order that depends on a matrix's shape, not on its content, so the vector of a history
    padded like this is the same to the last bit whatever other histories are in the batch. That also takes at least
    `LEAST_ROWS` rows, since other kernels serve few rows: where there are fewer, the first row is repeated. And it
    takes even lengths: between odd matrices, which lie anywhere in memory, some kernels add in another order.
    """
    columns = fixed_columns(lengths, longest)
    for width in np.unique(columns[lengths > 0])[::-1].tolist():
        alike, most = np.flatnonzero(columns == width), max(LEAST_ROWS, batch_events // width)
        for start in range(0, len(alike), most):
            rows = alike[start : start + most]
            yield np.append(rows, np.repeat(rows[:1], max(0, LEAST_ROWS - len(rows))))


def pad(
    sequences: Sequences, rows: IntArray, device: torch.device, wanted: Targets | None = None, columns_at_least: int = 0
) -> Batch:
    """The histories at `rows`, none of them empty, as one batch; `wanted` adds the pairs to learn from, and drops the
    events at a history's end that predict nothing.
    """
    starts, lengths = sequences.offsets[rows], sequences.lengths[rows]
    columns = np.arange(max(int(lengths.max()), columns_at_least))
    at = np.where(columns < lengths[:, None], starts[:, None] + columns, 0)
    positions = targets = np.zeros(0, np.int64)
    if wanted is not None:
        count = np.where(columns < lengths[:, None], wanted.offsets[at + 1] - wanted.offsets[at], 0)
        lengths = ((count > 0) * (columns + 1)).max(axis=1)
        columns = np.arange(int(lengths.max()))
        at, count = at[:, : len(columns)], count[:, : len(columns)].ravel()
        positions = np.repeat(np.arange(count.size), count)
        inside = np.arange(len(positions)) - np.repeat(np.cumsum(count) - count, count)
        targets = wanted.targets[wanted.offsets[at.ravel()[positions]] + inside]
    mask = columns < lengths[:, None]

    def cells(values: npt.NDArray[np.integer]) -> IntArray:
        return np.where(mask, values[at], 0).astype(np.int64)

    products, events, times, here, predicting_at = to_device(
        device, cells(sequences.products), cells(sequences.events), cells(sequences.times), mask, positions
    )
    return Batch(
        rows,
        products,
        events,
        times,
        here,
        predicting_at,
        targets=sequences.products[targets].astype(np.int64),
        target_events=sequences.events[targets].astype(np.int64),
    )
