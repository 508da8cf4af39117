"""Where torch computes, and how a computation there is made repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from models.contract import Compute


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
