"""Object storage as fsspec, and by it UPath, sees it."""

from __future__ import annotations

from typing import Any

from obstore.fsspec import BufferedFile, FsspecStore

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
