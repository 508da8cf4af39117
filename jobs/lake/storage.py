"""Reads and writes files and folders on this machine, or below `s3://bucket/prefix` in object storage.

A place in object storage is a UPath, which has pathlib's methods and is passed as a Path. This module has what pathlib
lacks for both: replace a folder, list with sizes, write only if no other process did. Credentials, region and end point
come from the environment alone (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ..); obstore, deltalake and Sail read them
through the same library (Rust's object_store).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from obstore.fsspec import BufferedFile, FsspecStore

from jobs.errors import AwayError, UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore.store import S3Store

SCHEME = "s3://"
MANIFEST = "manifest.json"
"""The file of a folder that lists the others with their checksums; it is written last, so a folder with it is whole."""
FEW_AHEAD: dict[str, int] = {"batch_readahead": 4, "fragment_readahead": 2}
"""How far Arrow reads ahead: its defaults hold gigabytes of rows with long arrays."""
RENAME_EXCHANGE, AT_FDCWD = 2, -100
"""Of Linux's renameat2(2)."""
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of a packed file -> Arrow's name of the codec."""
ZIP, ENCRYPTED = b"PK\x03\x04", 1
"""First bytes of a zip archive, and the flag of a member that has a password."""
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)
ANSWER_SECONDS = 10
"""Time in which object storage has to answer a first request."""
OVERLOADED = ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout")
"""Codes of answers that pass by themselves."""
REMEDY = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN for a temporary key), AWS_REGION, and for "
    "another service than Amazon's AWS_ENDPOINT_URL (with AWS_ALLOW_HTTP=true for http://)"
)


def place(given: str | Path) -> Path:
    """The path that a text of the command line or the environment names, local or in object storage.

    Raises UserError for `s3://` without a bucket and prefix, and for any other scheme.
    """
    text = str(given)
    if not is_remote(text):
        if re.match(r"[a-z][a-z0-9+.-]*://", text):
            raise UserError(f"{text} is neither a folder nor s3://BUCKET/PREFIX; give one of them")
        return Path(text)
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^/?#*\[\]]+)+/?", text):
        raise UserError(f"{text} names no place in a bucket; write it as s3://BUCKET/PREFIX")
    import fsspec
    from upath import UPath

    fsspec.register_implementation("s3", Objects, clobber=True)
    return cast(Path, UPath(text.rstrip("/")))


def is_remote(path: object) -> bool:
    """Whether a path lies in object storage."""
    return str(path).startswith(SCHEME)


def check_reachable(*paths: Path) -> None:
    """Raise AwayError if object storage does not answer, UserError if it refuses; local paths are not checked."""
    from obstore.exceptions import BaseError

    for path in filter(is_remote, paths):
        try:
            store = _store(_bucket(path), ANSWER_SECONDS)
            next(iter(store.list(_key(path), chunk_size=1)), None)
        except (BaseError, OSError, ValueError) as error:
            # The whole response may quote what was signed; its code is enough.
            found = re.search(r"<Code>(\w+)</Code>", str(error))
            why = f"the answer is {found[1]}" if found else "there is no answer"
            kind = UserError if found and found[1] not in OVERLOADED else AwayError
            raise kind(f"{path} cannot be read: {why}; check the bucket's name, and {REMEDY}") from None


@lru_cache
def _store(bucket: str, seconds: int = 0) -> S3Store:
    from obstore.store import S3Store

    # No client options: they would be taken in place of the environment's, AWS_ALLOW_HTTP among them.
    retries: Any = {"max_retries": 1, "retry_timeout": timedelta(seconds=seconds)} if seconds else None
    return S3Store(bucket, retry_config=retries)


def _bucket(path: Path) -> str:
    return str(path).removeprefix(SCHEME).split("/", 1)[0]


def _key(path: Path) -> str:
    return str(path).removeprefix(SCHEME).split("/", 1)[1]


# --- folders


