"""Sessions from files to what every peer gets, and the one judge of all peers' vectors."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from models.evaluation.metrics import allowing, from_vectors, per_customer, rank_targets
from models.sequences import Sequences
from tests.benchmarks.peers.protocol import Data, FloatMatrix, Histories, IntArray

VALIDATION_SHARE = 0.07
VALIDATION_PREFIXES = 5_000


@dataclass(frozen=True)
class Prepared:
    """The peers' data, and what they are not told."""

    data: Data
    targets: IntArray
    """[validation prefixes], the product that came next."""
    about: str
    """Counts, in words."""


def prepare(train: Path, test: Path, length: int, seed: int, encode: int, sessions: int | None = None) -> Prepared:
    """Train on the first 93 % of the (first `sessions`) lines of `train`, validate on the prefixes of the rest.

    A line of `train` is {"items": [..]} in the order of time, one of `test` {"items": [..], "target": ..}. Prefixes
    are cut to `length` events and lose products that no training session has; one whose next product is such a
    product, or of which nothing is left, is left out, for every peer alike. `encode` of the test prefixes are drawn.
    """
    lines = _read(train, sessions)
    split = len(lines) - round(VALIDATION_SHARE * len(lines))
    past = [items[-length - 1 :] for items in lines[:split] if len(items) > 1]
    products, counts = np.unique(np.concatenate(past), return_counts=True)
    index = {int(product): i for i, product in enumerate(products[np.lexsort((products, -counts))])}

    rng = np.random.default_rng(seed)
    later = [(items[:end], items[end]) for items in lines[split:] for end in range(1, len(items))]
    known = [(k, index[target]) for items, target in later if target in index and (k := _known(items, index, length))]
    if not known:
        raise ValueError(f"no prefix of the last {len(lines) - split} sessions has a known product and a known target")
    validation = [known[i] for i in _sample(len(known), VALIDATION_PREFIXES, rng)]
    asked = [k for items in _read(test, None) if (k := _known(items, index, length))]
    data = Data(
        len(index),
        _histories([[index[item] for item in items] for items in past]),
        _histories([items for items, _ in validation]),
        _histories([asked[i] for i in _sample(len(asked), encode, rng)]),
    )
    about = (
        f"{len(data.train):,} training sessions of {len(data.train.items):,} events and {len(index):,} products; "
        f"{len(data.validation):,} of {len(known):,} validation prefixes ({len(later) - len(known):,} left out, "
        f"nothing known of them); {len(data.test):,} test prefixes to encode"
    )
    return Prepared(data, np.array([target for _, target in validation]), about)


def sequences(histories: Histories) -> Sequences:
    """The same histories as our models read them: clicks, one second apart, so that no two are one basket."""
    return Sequences(
        histories.offsets,
        histories.items.astype(np.int32),
        np.zeros(len(histories.items), dtype=np.int8),
        histories.places,
    )


def ndcg_at_10(customers: FloatMatrix, products: FloatMatrix, prepared: Prepared) -> float:
    """Mean NDCG@10 of the validation targets among all products, seen ones too; ties count against the target.

    Raises ValueError where a vector is not finite.
    """
    n = len(prepared.targets)
    targets = sequences(Histories(np.arange(n + 1), prepared.targets))
    everything = allowing(np.ones(prepared.data.products, dtype=bool))
    ranking = rank_targets(from_vectors(customers, products), targets, everything)
    return float(per_customer(ranking, [10])["ndcg@10"].mean())


def _read(path: Path, limit: int | None) -> list[list[int]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["items"] for line in islice(lines, limit)]


def _known(items: list[int], index: dict[int, int], length: int) -> list[int]:
    return [index[item] for item in items if item in index][-length:]


def _sample(n: int, most: int, rng: np.random.Generator) -> IntArray:
    return np.sort(rng.choice(n, size=min(n, most), replace=False))


def _histories(lists: list[list[int]]) -> Histories:
    offsets = np.concatenate(([0], np.cumsum([len(items) for items in lists])))
    return Histories(offsets.astype(np.int64), np.array([i for items in lists for i in items], dtype=np.int64))
