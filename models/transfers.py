"""Copies to and from a card beside its work, and the loop that keeps a card busy with batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Landing = Callable[[], Array]
"""Waits until a copy to the host is done, and gives it."""

IN_FLIGHT = 2
"""Batches that are begun before the oldest one's results are waited for: one computes while the next is prepared."""


def to_device(device: torch.device, *arrays: Array) -> tuple[torch.Tensor, ...]:
    """The arrays on `device`; on a CPU they share their memory.

    On CUDA they go through pinned buffers and a stream of their own, beside what the card computes: what is begun
    after this call waits for them, what was begun before does not, and neither does the caller.
    """
    if device.type != "cuda":
        return tuple(torch.from_numpy(array) for array in arrays)
    side, current = _stream(device, "in"), torch.cuda.current_stream(device)
    found = []
    with torch.cuda.stream(side):
        for array in arrays:
            # Torch gives a pinned buffer to nobody else before the copies out of it are done.
            pinned = torch.empty(array.shape, dtype=_dtype(array), pin_memory=True)
            pinned.numpy()[...] = array
            found.append(pinned.to(device, non_blocking=True))
    current.wait_stream(side)
    for tensor in found:  # made on one stream, used on another: the memory must outlast both
        tensor.record_stream(current)
    return tuple(found)


def to_host(tensor: torch.Tensor) -> Landing:
    """Begin to copy `tensor` to the host as it will be when what was begun on the card so far is done."""
    if tensor.device.type != "cuda":
        here: Array = tensor.numpy()
        return lambda: here
    side = _stream(tensor.device, "out")
    side.wait_stream(torch.cuda.current_stream(tensor.device))
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    with torch.cuda.stream(side):
        pinned.copy_(tensor, non_blocking=True)
        landed = side.record_event()
    tensor.record_stream(side)

    def wait() -> Array:
        landed.synchronize()
        array: Array = pinned.numpy()
        return array

    return wait


def run_batches(
    batches: Iterable[IntArray], begin: Callable[[IntArray], Landing], take: Callable[[IntArray, Array], None]
) -> None:
    """`begin` each batch of rows and `take` its results, in order, IN_FLIGHT batches at a time.

    Where the card's memory is not enough for a batch, it and all that follow are halved and tried again. Raises
    torch.OutOfMemoryError where it is not enough for one row.
    """
    waiting, flying = deque(batches), deque[tuple[IntArray, Landing]]()
    while waiting or flying:
        if waiting and len(flying) < IN_FLIGHT and (landing := _begun(begin, waiting[0], bool(flying))) is not None:
            flying.append((waiting.popleft(), landing))
        elif flying:
            rows, landing = flying.popleft()
            take(rows, landing())
        else:
            waiting = deque(half for rows in waiting for half in _halves(rows))


def _begun(begin: Callable[[IntArray], Landing], rows: IntArray, others: bool) -> Landing | None:
    """The batch's landing, None where memory is short; raises where it never will be enough."""
    try:
        return begin(rows)
    except torch.OutOfMemoryError:
        if len(rows) < 2 and not others:
            raise
    if torch.cuda.is_available():  # after the error, which holds what the batch had taken so far
        torch.cuda.empty_cache()
    return None


def _halves(rows: IntArray) -> list[IntArray]:
    return [half for half in np.array_split(rows, 2) if len(half)]


def _dtype(array: Array) -> torch.dtype:
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


@cache
def _stream(device: torch.device, way: str) -> torch.cuda.Stream:
    """The one stream of copies `in` or `out`."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
