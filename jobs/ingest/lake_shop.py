"""Remembers which shop's files a lake holds, so that two shops are never mixed in one lake."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.errors import UserError
from jobs.lake.storage import is_remote, write_whole
from jobs.text import clean

RECORD = "shop.json"
"""The file at the lake's root."""


@dataclass(frozen=True)
class ShopFiles:
    """The files that make a lake. Places are as they were given, absolute, because the target of a link may change."""

    root: str
    """The lake itself: a lake that was moved or mounted elsewhere together with its files still is that of its shop."""
    source: str
    source_sha256: str
    """Of the source's text: a copy of a source is that source."""
    raw: str

    def is_shop_of(self, other: ShopFiles) -> bool:
        """Whether both are one shop: one raw folder, and one source by its place or by its text."""
        return self._same_place("raw", other) and (
            self._same_place("source", other) or self.source_sha256 == other.source_sha256
        )

    def _same_place(self, name: str, other: ShopFiles) -> bool:
        mine, others = asdict(self), asdict(other)
        if mine[name] == others[name]:
            return True
        places = (mine[name], others[name], self.root, other.root)
        return not any(map(is_remote, places)) and (
            os.path.relpath(mine[name], self.root) == os.path.relpath(others[name], other.root)
        )


def shop_files(root: Path, source: Path, raw: Path) -> ShopFiles:
    """The files that a command names."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return ShopFiles(_absolute(root), _absolute(source), digest, _absolute(raw))


def _absolute(path: Path) -> str:
    return str(path) if is_remote(path) else os.path.abspath(path)  # noqa: PTH100 - links are not followed


def check_shop(root: Path, given: ShopFiles) -> None:
    """Raise UserError where the lake at `root` holds another shop's files; a lake without a record holds none."""
    held = _recorded(root)
    if held is not None and not held.is_shop_of(given):
        raise UserError(
            f"the lake {root} holds the shop of the source {clean(held.source)} and the raw folder {clean(held.raw)}, "
            f"not of {given.source} and {given.raw}, and two shops in one lake would be mixed. Give --root FOLDER, a "
            "lake of its own; or --adopt (NIGHTRAIL_ADOPT=1), once, if it is the same shop whose files have moved"
        )


def is_known(root: Path, given: ShopFiles) -> bool:
    """Whether the lake at `root` was last written from these files, the source with this very text."""
    return _recorded(root) == given


def record_shop(root: Path, given: ShopFiles) -> None:
    """Let the lake at `root` be that of the files."""
    if not is_known(root, given):
        write_whole(root / RECORD, json.dumps(asdict(given), indent=1).encode())


def _recorded(root: Path) -> ShopFiles | None:
    path = root / RECORD
    if not path.is_file():
        return None
    try:
        return ShopFiles(**{name: str(value) for name, value in json.loads(path.read_bytes()).items()})
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; remove it, and the next ingest writes it again") from None
