"""Measures the memory of this process, and gives back to the system what a step no longer uses."""

from __future__ import annotations

import ctypes
import gc
import resource
from contextlib import suppress
from pathlib import Path

import pyarrow as pa


def peak_memory_mb() -> float:
    """Peak resident memory of this process since it began or handed memory back, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def hand_back_memory() -> None:
    """Give freed memory back to the system, and measure the peak of what follows anew."""
    gc.collect()
    gc.freeze()  # what is left stays, modules above all, so that the next collection need not look at it again
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux alone has it, and not every container lets it be written
        Path("/proc/self/clear_refs").write_text("5")
