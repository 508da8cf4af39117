"""What the tests of rules begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.lake.lake import Lake


@pytest.fixture
def bare_lake(tmp_path: Path) -> Lake:
    """An empty lake without an engine: rules need none."""
    return Lake(tmp_path / "lake")


@pytest.fixture
def rules_file(tmp_path: Path) -> Any:
    """rules_file(text or bytes): a csv file of rules."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "rules.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
