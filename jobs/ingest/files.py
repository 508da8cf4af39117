"""Describes one file of the raw folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from jobs.errors import UserError
from jobs.ingest.source import Directives

Kind = Literal["csv", "tsv", "txt", "jsonl", "parquet"]


@dataclass(frozen=True)
class RawFile:
    """One file of the raw folder."""

    path: Path
    name: str
    """Path below the raw folder, its identity in the table raw_files."""
    view: str
    """The SQL view that its rows are in."""
    day: date | None
    """The day in its name (YYYY-MM-DD); None for a file that grows or is replaced whole."""
    bytes: int
    kind: Kind = "csv"


def too_large(file: RawFile, directives: Directives) -> UserError:
    """The error for a file that exceeds `max_file_mb`."""
    return UserError(
        f"the raw file {file.name} ({file.bytes:,} bytes) holds more than max_file_mb = {directives.max_file_mb} MiB "
        "when it is unpacked; split it, or raise max_file_mb in the source"
    )
