"""64-bit digests of rows, column by column over flat arrays: two rows with equal digests are taken for equal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.arrays import Digests


def of_words(words: Sequence[str | None]) -> Digests:
    """[words], a digest of each text; a null has one too, which no text has but by chance."""
    texts = (b"\xff" if word is None else word.encode() for word in words)
    whole = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(whole, np.uint64)


def begun(rows: int) -> Digests:
    """[rows], the digest of a row without any column yet."""
    return np.full(rows, 0x9E3779B97F4A7C15, np.uint64)


class DigestSet:
    """Digests of rows; a digest of 0 counts as 1. Told apart in one look each, where sorted ones take twenty."""

    def __init__(self) -> None:
        self._table, self._held = np.zeros(1024, np.uint64), 0

    def add(self, digests: Digests) -> None:
        """Put some in; those that are there may come again."""
        from models.digest_kernels import enter

        self._held += len(digests)
        if 2 * self._held > len(self._table):
            before, size = self._table, 1 << (4 * self._held - 1).bit_length()
            self._table = np.zeros(size, np.uint64)
            enter(self._table, before[before != 0])
        enter(self._table, np.where(digests == 0, np.uint64(1), digests))

    def __len__(self) -> int:
        return self._held

    def has(self, digests: Digests) -> npt.NDArray[np.bool_]:
        """[digests], which of them are in it."""
        from models.digest_kernels import entered

        return np.asarray(entered(self._table, np.where(digests == 0, np.uint64(1), digests)))
