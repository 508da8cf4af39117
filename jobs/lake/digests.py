"""Computes digests of the rows of Arrow batches, dictionary-encoded or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.arrays import Digests, Rows
from models.digests import begun, of_texts


class TextDigests:
    """Computes digests of texts, and keeps those of dictionaries, which batch after batch shares."""

    def __init__(self) -> None:
        self._known: list[tuple[pa.Array, Digests]] = []

    def of(self, column: pa.Array) -> tuple[Rows, Digests]:
        """(row of each text [texts], digests [rows, 2])."""
        if not pa.types.is_dictionary(column.type):
            return np.arange(len(column)), of_texts(column)
        codes = np.asarray(pc.fill_null(column.indices, len(column.dictionary)), np.int64)
        for words, found in self._known:
            if words.equals(column.dictionary):
                return codes, found
        words = pa.concat_arrays([column.dictionary, pa.nulls(1, column.dictionary.type)])
        self._known = [(column.dictionary, of_texts(words)), *self._known[:15]]
        return codes, self._known[0][1]


def digests(batch: pa.RecordBatch, columns: Sequence[str], texts: TextDigests, half: int = 0) -> Digests:
    """[rows], 64 bits over texts, lists of texts and lists of floats; equal for equal values, however encoded.

    `half` chooses which half of the texts' digests counts. Raises TypeError for a column of another type.
    """
    from models.digest_kernels import add_lists, add_numbers, add_values

    found = begun(batch.num_rows)
    for name in columns:
        column = batch[name]
        kind = column.type
        if pa.types.is_list(kind) and pa.types.is_float32(kind.value_type):
            flat, offsets = _flat(column)
            add_numbers(found, offsets, np.asarray(flat.fill_null(np.nan), np.float32).view(np.uint32))
        elif pa.types.is_list(kind):
            flat, offsets = _flat(column)
            codes, words = texts.of(flat)
            add_lists(found, offsets, codes, np.ascontiguousarray(words[:, half]))
        elif pa.types.is_string(kind) or pa.types.is_dictionary(kind):
            codes, words = texts.of(column)
            add_values(found, words[codes, half])
        else:
            raise TypeError(f"{name} of type {kind} has no digest")
    return found


def key_digests(batch: pa.RecordBatch, columns: Sequence[str], texts: TextDigests) -> Digests:
    """[rows, 2], 128 bits over text columns: enough that keys with equal digests can be taken for equal."""
    return np.stack([digests(batch, columns, texts, half) for half in (0, 1)], axis=1)


def _flat(column: pa.Array) -> tuple[pa.Array, Rows]:
    """(values, offsets [rows + 1] into them); a null list is an empty one."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
    return pc.list_flatten(column), np.concatenate(([0], np.cumsum(lengths)))
