"""Identifies a run of a step, and holds the counts that a step returns."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

Progress = Callable[[str, int, int], None]


def silent(_what: str, _done: int, _total: int) -> None:
    """A Progress that reports nothing."""


@dataclass(frozen=True)
class Run:
    """Identity of one run of a step. No step reads a clock to decide what to compute."""

    as_of: date
    """The night; it knows all events strictly before 00:00 UTC of this day."""
    run_id: str
    """Follows from night, source and settings, so that the same command finds its own work again."""
    started_at: datetime
    """UTC, given by the entry point; the step publish records it as the time of publication."""
    progress: Progress = silent
    """Called with (what is counted, done so far, total)."""
    clock: Callable[[], float] = lambda: 0.0
    """Seconds from an arbitrary start, given by the entry point: measures costs, and decides nothing."""
    code_version: str = ""
    """Version of the package and commit of its checkout, for the record."""
    config_hash: str = ""
    """Hash of the settings, for the record."""

    @property
    def midnight(self) -> datetime:
        """The first instant after the night's events, UTC."""
        return datetime(self.as_of.year, self.as_of.month, self.as_of.day, tzinfo=UTC)


@dataclass(frozen=True)
class Counts:
    """The figures of a step, for the ledger and the summary."""

    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    note: str = ""


def fingerprint(settings: object) -> str:
    """16 hex digits of sha256 over a dataclass's or JSON value's content."""
    whole = dataclasses.is_dataclass(settings) and not isinstance(settings, type)
    plain = dataclasses.asdict(settings) if whole else settings  # type: ignore[call-overload]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
