"""Chooses the device that torch computes on, copies batches to and from it, and makes computations reproducible."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.contract import Compute

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Landing = Callable[[], Array]
"""Waits until a copy to the host is done, and returns it."""

IN_FLIGHT = 2
"""Batches that are begun before the oldest one's results are waited for: one computes while the next is prepared."""
BF16_TOLERANCE = 0.02
"""How far a number of a customer vector of length 1 may lie from float32's where matrix products are in bfloat16.

bfloat16 keeps 8 bits, so a number of size 1 is off by up to 2^-9 = .002, and by a few times that after a few layers.
Measured in a CPU's bfloat16, on trained transformers of width 64 and 128 with 2 and 3 blocks: at most .0031, .0002 on
average; NDCG@10 differed by .0002 and 99.8 % of the products in lists of 24 were the same. A GPU rounds
at other places, hence the larger tolerance."""


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
    """Inside, float32 matrix products keep float32's bits and not TF32's 11, whatever the process has set.

    Scores need it: a softmax divides them by a small temperature, and a search orders by their last bits.
    """
    was = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(was)


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, every torch draw follows from `seed` and kernels are deterministic; the caller's state is restored after.

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
        # Filling fresh buffers guards against kernels that read them unwritten; none used here does, and it costs time.
        buffers.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(was)
            buffers.fill_uninitialized_memory = filled


def to_device(device: torch.device, *arrays: Array) -> tuple[torch.Tensor, ...]:
    """The arrays on `device`; on a CPU they share their memory.

    On CUDA they are copied from pinned buffers, so that the caller does not wait for work that the GPU has begun.
    """
    if device.type != "cuda":
        return tuple(torch.from_numpy(array) for array in arrays)
    # torch.tensor copies, since an array may be read-only; torch reuses a pinned buffer only after the copy out of it.
    return tuple(torch.tensor(array).pin_memory().to(device, non_blocking=True) for array in arrays)


def to_host(tensor: torch.Tensor) -> Landing:
    """Begin to copy `tensor` to the host, after the GPU's work so far."""
    if tensor.device.type != "cuda":
        here: Array = tensor.numpy()
        return lambda: here
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    landed = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> Array:
        landed.synchronize()
        array: Array = pinned.numpy()
        return array

    return wait


def run_batches(
    batches: Iterable[IntArray], begin: Callable[[IntArray], Landing], take: Callable[[IntArray, Array], None]
) -> None:
    """`begin` each batch of rows and `take` its results, in order, IN_FLIGHT batches at a time.

    Where memory is short for a batch, it and all that follow are halved and tried again. Raises torch.OutOfMemoryError
    where it is not enough for one row.
    """
    waiting, flying = deque(batches), deque[tuple[IntArray, Landing]]()
    while waiting or flying:
        if waiting and len(flying) < IN_FLIGHT and (landing := _begun(begin, waiting[0], bool(flying))) is not None:
            flying.append((waiting.popleft(), landing))
        elif flying:
            rows, landing = flying.popleft()
            take(rows, landing())
        else:
            waiting = deque(half for rows in waiting for half in np.array_split(rows, 2) if len(half))


def run_in_threads(
    batches: Iterable[IntArray], begin: Callable[[IntArray], Landing], take: Callable[[IntArray, Array], None]
) -> None:
    """`begin` each batch on a CPU and `take` its results, in order: as many batches at once as torch has threads, each
    in one of them.

    torch itself would divide every small operation among its threads. Where a core is busy with something else, they
    wait for each other many times longer than they compute; and the last bits of a result depend on their number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            run = map if threads == 1 else pool.map
            for rows, array in run(lambda rows: (rows, begin(rows)()), batches):
                take(rows, array)
    finally:
        torch.set_num_threads(threads)


def _begun(begin: Callable[[IntArray], Landing], rows: IntArray, others: bool) -> Landing | None:
    """The batch's landing, or None where memory is short; raises where one row does not fit and no `others` run."""
    try:
        return begin(rows)
    except torch.OutOfMemoryError:
        if len(rows) < 2 and not others:
            raise
    if torch.cuda.is_available():  # outside the except clause: the error holds the memory that the batch had taken
        torch.cuda.empty_cache()
    return None
