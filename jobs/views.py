"""Raw files as SQL views, one a folder, with every column a string."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import DataFrame

from jobs.errors import UserError
from jobs.lake import Lake
from jobs.rawfiles import RawFile, checked_names, csv_header
from jobs.source import Source


def check_names(files: Sequence[RawFile]) -> None:
    """Raise UserError where a raw folder's name cannot be that of a view."""
    for view in sorted({f.view for f in files}):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", view):
            raise UserError(f"the raw folder {view!r} cannot be a view's name; use letters, digits and underscores")


def register_views(lake: Lake, source: Source, every: Sequence[RawFile], files: Sequence[RawFile]) -> None:
    """One temporary view a folder of `every`; one without files of `files` is an empty view with its columns."""
    for view in sorted({f.view for f in every}):
        there = [f for f in every if f.view == view]
        read = [f for f in files if f.view == view]
        # Of files that are not read only the first tells the columns, so that a night's cost follows what it reads.
        columns = _same_columns([there[0], *(f for f in read if f != there[0])], source)
        frame = _read(lake, source, read, columns)
        frame.createOrReplaceTempView(view)


def _read(lake: Lake, source: Source, files: list[RawFile], columns: tuple[str, ...]) -> DataFrame:
    schema = ", ".join(f"`{name.replace('`', '``')}` STRING" for name in columns)
    if not files:
        return lake.spark.createDataFrame([], schema)
    paths = [str(f.path) for f in files]
    if source.directives.format == "parquet":
        return lake.spark.read.parquet(*paths)
    # Without `escape` Spark reads a doubled quote as two characters, unlike RFC 4180 and Sail.
    options = {"header": "true", "sep": source.directives.delimiter, "escape": '"'}
    return lake.spark.read.schema(schema).options(**options).csv(paths)


def _same_columns(files: list[RawFile], source: Source) -> tuple[str, ...]:
    expected = columns_of(files[0], source)
    for file in files[1:]:
        there = columns_of(file, source)
        if there != expected:
            raise UserError(
                f"the raw file {file.name} has the columns {', '.join(there)}; expected as in {files[0].name}: "
                f"{', '.join(expected)} (missing: {sorted(set(expected) - set(there)) or 'none'}, "
                f"new: {sorted(set(there) - set(expected)) or 'none'}); correct the file and run the night again"
            )
    return expected


def columns_of(file: RawFile, source: Source) -> tuple[str, ...]:
    """Column names of a raw file; raises UserError where it cannot be read."""
    if source.directives.format == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with file.path.open("rb") as stream:
                return checked_names(file, pq.read_schema(stream).names)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"the raw file {file.name} cannot be read: {error}; deliver it again") from None
    return csv_header(file, source.directives.delimiter)
