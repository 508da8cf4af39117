"""Runs the command line `python -m jobs`."""

from __future__ import annotations

import os
import sys
import warnings

# Importing them registers their commands, in the order of the help.
from jobs.cli import night, source  # noqa: F401

# isort: split
from jobs.cli import operate, status  # noqa: F401

# isort: split
from jobs.cli import ask, models  # noqa: F401
from jobs.cli.common import app, check_text, set_process_defaults
from jobs.errors import UserError


def main() -> None:
    """Run the command line; a UserError becomes one readable line and its exit code."""
    set_process_defaults()
    # Warnings of dependencies to their own developers are of no use to an operator.
    warnings.filterwarnings("ignore", module=r"torch\.|feast\.|pyspark\.|transformers")
    try:
        check_text(sys.argv[1:])
        app(prog_name="python -m jobs")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def leave() -> None:
    """Run `main` and end the process at once.

    Two of about sixty runs of a short command were aborted in native code while the interpreter shut down, after their
    work was done; Airflow would have taken that for a failure.
    """
    try:
        main()
        code = 0
    except SystemExit as left:
        if isinstance(left.code, str):
            raise
        code = left.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave()
