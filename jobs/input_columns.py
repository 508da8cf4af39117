"""Which columns the raw files have: a figure of the table `inputs`, so that one that is gone is noticed."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.lake import Lake, night
from jobs.rawfiles import RawFile
from jobs.run import Run
from jobs.source import Source
from jobs.tables import INPUTS
from jobs.views import columns_of

COLUMNS = "columns"
"""1 for each `column VIEW.NAME` of the raw files."""


def record_columns(lake: Lake, run: Run, files: Sequence[RawFile], source: Source) -> None:
    """Add the columns of each view's newest file to the night's figures."""
    newest = {file.view: file for file in files}
    rows = [
        {"figure": COLUMNS, "slice": f"column {view}.{name}", "value": 1.0}
        for view, file in newest.items() for name in dict.fromkeys(columns_of(file, source))
    ]  # fmt: skip
    lake.replace_rows(INPUTS, rows, run, where=f"{night(run.as_of)} AND figure = '{COLUMNS}'")
