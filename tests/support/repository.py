"""Names the repository's folder, from which tests and benchmarks start processes."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
