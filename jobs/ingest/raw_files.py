"""Lists the files of the raw folder: those that a night reads, and every other one with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from jobs.errors import UserError
from jobs.ingest.files import Kind, RawFile
from jobs.ingest.source import Source, own_queries, relations
from jobs.lake import storage
from jobs.tables.impressions import IMPRESSIONS
from jobs.text import clean

TOP_LEVEL = "raw"
"""The view of the files that lie in the raw folder itself; files in a sub-folder are a view of its name."""
KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
PACKINGS = (".gz", ".zst", ".zstd", ".zip")
SUFFIXES = "csv, tsv, txt, jsonl, ndjson (each also with .gz, .zst or .zip), parquet"
FORMAT_OF: dict[Kind, str] = {"csv": "csv", "tsv": "csv", "txt": "csv", "jsonl": "jsonl", "parquet": "parquet"}
"""Kind of file -> the word for it in the directive `format`."""
REMEDIES = {
    ".xlsx": "save the sheet as csv",
    ".xls": "save the sheet as csv",
    ".rar": "unpack it",
    ".7z": "unpack it",
    ".tar": "unpack it",
    ".tgz": "unpack it",
    ".bz2": "unpack it",
    ".xz": "unpack it",
    ".sql": "export its tables as csv",
    ".xml": "convert it to csv or JSON lines",
    ".avro": "convert it to parquet",
    ".orc": "convert it to parquet",
}
ABOUT = re.compile(r"(readme|licen[cs]e|changelog)\b", re.IGNORECASE)
"""Beginnings of the names of files about the data."""
FEW = 3
"""Files that a sentence names; of more it says how many."""


@dataclass(frozen=True)
class NotRead:
    """A file that a night does not read."""

    name: str
    """Path below the raw folder."""
    reason: str
    """Why, and what to do where it should be read."""


@dataclass(frozen=True)
class RawFolder:
    """The files of a raw folder, by name."""

    path: Path
    files: list[RawFile]
    not_read: list[NotRead]

    def of_night(self, as_of: date) -> RawFolder:
        """The folder as a night sees it: files of its own day and of later days wait."""
        later = [f.day for f in self.files if f.day and f.day >= as_of]
        why = f"for nights from {min(later) + timedelta(days=1)} on, by the day in the name" if later else ""
        waiting = [NotRead(f.name, why) for f in self.files if f.day and f.day >= as_of]
        read = [f for f in self.files if not f.day or f.day < as_of]
        return RawFolder(self.path, read, [*self.not_read, *waiting])

    def named_by(self, source: Source) -> RawFolder:
        """Without the files of folders that no SELECT names.

        Raises UserError where a SELECT names a view that is not there.
        """
        check_relations(source, self)
        named = frozenset().union(*(relations(statement) for statement in source.statements.values()))
        others = [NotRead(f.name, "no SELECT reads its folder") for f in self.files if f.view.lower() not in named]
        if len(others) == len(self.files):  # a source of constants
            return self
        return RawFolder(self.path, [f for f in self.files if f.view.lower() in named], [*self.not_read, *others])


def list_raw_files(raw: Path, source: Source) -> RawFolder:
    """Every file below `raw`; raises UserError where none can be read."""
    if not raw.is_dir():
        raise UserError(f"the raw folder {raw} is not there; give the folder that holds the shop's raw files")
    files: list[RawFile] = []
    not_read: list[NotRead] = []
    for path, size in storage.files(raw):
        name = path.relative_to(raw).as_posix()
        if path.name.startswith(".") or path.name == "_SUCCESS":
            continue  # of operating systems, editors, and Spark
        found = _file(source, path, name, size)
        if isinstance(found, RawFile):
            files.append(found)
        else:
            not_read.append(NotRead(name, found))
    if not files:
        raise UserError(
            f"{raw} holds no file that can be read ({SUFFIXES})"
            + (f"; there are {told(not_read)}" if not_read else "; it is empty")
        )
    return RawFolder(raw, files, not_read)


def _file(source: Source, path: Path, name: str, size: int | None) -> RawFile | str:
    """The file, or why it is not read; raises UserError for one that would have to be read and cannot be."""
    kind, parts = kind_of(path.name), name.split("/")
    wanted = source.directives.format
    if kind is None:
        return _remedy(path.name)
    if wanted and FORMAT_OF[kind] != wanted:
        return f"the source says format = {wanted!r}; take that line away to read every format"
    if path.name.startswith("_"):
        return "its name begins with _, as files of programs do; rename it"
    if ABOUT.match(path.name) and kind == "txt":
        return "its name says that it is about the data; rename it if it is data"
    if size is None:
        raise UserError(f"{clean(name)} in {source.path.name}'s raw folder is no plain file; take it away")
    if not name.isprintable():
        return "its name holds characters that cannot be shown; rename it"
    view = parts[0] if len(parts) > 1 else TOP_LEVEL
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", view):
        return f"its folder {view!r} cannot be a view's name; use letters, digits and underscores"
    return RawFile(path, name, view, _day(name), size, kind)


def kind_of(name: str) -> Kind | None:
    """What a file's suffix says, in capitals or not; None for a suffix that is not read."""
    bare = name.lower()
    for packing in PACKINGS:
        bare = bare.removesuffix(packing)
    kind = KINDS.get(Path(bare).suffix)
    return None if kind == "parquet" and bare != name.lower() else kind


