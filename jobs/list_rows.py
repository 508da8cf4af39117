"""Assembled lists as rows of their tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from jobs.shelf import Shelf
from jobs.touch_points import SOURCES
from models.assembly import Assembled
from models.rulebook import Rulebook
from models.vocabulary import Vocabulary

_SOURCES = Vocabulary(SOURCES)
NO_RULE = ""
"""The rule of a position that none moved."""


@dataclass
class Tally:
    """What came of a touch point's lists, summed while they are written."""

    lists: int = 0
    short: int = 0
    moved: int = 0
    """Positions that a rule filled or moved."""
    rules: Counter[str] = field(default_factory=Counter)
    """Lists that each rule changed."""

    def add(self, made: Assembled, book: Rulebook) -> None:
        """Count the lists of one batch."""
        self.lists += len(made.rows)
        self.short += int((made.rows[:, -1] < 0).sum())
        self.moved += int((made.rules >= 0).sum())
        self.rules.update({name: int(n) for name, n in zip(book.names, made.effects, strict=True) if n})

    def join(self, other: Tally) -> None:
        """Count what another one has counted."""
        self.lists, self.short, self.moved = (
            self.lists + other.lists,
            self.short + other.short,
            self.moved + other.moved,
        )
        self.rules.update(other.rules)


def list_rows(
    keys: Mapping[str, pa.Array], made: Assembled, shelf: Shelf, market: int, book: Rulebook, variant: str,
    model_id: str, with_categories: bool = False,
) -> pa.RecordBatch:  # fmt: skip
    """The columns of a list table but as_of and run_id; `keys` are those of its key beside market and variant.

    Texts are coded, with the same words in every batch of a night.
    """
    held = (made.rows >= 0).sum(axis=1)
    there = made.rows >= 0
    offsets = pa.array(np.concatenate(([0], np.cumsum(held))).astype(np.int32))
    reasons = [f"only {n} products of the market may be shown" for n in range(made.rows.shape[1])]
    rules = np.where(made.rules < 0, len(book.names), made.rules)[there]
    columns = dict(keys) | {
        "market": shelf.markets.coded(np.full(len(held), market)),
        "product_ids": pa.ListArray.from_arrays(offsets, shelf.products.coded(made.rows[there])),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(made.scores[there], pa.float32())),
        "sources": pa.ListArray.from_arrays(offsets, _SOURCES.coded(made.labels[there])),
        "rules": pa.ListArray.from_arrays(offsets, Vocabulary([*book.names, NO_RULE]).coded(rules)),
        "variant": pa.repeat(variant, len(held)),
        "short_reason": pa.array([*reasons, None], pa.string()).take(pa.array(held)),
        "model_id": pa.repeat(model_id, len(held)),
    }
    if with_categories:
        category = shelf.categories.coded(shelf.attributes.category[made.rows[there]])
        columns["categories"] = pa.ListArray.from_arrays(offsets, category)
    return pa.RecordBatch.from_pydict(columns)


def no_lists(keys: Mapping[str, pa.Array], variants: pa.Array, model_id: str) -> pa.RecordBatch:
    """Empty lists for customers of a market in which nothing can be bought."""
    count = len(variants)
    offsets = pa.array(np.zeros(count + 1, np.int32))
    empty = {
        name: pa.ListArray.from_arrays(offsets, pa.array([], pa.string()))
        for name in ("product_ids", "sources", "rules")
    }
    columns = dict(keys) | empty | {
        "scores": pa.ListArray.from_arrays(offsets, pa.array([], pa.float32())),
        "variant": variants,
        "short_reason": pa.repeat("no product is available in the customer's market", count),
        "model_id": pa.repeat(model_id, count),
    }  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)
