"""From histories to padded torch batches: windows, (position, target) pairs, length buckets.

Legend: B histories in a batch, L padded length, P pairs. Batches are left-aligned (a history's oldest event is
column 0, padding is on the right): a causal model then never reads padding before a real event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.sequences import Sequences

IntArray = npt.NDArray[np.int64]


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


def next_basket_sizes(sequences: Sequences) -> IntArray:
    """[events]: how many events the event at each position must predict; they are the ones right after it.

    Events of one history at the same time are one basket. The last event of a basket predicts every event of the
    next basket of that history; all other events predict nothing, so no event is predicted from its own basket,
    and every event outside a first basket is a target exactly once. Where all times differ this is plain
    next-product prediction.
    """
    total = len(sequences.products)
    if total == 0:
        return np.zeros(0, dtype=np.int64)
    opens_history = np.zeros(total + 1, dtype=bool)
    opens_history[sequences.offsets] = True
    opens_basket = opens_history.copy()
    opens_basket[1:-1] |= sequences.times[1:] != sequences.times[:-1]
    starts = np.flatnonzero(opens_basket)  # the end of the data closes the last basket
    sizes = np.diff(starts)
    result = np.zeros(total, dtype=np.int64)
    inner = ~opens_history[starts[1:-1]]
    result[starts[1:-1][inner] - 1] = sizes[1:][inner]
    return result


def windows(sequences: Sequences, length: int) -> Sequences:
    """The same events, with histories of over `length` events cut into pieces, the newest piece full.

    Events keep their places in the flat arrays, so that `next_basket_sizes` of the uncut histories still points
    at the right targets, also across a cut. Empty histories vanish.
    """
    pieces = -(-sequences.lengths // length)
    first = np.cumsum(pieces) - pieces
    back = np.repeat(pieces, pieces) - (np.arange(pieces.sum()) - np.repeat(first, pieces))
    starts = np.maximum(
        np.repeat(sequences.offsets[1:], pieces) - back * length, np.repeat(sequences.offsets[:-1], pieces)
    )
    offsets = np.append(starts, len(sequences.products)).astype(np.int64)
    return Sequences(offsets, sequences.products, sequences.events, sequences.times)


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


def pad(sequences: Sequences, rows: IntArray, device: torch.device, sizes: IntArray | None = None) -> Batch:
    """The histories at `rows`, none of them empty, as one batch; `sizes` (`next_basket_sizes`) adds the pairs."""
    lengths = sequences.lengths[rows]
    columns = np.arange(int(lengths.max()))
    mask = columns < lengths[:, None]
    at = np.where(mask, sequences.offsets[rows][:, None] + columns, 0)
    positions, targets = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if sizes is not None:
        count = np.where(mask, sizes[at], 0).ravel()
        positions = np.repeat(np.arange(count.size), count)
        inside = np.arange(len(positions)) - np.repeat(np.cumsum(count) - count, count)
        targets = sequences.products[at.ravel()[positions] + 1 + inside].astype(np.int64)

    def place(values: npt.NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    def cells(values: npt.NDArray[np.integer]) -> torch.Tensor:
        return place(np.where(mask, values[at], 0).astype(np.int64))

    return Batch(
        rows,
        products=cells(sequences.products),
        events=cells(sequences.events),
        times=cells(sequences.times),
        mask=place(mask),
        positions=place(positions),
        targets=targets,
    )
