"""Stages raw files as Parquet, each once a night, and registers the views that a source's SELECTs read.

The engines read staged files alone. So they give equal rows whatever dialect a file is in, a column is found by its
name, and a row that is malformed or a file that is damaged is named before an engine sees it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import UserError
from jobs.ingest.files import RawFile
from jobs.ingest.formats import Findings, format_of
from jobs.ingest.source import Source, alternatives, double_quoted, named_columns
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.text import clean

ROW_GROUP = 1 << 17
"""Rows that are written together at least: many small groups take an engine long to read."""
MOST_THREADS = 8
"""Most files that are read at once; each takes some megabytes."""


@dataclass(frozen=True)
class StagedFile:
    """A raw file as Parquet with text columns."""

    file: RawFile
    path: Path
    columns: tuple[str, ...]
    rows: int
    findings: Findings


class ParquetFolder:
    """Writes batches as Parquet files, one for each set of columns: JSON objects may have other keys later on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._writers: dict[tuple[str, ...], pq.ParquetWriter] = {}
        self._waiting: list[pa.RecordBatch] = []
        self.rows = 0

    def __enter__(self) -> ParquetFolder:
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:
            self._flush()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all batches, in the order of the first."""
        return tuple(dict.fromkeys(name for names in self._writers for name in names))

    def add(self, batch: pa.RecordBatch) -> None:
        """Write a batch, together with others of its columns."""
        if self._waiting and self._waiting[0].schema != batch.schema:
            self._flush()
        self._waiting.append(batch)
        self.rows += batch.num_rows
        if sum(each.num_rows for each in self._waiting) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            names = tuple(table.column_names)
            if names not in self._writers:
                path = self._folder / f"{len(self._writers)}.parquet"
                file = self._open.enter_context(path.open("wb"))
                writer = pq.ParquetWriter(file, table.schema, write_statistics=False)
                self._writers[names] = self._open.enter_context(writer)
            self._writers[names].write_table(table, row_group_size=max(len(table), 1))
        self._waiting = []


class StagedFiles:
    """The raw files that a night has read so far, staged below `folder`."""

    def __init__(self, lake: Lake, run: Run, source: Source, folder: Path) -> None:
        self._lake, self._run, self._source, self._folder = lake, run, source, folder
        self._staged: dict[str, StagedFile] = {}
        self._spelled: dict[tuple[str, str], str] = {}
        """(view, column in small letters) -> the spelling of the first file: engines differ on capitals in Parquet."""

    def stage(self, files: Iterable[RawFile]) -> None:
        """Read files that were not read yet; raises UserError for the first one that cannot be."""
        todo = [file for file in files if file.name not in self._staged]
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = range(len(self._staged), len(self._staged) + len(todo))
        with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
            for done, staged in enumerate(threads.map(self._stage, todo, numbers), start=1):
                self._staged[staged.file.name] = staged
                self._run.progress("raw files", done, len(todo))

    def _stage(self, file: RawFile, number: int) -> StagedFile:
        findings = Findings()
        folder = self._folder / f"{number:06}"
        folder.mkdir()
        with ParquetFolder(folder) as parts:
            for batch in format_of(file, self._source.directives).batches(file, findings):
                parts.add(batch.rename_columns(self._spelling(file, batch.schema.names)))
        return StagedFile(file, folder, parts.columns, parts.rows, findings)

    def of(self, files: Iterable[RawFile]) -> list[StagedFile]:
        """Those of these files that were read."""
        return [self._staged[file.name] for file in files if file.name in self._staged]

    def columns(self, file: RawFile) -> tuple[str, ...]:
        """The columns of a file, from its header where it was not read."""
        staged = self._staged.get(file.name)
        return (
            staged.columns if staged else self._spelling(file, format_of(file, self._source.directives).columns(file))
        )

    def _spelling(self, file: RawFile, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self._spelled.setdefault((file.view, name.casefold()), name) for name in names)

    def register(self, statement: str, every: Sequence[RawFile], files: Sequence[RawFile]) -> None:
        """One temporary view a folder of `every`, with the rows of `files`, for a SELECT.

        A file that lacks a column of another one has null there. Raises UserError where the SELECT names a column that
        an earlier file of the folder has, without an alternative that the file has, and in double quotes one that any
        file has.
        """
        self.stage(files)
        for view in sorted({file.view for file in every}):
            of_view = [file for file in every if file.view == view]
            read = [file for file in files if file.view == view]
            # Of files that are not read only the first and the last tell columns: a night's cost follows what it reads.
            told = list(dict.fromkeys([of_view[0], *read, of_view[-1]]))
            columns = self._columns(statement, told)
            schema = ", ".join(f"`{name.replace('`', '``')}` STRING" for name in columns)
            paths = [str(staged.path) for staged in self.of(read) if staged.rows]
            if paths:
                frame = self._lake.spark.read.schema(schema).parquet(*paths)
            else:
                frame = self._lake.spark.createDataFrame([], schema)
            frame.createOrReplaceTempView(view)

    def _columns(self, statement: str, files: list[RawFile]) -> list[str]:
        """The columns of all these files, each as the first one writes it."""
        named, quoted = named_columns(statement), double_quoted(statement)
        found: dict[str, RawFile] = {}
        for file in files:
            own = self.columns(file)
            gone = [name for name in found if name not in own and (named is None or name.lower() in named)]
            gone = [name for name in gone if not self._renamed(statement, name, found[name], own)]
            if gone and file.kind != "jsonl":  # a JSON object may leave out what it has no value for
                raise _lacks(file, gone, found[gone[0]], [name for name in own if name not in found])
            for name in own:
                found.setdefault(name, file)
        if not found:
            bad = [f"{row.reason} in line {row.line}" for staged in self.of(files) for row in staged.findings.malformed]
            raise UserError(
                f"the raw file {files[0].name} holds no row that can be read "
                f"({', '.join(bad[:3]) or 'only blank lines'}); correct it, or take it away"
            )
        if wrong := sorted(quoted & found.keys()):
            raise UserError(
                f'{self._source.path}: "{clean(wrong[0])}" in double quotes is a text, the same in every row, though '
                f"the raw files have a column of that name; write it in backticks: `{clean(wrong[0])}`"
            )
        return list(found)

    def _renamed(self, statement: str, name: str, of: RawFile, own: Sequence[str]) -> bool:
        """Whether the SELECT reads a column by another name too, which these columns have and its own file has not."""
        new = {other.lower() for other in set(own) - set(self.columns(of))}
        return any(name.lower() in either and either & new for either in alternatives(statement))


def _lacks(file: RawFile, gone: Sequence[str], of: RawFile, new: Sequence[str]) -> UserError:
    return UserError(
        f"the raw file {file.name} lacks {', '.join(map(clean, gone))}, which {of.name} in the same folder has "
        f"(it has new: {', '.join(map(clean, new)) or 'none'}). If they are of one kind, correct the file, or name "
        "both where a column has another name now: coalesce(old, new); if not, put each kind of file into a sub-folder "
        "of its own, whose name is then its view's"
    )
