"""Measures the memory of this process, and keeps freed memory from piling up in it."""

from __future__ import annotations

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

M_ARENA_MAX, HEAPS = -8, 2
"""Of mallopt(3). By default there are eight heaps for each core, and each keeps much of what its threads have freed."""


def share_heaps() -> None:
    """Let all threads that this process will start share HEAPS heaps of the C library."""
    with suppress(AttributeError):  # glibc alone has it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS)


def peak_memory_mb() -> float:
    """Peak resident memory of this process since it began or handed memory back, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def hand_back_memory() -> None:
    """Give freed memory back to the system, and measure the peak of what follows anew."""
    import pyarrow as pa  # not at the top: heaps are shared before Arrow starts its threads

    gc.collect()
    gc.freeze()  # what is left stays, modules above all, so that the next collection need not look at it again
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux alone has it, and not every container lets it be written
        Path("/proc/self/clear_refs").write_text("5")
