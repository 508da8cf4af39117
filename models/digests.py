"""64-bit digests of rows, column by column over flat arrays: two rows with equal digests are taken for equal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]


def of_words(words: Sequence[str | None]) -> Digests:
    """[words], a digest of each text; a null has one too, which no text has but by chance."""
    texts = (b"\xff" if word is None else word.encode() for word in words)
    whole = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(whole, np.uint64)


def begun(rows: int) -> Digests:
    """[rows], the digest of a row without any column yet."""
    return np.full(rows, 0x9E3779B97F4A7C15, np.uint64)
