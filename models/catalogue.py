"""Hashes the attributes, name and price of products to features that models read."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 14
"""Features are hashed to 1 .. BUCKETS - 1; a few thousand brands, categories and words seldom meet in one bucket."""
MOST_WORDS = 12
"""First words of a name that are read."""


@dataclass(frozen=True)
class Catalogue:
    """Features of n products, row by row those of a vocabulary."""

    features: npt.NDArray[np.int32]
    """[n, most features of a product], buckets from 1 on, 0 where a product has fewer."""

    @classmethod
    def empty(cls, products: int) -> Catalogue:
        """No features for so many products."""
        return cls(np.zeros((products, 0), dtype=np.int32))

    @classmethod
    def of(
        cls, attributes: Mapping[str, Sequence[str | None]], names: Sequence[str | None], prices: Sequence[float | None]
    ) -> Catalogue:
        """From columns of equal length n. Hashing needs no list of known values, so a new brand
        changes nothing for other products (Weinberger et al. 2009, "Feature hashing"). A price counts by its
        half octave; a value means the same in any letter case. Raises ValueError where lengths differ.
        """
        columns = [*attributes.values(), names, prices]
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"columns of {[len(column) for column in columns]} values are not of the same products")
        rows = []
        for index, (name, price) in enumerate(zip(names, prices, strict=True)):
            texts = [f"{key}={column[index]}" for key, column in attributes.items() if column[index] not in (None, "")]
            words = re.findall(r"\w+", (name or "").casefold())[:MOST_WORDS]
            texts += [f"word={word}" for word in dict.fromkeys(words)]
            if price is not None and price > 0:
                texts.append(f"price={round(2 * np.log2(price))}")
            rows.append([_bucket(text) for text in texts])
        return cls(_padded(rows))

    def __len__(self) -> int:
        return len(self.features)

    def followed_by(self, other: Catalogue) -> Catalogue:
        """These products and then those of `other`."""
        width = max(self.features.shape[1], other.features.shape[1])
        parts = [np.pad(part.features, ((0, 0), (0, width - part.features.shape[1]))) for part in (self, other)]
        return Catalogue(np.concatenate(parts))


def _bucket(text: str) -> int:
    return 1 + zlib.crc32(text.casefold().encode()) % (BUCKETS - 1)


def _padded(rows: Sequence[Iterable[int]]) -> npt.NDArray[np.int32]:
    lists = [list(row) for row in rows]
    result = np.zeros((len(lists), max(map(len, lists), default=0)), dtype=np.int32)
    for row, found in zip(result, lists, strict=True):
        row[: len(found)] = found
    return result
