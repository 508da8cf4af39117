"""Writes rows for other tools as CSV or NDJSON, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa

from jobs.errors import UserError
from jobs.lake.storage import write_whole

SUFFIXES = (".csv", ".ndjson")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula where a text begins with it."""
AT_ONCE = 65_536


def check_export(out: Path) -> None:
    """Raise UserError unless `out` ends in .csv or .ndjson."""
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out {out}: give a file that ends in {' or '.join(SUFFIXES)}")


def export(rows: pa.Table, out: Path) -> None:
    """Write the rows in their order.

    NDJSON has values as they are. In CSV, lists are JSON, and a text that a spreadsheet would take for a formula has an
    apostrophe before it. Raises UserError where the file cannot be written.
    """
    text = "".join(_csv(rows) if out.suffix == ".csv" else _ndjson(rows))
    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}; give --out another place") from None


def _ndjson(rows: pa.Table) -> Iterator[str]:
    for batch in rows.to_batches(AT_ONCE):
        for row in batch.to_pylist():
            yield json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False) + "\n"


def _csv(rows: pa.Table) -> Iterator[str]:
    for place, batch in enumerate(rows.to_batches(AT_ONCE) or [rows]):
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        if not place:
            writer.writerow(rows.column_names)
        writer.writerows([_cell(value) for value in row.values()] for row in batch.to_pylist())
        yield content.getvalue()


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date | datetime) else value


def _cell(value: object) -> object:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return _plain(value)
