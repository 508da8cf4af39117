"""Makes what is costly once for all workers of a test run, and copies lakes by linking their data files."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clock import go_on_from, seconds_gone


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, in one worker of the run; the others wait for it. Copy it before changing it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once" / name
    folder.parent.mkdir(exist_ok=True)
    made = folder.with_name(f"{name}.made")
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.write_text(str(seconds_gone()))
        go_on_from(int(made.read_text()))
    return folder


def copy_of_lake(lake: Path, copy: Path) -> Path:
    """A copy of a lake. Parquet files are linked, since Delta never writes into one; whatever else there is is copied,
    so that a test can damage it.
    """
    shutil.copytree(lake, copy, copy_function=_link_or_copy)
    return copy


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
