"""Replaces Feast's registry file as a whole: a process killed while it writes leaves the old one."""

from __future__ import annotations

import copy
import os
from typing import Any

from feast.infra.registry.file import FileRegistryStore


class WholeFileRegistryStore(FileRegistryStore):
    """Feast's file store itself empties the file before it writes, so services could read half of it."""

    def _write_registry(self, registry_proto: Any) -> None:
        staging = copy.copy(self)
        staging._filepath = self._filepath.with_name(f".{self._filepath.name}.aside")
        FileRegistryStore._write_registry(staging, registry_proto)
        os.replace(staging._filepath, self._filepath)
