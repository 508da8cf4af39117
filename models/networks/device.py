"""Where torch computes, how much fits there, and how a computation there is made repeatable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.contract import Compute

MEMORY_SHARE = 0.6
"""Of a card's free memory that one batch may take. The rest is for the next batch's inputs, for fragments and the
workspaces of cuBLAS, and for whoever shares the card."""
BF16_TOLERANCE = 0.02
"""How far a number of a customer vector of length 1 may lie from float32's where matrix products are of bfloat16.
It keeps 8 bits, so a number of size 1 is off by up to 2^-9 = .002, and by a few of these after a few layers. Measured
on a CPU's bfloat16, on trained transformers of width 64 and 128 with 2 and 3 blocks: at most .0031, .0002 on average;
NDCG@10 differed by .0002 and 99.8 % of the products in lists of 24 were the same. A card rounds at other places, hence
some times that."""


def pick(compute: Compute) -> torch.device:
    """The device that `compute.device` names.

    Raises ValueError for an unknown name, and for `cuda` on a machine without one.
    """
    present = torch.cuda.is_available()
    if compute.device == "auto":
        return torch.device("cuda" if present else "cpu")
    if compute.device not in ("cpu", "cuda"):
        raise ValueError(f"device {compute.device!r} is not one of auto, cpu, cuda")
    if compute.device == "cuda" and not present:
        raise ValueError("device 'cuda' was asked for, but torch sees no NVIDIA GPU here; use auto or cpu")
    return torch.device(compute.device)


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast on CUDA, which needs no loss scaling; plain float32 on a CPU, where bf16 is slower."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, float32 matrix products are of float32 and not of TF32's 11 bits, whatever the process has set.

    For scores: a softmax divides them by a small temperature, and a search orders by their last bits.
    """
    was = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(was)


def free_memory(device: torch.device) -> int | None:
    """Bytes of a card that nobody uses, with what torch holds back for itself; None on a CPU, where batches are sized
    by its caches.
    """
    if device.type != "cuda":
        return None
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + held


def peak_memory(device: torch.device, work: Callable[[], object]) -> int:
    """Bytes of the card that `work` holds at its most, beyond what was held before; it is run once."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before


def cells_within(free: int, cell: float, least: int, most: int) -> int:
    """Cells of `cell` bytes each that take MEMORY_SHARE of `free` bytes, but from `least` to `most`."""
    return int(min(most, max(least, MEMORY_SHARE * free // max(cell, 1))))


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, every torch draw follows from `seed` and kernels are deterministic; the caller's state comes back after.

    On CUDA a kernel without a deterministic variant only warns: cuBLAS promises equal sums only under an
    environment variable, which is the caller's to set.
    """
    # Not use_deterministic_algorithms: the same switch, but it imports the compiler, which takes 7 s.
    was = torch.get_deterministic_debug_mode()
    buffers: Any = torch.utils.deterministic  # its flag is a property that type checkers do not see
    filled = buffers.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_deterministic_debug_mode("warn" if device.type == "cuda" else "error")
        # Filling every fresh buffer guards against reading it unwritten; no kernel used here does, and it costs time.
        buffers.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(was)
            buffers.fill_uninitialized_memory = filled


# Copies to and from a card beside its work, and the loop that keeps a card busy with batches.

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
