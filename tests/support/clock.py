"""Keeps a clock for made nights that goes on by one second each time it is read, in all workers of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_seconds = 0


def tick() -> datetime:
    """The next second."""
    go_on_from(_seconds + 1)
    return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=_seconds)


def seconds_gone() -> int:
    """Seconds that the clock has gone on."""
    return _seconds


def go_on_from(seconds: int) -> None:
    """Let the clock be no earlier: what another worker made has times of its clock."""
    global _seconds
    _seconds = max(_seconds, seconds)
