"""What a night's lists of products say, as one number a list: the next night writes those that say something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from jobs import folders
from jobs.lake import Lake
from jobs.run import Run
from jobs.storage import write_whole
from jobs.tables import Table
from jobs.touch_points import SOURCES
from models.assembly import Assembled
from models.digests import Digests, begun, of_words
from models.rulebook import Rulebook
from models.top_n import Rows
from models.vocabulary import Vocabulary

FORMAT = 1
"""Raised when equal lists have other digests than before: the next night then writes all of them."""
Group = tuple[str, str]
"""(market, variant)."""


@dataclass(frozen=True)
class ListDigests:
    """One night's lists of one touch point. 0 is no list; that a list has it, or two that differ have the same, happens
    once in 10^12 nights of 10 million lists.
    """

    products: Vocabulary
    groups: Mapping[Group, Digests]
    """Each [products]."""

    def over(self, products: Vocabulary) -> Callable[[Group], Digests]:
        """A group's digests over another vocabulary [products]."""
        rows = self.products.encode(products.ids, missing="negative")
        there = rows >= 0

        def of(group: Group) -> Digests:
            return np.where(there, self.groups[group][rows], np.uint64(0))

        return of

    def write(self, lake: Lake, table: Table, run: Run) -> None:
        """Keep them as the night's."""
        columns = {json.dumps(group): pa.array(found) for group, found in self.groups.items()}
        rows = pa.table({"product_id": self.products.ids} | columns)
        metadata = {"format": str(FORMAT), "run_id": run.run_id}
        content = pa.BufferOutputStream()
        feather.write_feather(rows.replace_schema_metadata(metadata), content, compression="uncompressed")
        write_whole(_path(lake, table, run.as_of), content.getvalue().to_pybytes())


def read_digests(lake: Lake, table: Table, as_of: date) -> ListDigests | None:
    """Those of a night; None where it has none that can be read."""
    try:
        rows = feather.read_table(pa.BufferReader(_path(lake, table, as_of).read_bytes()), memory_map=False)
        if (rows.schema.metadata or {})[b"format"] != str(FORMAT).encode():
            return None
        names = rows.column_names[1:]
        groups = {tuple(json.loads(name)): np.asarray(rows[name].combine_chunks()) for name in names}
        return ListDigests(Vocabulary(rows["product_id"].combine_chunks()), groups)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def forget_digests(lake: Lake, table: Table, as_of: date) -> None:
    """From now on the night's lists are not what its digests say."""
    _path(lake, table, as_of).unlink(missing_ok=True)


def digests_of(
    products: Vocabulary, categories: Vocabulary, category: Rows | None, model_id: str
) -> Callable[[Assembled, Rulebook], Digests]:
    """Lists to their digests [Q], over all that their rows say; `category` [products] where the rows name it."""
    from models.digest_kernels import add_places, add_values  # compiled or read from its cache

    of_row, of_label = of_words(products.ids.to_pylist()).copy(), of_words(SOURCES)
    if category is not None:
        add_values(of_row, of_words([*categories.ids.to_pylist(), None])[category])
    begin = begun(1)
    add_values(begin, of_words([model_id]))

    def made(lists: Assembled, book: Rulebook) -> Digests:
        found = np.repeat(begin, len(lists.rows))
        of_rule = of_words([*book.names, None])
        add_places(
            found, lists.rows, lists.scores.view(np.uint32), lists.labels, lists.rules.astype(np.int16), of_row,
            of_label, of_rule,
        )  # fmt: skip
        return np.where(found == 0, np.uint64(1), found)

    return made


def _path(lake: Lake, table: Table, as_of: date) -> Path:
    return lake.directory(folders.LISTS, as_of) / f"{table.name}.arrow"
