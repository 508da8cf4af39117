"""Computes digests in compiled loops, for `models.digests`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.arrays import Digests


@njit(nogil=True, cache=True)
def _mixed(digest: np.uint64, value: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """Mixes the next value into a digest: the finaliser of MurmurHash3 (Austin Appleby, public domain)."""
    digest = (digest ^ value) * np.uint64(0xFF51AFD7ED558CCD)
    digest ^= digest >> np.uint64(33)
    digest *= np.uint64(0xC4CEB9FE1A85EC53)
    return digest ^ (digest >> np.uint64(29))


@njit(nogil=True, cache=True)
def add_values(digests: Digests, values: Digests) -> None:  # pragma: no cover - compiled
    """Mix one value into each row's digest, in place; both [rows]."""
    for row in range(len(digests)):
        digests[row] = _mixed(digests[row], values[row])


@njit(nogil=True, cache=True)
def add_lists(
    digests: Digests, offsets: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], of_code: Digests
) -> None:  # pragma: no cover - compiled
    """Mix lists into the rows' digests, in place: of row i its length, `of_code[codes[offsets[i]:offsets[i + 1]]]`."""
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


@njit(nogil=True, cache=True)
def add_places(
    digests: Digests,
    rows: npt.NDArray[np.int64],
    scores: npt.NDArray[np.uint32],
    labels: npt.NDArray[np.int8],
    rules: npt.NDArray[np.int16],
    of_row: Digests,
    of_label: Digests,
    of_rule: Digests,
) -> None:  # pragma: no cover - compiled
    """Mix lists [Q, N] into the digests [Q], in place: product, bits of the score, label and rule of each position.

    A list ends at the first -1 in `rows`; a rule of -1 has the last of `of_rule`.
    """
    for q in range(len(digests)):
        digest, held = digests[q], 0
        while held < rows.shape[1] and rows[q, held] >= 0:
            rule = rules[q, held] if rules[q, held] >= 0 else len(of_rule) - 1
            digest = _mixed(digest, of_row[rows[q, held]] ^ np.uint64(scores[q, held]))
            digest = _mixed(digest, of_label[labels[q, held]] ^ (of_rule[rule] << np.uint64(1)))
            held += 1
        digests[q] = _mixed(digest, np.uint64(held))


@njit(nogil=True, cache=True)
def enter(table: Digests, digests: Digests) -> None:  # pragma: no cover - compiled
    """Insert digests [n, 2] into a hash table [2^k, 2]; first halves are never 0, which marks a free place."""
    last = np.uint64(len(table) - 1)
    for row in range(len(digests)):
        first, second = digests[row, 0], digests[row, 1]
        at = first & last
        while table[at, 0] != 0 and (table[at, 0] != first or table[at, 1] != second):
            at = (at + np.uint64(1)) & last
        table[at, 0], table[at, 1] = first, second


@njit(nogil=True, cache=True)
def places(table: Digests, digests: Digests) -> npt.NDArray[np.int64]:  # pragma: no cover - compiled
    """[n], the row of such a table that holds each of the digests [n, 2]; -1 where none does."""
    last, found = np.uint64(len(table) - 1), np.empty(len(digests), np.int64)
    for row in range(len(digests)):
        first, second = digests[row, 0], digests[row, 1]
        at = first & last
        while table[at, 0] != 0 and (table[at, 0] != first or table[at, 1] != second):
            at = (at + np.uint64(1)) & last
        found[row] = np.int64(at) if table[at, 0] != 0 else -1
    return found


@njit(nogil=True, cache=True)
def _rotated(value: np.uint64, bits: int) -> np.uint64:  # pragma: no cover - compiled
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@njit(nogil=True, cache=True)
def _final(value: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@njit(nogil=True, cache=True)
def _read(data: npt.NDArray[np.uint8], start: int, stop: int) -> np.uint64:  # pragma: no cover - compiled
    """The bytes from `start` to `stop`, at most 8, as a little-endian number."""
    value = np.uint64(0)
    for at in range(start, min(stop, start + 8)):
        value |= np.uint64(data[at]) << np.uint64(8 * (at - start))
    return value


@njit(nogil=True, cache=True)
def hash_texts(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint64]:  # pragma: no cover - compiled
    """[n, 2], MurmurHash3_x64_128 (Austin Appleby, public domain) with seed 0 of data[offsets[i]:offsets[i + 1]]."""
    c1, c2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
    found = np.empty((len(offsets) - 1, 2), np.uint64)
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        h1, h2 = np.uint64(0), np.uint64(0)
        at = start
        while at < stop:  # a part of less than 16 bytes is mixed in, but not stirred
            k1, k2 = _read(data, at, stop), _read(data, at + 8, stop)
            h1 ^= _rotated(k1 * c1, 31) * c2
            if at + 16 <= stop:
                h1 = (_rotated(h1, 27) + h2) * np.uint64(5) + np.uint64(0x52DCE729)
            h2 ^= _rotated(k2 * c2, 33) * c1
            if at + 16 <= stop:
                h2 = (_rotated(h2, 31) + h1) * np.uint64(5) + np.uint64(0x38495AB5)
            at += 16
        h1 ^= np.uint64(stop - start)
        h2 ^= np.uint64(stop - start)
        h1 += h2
        h2 += h1
        h1, h2 = _final(h1), _final(h2)
        h1 += h2
        h2 += h1
        found[row, 0], found[row, 1] = h1, h2
    return found
