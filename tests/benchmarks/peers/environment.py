"""RecTools' own environment: its pins contradict ours (numpy, attrs), so it never enters .venv."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.repository import REPOSITORY

REQUIREMENTS = Path(__file__).with_name("rectools_requirements.txt")
FOLDER = REPOSITORY / "var/peers/rectools"


STAMP = FOLDER / "requirements.sha256"
"""Says what the environment was made from."""


def rectools_is_made() -> bool:
    """Whether the environment is there as it is wanted."""
    return STAMP.exists() and STAMP.read_text("utf-8") == _wanted()


def rectools_python() -> Path:
    """The interpreter of an environment with exactly the pinned requirements; made on first use, by uv."""
    python = FOLDER / "bin/python"
    if rectools_is_made():
        return python
    uv = _uv()
    print(f"making RecTools' environment in {FOLDER.relative_to(REPOSITORY)} ..", flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(FOLDER)], check=True)
    # Compiled once here: where Python may not write bytecode, every start would compile all of torch, for a minute.
    sync = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(python), str(REQUIREMENTS)]
    subprocess.run(sync, check=True)
    STAMP.write_text(_wanted(), "utf-8")
    return python


def _wanted() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise FileNotFoundError("uv is neither beside this Python nor on the PATH; `make setup` installs it")
    return found