def files(folder: Path) -> list[tuple[Path, int | None]]:
    """(path, bytes) of all files below a folder, sorted by path; no bytes for what is not a regular file.

    In object storage that is one listing, where pathlib would send a request for each file.
    """
    if is_remote(folder):
        base = _key(folder) + "/"
        found = (each for chunk in _store(_bucket(folder)).list(base) for each in chunk)
        sizes = ((folder / each["path"].removeprefix(base), int(each["size"])) for each in found)
        return sorted(sizes, key=lambda each: str(each[0]))
    paths = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [(path, path.stat().st_size if path.is_file() else None) for path in paths]


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return path.stat().st_size if path.is_file() else sum(size or 0 for _, size in files(path))


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if is_remote(path):
        keys = [_key(each) for each, _ in files(path)] or [_key(path)] * path.is_file()
        if keys:
            _store(_bucket(path)).delete(keys)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A staging folder, empty when the block begins and removed when it ends."""
    remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        with suppress(OSError):  # an engine that failed may still write; the next use removes it first
            remove(folder)


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """An empty local folder to write in, which replaces `folder` when the block ends; after an error nothing changes.

    Locally it replaces it in one step. Object storage has no such step: files are uploaded one by one, the manifest
    last, and readers check them against it; files that the new folder lacks are removed in the end.
    """
    if not is_remote(folder):
        staging = folder.with_name(f".{folder.name}.aside")
        with emptied(staging):  # also of what a killed writer left
            yield staging
            _replace(staging, folder)
        return
    with tempfile.TemporaryDirectory(prefix="nightrail-") as here:
        yield Path(here)
        names = [path.relative_to(here).as_posix() for path, _ in files(Path(here))]
        for name in sorted(names, key=MANIFEST.__eq__):
            _store(_bucket(folder)).put(_key(folder / name), Path(here, name))
    for path, _ in files(folder):
        if path.relative_to(folder).as_posix() not in names:
            path.unlink()


def _replace(staging: Path, folder: Path) -> None:
    """Give a folder another's name; one that is there takes the first's name, or on old file systems is removed before.

    Linux exchanges two names in one step (ext4, XFS, Btrfs, tmpfs), so that at no time there is no folder. Elsewhere
    there is none for an instant.
    """
    if not folder.exists():
        os.replace(staging, folder)
    elif not _exchanged(staging, folder):
        old = folder.with_name(f".{folder.name}.old")
        remove(old)
        os.replace(folder, old)
        os.replace(staging, folder)
        remove(old)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names; False where the system has no such call, which Python does not offer."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    if (number := ctypes.get_errno()) not in CANNOT_EXCHANGE:
        raise OSError(number, os.strerror(number), str(other))
    return False


@contextmanager
def local_copy(folder: Path) -> Iterator[Path]:
    """The folder itself, or a copy of it on this machine, for libraries that open files by name."""
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="nightrail-") as here:
        for path, _ in files(folder):
            copy = Path(here, path.relative_to(folder).as_posix())
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        yield Path(here)


def parquet_batches(folder: Path) -> Iterator[pa.RecordBatch]:
    """All rows of the Parquet files in a folder; Sail writes no file for a frame without rows."""
    import pyarrow.dataset as ds
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    paths = [str(path) for path, _ in files(folder) if path.suffix == ".parquet"]
    system = PyFileSystem(FSSpecHandler(cast(Any, folder).fs)) if is_remote(folder) else None
    if paths:
        yield from ds.dataset(
            [path.removeprefix(SCHEME) for path in paths], format="parquet", filesystem=system
        ).to_batches(batch_size=16_384, **FEW_AHEAD)


# --- files


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; it replaces one that is there."""
    if is_remote(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.aside")
    staging.write_bytes(content)
    if path.exists():
        shutil.copymode(path, staging)
    os.replace(staging, path)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all; one that is there stays."""
    if is_remote(path):
        put_if(path, content, None)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(staging, path)
    except FileExistsError:
        pass  # another process was first, and its file counts
    finally:
        Path(staging).unlink()


def put_if(path: Path, content: bytes, tag: str | None) -> str | None:
    """Write an object if it still has the ETag `tag`, or for None if it is not there; its new ETag, or None."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    try:
        mode: Any = "create" if tag is None else {"e_tag": tag}
        return str(_store(_bucket(path)).put(_key(path), content, mode=mode)["e_tag"])
    except (AlreadyExistsError, PreconditionError):
        return None
    except FileNotFoundError:
        if tag is not None:
            return None
        raise UserError(
            f"{path} cannot be written: there is no bucket {_bucket(path)}; give one that is there"
        ) from None


def unpacked(path: Path) -> BinaryIO:
    """The content of a file as a stream, unpacked where it begins as gzip, zstd or zip, whatever its name.

    Raises UserError for a zip archive that does not hold one file.
    """
    import pyarrow as pa

    stream = cast(BinaryIO, path.open("rb"))
    start = stream.read(4)
    stream.seek(0)
    for magic, codec in PACKED.items():
        if start.startswith(magic):
            return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec))
    return _only_member(path, stream) if start == ZIP else stream


def _only_member(path: Path, stream: BinaryIO) -> BinaryIO:
    """The one file of a zip archive; what macOS adds for itself does not count."""
    archive = zipfile.ZipFile(stream)
    members = [
        each
        for each in archive.infolist()
        if not each.is_dir() and not each.filename.startswith("__MACOSX/") and not each.filename.startswith(".")
    ]
    if len(members) != 1:
        raise UserError(f"{path.name} holds {len(members)} files; unpack it, and deliver each of them")
    if members[0].flag_bits & ENCRYPTED:
        raise UserError(f"{path.name} is encrypted; deliver it without a password")
    return cast(BinaryIO, archive.open(members[0]))


def signed_url(path: Path) -> str:
    """An address at which an object can be read for a minute, with its response's headers; it must not be shown."""
    from obstore import sign

    return str(sign(_store(_bucket(path)), "GET", _key(path), timedelta(minutes=1)))


# --- names of a lake's folders beside its tables

INDEXES, LISTS, REPORTS = "indexes", "lists", "reports"
DATED = (INDEXES, LISTS, REPORTS)
"""Each has one folder for each night: see `Lake.directory`."""
MODELS, LOCKS = "models", "locks"


# --- object storage for fsspec, which UPath uses

READ_AHEAD = 8 << 20
"""Bytes that a reader requests at once."""


class Objects(FsspecStore):
    """obstore's file system, with a plain error for a missing file, and larger requests."""

    protocol = "s3"

    def _open(self, path: str, mode: str = "rb", *_: Any, **options: Any) -> BufferedFile:
        if mode == "rb":
            # Without it a missing file is found within the file object, whose destructor then complains.
            options |= {"size": self.info(path)["size"], "buffer_size": READ_AHEAD}
        return super()._open(path, mode, **options)
