"""Reads the manifest of an index and checks its files, without loading the index or FAISS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.storage import local_copy
from jobs.run import fingerprint
from jobs.tables.table import Table

FILES = ("tensors.safetensors", "products.json", "index.faiss")
"""The files of an index, which the manifest lists with their checksums."""


def read_manifest(lake: Lake, as_of: date, table: Table) -> dict[str, Any]:
    """The manifest of the night's index; raises UserError where it is absent or was changed."""
    path = lake.directory(storage.INDEXES, as_of) / table.name / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        signed, files = manifest.pop("sha256", None) == fingerprint(manifest), manifest["files"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"the index {path.parent} cannot be read: {error}; run the step index again") from None
    if not signed or files != set(FILES):
        raise UserError(f"{path} was changed after it was written; run the step index again")
    return manifest


@contextmanager
def checked_files(lake: Lake, as_of: date, table: Table) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(local folder of the night's index, its manifest); raises UserError where a file is absent or was changed."""
    place, manifest = lake.directory(storage.INDEXES, as_of) / table.name, read_manifest(lake, as_of, table)
    with local_copy(place) as folder:
        for name, digest in manifest["files"].items():
            try:
                same = sha256_of(folder / name) == digest
            except OSError as error:
                raise UserError(f"the index {place} cannot be read: {error}; run the step index again") from None
            if not same:
                raise UserError(f"{place / name} was changed after it was written; run the step index again")
        yield folder, manifest


def check_index(lake: Lake, as_of: date, table: Table) -> dict[str, Any]:
    """The manifest of the night's index; raises UserError where one of its files is absent or was changed."""
    with checked_files(lake, as_of, table) as (_, manifest):
        return manifest


def sha256_of(path: Path) -> str:
    """The sha256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