def _remedy(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return f"{suffix or 'a name without a suffix'} is not read; " + REMEDIES.get(
        suffix, f"rename or convert it ({SUFFIXES})"
    )


def _day(name: str) -> date | None:
    """The day in a name; None where it names none, or two that are days apart: what a file of a week holds."""
    days = []
    for text in re.findall(r"\d{4}-\d{2}-\d{2}", name):
        with suppress(ValueError):
            days.append(date.fromisoformat(text))
    return None if not days or max(days) - min(days) > timedelta(days=1) else days[0]


def told(not_read: Iterable[NotRead]) -> str:
    """A clause about files: for each reason how many there are, and the names of the first."""
    by_reason: dict[str, list[str]] = {}
    for each in not_read:
        by_reason.setdefault(each.reason, []).append(each.name)
    clauses = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
        clauses.append(f"{', '.join(clean(name) for name in names[:FEW])}{more} ({reason})")
    return "; ".join(clauses)


def check_relations(source: Source, folder: RawFolder) -> None:
    """Raise UserError where a SELECT reads a view that the raw folder does not give, of impressions some."""
    views = sorted({f.view for f in folder.files})
    for label, statement in source.statements.items():
        read = relations(statement) - own_queries(statement)
        unknown = sorted(read - {view.lower() for view in views})
        if not unknown or (label == IMPRESSIONS.name and unknown == sorted(read)):  # it may be logged from some day on
            continue
        flat = [f.name for f in folder.files if f.view == TOP_LEVEL and stem(f.name).lower() in unknown]
        remedy = (
            "put each kind of file into a sub-folder of its own, whose name is then the view's: "
            + ", ".join(f"{stem(name)}/{name}" for name in flat)
            if flat
            else f"a view is a sub-folder of the raw folder, and `{TOP_LEVEL}` is the files beside them"
        )
        also = f"; not read: {told(folder.not_read)}" if folder.not_read else ""
        raise UserError(
            f"{source.path}: the SELECT for {label} reads {', '.join(unknown)}, but the raw folder {folder.path} gives "
            f"{', '.join(views)}; {remedy}{also}"
        )


def stem(name: str) -> str:
    """A file's name without its folder and suffixes."""
    return Path(name).name.split(".")[0]


def read_by(statement: str, files: list[RawFile]) -> list[RawFile]:
    """The files whose view a SELECT reads; every file where it reads none of them."""
    names = relations(statement)
    return [f for f in files if f.view.lower() in names] or files
