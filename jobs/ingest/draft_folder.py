"""Drafts a source from the headers and some rows of the files in a raw folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from jobs.errors import UserError
from jobs.ingest.draft import draft_source
from jobs.ingest.files import RawFile
from jobs.ingest.formats import Findings, format_of
from jobs.ingest.guesses import SampledView, quoted_name, sampled_view
from jobs.ingest.raw_files import FEW, list_raw_files, stem, told
from jobs.ingest.source import Directives, Source
from jobs.ingest.text import BROKEN
from jobs.text import clean

SAMPLE_ROWS = 2_000
"""Rows of a file that guesses are made from."""
SAMPLE_FILES = 5
"""Files of a view that they come from."""
MOST_HEADERS = 50
"""Files of a folder whose headers are compared."""


def draft_of_folder(raw: Path) -> str:
    """A source for the files below `raw`; raises UserError where none can be read, or files in a folder differ."""
    nothing = Source(raw, Directives(), {})
    folder = list_raw_files(raw, nothing)
    views = {file.view: [f for f in folder.files if f.view == file.view] for file in folder.files}
    sampled = [_sampled(view, files) for view, files in views.items()]
    text = draft_source(sampled, f"A draft for the raw files in {clean(str(raw))}, from their headers and some rows.")
    if any(BROKEN in value for view in sampled for column in view.columns for value in column.present):
        text = text.replace("\n\n-- events", '\n--! encoding = "windows-1252"\n\n-- events', 1)
    return text + (f"-- not read: {told(folder.not_read)}\n" if folder.not_read else "")


def _sampled(view: str, files: Sequence[RawFile]) -> SampledView:
    """Rows of the first, the last and some files between."""
    _check_kinds(view, files)
    step = max(1, (len(files) - 1) // (SAMPLE_FILES - 1))
    chosen = list(dict.fromkeys([*files[::step][: SAMPLE_FILES - 1], files[-1]]))
    columns: dict[str, list[str | None]] = {}
    spelled: dict[str, str] = {}
    for file in chosen:
        before = len(next(iter(columns.values()), []))
        for name, values in _first_rows(file).items():
            column = columns.setdefault(spelled.setdefault(name.casefold(), name), [None] * before)
            column += values
        longest = max(map(len, columns.values()), default=0)
        for column in columns.values():
            column += [None] * (longest - len(column))
    days = tuple(file.day for file in files if file.day)
    return sampled_view(quoted_name(view), columns, days)


def _first_rows(file: RawFile) -> dict[str, list[str | None]]:
    """Column -> its values in the first rows of a file."""
    raw_format = format_of(file, Directives())
    tables = []
    for batch in raw_format.batches(file, Findings()):
        tables.append(pa.Table.from_batches([batch]))
        if sum(map(len, tables)) >= SAMPLE_ROWS:
            break
    if not tables:
        return {name: [] for name in raw_format.columns(file)}
    rows = pa.concat_tables(tables, promote_options="default").slice(0, SAMPLE_ROWS)
    return dict(rows.to_pydict())


def _check_kinds(view: str, files: Sequence[RawFile]) -> None:
    """Raise UserError where the files of a folder are of different kinds, with the commands that part them."""
    kinds: dict[frozenset[str], list[RawFile]] = {}
    # JSON objects may leave out any key.
    for file in [file for file in files if file.kind != "jsonl"][:MOST_HEADERS]:
        columns = frozenset(name.casefold() for name in format_of(file, Directives()).columns(file))
        same = next((kind for kind in kinds if kind <= columns or columns <= kind), columns)
        kinds.setdefault(same, []).append(file)
    if len(kinds) > 1:
        parts = [(re.sub(r"\W+", "_", stem(of[0].name)).strip("_").lower(), of) for of in kinds.values()]
        moves = "; ".join(f"{', '.join(clean(f.name) for f in of[:FEW])} into {name}/" for name, of in parts)
        raise UserError(
            f"the raw folder's {view} has files of {len(kinds)} kinds, with other columns: put each kind into a "
            f"sub-folder of its own, whose name is then its view's: {moves}"
        )
