"""Names what is broken about a lake: the table, the file and the remedy, also behind errors of libraries."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from jobs.errors import AwayError, DamageError, UserError
from jobs.lake import storage

LOG = "_delta_log"
COMMIT, CHECKPOINT = re.compile(r"(\d{20})\.json"), re.compile(r"(\d{20})\.checkpoint\..*parquet")
FULL = re.compile(r"No space left on device|disk is full|Disk quota exceeded")
UNWRITABLE = re.compile(r"Read-only file system|Permission denied|Operation not permitted|Not a directory")
FILE = re.compile(r"Unable to \w+ file ([^#:\s]+)")
"""Within an error of deltalake: the file."""
NUMBERS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
"""Of errors of the system whose remedy is another place or more rights."""
NO_ANSWER = re.compile(
    r"error sending request|[Cc]onnection (refused|reset|closed)|timed out|tcp connect|dns error|50[0-4] "
)
"""Within an error of object storage: it does not answer, or not now."""
CONTENT = re.compile(r"parquet|thrift|deserializ|corrupt|decompress|snappy|zstd", re.IGNORECASE)
"""Within an error of a library that could not read the content of a data file."""


@contextmanager
def damage_named(root: Path | None) -> Iterator[None]:
    """Turn an error in the block that comes from a broken, full, unwritable or unreachable lake into a UserError.

    The lake at `root` is looked through only after an error, so that a block without one costs nothing.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if named := told_apart(error, root):
            raise named from error
        raise


def told_apart(error: Exception, root: Path | None) -> UserError | None:
    """What an error of a library or the system says about the lake; None where it says nothing, as for a bug."""
    text, number = str(error), getattr(error, "errno", None)
    where = getattr(error, "filename", None) or (root if root is not None else "the lake")
    if number in (errno.ENOSPC, errno.EDQUOT) or FULL.search(text):
        return AwayError(
            f"there is no room left at {where}: nothing is half done; make room there, and run the same command again"
        )
    found = UNWRITABLE.search(text)
    if _of_a_library(error) and (number in NUMBERS or found):
        why, file = os.strerror(number) if number else found and found[0], FILE.search(text)
        where = where if number or not file else file[1]
        return UserError(f"{where} cannot be written ({why}): let this process write there, or give another --root")
    if root is None or not _of_a_library(error):
        return None
    if storage.is_remote(root) and NO_ANSWER.search(text):
        return AwayError(f"object storage went away ({root}): nothing is half done; run the same command again later")
    with suppress(Exception):  # a lake that cannot even be listed is told by its first error
        return next(_damages(root, bool(CONTENT.search(text))), None)
    return None


def log_damage(folder: Path, whole: bool = False) -> DamageError | None:
    """What is wrong with the log of the Delta table in `folder`: it or a part is gone or empty, by a listing.

    `whole` reads its files, too.
    """
    table, found = (
        folder.name,
        {path.name: size for path, size in storage.files(folder / LOG) if path.parent.name == LOG},
    )
    commits = {int(match[1]): found[name] for name in found if (match := COMMIT.fullmatch(name))}
    summed_up = [int(match[1]) for name in found if (match := CHECKPOINT.fullmatch(name))]
    if not commits and not summed_up:
        if any(path.suffix == ".parquet" for path, _ in storage.files(folder)):
            return _damaged(table, LOG, "is gone", "Put the folder back from a backup")
        return None
    newest, first = max([*commits, *summed_up]), max(summed_up, default=-1) + 1
    for version in range(first, newest + 1):
        if not commits.get(version):
            how = "is empty" if version in commits else "is gone"
            return _damaged(table, f"{LOG}/{version:020}.json", how, _remedy_of_commit(version == newest))
    if whole:
        for version in range(first, newest + 1):
            file = folder / LOG / f"{version:020}.json"
            try:
                for line in file.read_text("utf-8").splitlines():
                    json.loads(line)
            except ValueError:
                return _damaged(table, f"{LOG}/{file.name}", "is cut or broken", _remedy_of_commit(version == newest))
    return None


def _damages(root: Path, contents: bool) -> Iterator[DamageError]:
    """Everything wrong with the tables of a lake; `contents` reads all data files, too."""
    tables = sorted({path.relative_to(root / "tables").parts[0] for path, _ in storage.files(root / "tables")})
    for name in tables:
        folder = root / "tables" / name
        if found := log_damage(folder, whole=True):
            yield found
        elif (folder / LOG).is_dir():
            yield from _damaged_files(folder, contents)


def _damaged_files(folder: Path, contents: bool) -> Iterator[DamageError]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    actions = pa.table(DeltaTable(str(folder)).get_add_actions(flatten=True)).select(["path", "size_bytes"])
    there = {path.relative_to(folder).as_posix(): size for path, size in storage.files(folder)}
    for action in actions.to_pylist():
        name, size = unquote(action["path"]), there.get(unquote(action["path"]))
        if size is None:
            yield data_damage(folder.name, name, "is gone")
        elif size != action["size_bytes"]:
            yield data_damage(folder.name, name, f"has {size:,} bytes instead of {action['size_bytes']:,}")
        elif contents:
            try:
                with (folder / name).open("rb") as source:
                    for _ in pq.ParquetFile(source).iter_batches():
                        pass
            except (pa.ArrowException, OSError):
                yield data_damage(folder.name, name, "is broken")


def data_damage(table: str, file: str, how: str) -> DamageError:
    """The error of a table's data file."""
    night = re.search(r"as_of=(\d{4}-\d{2}-\d{2})", file)
    again = f"run the step again that wrote it for {night[1]}" if night else "make its nights again from the raw files"
    return _damaged(table, file, how, f"Put it back from a backup, or {again}")


def _damaged(table: str, file: str, how: str, remedy: str) -> DamageError:
    return DamageError(f"the table {table} is damaged: {file} {how}. {remedy}; `python -m jobs status` shows the rest")


def _remedy_of_commit(newest: bool) -> str:
    back = "Put it back from a backup"
    if not newest:
        return back
    return f"{back}, or move it away, which takes the table's last change back, and run that night's steps again"


def _of_a_library(error: Exception) -> bool:
    """Whether an error came from what reads files: the system, Arrow, deltalake, obstore, or an engine."""
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(modules & {"pyarrow", "deltalake", "_internal", "obstore", "pyspark"})
