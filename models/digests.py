"""Computes digests of texts, and finds which digests were seen before.

Digests have 64 or 128 bits and are no cryptographic ones: rows with equal digests are taken to be equal.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.arrays import BoolMask, Digests, Rows

NULL = np.array([0x6A09E667F3BCC908, 0xBB67AE8584CAA73B], np.uint64)
"""The digest of a null, which a text has only by chance."""


def of_texts(texts: pa.Array) -> Digests:
    """[texts, 2], both halves of the 128-bit MurmurHash3 of each text's UTF-8 bytes; every null has the same digest."""
    from models.digest_kernels import hash_texts

    plain = texts.cast(pa.large_string())
    _, offsets, data = plain.buffers()
    if not len(plain) or offsets is None:
        return np.empty((0, 2), np.uint64)
    starts = np.frombuffer(offsets, np.int64)[plain.offset : plain.offset + len(plain) + 1]
    found = hash_texts(starts, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8))
    if plain.null_count:
        found[np.asarray(pc.is_null(plain))] = NULL
    return found


def of_words(words: list[str | None]) -> Digests:
    """[words], a 64-bit digest of each text; every null has the same one."""
    return of_texts(pa.array(words, pa.string()))[:, 0].copy()


def begun(rows: int) -> Digests:
    """[rows], the digest of a row without any column yet."""
    return np.full(rows, 0x9E3779B97F4A7C15, np.uint64)


class DigestSet:
    """A hash table of 128-bit digests; a lookup is one probe, where sorted digests take twenty comparisons."""

    def __init__(self) -> None:
        self._table, self._held = np.zeros((1024, 2), np.uint64), 0

    def add(self, digests: Digests) -> None:
        """Insert digests [n, 2]; those that are there may come again."""
        from models.digest_kernels import enter

        self._held += len(digests)
        if 2 * self._held > len(self._table):
            before, size = self._table, 1 << (4 * self._held - 1).bit_length()
            self._table = np.zeros((size, 2), np.uint64)
            enter(self._table, before[before[:, 0] != 0])
        enter(self._table, _occupied(digests))

    def __len__(self) -> int:
        return self._held

    def has(self, digests: Digests) -> BoolMask:
        """[n], which of the digests [n, 2] were inserted."""
        return self.places(digests) >= 0

    def places(self, digests: Digests) -> Rows:
        """[n], a number below `size` of each of the digests [n, 2] that was inserted, -1 of others; until `add`."""
        from models.digest_kernels import places

        return np.asarray(places(self._table, _occupied(digests)))

    @property
    def size(self) -> int:
        """One more than the greatest number that `places` gives."""
        return len(self._table)


class TextRows:
    """Finds texts among others that it has a table of; Arrow's `index_in` makes such a table for every question."""

    def __init__(self, texts: pa.Array) -> None:
        """`texts` are distinct."""
        own = of_texts(texts)
        self._known = DigestSet()
        self._known.add(own)
        self._rows = np.empty(self._known.size, np.int32)
        self._rows[self._known.places(own)] = np.arange(len(texts))

    def of(self, texts: pa.Array) -> Rows:
        """[texts], the row of each, -1 where it is not there."""
        at = self._known.places(of_texts(texts))
        return np.where(at >= 0, self._rows[at], -1).astype(np.int64)


def _occupied(digests: Digests) -> Digests:
    """A first half of 0 marks a free place of the table, so digests have 1 instead."""
    found = digests.copy()
    found[found[:, 0] == 0, 0] = 1
    return found
