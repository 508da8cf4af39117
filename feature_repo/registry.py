"""Keeps Feast's registry file: it is replaced as a whole, and only where its folder is there already."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore

from feature_repo.online.backend import StoreSettingsError
from feature_repo.settings import check_set


class WholeFileRegistryStore(FileRegistryStore):
    """Feast's file store itself empties the file before it writes, so services could read half of it.

    A relative path is one from the working folder, as everywhere in Nightrail; Feast means its repository.
    """

    def __init__(self, registry_config: Any, repo_path: Path) -> None:
        """Raises StoreSettingsError where the path has a variable that is not set."""
        check_set(registry_config.path)
        super().__init__(registry_config, repo_path)
        self._filepath = Path(registry_config.path).absolute()

    def _write_registry(self, registry_proto: Any) -> None:
        # Feast writes an empty registry where a reader finds none.
        if not self._filepath.parent.is_dir():
            raise StoreSettingsError(
                f"there is no folder {self._filepath.parent} for Feast's registry; correct NIGHTRAIL_FEAST, or publish "
                "a night there first"
            )
        staging = copy.copy(self)
        staging._filepath = self._filepath.with_name(f".{self._filepath.name}.aside")
        FileRegistryStore._write_registry(staging, registry_proto)
        os.replace(staging._filepath, self._filepath)
