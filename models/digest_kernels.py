"""The compiled loops of `models.digests`. Each takes a column into the digests of its rows, in place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.digests import Digests


@njit(nogil=True, cache=True)
def _mixed(digest: np.uint64, value: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """The finaliser of MurmurHash3 (Austin Appleby, public domain) over what came so far and the next value."""
    digest = (digest ^ value) * np.uint64(0xFF51AFD7ED558CCD)
    digest ^= digest >> np.uint64(33)
    digest *= np.uint64(0xC4CEB9FE1A85EC53)
    return digest ^ (digest >> np.uint64(29))


@njit(nogil=True, cache=True)
def add_values(digests: Digests, values: Digests) -> None:  # pragma: no cover - compiled
    """Take one value a row in, in place; both [rows]."""
    for row in range(len(digests)):
        digests[row] = _mixed(digests[row], values[row])


@njit(nogil=True, cache=True)
def add_lists(
    digests: Digests, offsets: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], of_code: Digests
) -> None:  # pragma: no cover - compiled
    """Take a list a row in, in place: row i has `of_code[codes[offsets[i]:offsets[i + 1]]]`, in order and number."""
    for row in range(len(digests)):
        digest = _mixed(digests[row], np.uint64(offsets[row + 1] - offsets[row]))
        for at in range(offsets[row], offsets[row + 1]):
            digest = _mixed(digest, of_code[codes[at]])
        digests[row] = digest


@njit(nogil=True, cache=True)
def add_numbers(
    digests: Digests, offsets: npt.NDArray[np.int64], bits: npt.NDArray[np.uint32]
) -> None:  # pragma: no cover - compiled
    """`add_lists` of 32-bit numbers by their bits."""
    for row in range(len(digests)):
        digest = _mixed(digests[row], np.uint64(offsets[row + 1] - offsets[row]))
        for at in range(offsets[row], offsets[row + 1]):
            digest = _mixed(digest, np.uint64(bits[at]))
        digests[row] = digest
