"""Computes batches in a thread, a few ahead of their writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Batch = TypeVar("Batch")


@contextmanager
def prefetched(batches: Iterator[Batch], ahead: int = 2) -> Iterator[Iterator[Batch]]:
    """Compute batches in a thread of their own, at most `ahead` ahead of the writer.

    The writer pulls batches inside its own runtime, where reading another Delta table would fail; and an error of a
    batch reaches the caller unchanged instead of as an error of the writer.
    """
    handed: Queue[Batch | None] = Queue(maxsize=ahead)
    failures: list[BaseException] = []
    stopped = Event()

    def hand(batch: Batch | None) -> None:
        while not stopped.is_set():
            with suppress(Full):
                handed.put(batch, timeout=0.2)
                return

    def work() -> None:
        try:
            for batch in batches:
                hand(batch)
        except BaseException as error:  # raised again in the thread that writes
            failures.append(error)
        hand(None)

    def handed_over() -> Iterator[Batch]:
        while (batch := handed.get()) is not None:
            yield batch
        if failures:
            raise RuntimeError("a batch could not be computed")  # aborts the write before it commits

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield handed_over()
    except Exception:
        if failures:
            raise failures[0] from None
        raise
    finally:
        stopped.set()
        thread.join()
