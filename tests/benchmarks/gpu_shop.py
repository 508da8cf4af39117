"""Made-up histories with something to learn, for the benchmark of a card: tastes, and what follows what."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from models.sequences import Sequences

GROUP, STAY, NEXT, LENGTH = 50, 0.7, 0.5, 12
"""Products of a group; how often a customer stays in theirs; how often the next product is the one that follows this
one; mean events of a history."""


def make_histories(customers: int, products: int, seed: int, longest: int = 50) -> Sequences:
    """Histories of 2 to `longest` events: within a group of products a fixed successor is likelier than the others."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.geometric(1 / LENGTH, customers) + 1, 2, longest)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    groups = max(1, products // GROUP)
    home = random.integers(0, groups, customers)
    found = np.empty(offsets[-1], dtype=np.int32)
    last = np.zeros(customers, dtype=np.int64)
    for place in range(longest):
        own = np.flatnonzero(lengths > place)
        other = random.integers(0, groups, len(own))
        group = np.where(random.random(len(own)) < STAY, home[own], other)
        # Squared: the first products of a group are the popular ones.
        drawn = (GROUP * random.random(len(own)) ** 2).astype(np.int64)
        follows = (7 * (last[own] % GROUP) + 3) % GROUP
        inside = np.where((random.random(len(own)) < NEXT) & (place > 0), follows, drawn)
        last[own] = np.minimum(group * GROUP + inside, products - 1)
        found[offsets[own] + place] = last[own]
    kinds = random.choice(4, offsets[-1], p=(0.8, 0.08, 0.08, 0.04)).astype(np.int8)
    times = 1_700_000_000 + 3_600 * places
    return Sequences(offsets.astype(np.int64), found, kinds, times.astype(np.int64))


def write_sessions(histories: Sequences, train: Path, test: Path, tested: int) -> None:
    """The files of the benchmark of peers: the last `tested` histories are for encoding."""
    split = np.split(histories.products, histories.offsets[1:-1])
    with gzip.open(train, "wt", encoding="utf-8", compresslevel=1) as lines:
        lines.writelines(json.dumps({"items": items.tolist()}) + "\n" for items in split[:-tested])
    with gzip.open(test, "wt", encoding="utf-8", compresslevel=1) as lines:
        lines.writelines(
            json.dumps({"items": items[:-1].tolist(), "target": int(items[-1])}) + "\n" for items in split[-tested:]
        )
