"""The lists that the shop window shows, read from the lake into arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.change_tables import Pick, chosen_rows
from jobs.lake.lake import Lake
from jobs.tables.table import Table

Ints = npt.NDArray[np.int64]


class Numbering:
    """Strings as numbers, in the order they are first met."""

    def __init__(self, first: Iterable[str] = ()) -> None:
        self._numbers = {text: number for number, text in enumerate(dict.fromkeys(first))}

    @property
    def texts(self) -> list[str]:
        """Number -> string."""
        return list(self._numbers)

    def of(self, values: pa.Array) -> Ints:
        """[n] numbers of [n] strings; strings not met before get the next numbers, null is the empty string."""
        met = pc.dictionary_encode(pc.fill_null(values, ""))
        numbers = self.of_texts(met.dictionary.to_pylist())
        return np.asarray(numbers, dtype=np.int64)[np.asarray(met.indices, dtype=np.int64)]

    def of_texts(self, texts: Iterable[str]) -> list[int]:
        """`of` for plain strings."""
        return [self._numbers.setdefault(text, len(self._numbers)) for text in texts]


@dataclass(frozen=True)
class Names:
    """The strings that positions and lists point to, shared by all blocks."""

    products: Numbering
    sources: Numbering
    """Begins with the empty string, as `rules` does."""
    rules: Numbering
    notes: Numbering
    """What holds for a whole list, one text each: variant, short_reason, model_id and run_id, joined by SEPARATOR.
    The empty string, note 0, stands for no list."""


SEPARATOR = "\x1f"
NOTES = ("variant", "short_reason", "model_id", "run_id")


def no_names(products: Sequence[str]) -> Names:
    """Nothing named yet but the products shown, which have the first numbers."""
    return Names(Numbering(products), Numbering([""]), Numbering([""]), Numbering([""]))


@dataclass(frozen=True)
class Block:
    """Lists of one table; what a row stands for is the reader's."""

    products: Ints
    """[rows, places], numbers of products; -1 past the end."""
    scores: npt.NDArray[np.float32]
    """[rows, places], as the table has them; 0 past the end."""
    sources: Ints
    """[rows, places]."""
    rules: Ints
    """[rows, places], 0 where no rule moved the position."""
    notes: Ints
    """[rows], 0 where there is no list."""

    @property
    def lists(self) -> int:
        """Rows that hold a list."""
        return int((self.notes > 0).sum())


def read_block(
    lake: Lake,
    table: Table,
    as_of: date,
    wanted: Pick,
    names: Names,
    shape: tuple[int, int],
    row_of: Callable[[pa.RecordBatch], Ints],
) -> Block:
    """The night's `wanted` lists, cut to `shape` = (rows, places); `row_of` gives each list its row, -1 for none.

    Columns that an older table lacks, and arrays that are null, read as nothing. No row of the block holds a list
    where the table is not there.
    """
    block = Block(
        np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int64),
        np.zeros(shape, dtype=np.int64), np.zeros(shape[0], dtype=np.int64),
    )  # fmt: skip
    there = set(lake.dataset(table).schema.names) if lake.exists(table) else set()
    columns = [name for name in (*table.key, "product_ids", "scores", "sources", "rules", *NOTES) if name in there]
    for batch in chosen_rows(lake, table, dict.fromkeys(columns), as_of, wanted):
        row = row_of(batch)
        kept = batch.filter(pa.array(row >= 0))
        row = row[row >= 0]
        block.notes[row] = names.notes.of(_joined(kept, [name if name in there else "" for name in NOTES]))
        for column, numbering, target in (
            ("product_ids", names.products, block.products), ("sources", names.sources, block.sources),
            ("rules", names.rules, block.rules),
        ):  # fmt: skip
            if column in there:
                at, flat = _positions(kept[column], row, shape[1])
                target[at] = numbering.of(flat)
        at, flat = _positions(kept["scores"], row, shape[1])
        block.scores[at] = np.nan_to_num(np.asarray(pc.fill_null(flat, 0.0), dtype=np.float32))
    return block


def place_in(values: pa.Array, among: Sequence[str]) -> Ints:
    """[n] places of strings `among` others; -1 for those that are not there."""
    found = pc.index_in(values, value_set=pa.array(list(among), pa.string()))
    return np.asarray(pc.fill_null(found, -1), dtype=np.int64)


def _joined(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.Array:
    """[n] the columns' texts as one; an empty column name stands for no text."""
    empty = pa.array([""] * batch.num_rows, pa.string())
    parts = [pc.fill_null(batch[name], "") if name else empty for name in columns]
    return pc.binary_join_element_wise(*parts, SEPARATOR)


def _positions(lists: Any, row: Ints, places: int) -> tuple[tuple[Ints, Ints], pa.Array]:
    """((row, place), value) of the first `places` elements of each list, all flat."""
    cut = pc.list_slice(lists, 0, places)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(cut), 0), dtype=np.int64)
    owner = np.repeat(row, lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return (owner, place), pc.list_flatten(cut)
