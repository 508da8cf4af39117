"""What a function needs beside its rows, as one file that other machines can read without running anything in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

HEADER = "header"


@dataclass(frozen=True)
class Parcel:
    """Arrays by name, and everything else as plain JSON values."""

    header: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    def write(self, folder: Path) -> Path:
        """Write it to `folder` as safetensors; the file is named by its sha256, so equal parcels have one name."""
        tensors = {name: np.require(array, requirements="C") for name, array in self.arrays.items()}
        content = save(tensors, {HEADER: json.dumps(self.header, ensure_ascii=False)})
        path = folder / f"nightrail-{hashlib.sha256(content).hexdigest()}.safetensors"
        path.write_bytes(content)
        return path

    @staticmethod
    def read(path: Path) -> Parcel:
        """What `write` wrote; raises ValueError where the file is not what its name says."""
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if path.name != f"nightrail-{found}.safetensors":
            raise ValueError(f"{path} was damaged on its way: its content has sha256 {found}")
        with safe_open(path, "numpy") as content:
            arrays = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping
            return Parcel(json.loads(content.metadata()[HEADER]), arrays)
