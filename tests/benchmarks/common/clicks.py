"""Click sessions without times, from JSON lines to the arrays that models take."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.errors import UserError
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.common.problem import Case, IntArray, Problem, single_targets

SESSION_SECONDS = 1_000
"""Session i of a file begins at i * 1000 and its clicks are a second apart: the order of the file is that of time."""
TEST = "next click"
VALIDATION = "validation"


@dataclass(frozen=True)
class Clicks:
    """The training sessions and the test rows of one benchmark."""

    vocabulary: Vocabulary
    """Every product of the training file, whether or not its session is used."""
    train: Sequences
    """All training sessions, in the order of the file."""
    prefixes: Sequences
    """[rows], what a test session held before its target; products outside the vocabulary are left out."""
    targets: npt.NDArray[np.int32]
    """[rows], what was clicked next; -1 where it is outside the vocabulary."""
    groups: IntArray
    """[rows], number of the session that a row is a prefix of."""
    unknown_clicks: int
    """Clicks of test prefixes that were left out."""


def read(train: Path, test: Path) -> Clicks:
    """Lines `{"items": [..]}` and `{"items": [..], "target": id}`, gzipped or not; an id is an integer or a string,
    and 7 is the same product as "7". Blank lines are skipped.

    Raises UserError with file, line and remedy for a line that cannot be used, for an empty file, and where no
    training session has two clicks.
    """
    sessions = [_ids(line["items"], where) for where, line in _lines(train, ("items",))]
    if not any(len(items) > 1 for items in sessions):
        raise UserError(f"none of the {len(sessions):,} sessions of {train} has two items, so nothing can be learned "
                        "from it; give sessions of two or more")  # fmt: skip
    rows = [
        (_ids(line["items"], where), _ids([line["target"]], where)[0])
        for where, line in _lines(test, ("items", "target"))
    ]
    flat = pa.array([item for items in sessions for item in items], pa.string())
    vocabulary = Vocabulary.build(flat)
    asked = _histories([items for items, _ in rows], vocabulary, first=len(sessions))
    return Clicks(
        vocabulary,
        _histories(sessions, vocabulary),
        asked.where(asked.products >= 0),
        vocabulary.encode([target for _, target in rows], missing="negative"),
        _sessions_of(rows),
        int((asked.products < 0).sum()),
    )


def final_problem(clicks: Clicks, sessions: int | None, rows: int | None, seed: int) -> Problem:
    """Fit on the `sessions` most recent sessions, answer `rows` test rows drawn evenly; None means all of them."""
    chosen = drawn(len(clicks.targets), rows, seed)
    train = newest(clicks.train, sessions)
    targets = single_targets(clicks.targets[chosen])
    case = Case(TEST, "prefixes", targets, clicks.groups[chosen], count_misses=True)
    return _problem(clicks, train, clicks.prefixes.take(chosen), case)


def validation_problem(clicks: Clicks, train: Sequences, share: float, prefixes: int, seed: int) -> Problem:
    """Fit on all but the last `share` of the sessions `train`, answer at most so many prefixes of those, drawn evenly.

    Raises UserError where that leaves nothing on a side.
    """
    window = max(1, round(share * len(train)))
    past, later = train.take(np.arange(len(train) - window)), train.take(np.arange(len(train) - window, len(train)))
    histories, targets, groups = prefixes_of(later)
    if not (past.lengths > 1).any() or not len(targets):
        raise UserError(f"{len(train):,} training sessions are too few to set {share:.0%} of them apart for choosing "
                        "hyper-parameters; give more sessions of two or more items")  # fmt: skip
    chosen = drawn(len(targets), prefixes, seed)
    case = Case(VALIDATION, "prefixes", single_targets(targets[chosen]), groups[chosen], count_misses=True)
    return _problem(clicks, past, histories.take(chosen), case)


def prefixes_of(sessions: Sequences) -> tuple[Sequences, npt.NDArray[np.int32], IntArray]:
    """Every event but a session's first is the answer to those before it: (prefixes, answers, session of each)."""
    ends = np.flatnonzero(_places(sessions) > 0)
    owner = np.repeat(np.arange(len(sessions)), sessions.lengths)[ends]
    starts = sessions.offsets[owner]
    offsets = np.concatenate(([0], np.cumsum(ends - starts)))
    events = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
    prefixes = Sequences(offsets, sessions.products[events], sessions.events[events], sessions.times[events])
    return prefixes, sessions.products[ends], owner


def newest(sessions: Sequences, most: int | None) -> Sequences:
    """The last `most` sessions; None: all."""
    return sessions if most is None else sessions.take(np.arange(max(0, len(sessions) - most), len(sessions)))


def _problem(clicks: Clicks, train: Sequences, histories: Sequences, case: Case) -> Problem:
    until = int(train.times.max()) + 1
    return Problem(train, len(clicks.vocabulary), {"prefixes": histories}, (case,), until)


def _lines(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place for messages, object) of every line that is not blank."""
    found = False
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    found = True
                    yield f"{path}, line {number}", _object(line, f"{path}, line {number}", wanted)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}); give a file of JSON lines, gzipped or not") from None
    if not found:
        raise UserError(f"{path} is empty; give a file with a JSON object per line")


def _object(line: bytes, where: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    form = ", ".join(f'"{name}": ' + ("[..]" if name == "items" else "id") for name in wanted)
    shown = line.strip()[:60].decode("utf-8", "replace")
    try:
        found = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}): {shown}; expected {{{form}}}") from None
    if not isinstance(found, dict) or any(name not in found for name in wanted):
        raise UserError(f"{where} is {shown}; expected {{{form}}}")
    if not isinstance(found["items"], list):
        raise UserError(f"{where}: items is {str(found['items'])[:60]!r}; expected a list of ids")
    return found


def _ids(values: list[Any], where: str) -> list[str]:
    for value in values:
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise UserError(f"{where}: {value!r} is no product id; ids are integers or strings")
    return [str(value) for value in values]


def _histories(sessions: list[list[str]], vocabulary: Vocabulary, first: int = 0) -> Sequences:
    offsets = np.concatenate(([0], np.cumsum([len(items) for items in sessions]))).astype(np.int64)
    flat = pa.array([item for items in sessions for item in items], pa.string())
    products = vocabulary.encode(flat, missing="negative")
    owner = np.repeat(np.arange(len(sessions)), np.diff(offsets))
    times = (first + owner) * SESSION_SECONDS + np.arange(len(products)) - offsets[owner]
    return Sequences(offsets, products, np.zeros(len(products), dtype=np.int8), times)


def _sessions_of(rows: list[tuple[list[str], str]]) -> IntArray:
    """[rows], a number per test session: neighbouring rows share it where one is the other, cut one click shorter."""
    fresh = np.ones(len(rows), dtype=np.int64)
    for row in range(1, len(rows)):
        (items, target), (before, target_before) = rows[row], rows[row - 1]
        longer, shorter = (before, [*items, target]) if len(before) > len(items) else (items, [*before, target_before])
        fresh[row] = longer != shorter
    return np.cumsum(fresh) - 1


def _places(sequences: Sequences) -> IntArray:
    """[events], 0 for the first of each history."""
    return np.arange(len(sequences.products)) - np.repeat(sequences.offsets[:-1], sequences.lengths)


def drawn(n: int, most: int | None, seed: int) -> IntArray:
    """Positions of at most `most` of n rows, each as likely as any other, rising."""
    if most is None or n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
