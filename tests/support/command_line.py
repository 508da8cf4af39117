"""Runs `python -m jobs` in this process, or in one of its own where the process itself is what a test is about."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from jobs.__main__ import main
from tests.support.repository import REPOSITORY


def _environment(root: Path | str, variables: dict[str, str]) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTRAIL", "SPARK"))} | variables
    return environment | {"NIGHTRAIL_ROOT": str(root), "COLUMNS": "200"}


def jobs(root: Path | str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m jobs ..` in this process, in the repository's folder."""
    out, err, code = StringIO(), StringIO(), 0
    with (
        chdir(REPOSITORY), patch.dict(os.environ, _environment(root, variables), clear=True),
        patch.object(sys, "argv", ["jobs", *arguments]), redirect_stdout(out), redirect_stderr(err),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def jobs_process(root: Path | str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m jobs ..` in a process of its own."""
    return python_process(root, "-m", "jobs", *arguments, **variables)


def python_process(root: Path | str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python ..` in the environment of a command."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=_environment(root, variables), cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
