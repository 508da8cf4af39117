"""Feast's registry file, replaced whole: a process killed while it writes leaves the one that was there."""

from __future__ import annotations

import copy
import os
from typing import Any

from feast.infra.registry.file import FileRegistryStore


class WholeFileRegistryStore(FileRegistryStore):
    """The file store, which itself empties the file before it writes it: services would read what is half there."""

    def _write_registry(self, registry_proto: Any) -> None:
        aside = copy.copy(self)
        aside._filepath = self._filepath.with_name(f".{self._filepath.name}.aside")
        FileRegistryStore._write_registry(aside, registry_proto)
        os.replace(aside._filepath, self._filepath)
