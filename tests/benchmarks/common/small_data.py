"""Small files and problems for the tests of the offline benchmarks."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common.presets import Preset

TINY = Preset(
    sessions=None, test_rows=30, validation_share=0.2, validation_rows=20, trials=2, trial_sessions=40, trial_epochs=1,
    finalists=1, epochs=(1, 2), amf_passes=2, width=8, layers=1, heads=1, max_length=5, negatives=16, batch_events=256,
)  # fmt: skip


def write_lines(path: Path, lines: list[Any]) -> Path:
    """JSON lines, gzipped where the name says so."""
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def session_files(folder: Path) -> tuple[Path, Path]:
    """60 sessions that walk up a ladder of 12 products, and 20 rows that go on doing so; one target is unknown."""
    random = np.random.default_rng(5)
    starts = random.integers(0, 12, 60)
    train = [{"items": [int((start + step) % 12) for step in range(4)]} for start in starts]
    test = [{"items": [int(start), int(start + 1) % 12], "target": int(start + 2) % 12} for start in starts[:19]]
    test.append({"items": [1], "target": "never seen"})
    return write_lines(folder / "train.jsonl.gz", train), write_lines(folder / "test.jsonl", test)
