"""Dictionary-encodes id columns and computes their digests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.arrays import Digests, Rows
from models.digests import begun, of_words


class Words:
    """Digests of the words that batch after batch of coded columns has."""

    def __init__(self) -> None:
        self._known: list[tuple[pa.Array, Digests]] = []

    def of(self, column: pa.Array) -> tuple[Rows, Digests]:
        """(code [texts], the digest of each code's word); a null has the last code."""
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        codes = np.asarray(pc.fill_null(coded.indices, len(coded.dictionary)), np.int64)
        for words, found in self._known:
            if words.equals(coded.dictionary):
                return codes, found
        found = of_words([*coded.dictionary.to_pylist(), None])
        self._known = [(coded.dictionary, found), *self._known[:15]]
        return codes, found


def digests(batch: pa.RecordBatch, columns: Sequence[str], known: Words | None = None) -> Digests:
    """[rows], over texts, lists of texts and lists of floats; equal for equal values, coded or not.

    `known` spares the digests of words that an earlier batch had. Raises TypeError for a column of another type.
    """
    from models.digest_kernels import add_lists, add_numbers, add_values

    found, known = begun(batch.num_rows), known or Words()
    for name in columns:
        column = batch[name]
        kind = column.type
        if pa.types.is_list(kind) and pa.types.is_float32(kind.value_type):
            flat, offsets = _flat(column)
            add_numbers(found, offsets, np.asarray(flat.fill_null(np.nan), np.float32).view(np.uint32))
        elif pa.types.is_list(kind):
            flat, offsets = _flat(column)
            codes, words = known.of(flat)
            add_lists(found, offsets, codes, words)
        elif pa.types.is_string(kind) or pa.types.is_dictionary(kind):
            codes, words = known.of(column)
            add_values(found, words[codes])
        else:
            raise TypeError(f"{name} of type {kind} has no digest")
    return found


def _flat(column: pa.Array) -> tuple[pa.Array, Rows]:
    """(values, offsets [rows + 1] into them); a null list is an empty one."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
    return pc.list_flatten(column), np.concatenate(([0], np.cumsum(lengths)))
