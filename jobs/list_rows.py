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
    """The columns of a list table but as_of and run_id; `keys` are those of its key beside market and variant."""
    held = (made.rows >= 0).sum(axis=1)
    there = made.rows >= 0
    offsets = pa.array(np.concatenate(([0], np.cumsum(held))).astype(np.int32))
    total = int(shelf.available[market].sum())
    reasons = [f"{n} of the {total} products available in the market may be shown" for n in range(made.rows.shape[1])]
    columns = dict(keys) | {
        "market": pa.repeat(shelf.markets.ids[market], len(held)),
        "product_ids": pa.ListArray.from_arrays(offsets, shelf.products.decode(made.rows[there])),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(made.scores[there], pa.float32())),
        "sources": pa.ListArray.from_arrays(offsets, _named(SOURCES, made.labels[there])),
        "rules": pa.ListArray.from_arrays(offsets, _named((*book.names, ""), made.rules[there])),
        "variant": pa.repeat(variant, len(held)),
        "short_reason": pa.array([*reasons, None], pa.string()).take(pa.array(held)),
        "model_id": pa.repeat(model_id, len(held)),
    }
    if with_categories:
        category = shelf.attributes.category[made.rows[there]]
        names = pa.concat_arrays([shelf.categories.ids, pa.nulls(1, pa.string())])
        at = pa.array(np.where(category < 0, len(shelf.categories), category))
        columns["categories"] = pa.ListArray.from_arrays(offsets, names.take(at))
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


def _named(names: tuple[str, ...], numbers: np.ndarray[tuple[int], np.dtype[np.integer]]) -> pa.Array:
    """Numbers as texts; -1 is the last one."""
    return pa.array(names, pa.string()).take(pa.array(np.where(numbers < 0, len(names) - 1, numbers)))
