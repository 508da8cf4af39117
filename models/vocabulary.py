"""Maps string ids to dense integers and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

UNKNOWN = -1


class Vocabulary:
    """Distinct ids in a fixed order; the position of an id is its dense index.

    Raises ValueError when an id is repeated or null.
    """

    def __init__(self, ids: Sequence[str] | pa.Array) -> None:
        self.ids: pa.StringArray = pa.array(ids, type=pa.string())
        self._last: tuple[pa.Array, pa.Array] | None = None
        if self.ids.null_count:
            raise ValueError("a vocabulary cannot hold a null id; drop nulls before building it")
        if pc.count_distinct(self.ids).as_py() != len(self.ids):
            repeated = next(v["values"] for v in pc.value_counts(self.ids).to_pylist() if v["counts"] > 1)
            raise ValueError(f"a vocabulary holds every id once, but {repeated!r} is there twice")

    @classmethod
    def build(cls, ids: pa.Array | pa.ChunkedArray) -> Vocabulary:
        """The distinct non-null ids, sorted, so that equal data gives an equal vocabulary."""
        distinct = pc.unique(ids.cast(pa.string())).drop_null()
        return cls(distinct.take(pc.array_sort_indices(distinct)))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    __hash__ = None  # type: ignore[assignment]

    def encode(
        self, ids: Sequence[str] | pa.Array | pa.ChunkedArray, missing: Literal["error", "negative"] = "error"
    ) -> npt.NDArray[np.int32]:
        """Dense indexes, int32 of the shape of `ids`; unknown ids raise ValueError or become -1."""
        if not isinstance(ids, pa.Array | pa.ChunkedArray):
            ids = pa.array(ids, type=pa.string())
        if pa.types.is_dictionary(ids.type) and isinstance(ids, pa.DictionaryArray):
            found = self._of_words(ids.dictionary).take(ids.indices)
        else:
            found = pc.index_in(ids, value_set=self.ids)
        if missing == "error" and found.null_count:
            example = ids.filter(pc.is_null(found))[0].as_py()
            raise ValueError(
                f"{found.null_count} ids are not among the {len(self)} known ones, the first is {example!r}"
            )
        return np.asarray(pc.fill_null(found, UNKNOWN), dtype=np.int32)

    def codes(self, ids: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(code of each id, the dense index of each code, -1 for an unknown or null id): `encode` for those who look
        indexes up themselves.
        """
        coded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        indexes = pa.concat_arrays([self._of_words(coded.dictionary), pa.nulls(1, pa.int32())]).fill_null(UNKNOWN)
        codes = coded.indices.fill_null(len(coded.dictionary)) if coded.null_count else coded.indices
        return np.asarray(codes), np.asarray(indexes)

    def _of_words(self, words: pa.Array) -> pa.Array:
        """Indexes of a dictionary's words, each word once; successive batches mostly have the same dictionary."""
        last = self._last
        if last is None or not last[0].equals(words):
            last = self._last = words, pc.index_in(words, value_set=self.ids)
        return last[1]

    def decode(self, indexes: npt.NDArray[np.integer]) -> pa.StringArray:
        """Ids of a flat array of dense indexes; raises pyarrow's IndexError outside the vocabulary."""
        return self.ids.take(pa.array(indexes.ravel()))

    def coded(self, indexes: npt.NDArray[np.integer]) -> pa.DictionaryArray:
        """`decode` without spelling the ids out: negative indexes are null."""
        flat = indexes.ravel().astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(flat, mask=flat < 0), self.ids)

    @cached_property
    def digest(self) -> str:
        """sha256 over the ids and their order; two vocabularies with equal digests are the same."""
        sha = hashlib.sha256()
        for identifier in self.ids.to_pylist():
            raw = identifier.encode()
            sha.update(len(raw).to_bytes(8, "big") + raw)
        return sha.hexdigest()
