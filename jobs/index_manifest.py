"""Reads the manifest of an index without loading the index or FAISS."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.run import fingerprint
from jobs.tables.table import Table

FILES = ("tensors.safetensors", "products.json", "index.faiss")
"""The files of an index, which the manifest lists with their checksums."""


def read_manifest(lake: Lake, as_of: date, table: Table) -> dict[str, Any]:
    """What the night's index says of itself; raises UserError where it is absent or was changed."""
    path = lake.directory(storage.INDEXES, as_of) / table.name / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        signed, files = manifest.pop("sha256", None) == fingerprint(manifest), manifest["files"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"the index {path.parent} cannot be read: {error}; run the step index again") from None
    if not signed or files != set(FILES):
        raise UserError(f"{path} was changed after it was written; run the step index again")
    return manifest
