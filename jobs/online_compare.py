"""Which of a night's rows the online store shows already, told from the tables alone.

Where the live night's rows are in the lake as they were when they were published, what the store shows is what they
say; a row that the live night has as well need not be encoded, looked up and compared there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa

from jobs.coded import Words, coded_batches, digests
from jobs.lake import Lake
from jobs.tables import Table
from models.digests import Digests
from models.top_n import BoolMask, Rows

ROWS = 131_072


class LiveRows:
    """The rows of the live night of a table, against a night that is complete.

    16 bytes a row: that a row which differs has the digest of the one before happens once in 10^12 rows.
    """

    def __init__(self, lake: Lake, table: Table, columns: list[str], live: date) -> None:
        self.lake, self.table, self.live = lake, table, live
        self.columns = [name for name in columns if name not in table.key]
        names = [*table.key, *self.columns]
        self.words = Words()
        keys, contents = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for batch in coded_batches(lake, table, names, live, ROWS):
            keys.append(digests(batch, table.key, self.words))
            contents.append(digests(batch, self.columns, self.words))
        key, content = np.concatenate(keys), np.concatenate(contents)
        order = np.argsort(key)
        self.keys, self.contents = key[order], content[order]
        self.seen = np.zeros(len(self.keys), dtype=bool)

    def differing(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of tonight that the live night has not, or has otherwise; the others count as seen."""
        key, content = digests(batch, self.table.key, self.words), digests(batch, self.columns, self.words)
        at, there = self._places(key)
        self.seen[at[there]] = True
        return batch.filter(pa.array(~there | (self.contents[at] != content)))

    def gone(self) -> Iterator[pa.RecordBatch]:
        """The keys of the live night's rows that tonight has not; call it when all of tonight's rows were seen."""
        if self.seen.all():
            return
        for batch in coded_batches(self.lake, self.table, self.table.key, self.live, ROWS):
            at, _ = self._places(digests(batch, self.table.key, self.words))
            yield batch.filter(pa.array(~self.seen[at]))

    def _places(self, key: Digests) -> tuple[Rows, BoolMask]:
        """(where each key is, whether it is)."""
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return at, self.keys[at] == key
