"""Draws attention as maps: each layer and head over the last events of chosen customers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jobs.report.examples import Touch
from jobs.report.model.sample import ModelSample
from jobs.report.recent import first_of_each
from models.contract import FloatMatrix
from models.sequences import Sequences


@runtime_checkable
class Attentive(Protocol):
    """A model that reports its attention weights."""

    def attention(self, sequences: Sequences) -> Iterator[FloatMatrix]:
        """For each history weights [layers + 1, heads, L, L]: row i is of event i; the last layer is the readout."""
        ...


@dataclass(frozen=True)
class HeadMap:
    """One head's weights over the n events that are shown."""

    title: str
    weights: FloatMatrix
    """[n, n], the weight with which event i (row) reads event j (column)."""
    earlier: npt.NDArray[np.float32]
    """[n], the summed weight with which event i reads events before those shown; with it a row sums to 1."""
    reading: str
    """The map described in sentences."""

    @property
    def summed(self) -> bool:
        """Whether events before those shown are read at all."""
        return bool(self.earlier.any())


@dataclass(frozen=True)
class AttentionView:
    """One customer's last events and every head's map over them."""

    customer: str
    events: tuple[Touch, ...]
    before: int
    """Earlier events that the model reads but the map does not show."""
    maps: tuple[HeadMap, ...]


def attention_views(sample: ModelSample, customers: int, shown: int) -> list[AttentionView]:
    """Maps of `customers` customers over their last `shown` events; empty where the model has no attention."""
    if not isinstance(sample.model, Attentive):
        return []
    rows = chosen(sample, customers, shown)
    views = []
    for row, found in zip(rows, sample.model.attention(sample.sequences.take(np.array(rows, np.int64))), strict=True):
        length = int(sample.sequences.lengths[row])
        events = sample.touches(row, length - min(shown, found.shape[-1]), length)
        maps = tuple(_maps(found, events))
        views.append(AttentionView(sample.customers[row], events, found.shape[-1] - len(events), maps))
    return views


def chosen(sample: ModelSample, customers: int, shown: int) -> list[int]:
    """The customers whose last `shown` events differ most in type and category, of different categories where possible.

    A history that is shorter is taken only where no other is left; one of a single event shows nothing.
    """
    rated: list[tuple[tuple[float, ...], str, int]] = []
    for row, length in enumerate(sample.sequences.lengths):
        if length < 2:
            continue
        events = slice(max(0, int(length) - shown), int(length))
        start = int(sample.sequences.offsets[row])
        products = sample.sequences.products[start + events.start : start + events.stop]
        kinds = Counter(sample.sequences.events[start + events.start : start + events.stop].tolist())
        categories = Counter(sample.categories[product] for product in products)
        # Categories that return are what attention can follow; each event in its own leaves nothing to see.
        returning = sum(count > 1 for count in categories.values())
        # A long history spreads attention over many events that are not drawn.
        past = int(length) - len(products) > shown
        rate = (-len(products), -len(kinds), past, -min(returning, 4), -min(kinds.values()))
        rated.append((tuple(map(float, rate)), categories.most_common(1)[0][0], row))
    rated.sort(key=lambda entry: (entry[0], entry[2]))
    return first_of_each([row for *_, row in rated], {row: category for _, category, row in rated})[:customers]


def _maps(found: FloatMatrix, events: tuple[Touch, ...]) -> Iterator[HeadMap]:
    before = found.shape[-1] - len(events)
    layers, heads = found.shape[:2]
    for layer in range(layers):
        # The readout is equal in all heads.
        for head in range(1 if layer == layers - 1 else heads):
            weights, earlier = found[layer, head, before:, before:], found[layer, head, before:, :before].sum(1)
            title = "Readout" if layer == layers - 1 else f"Layer {layer + 1}, head {head + 1}"
            yield HeadMap(title, weights, earlier, reading(weights, earlier, events))


def reading(weights: FloatMatrix, earlier: npt.NDArray[np.float32], events: tuple[Touch, ...]) -> str:
    """A map [n, n] in words, the first event aside: how strongly an event reads itself, the one before, all older ones,
    in percent that add up to 100; and its own category.
    """
    own, before = np.diag(weights)[1:].mean(), np.diag(weights, -1).mean()
    older = np.tril(weights, -2)[1:].sum(1).mean() + earlier[1:].mean()
    itself, last, rest = in_percent([float(own), float(before), float(older)])
    parts = [
        f"On average an event reads itself with {itself}%, the one before with {last}%, all older ones with {rest}%"
    ]
    lift = _category_lift(weights, events)
    if lift is not None:
        parts.append(
            f"earlier events of its own category weigh {lift:.{0 if lift >= 10 else 1}f} times those of others"
        )
    return f"{'; '.join(parts)}."


def in_percent(shares: Sequence[float]) -> list[int]:
    """Shares of their sum in whole percent that add up to 100, by largest remainders; all 0 where the sum is."""
    total = sum(shares)
    exact = [100 * share / total if total else 0.0 for share in shares]
    whole = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda at: (whole[at] - exact[at], at))
    for at in by_remainder[: round(sum(exact)) - sum(whole)]:
        whole[at] += 1
    return whole


def _category_lift(weights: FloatMatrix, events: tuple[Touch, ...]) -> float | None:
    """The mean weight of an earlier event of the same category over that of one of another; None without either."""
    categories = [touch.product.category for touch in events]
    same: list[float] = []
    other: list[float] = []
    for i, j in zip(*np.tril_indices(len(events), -1), strict=True):
        if categories[i] and categories[j]:
            (same if categories[i] == categories[j] else other).append(float(weights[i, j]) * i)
    if not same or not other or not sum(other):
        return None
    return float(np.mean(same) / np.mean(other))
