"""`python -m jobs`: the one reader of arguments, environment and clock."""

from __future__ import annotations

import os
import sys
import time
import warnings

from jobs.cli.app import app
from jobs.cli.ask import add_questions
from jobs.cli.common import (
    check_text,
    now,
    set_process_defaults,
)
from jobs.cli.models import add_models
from jobs.cli.operate import add_backfill, add_forget, add_rollback, add_serve
from jobs.cli.status import add_status
from jobs.errors import UserError

for _add in (add_rollback, add_backfill, add_status, add_questions, add_models, add_serve):
    _add(app)
add_forget(app, now, time.monotonic)


def main() -> None:
    """Run the command line; a UserError is one readable line and its exit code."""
    set_process_defaults()
    # Dependencies' notes to their own developers, of no use to an operator.
    warnings.filterwarnings("ignore", module=r"torch\.|feast\.|pyspark\.|transformers")
    try:
        check_text(sys.argv[1:])
        app(prog_name="python -m jobs")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def leave() -> None:
    """`main`, and out at once: two of some sixty runs of a short command were aborted in native code at the
    interpreter's end, after their work was done, and Airflow would have taken that for a failure.
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
