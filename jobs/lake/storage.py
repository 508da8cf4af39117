"""Where a lake and its raw files lie: in a folder of this machine, or below `s3://bucket/prefix` in object storage.

One owner of the difference. A place in object storage is a UPath, which has pathlib's methods and is passed as a Path;
what pathlib cannot say of both (replace a folder, list with sizes, write only if nobody else did) is said here.
Credentials, region and end point come from the environment alone (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ..), read
by the one library (Rust's object_store) that obstore, deltalake and Sail share.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from obstore.fsspec import BufferedFile, FsspecStore

from jobs.errors import UserError
from models.in_place import written_aside as written_aside_locally

if TYPE_CHECKING:
    import pyarrow as pa

SCHEME = "s3://"
MANIFEST = "manifest.json"
"""The file of a folder that names the others with their checksums: written last, so that whoever finds it finds all."""
FEW_AHEAD: dict[str, int] = {"batch_readahead": 4, "fragment_readahead": 2}
"""How far Arrow reads ahead: its defaults hold gigabytes of rows with long arrays."""
ANSWER_SECONDS = 10
"""In which object storage has to answer a first question."""
REMEDY = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN for a temporary key), AWS_REGION, and for "
    "another service than Amazon's AWS_ENDPOINT_URL (with AWS_ALLOW_HTTP=true for http://)"
)


def place(given: str | Path) -> Path:
    """A path as the command line or the environment gives it: local, or in object storage.

    Raises UserError where `s3://` is followed by no bucket, and for any other scheme.
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
    """Raise UserError where object storage does not answer, or refuses; does nothing for local paths."""
    from obstore.exceptions import BaseError

    for path in filter(is_remote, paths):
        try:
            store = _store(_bucket(path), ANSWER_SECONDS)
            next(iter(store.list(_key(path), chunk_size=1)), None)
        except (BaseError, OSError, ValueError) as error:
            # The answer in full may quote what was signed; its code says enough.
            found = re.search(r"<Code>(\w+)</Code>", str(error))
            why = f"the answer is {found[1]}" if found else "there is no answer that makes sense"
            raise UserError(f"{path} cannot be read: {why}; check the bucket's name, and {REMEDY}") from None


@lru_cache
def _store(bucket: str, seconds: int = 0) -> Any:
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
    """Everything below a folder but folders, by path, with its bytes; None for what is no plain file.

    In object storage that is one listing, where pathlib would ask for each file.
    """
    if is_remote(folder):
        base = _key(folder) + "/"
        found = (each for chunk in _store(_bucket(folder)).list(base) for each in chunk)
        return sorted(((folder / each["path"].removeprefix(base), int(each["size"])) for each in found),
                      key=lambda each: str(each[0]))  # fmt: skip
    paths = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [(path, path.stat().st_size if path.is_file() else None) for path in paths]


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return path.stat().st_size if path.is_file() else sum(size or 0 for _, size in files(path))


def remove(path: Path) -> None:
    """Take a file or folder away, or what was left of it; nothing happens where there is none."""
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
    """A folder for what is written aside, empty at the beginning and gone at the end."""
    remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        with suppress(OSError):  # an engine that failed may still be writing; the next one begins by removing it
            remove(folder)


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """An empty local folder to write in, which takes the place of `folder` when the block has ended without an error.

    Locally in one step. Object storage has no such step: the files go there one by one, the manifest last, and readers
    check them against it; what a folder held before and holds no more goes in the end.
    """
    if not is_remote(folder):
        with written_aside_locally(folder) as aside:
            yield aside
        return
    with tempfile.TemporaryDirectory(prefix="nightrail-") as here:
        yield Path(here)
        names = [path.relative_to(here).as_posix() for path, _ in files(Path(here))]
        for name in sorted(names, key=MANIFEST.__eq__):
            _store(_bucket(folder)).put(_key(folder / name), Path(here, name))
    for path, _ in files(folder):
        if path.relative_to(folder).as_posix() not in names:
            path.unlink()


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
    """All rows of the Parquet files in a folder; none where Sail wrote none, for a frame without rows."""
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
    """Write a file whole or not at all, in place of what is there."""
    if is_remote(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    aside.write_bytes(content)
    if path.exists():
        shutil.copymode(path, aside)
    os.replace(aside, path)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all, and never over one that is there."""
    if is_remote(path):
        put_if(path, content, None)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    except FileExistsError:
        pass  # somebody else was first; theirs counts
    finally:
        Path(aside).unlink()


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
    """The bytes of a file, of a .gz what it holds."""
    if not path.name.endswith(".gz"):
        return cast(BinaryIO, path.open("rb"))
    return cast(BinaryIO, gzip.open(path.open("rb") if is_remote(path) else path, "rb"))


def signed_url(path: Path) -> str:
    """An address by which an object can be read for a minute: for an answer's own headers. Never to be shown."""
    from obstore import sign

    return str(sign(_store(_bucket(path)), "GET", _key(path), timedelta(minutes=1)))


# What a lake has beside its tables: the names of its folders, in one place.

INDEXES, LISTS, REPORTS = "indexes", "lists", "reports"
DATED = (INDEXES, LISTS, REPORTS)
"""One folder a night in each: see `Lake.directory`."""
MODELS, LOCKS = "models", "locks"


# Object storage as fsspec, and by it UPath, sees it.

READ_AHEAD = 8 << 20
"""Bytes that one request of a reader brings."""


class Objects(FsspecStore):
    """obstore's own file system, with a plain error for a file that is not there, and larger requests."""

    protocol = "s3"

    def _open(self, path: str, mode: str = "rb", *_: Any, **options: Any) -> BufferedFile:
        if mode == "rb":
            # Asked for within the file object, a missing file leaves that half made, and it complains on its end.
            options |= {"size": self.info(path)["size"], "buffer_size": READ_AHEAD}
        return super()._open(path, mode, **options)
