"""The compiled loops of `models.digests`. Each takes a column into the digests of its rows, in place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from models.arrays import Digests


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


@njit(nogil=True, cache=True)
def add_places(
    digests: Digests, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.uint32], labels: npt.NDArray[np.int8],
    rules: npt.NDArray[np.int16], of_row: Digests, of_label: Digests, of_rule: Digests,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Take lists of places [Q, N] in, in place: what stands there, the bits of its score, its label and its rule.

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
    """Put digests, none of which is 0, into a table of a power of two places, 0 in those that are free."""
    last = np.uint64(len(table) - 1)
    for digest in digests:
        at = digest & last
        while table[at] != 0 and table[at] != digest:
            at = (at + np.uint64(1)) & last
        table[at] = digest


@njit(nogil=True, cache=True)
def entered(table: Digests, digests: Digests) -> npt.NDArray[np.bool_]:  # pragma: no cover - compiled
    """[digests], which of them are in such a table."""
    last, found = np.uint64(len(table) - 1), np.zeros(len(digests), np.bool_)
    for row in range(len(digests)):
        at = digests[row] & last
        while table[at] != 0 and table[at] != digests[row]:
            at = (at + np.uint64(1)) & last
        found[row] = table[at] != 0
    return found
