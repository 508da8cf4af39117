"""Stores 64-bit digests of products by market and variant beside a night's lists, for the next night to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

from jobs.lake.storage import write_whole
from models.arrays import Digests, Rows
from models.vocabulary import Vocabulary

Group = tuple[str, str]
"""(market, variant)."""


@dataclass(frozen=True)
class GroupDigests:
    """Digests of products; 0 stands for none. A digest of 0, or two equal ones of different content, occurs once in
    10^12 nights of 10 million digests.
    """

    products: Vocabulary
    groups: Mapping[Group, Digests]
    """Each [products]."""

    def at(self, group: Group, rows: Rows) -> Digests:
        """[rows], a group's digests; 0 where a row is -1."""
        return np.where(rows >= 0, self.groups[group][rows], np.uint64(0))

    def write(self, path: Path, header: Mapping[str, object], **columns: pa.Array) -> None:
        """Write them as one Arrow file, with a JSON header and more columns [products]."""
        groups = {json.dumps(group): pa.array(found) for group, found in self.groups.items()}
        rows = pa.table({"product_id": self.products.ids} | columns | groups)
        content = pa.BufferOutputStream()
        feather.write_feather(rows.replace_schema_metadata({"header": json.dumps(header)}), content)
        write_whole(path, content.getvalue().to_pybytes())


def read_digests(path: Path, layout: int) -> tuple[GroupDigests, dict[str, Any], pa.Table] | None:
    """(digests, header, all columns) of a file whose header has this `layout`; None where there is no such file."""
    try:
        rows = feather.read_table(pa.BufferReader(path.read_bytes()), memory_map=False)
        header = json.loads(rows.schema.metadata[b"header"])
        if header["layout"] != layout:
            return None
        groups = {tuple(json.loads(n)): np.asarray(rows[n].combine_chunks()) for n in rows.column_names if n[0] == "["}
        return GroupDigests(Vocabulary(rows["product_id"].combine_chunks()), groups), header, rows
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None
